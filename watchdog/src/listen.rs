//! The thread that hears beats, with a runtime of its own.
//!
//! It shares nothing with telemetry: no process, port, thread, queue or library of the monitored
//! path. What it knows goes into the inbox, which never makes it wait; what it shows is a
//! published snapshot.
//!
//! Invariant: nothing on this thread waits for the collector, the gate or the verdict loop.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use front_door::Limits;
use tokio_util::sync::CancellationToken;

mod crowd;
pub mod http;
pub mod mac;
pub mod notify;
pub mod reception;
mod udp;

use http::Shared;

/// The sockets on which beats arrive.
#[derive(Debug)]
pub struct Ears {
    pub tcp: TcpListener,
    pub udp: UdpSocket,
    pub notify: Option<UnixDatagram>,
}

/// Starts the thread; it ends with `shared.shutdown`, or early with an error.
pub fn start(ears: Ears, shared: Shared) -> io::Result<JoinHandle<io::Result<()>>> {
    Builder::new().name("beats".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // Pages are rendered here; two at a time are enough for people and scrapers.
            .max_blocking_threads(2)
            .build()?;
        runtime.block_on(hear(ears, shared))
    })
}

async fn hear(ears: Ears, shared: Shared) -> io::Result<()> {
    let tcp = tokio::net::TcpListener::from_std(ears.tcp)?;
    let udp = tokio::net::UdpSocket::from_std(ears.udp)?;
    let notify = ears.notify.map(tokio::net::UnixDatagram::from_std).transpose()?;
    let shutdown: CancellationToken = shared.shutdown.clone();
    let reception = Arc::clone(&shared.reception);
    let routes = http::router(shared).into_service();
    let served = tokio::spawn(front_door::serve(tcp, routes, Limits::default(), shutdown.clone()));
    let notified = async {
        match notify {
            Some(socket) => notify::receive(socket, &reception).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        error = udp::receive(udp, &reception) => return Err(error),
        error = notified => return Err(error),
        () = shutdown.cancelled() => {}
    }
    served.await.map_err(io::Error::other)
}
