//! Beats for a Rust service: around the telemetry path, and cheap enough for the innermost loop.
//!
//! ```no_run
//! use holdpoint_beat::{Beats, Sender};
//!
//! let sender = Sender::new("127.0.0.1:7070".parse()?, "checkout")?.revision("v2")?;
//! let beats = Beats::start(sender)?;
//! let work = beats.work();
//! loop {
//!     // serve one request …
//!     work.request();
//!     work.turn();
//! #   break;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The work loop stores into counters; a thread of its own reads them and sends a datagram every
//! interval. The thread proves nothing by itself: the progress token that it sends is the number
//! of turns of the *work* loop, and a token that stands still is a hung service to the watchdog.
//! Turn while idle too, or an idle service looks hung.
//!
//! Dropped, the last beat announces a planned stop.
//!
//! Invariant: nothing here waits for the watchdog. A watchdog that is gone costs one failed send
//! per interval on the beats' own thread.

mod driver;
mod send;
mod sender;
mod work;

pub use send::Beats;
pub use sender::{Sender, SenderError};
pub use work::Work;
