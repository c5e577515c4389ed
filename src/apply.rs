//! `holdpoint apply`: the fence at the target. The main path; read it first.
//!
//! ```text
//! permit ─► signature ─► service, digest ─► epoch ─► the gate: freezes, renewal ─► begun, on disk
//!                          (offline, with the public key alone)                        │
//!      told to the gate ◄─ end, on disk ◄─ the command behind its ward, watched ◄──────┘
//! ```
//!
//! An agent that looked at a live permit, was stopped, and goes on an hour later defeats every
//! gate; only the target can refuse it. So the deploy command runs here, behind an epoch that never
//! goes back, and with rights that its agent does not have otherwise.
//!
//! Invariant: no command runs but under a permit that is signed, for this service and digest, of no
//! older epoch than any taken here, and alive; each step of a rollout ends well here only once.

mod fence;
mod lease;
mod office;
mod reverting;
mod runs;
pub mod ward;
mod watching;
mod work;

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use agent_gate::permit::{self, Payload, PermitError, Statement};
use sha2::{Digest as _, Sha256};

use crate::cli::{ApplyArgs, FenceArgs, Globals};
use crate::client;
use crate::config;
use crate::driver;
use crate::exit::Ending;
use crate::place::Place;
use crate::render;
use fence::{Fence, FenceError, Kept, Unfit};
use lease::{Lease, NoLease};
use office::{Office, OfficeError, Renewed};
use runs::{End, Run};
use ward::Ward;
use work::{Stops, Work};

pub use watching::watch;

/// Why a command does not run.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("{0}")]
    Usage(String),
    #[error("read {path}: {source}")]
    Read { path: String, source: io::Error },
    #[error(transparent)]
    Permit(#[from] PermitError),
    #[error("{0}")]
    Mismatch(String),
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error(transparent)]
    Lease(#[from] NoLease),
    #[error(transparent)]
    Fence(#[from] FenceError),
    #[error(transparent)]
    Office(#[from] OfficeError),
    #[error("the gate denies: {0}")]
    Denied(String),
    #[error("the gate holds: {0}")]
    Held(String),
    #[error("start the command: {0}")]
    Start(io::Error),
}

impl ApplyError {
    fn ending(&self) -> Ending {
        match self {
            Self::Permit(_) | Self::Mismatch(_) | Self::Denied(_) => Ending::Denied,
            Self::Unfit(Unfit::Forgetful { .. }) => Ending::Undecided,
            Self::Unfit(Unfit::Barred { is_final: false, .. }) => Ending::Held,
            Self::Unfit(_) => Ending::Denied,
            Self::Lease(error) if !error.is_of_the_clock() => Ending::Denied,
            Self::Held(_) | Self::Fence(FenceError::Busy { .. }) => Ending::Held,
            Self::Usage(_)
            | Self::Read { .. }
            | Self::Lease(_)
            | Self::Fence(_)
            | Self::Office(_)
            | Self::Start(_) => Ending::Undecided,
        }
    }

    /// What the person at the target can do.
    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Permit(PermitError::Signature) => {
                Some("--key must be the permit.pub of the gate that gave the permit")
            }
            Self::Unfit(Unfit::Barred { is_final: false, .. }) => {
                Some("this target holds the freeze until it hears of its thaw from the gate")
            }
            Self::Unfit(Unfit::OldEpoch { .. } | Unfit::Barred { .. }) | Self::Denied(_) => {
                Some("this permit is dead for ever; the agent asks the gate for another")
            }
            Self::Lease(NoLease::Over(_)) => {
                Some("ask the gate again with the same change_id; permits live seconds")
            }
            Self::Lease(_) => Some("set the clock right; with the gate in reach it is not needed"),
            Self::Office(OfficeError::Client(_)) => {
                Some("set HOLDPOINT_GATE_URL and HOLDPOINT_TOKEN, or see --offline")
            }
            Self::Held(_) | Self::Fence(FenceError::Busy { .. }) => Some("try again later"),
            Self::Usage(_)
            | Self::Read { .. }
            | Self::Permit(_)
            | Self::Mismatch(_)
            | Self::Unfit(_)
            | Self::Fence(_)
            | Self::Office(_)
            | Self::Start(_) => None,
        }
    }
}

