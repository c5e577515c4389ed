//! How many connections are open, in all and per peer, and who must go for one more.
//!
//! Invariant: a busy connection is never evicted, and `open` never exceeds `connections_max`. An
//! evicted connection gives its place back at once, though its socket closes a moment later.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Limits;
use crate::conn::Conn;

#[derive(Debug, Default)]
pub(crate) struct Room {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// In order of arrival.
    conns: BTreeMap<u64, Arc<Conn>>,
    per_peer: HashMap<IpAddr, usize>,
}

/// Whether a connection may come in.
#[derive(Debug)]
pub(crate) enum Entry {
    Admitted {
        place: Place,
        /// Whether a quiet connection had to go.
        evicted: bool,
    },
    /// All are busy.
    Full,
}

/// A connection's place in the room; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Place {
    room: Arc<Room>,
    id: u64,
    pub(crate) conn: Arc<Conn>,
}

impl Room {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr, limits: &Limits) -> Entry {
        let peer = peer_of(address);
        let mut open = self.open();
        let of_peer = open.per_peer.get(&peer).copied().unwrap_or(0);
        let crowded = if of_peer >= limits.connections_per_peer_max {
            Some(Some(peer))
        } else {
            (open.conns.len() >= limits.connections_max).then_some(None)
        };
        let evicted = match crowded {
            None => false,
            Some(of) if open.evict_quietest(of) => true,
            Some(_) => return Entry::Full,
        };
        let id = open.next;
        open.next += 1;
        let conn = Arc::new(Conn::new(peer));
        open.conns.insert(id, Arc::clone(&conn));
        *open.per_peer.entry(peer).or_insert(0) += 1;
        Entry::Admitted { place: Place { room: Arc::clone(self), id, conn }, evicted }
    }
}

impl Open {
    /// Evicts the oldest quiet connection, of `peer` if one is given.
    fn evict_quietest(&mut self, peer: Option<IpAddr>) -> bool {
        let found = self
            .conns
            .iter()
            .find(|(_, conn)| peer.is_none_or(|peer| conn.peer == peer) && conn.is_quiet())
            .map(|(id, _)| *id);
        let Some(id) = found else { return false };
        if let Some(conn) = self.remove(id) {
            conn.evict();
        }
        true
    }

    fn remove(&mut self, id: u64) -> Option<Arc<Conn>> {
        let conn = self.conns.remove(&id)?;
        if let Some(n) = self.per_peer.get_mut(&conn.peer) {
            *n -= 1;
            if *n == 0 {
                self.per_peer.remove(&conn.peer);
            }
        }
        Some(conn)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.open().remove(self.id);
    }
}

/// One subscriber usually holds a whole /64 of IPv6, so that is what counts as one peer.
fn peer_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(all: usize, per_peer: usize) -> Limits {
        Limits { connections_max: all, connections_per_peer_max: per_peer, ..Limits::default() }
    }

    fn enter(room: &Arc<Room>, address: &str, limits: &Limits) -> Option<(Place, bool)> {
        match room.enter(address.parse().expect("an address"), limits) {
            Entry::Admitted { place, evicted } => Some((place, evicted)),
            Entry::Full => None,
        }
    }

    #[test]
    fn a_full_room_evicts_the_oldest_quiet_connection_and_no_busy_one() {
        let (room, limits) = (Arc::new(Room::default()), limits(2, 2));
        let (busy, _) = enter(&room, "10.0.0.1", &limits).expect("room");
        let turn = busy.conn.begin();
        let (quiet, _) = enter(&room, "10.0.0.2", &limits).expect("room");
        let (third, evicted) = enter(&room, "10.0.0.3", &limits).expect("the quiet one goes");
        assert!(evicted);
        let _turn = third.conn.begin();
        drop(quiet);
        assert!(enter(&room, "10.0.0.4", &limits).is_none(), "both are busy");
        drop(turn);
        assert!(enter(&room, "10.0.0.4", &limits).is_some());
    }

    #[test]
    fn one_peer_cannot_take_all_places() {
        let (room, limits) = (Arc::new(Room::default()), limits(10, 1));
        let (first, _) = enter(&room, "2001:db8::1", &limits).expect("room");
        let _turn = first.conn.begin();
        assert!(enter(&room, "2001:db8::2", &limits).is_none(), "the same /64");
        assert!(enter(&room, "2001:db8:0:1::2", &limits).is_some(), "another /64");
        drop(first);
        assert!(enter(&room, "2001:db8::3", &limits).is_some());
    }
}
