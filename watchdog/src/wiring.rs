//! What the root package hands in: keys, and closures that find the other processes.
//!
//! Files in the data directory are read by the root package alone. The closures are asked again at
//! every use, because the collector and the gate may have moved since.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use watchdog_core::names::{Boot, Service};
use watchdog_core::watch::Remembered;

/// Finds the HMAC key of a service, if it has one.
pub type BeatKeys = Arc<dyn Fn(&Service) -> Option<Vec<u8>> + Send + Sync>;
/// Finds the collector that runs now, if one does.
pub type FindCollector = Arc<dyn Fn() -> Option<CollectorPlace> + Send + Sync>;
/// Finds the gate, if one is known.
pub type FindGate = Arc<dyn Fn() -> Option<GatePlace> + Send + Sync>;

/// Keeps what is remembered of services, so that it survives this process.
pub type Keep = Arc<dyn Fn(&[Remembered]) -> Result<(), String> + Send + Sync>;

/// Everything the watchdog takes from outside at its start.
#[derive(Clone)]
pub struct Wiring {
    /// The watchdog's name, by which the gate knows its public key.
    pub name: String,
    pub boot: Boot,
    /// Ed25519 seed that signs attestations.
    pub signing_key: [u8; 32],
    /// MAC key of probes.
    pub probe_key: [u8; 32],
    pub beat_key: BeatKeys,
    pub collector: FindCollector,
    pub gate: FindGate,
    /// The socket of the service manager that started this watchdog, if one did.
    pub service_manager: Option<PathBuf>,
    /// What an earlier watchdog remembered of services.
    pub recalled: Vec<Remembered>,
    /// Keeps what the next one must know.
    pub keep: Keep,
    /// How to start the collector; `None` if it is not ours to start.
    pub supervise: Option<Supervise>,
    /// What heals a collector that restarting does not heal; `None`: nothing does.
    pub healing: Option<Healing>,
}

/// Puts what waits in the spool aside, while no collector runs; says how many files that were.
pub type Quarantine = Arc<dyn Fn() -> std::io::Result<usize> + Send + Sync>;

/// The collector's configuration as people write it and as it was last proven, and its spool.
#[derive(Clone)]
pub struct Healing {
    /// The file that `supervise` names.
    pub config_file: PathBuf,
    /// The kept copy of the last one that was proven; a `.json` beside it says of what.
    pub known_good: PathBuf,
    /// The arguments that start the collector with the copy.
    pub known_good_argv: Vec<String>,
    pub quarantine: Quarantine,
}

impl fmt::Debug for Healing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Healing")
            .field("config_file", &self.config_file)
            .field("known_good", &self.known_good)
            .finish_non_exhaustive()
    }
}

/// The command that starts the collector. Standard input is inherited, so that the pipe which ends
/// with `up` ends the collector too, and the collector outlives the watchdog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supervise {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments; the first is the name it shows in a process list.
    pub argv: Vec<String>,
    /// Variables added to the watchdog's own environment.
    pub env: Vec<(OsString, OsString)>,
}

/// Where the running collector is, and which process it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorPlace {
    pub pid: u32,
    /// Field 22 of `/proc/PID/stat`; with the pid it names one process for ever.
    pub start_ticks: u64,
    pub boot: Boot,
    pub http: SocketAddr,
    pub admin: SocketAddr,
}

/// Where the gate is, and how to be let in.
#[derive(Clone, PartialEq, Eq)]
pub struct GatePlace {
    /// Base URL without a trailing slash, as in `http://127.0.0.1:7080`.
    pub url: String,
    /// Bearer token of role `watchdog`.
    pub token: String,
}

impl fmt::Debug for Wiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wiring")
            .field("name", &self.name)
            .field("boot", &self.boot)
            .field("supervise", &self.supervise)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for GatePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatePlace").field("url", &self.url).finish_non_exhaustive()
    }
}
