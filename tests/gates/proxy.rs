//! The way from one gate to its database, which can be cut.
//!
//! While it is cut nothing passes in either direction and nobody is told. What was on its way
//! arrives when it is mended: late, as on a real network.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How soon a pump sees that the way was cut or mended.
const LOOK: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub struct Proxy {
    pub address: SocketAddr,
    is_cut: Arc<AtomicBool>,
}

impl Proxy {
    /// A way to `to`.
    pub fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let is_cut = Arc::new(AtomicBool::new(false));
        let cut = Arc::clone(&is_cut);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(to) else { continue };
                for (from, into) in [(&near, &far), (&far, &near)] {
                    let from = from.try_clone().expect("one more handle");
                    let into = into.try_clone().expect("one more handle");
                    let cut = Arc::clone(&cut);
                    std::thread::spawn(move || pump(from, into, &cut));
                }
            }
        });
        Self { address, is_cut }
    }

    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
    }

    pub fn mend(&self) {
        self.is_cut.store(false, Ordering::Release);
    }
}

fn pump(mut from: TcpStream, mut into: TcpStream, is_cut: &AtomicBool) {
    from.set_read_timeout(Some(LOOK)).expect("a timeout that is not zero");
    from.set_nodelay(true).expect("a TCP socket");
    let mut bytes = [0; 16 * 1024];
    loop {
        let count = match from.read(&mut bytes) {
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => 0,
        };
        while is_cut.load(Ordering::Acquire) {
            std::thread::sleep(LOOK);
        }
        if count == 0 || into.write_all(&bytes[..count]).is_err() {
            into.shutdown(std::net::Shutdown::Both).ok();
            return;
        }
    }
}