/// `holdpoint apply`.
pub fn run(globals: &Globals, args: ApplyArgs) -> Ending {
    enter(async {
        let site = Site::open(globals, &args.fence, args.revert)?;
        if args.revert {
            return reverting::run(&site, &args).await;
        }
        forward(&site, &args).await
    })
}

fn enter(run: impl Future<Output = Result<Ending, ApplyError>>) -> Ending {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ran = match runtime {
        Ok(runtime) => runtime.block_on(Box::pin(run)),
        Err(error) => Err(ApplyError::Start(error)),
    };
    ran.unwrap_or_else(|error| {
        say(&error.to_string());
        if let Some(hint) = error.hint() {
            eprintln!("  {hint}");
        }
        error.ending()
    })
}

fn say(words: &str) {
    eprintln!("holdpoint: {}", render::clean_lines(words));
}

/// The target this process stands at.
struct Site {
    place: Place,
    args: FenceArgs,
    key: [u8; 32],
    secret: Option<String>,
}

impl Site {
    fn open(globals: &Globals, args: &FenceArgs, keyless: bool) -> Result<Self, ApplyError> {
        let place = match &globals.data_dir {
            Some(dir) => Place::at(dir),
            None => {
                let loaded = config::load(globals.config.as_deref());
                let loaded = loaded.map_err(|mistakes| ApplyError::Usage(mistakes.to_string()))?;
                Place::at(loaded.config.data_dir)
            }
        };
        let key = if keyless { [0; 32] } else { public_key(&place, args.key.as_deref())? };
        let secret = args.secret_file.as_deref().map(read).transpose()?;
        Ok(Self { place, args: args.clone(), key, secret })
    }

    fn fence(&self, service: &str) -> Result<Fence, ApplyError> {
        let directory = self.args.fence_dir.clone();
        let directory = directory.unwrap_or_else(|| self.place.root().join("fence"));
        Ok(Fence::open(&directory, self.args.target.as_deref().unwrap_or(service), service)?)
    }

    fn office(&self, service: &str) -> Result<Office, ApplyError> {
        let client = client::gate(&self.place, "agent").map_err(OfficeError::Client)?;
        let target = self.args.target.clone().unwrap_or_else(|| service.to_owned());
        let (service, secret) = (service.to_owned(), self.secret.clone());
        Ok(Office { client, key: self.key, target, service, secret })
    }
}

fn read(path: &Path) -> Result<String, ApplyError> {
    let text = fs::read_to_string(path);
    let text = text.map_err(|source| ApplyError::Read { path: path.display().to_string(), source });
    Ok(text?.trim().to_owned())
}

fn public_key(place: &Place, given: Option<&str>) -> Result<[u8; 32], ApplyError> {
    let bytes = |text: &str| hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    if let Some(key) = given.and_then(bytes) {
        return Ok(key);
    }
    let path = given.map_or_else(|| place.root().join("keys/permit.pub"), Into::into);
    let wrong = || ApplyError::Usage(format!("{} does not hold 64 hex digits", path.display()));
    bytes(&read(&path)?).ok_or_else(wrong)
}

