//! The drill, run as its users run it, and the race it stands on, shown alone.
//!
//! Everything here starts the real executable. Nothing leaves this machine.

mod process;
mod race;
mod receiver;
mod whole;
