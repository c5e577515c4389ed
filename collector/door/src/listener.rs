//! Where connections come from: a TCP port or a Unix socket, in the clear or under TLS.
//!
//! Invariant: a socket file that another process listens at is never taken from it, and the file
//! that is left behind by a process that ended never stands in the way.

use std::fs::{self, Permissions};
use std::io::{self, Error, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};

use crate::socket::Socket;
use crate::tls::Tls;

/// Owner and group may connect.
const SOCKET_MODE: u32 = 0o660;

/// Something that listens, ready for [`crate::serve`].
#[derive(Debug)]
pub struct Listener {
    pub(crate) place: ListeningAt,
    pub(crate) tls: Option<Arc<Tls>>,
}

#[derive(Debug)]
pub(crate) enum ListeningAt {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "held for its Drop")] SocketFile),
}

/// A socket file, removed when its listener goes.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = fs::remove_file(&self.0);
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self { place: ListeningAt::Tcp(listener), tls: None }
    }
}

impl Listener {
    /// Speaks TLS whenever `tls` has certificates.
    #[must_use]
    pub fn with_tls(self, tls: Arc<Tls>) -> Self {
        Self { tls: Some(tls), ..self }
    }
}

impl ListeningAt {
    /// The next connection, and whose it is. All clients of a Unix socket are one peer of this
    /// machine: who may open the file is trusted, and has the limits of one.
    pub(crate) async fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (socket, address) = listener.accept().await?;
                Ok((Socket::Tcp(socket), address))
            }
            Self::Unix(listener, _) => {
                let (socket, _) = listener.accept().await?;
                Ok((Socket::Unix(socket), (Ipv4Addr::LOCALHOST, 0).into()))
            }
        }
    }
}

/// Listens at a Unix socket, mode 0660, at `path`.
///
/// The socket is made beside its place and moved there, so that nobody finds it with another mode.
///
/// # Errors
/// The system's error, with the path and what to do about it in its text.
pub fn bind_unix(path: &Path) -> io::Result<Listener> {
    let explain = |error: Error| {
        Error::new(error.kind(), format!("listen on unix:{}: {error}", path.display()))
    };
    clear(path).map_err(explain)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let bind = || {
        let listener = UnixListener::bind(&beside)?;
        fs::set_permissions(&beside, Permissions::from_mode(SOCKET_MODE))?;
        fs::rename(&beside, path)?;
        Ok(listener)
    };
    let listener = bind().map_err(|error| {
        // It may not have come into being.
        let _ = fs::remove_file(&beside);
        explain(error)
    })?;
    let place = ListeningAt::Unix(listener, SocketFile(path.to_owned()));
    Ok(Listener { place, tls: None })
}

/// Whether `path` may be taken: nothing is there, or a socket that nobody listens at.
fn clear(path: &Path) -> io::Result<()> {
    let file = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !file.file_type().is_socket() {
        let text = "a file that is no socket stands there: move it or configure another path";
        return Err(Error::new(ErrorKind::AlreadyExists, text));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
        Ok(_) => {
            let text = "another process listens there: end it or configure another path";
            Err(Error::new(ErrorKind::AddrInUse, text))
        }
    }
}