/// The way forward: a command under a permit.
async fn forward(site: &Site, args: &ApplyArgs) -> Result<Ending, ApplyError> {
    let text = args.permit.clone().unwrap_or_default();
    let text = text.strip_prefix('@').map_or(Ok(text.clone()), |path| read(Path::new(path)))?;
    let permit = permit::verify(text.trim(), &site.key)?;
    matches(&permit, args)?;
    let fence = site.fence(&permit.service)?;
    let _lock = fence.lock()?;
    let office = site.office(&permit.service).map(Arc::new);
    let kept = clear_up(&fence, office.as_deref().ok()).await?;
    let last = kept.runs.last(&permit.rollout, &args.step);
    if last.is_some_and(|run| run.end == Some(End::Done)) {
        say(&format!("{} of {} ended well here before; not run again", args.step, permit.rollout));
        return Ok(Ending::Done);
    }
    let work = admit(&fence, office, permit, args).await?;
    let permit = work.permit.clone();
    let (mark, office) = (hex::encode(random()?), work.office.clone());
    let variables = [
        ("HOLDPOINT_ROLLOUT", permit.rollout.clone()),
        ("HOLDPOINT_SERVICE", permit.service.clone()),
        ("HOLDPOINT_TO", permit.to.clone()),
        ("HOLDPOINT_DIGEST", permit.digest.clone()),
        ("HOLDPOINT_EPOCH", permit.epoch.to_string()),
        ("HOLDPOINT_STEP", args.step.clone()),
        (ward::RUN_ENV, mark.clone()),
    ];
    let run = Run {
        rollout: permit.rollout.clone(),
        step: args.step.clone(),
        digest: permit.digest.clone(),
        epoch: permit.epoch,
        generation: None,
        mark: mark.clone(),
        group: 0,
        end: None,
        is_told: false,
    };
    // On disk before the command: an epoch that was used once is never undercut.
    let begun = |kept: &mut Kept| {
        let fit = kept.check(&permit);
        if fit.is_ok() {
            kept.highest = kept.highest.max(permit.epoch);
            kept.runs.begin(run);
        }
        fit
    };
    fence.change(driver::clocks(), begun)?.1?;
    let stops = Stops::listen().map_err(ApplyError::Start)?;
    let mut ward = Ward::start(&args.command, &variables).map_err(ApplyError::Start)?;
    let group = ward.group();
    fence.change(driver::clocks(), |kept| kept.runs.edit(&mark, |run| run.group = group))?;
    let end = work.watch(&mut ward, stops).await?;
    let ending = said(&end, &args.step);
    let is_told = args.more && end == End::Done;
    fence.change(driver::clocks(), |kept| {
        kept.runs.edit(&mark, |run| {
            run.end = Some(end);
            run.is_told = is_told;
        });
    })?;
    tell(&fence, office.as_deref()).await?;
    Ok(ending)
}

fn random() -> Result<[u8; 8], ApplyError> {
    driver::random().map_err(ApplyError::Start)
}

fn said(end: &End, step: &str) -> Ending {
    match end {
        End::Done => Ending::Done,
        End::Failed { code } => {
            say(&format!("{step} failed with code {code}"));
            Ending::Failed
        }
        End::Stopped { why } => {
            say(&format!("{step} was stopped: {why}"));
            Ending::Stopped
        }
    }
}

/// Whether the permit is for what is about to be applied.
fn matches(permit: &Payload, args: &ApplyArgs) -> Result<(), ApplyError> {
    if let Some(service) = args.fence.service.as_ref().filter(|name| **name != permit.service) {
        let service = format!("the permit is for service {}, not {service}", permit.service);
        return Err(ApplyError::Mismatch(service));
    }
    let digest = match (&args.digest, &args.artifact) {
        (Some(digest), _) => digest.clone(),
        (None, Some(path)) => digest_of(path)
            .map_err(|source| ApplyError::Read { path: path.display().to_string(), source })?,
        (None, None) => return Ok(()),
    };
    if digest != permit.digest {
        let digest = format!("the permit is for {}, not {digest}", permit.digest);
        return Err(ApplyError::Mismatch(digest));
    }
    Ok(())
}

fn digest_of(path: &Path) -> io::Result<String> {
    let (mut sum, mut file) = (Sha256::new(), fs::File::open(path)?);
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(format!("sha256:{}", hex::encode(sum.finalize()))),
            read => sum.update(&chunk[..read]),
        }
    }
}

/// Ends what a killed apply left behind, and tells the gate of ends it has not heard of.
async fn clear_up(fence: &Fence, office: Option<&Office>) -> Result<Kept, ApplyError> {
    let open: Vec<Run> = fence.read()?.runs.open().cloned().collect();
    for run in open {
        let left = ward::end_remains(run.group, &run.mark);
        let why = "its fence was killed".to_owned();
        say(&format!("{} of {} had lost its fence; ended {left} processes", run.step, run.rollout));
        fence.change(driver::clocks(), |kept| {
            kept.runs.edit(&run.mark, |run| {
                run.end = Some(End::Stopped { why });
                // The same step may be run again under the same permit, if that still lives.
                run.is_told = true;
            });
        })?;
    }
    tell(fence, office).await?;
    Ok(fence.read()?)
}

