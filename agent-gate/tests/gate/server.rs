//! A real PostgreSQL server for the tests of one process, in a directory of its own.
//!
//! A shell keeps it: when its standard input ends, however this process ends, it stops the server
//! and removes the directory. PostgreSQL does not run as root, so as root it runs as `nobody`.
//!
//! Invariant: every database that is given out is new.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// `nobody` on every Linux.
const NOBODY: u32 = 65_534;
const PATIENCE: Duration = Duration::from_secs(60);

/// Started once a process; its keeper's standard input is held until the end.
static SERVER: OnceLock<Option<Server>> = OnceLock::new();
static NAMES: AtomicU32 = AtomicU32::new(0);

#[derive(Debug)]
struct Server {
    psql: PathBuf,
    port: u16,
    _keeper: Child,
}

/// The URL of a new empty database; `None`, with one line, where no PostgreSQL is installed.
pub fn database() -> Option<String> {
    let server = SERVER.get_or_init(Server::start).as_ref()?;
    let name = format!("holdpoint_{}", NAMES.fetch_add(1, Ordering::Relaxed));
    let created = server.sql("postgres", &format!("CREATE DATABASE {name}"));
    assert!(created, "a new database");
    Some(format!("postgres://postgres@127.0.0.1:{}/{name}", server.port))
}

/// Runs `sql` in the database of `url`, as its owner.
#[allow(dead_code, reason = "not every suite that starts a server needs it")]
pub fn sql(url: &str, sql: &str) {
    let server = SERVER.get().and_then(Option::as_ref).expect("the URL is this server's");
    let name = url.rsplit('/').next().expect("a URL of `database`");
    assert!(server.sql(name, sql), "{sql}");
}

impl Server {
    fn start() -> Option<Self> {
        let Some(bin) = programs() else {
            assert!(
                std::env::var("HOLDPOINT_REQUIRE").as_deref() != Ok("all"),
                "PostgreSQL is required here and missing: install the package postgresql"
            );
            // Not by the macro: a test that passes shows nothing of it.
            let text = "skipped: no PostgreSQL, so nothing is shown of the store in one\n";
            std::io::stderr().write_all(text.as_bytes()).ok();
            return None;
        };
        let directory = tempfile::tempdir().expect("a directory").keep();
        if rustix::process::geteuid().is_root() {
            chown(&directory, Some(NOBODY), Some(NOBODY)).expect("root may give it away");
        }
        let port = free_port();
        let keeper = keep(&bin, &directory, port);
        let server = Self { psql: bin.join("psql"), port, _keeper: keeper };
        let start = Instant::now();
        while !server.sql("postgres", "SELECT 1") {
            let log = directory.join("log");
            let log = || fs::read_to_string(&log).unwrap_or_default();
            assert!(start.elapsed() < PATIENCE, "PostgreSQL does not start: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(server)
    }

    fn sql(&self, database: &str, sql: &str) -> bool {
        let mut command = Command::new(&self.psql);
        command.args(["-qXtA", "-h", "127.0.0.1", "-U", "postgres", "-d", database, "-c", sql]);
        command.env("PGPORT", self.port.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().expect("psql runs").success()
    }
}

/// Makes a cluster and serves it until our end of the pipe is closed.
fn keep(bin: &Path, directory: &Path, port: u16) -> Child {
    let as_nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    let user = if rustix::process::geteuid().is_root() { as_nobody } else { "" };
    // SIGQUIT is PostgreSQL's immediate shutdown; there is nothing to keep.
    let script = format!(
        "cd {directory} && exec 3<&0 </dev/null >{directory}/log 2>&1
         {user} {bin}/initdb -D {directory}/data -U postgres -A trust --no-sync -E UTF8 --locale=C
         {user} {bin}/postgres -D {directory}/data -k {directory} -h 127.0.0.1 -p {port} \
             -c max_connections=200 & server=$!
         read -r end <&3; kill -QUIT $server; wait $server; rm -rf {directory}",
        directory = directory.display(),
        bin = bin.display(),
    );
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script]).stdin(Stdio::piped()).process_group(0);
    command.spawn().expect("a shell starts")
}

/// The newest PostgreSQL of Debian's packages, or the one in `PATH`.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version =
        |path: &PathBuf| -> Option<u32> { path.parent()?.file_name()?.to_str()?.parse().ok() };
    let packaged = versions
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .max_by_key(version);
    packaged.or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(|bin| bin.join("initdb").exists())
    })
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}
