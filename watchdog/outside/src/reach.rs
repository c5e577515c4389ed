//! Which addresses may be connected to.
//!
//! A name in a URL is resolved once, and the connection goes to an address that was looked at: a
//! name that says something else a moment later (DNS rebinding) leads nowhere. Link-local
//! addresses are where clouds keep the secrets of a machine; nobody deploys there.
//!
//! Invariant: every address, whether written in the URL or resolved, passes [`Reach`] before the
//! first byte is sent.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower::Service;

/// Metadata services that do not stand at a link-local address: Alibaba, Oracle.
const METADATA_V4: [Ipv4Addr; 2] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192)];
/// Amazon, Google.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// Where a client may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// Everywhere but link-local addresses and metadata services.
    #[default]
    NotLinkLocal,
    /// Everywhere.
    Everywhere,
}

impl Reach {
    /// Refuses a `host` that is written as an address out of reach.
    pub(crate) fn check_host(self, host: Option<&str>) -> Result<(), String> {
        let host = host.ok_or_else(|| "the URL has no host".to_owned())?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        match bare.unwrap_or(host).parse() {
            Ok(ip) if self.bars(ip) => Err(refusal(ip)),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn bars(self, ip: IpAddr) -> bool {
        self == Self::NotLinkLocal && is_link_local(ip)
    }
}

fn refusal(ip: IpAddr) -> String {
    format!("{ip} is a link-local address or a metadata service, where nothing is sent")
}

/// Whether `ip` is link-local or a metadata service, in any of the ways to write it.
#[must_use]
pub fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_link_local_v4(ip),
        IpAddr::V6(ip) => {
            let within = within(ip);
            within.is_some_and(is_link_local_v4)
                || ip.is_unicast_link_local()
                || METADATA_V6.contains(&ip)
        }
    }
}

fn is_link_local_v4(ip: Ipv4Addr) -> bool {
    ip.is_link_local() || METADATA_V4.contains(&ip)
}

/// The IPv4 address that `ip` stands for: mapped, compatible, translated (64:ff9b::/96) or 6to4.
fn within(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0 | 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => Some(v4(g, h)),
        (0x2002, high, low, _, _, _) => Some(v4(high, low)),
        (_, _, _, _, _, _) => None,
    }
}

/// The system's resolver, and only the addresses within reach.
#[derive(Debug, Clone)]
pub(crate) struct Resolver {
    inner: GaiResolver,
    reach: Reach,
}

impl Resolver {
    pub(crate) fn new(reach: Reach) -> Self {
        Self { inner: GaiResolver::new(), reach }
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (resolving, reach) = (self.inner.call(name), self.reach);
        Box::pin(async move { within_reach(resolving.await?, reach) })
    }
}

fn within_reach(
    found: impl Iterator<Item = SocketAddr>,
    reach: Reach,
) -> io::Result<std::vec::IntoIter<SocketAddr>> {
    let (barred, kept): (Vec<_>, Vec<_>) = found.partition(|address| reach.bars(address.ip()));
    match (kept.is_empty(), barred.first()) {
        (true, Some(address)) => {
            Err(io::Error::new(io::ErrorKind::PermissionDenied, refusal(address.ip())))
        }
        (_, _) => Ok(kept.into_iter()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metadata_service_is_known_in_every_way_to_write_it() {
        for text in [
            "169.254.169.254",
            "169.254.0.1",
            "100.100.100.200",
            "192.0.0.192",
            "fe80::1",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
        ] {
            let ip = text.parse().expect("an address");
            assert!(is_link_local(ip), "{text}");
            assert!(Reach::NotLinkLocal.check_host(Some(text)).is_err(), "{text}");
            assert_eq!(Reach::Everywhere.check_host(Some(text)), Ok(()));
        }
        assert!(Reach::NotLinkLocal.check_host(Some("[::ffff:169.254.169.254]")).is_err());
        for text in ["127.0.0.1", "10.0.0.1", "::1", "192.168.1.1", "2001:db8::1", "169.253.0.1"] {
            assert!(!is_link_local(text.parse().expect("an address")), "{text}");
        }
    }

    #[test]
    fn a_name_that_leads_to_good_and_bad_addresses_leads_to_the_good_ones() {
        let bad: SocketAddr = "169.254.169.254:80".parse().expect("an address");
        let good: SocketAddr = "10.0.0.1:80".parse().expect("an address");
        let found =
            within_reach([bad, good].into_iter(), Reach::NotLinkLocal).expect("one is good");
        assert_eq!(found.collect::<Vec<_>>(), [good]);
        let error = within_reach([bad].into_iter(), Reach::NotLinkLocal).expect_err("none is good");
        assert!(error.to_string().contains("metadata"), "{error}");
        assert_eq!(within_reach([bad].into_iter(), Reach::Everywhere).expect("all").len(), 1);
    }
}