/// Tells the gate what it has not heard. What it cannot hear now stays for the next time.
async fn tell(fence: &Fence, office: Option<&Office>) -> Result<(), ApplyError> {
    let untold: Vec<Run> = fence.read()?.runs.untold().cloned().collect();
    for run in untold {
        let Some(office) = office else {
            say(
                "the gate has not heard how it ended; the next apply or `holdpoint fence` tells it",
            );
            break;
        };
        if let Err(error) = office.tell(&run).await {
            say(&format!("tell the gate how {} ended, again later: {error}", run.rollout));
            break;
        }
        let now = driver::clocks();
        fence.change(now, |kept| kept.runs.edit(&run.mark, |run| run.is_told = true))?;
    }
    Ok(())
}

/// Keeps what the gate states, and says whether that speaks against going on.
fn keep_heard(fence: &Fence, statement: &Statement) -> Result<Result<(), Unfit>, FenceError> {
    Ok(fence.change(driver::clocks(), |kept| kept.hear(statement))?.1)
}

/// The gate's word, or the permit's alone where that was asked for.
async fn admit(
    fence: &Fence,
    office: Result<Arc<Office>, ApplyError>,
    permit: Payload,
    args: &ApplyArgs,
) -> Result<Work, ApplyError> {
    let alone = Lease::of_permit(&permit, driver::clocks(), fence.read()?.wall_ms);
    if let Err(over) = alone
        && !over.is_of_the_clock()
    {
        return Err(over.into());
    }
    let (step, grace) = (args.step.clone(), args.grace);
    let fence = fence.clone();
    let asked = match &office {
        Ok(office) => ask(&fence, office, &permit, &step).await,
        Err(error) => Err(ApplyError::Usage(error.to_string())),
    };
    match asked {
        Ok((lease, version)) => {
            let (office, version) = (office.ok(), Some(version));
            Ok(Work { fence, office, permit, step, grace, lease, version })
        }
        Err(error) if is_silence(&error) => {
            let kept = fence.read()?;
            kept.check(&permit)?;
            if !args.offline {
                return Err(error);
            }
            if kept.told.is_none() {
                let why = "this fence has never heard the gate, so it may not go on without it";
                return Err(ApplyError::Usage(why.to_owned()));
            }
            say(&format!("without the gate, on the permit alone: {error}"));
            let lease = alone?;
            let office = office.ok();
            Ok(Work { fence, office, permit, step, grace, lease, version: None })
        }
        Err(error) => Err(error),
    }
}

/// Whether nobody answered; an answer of the wrong kind is none that may be passed over.
fn is_silence(error: &ApplyError) -> bool {
    match error {
        ApplyError::Usage(_) => true,
        ApplyError::Office(OfficeError::Client(error)) => error.may_pass(),
        ApplyError::Office(_)
        | ApplyError::Read { .. }
        | ApplyError::Permit(_)
        | ApplyError::Mismatch(_)
        | ApplyError::Unfit(_)
        | ApplyError::Lease(_)
        | ApplyError::Fence(_)
        | ApplyError::Denied(_)
        | ApplyError::Held(_)
        | ApplyError::Start(_) => false,
    }
}

/// Hears every freeze, keeps them, and asks for the permit to be renewed.
async fn ask(
    fence: &Fence,
    office: &Office,
    permit: &Payload,
    step: &str,
) -> Result<(Lease, String), ApplyError> {
    let heard = office.hear(None, None, 0).await?;
    keep_heard(fence, &heard.statement)??;
    fence.read()?.check(permit)?;
    let asked = driver::clocks();
    match office.renew(permit, step).await? {
        Renewed::Granted { expires_in_ms } => {
            Ok((Lease::of_answer(asked, expires_in_ms), heard.version))
        }
        Renewed::Held(why) => Err(ApplyError::Held(why)),
        Renewed::Denied(why) => Err(ApplyError::Denied(why)),
    }
}
