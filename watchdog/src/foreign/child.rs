//! A foreign collector that the watchdog starts itself, from a command line.
//!
//! Invariant: there is at most one child. Starting another ends the one before.

use rustix::process::Signal;

use super::adapter::Generation;
use crate::supervise::process::{Process, start_ticks};
use crate::wiring::Supervise;

/// The command line, and what runs of it.
#[derive(Debug)]
pub struct Child {
    command: Supervise,
    running: Option<(Process, Generation)>,
}

impl Child {
    pub fn new(argv: &[String]) -> Self {
        let program = argv.first().map(Into::into).unwrap_or_default();
        let command = Supervise { program, argv: argv.to_vec(), env: Vec::new() };
        Self { command, running: None }
    }

    /// What runs; a child that ended is reaped here.
    pub fn generation(&mut self) -> Option<Generation> {
        let (process, generation) = self.running.as_mut()?;
        if process.has_ended() {
            self.running = None;
            return None;
        }
        Some(generation.clone())
    }

    pub fn signal(&self, signal: Signal) -> Result<(), String> {
        let Some((process, _)) = &self.running else { return Ok(()) };
        process.signal(signal).map_err(|error| error.to_string())
    }

    pub fn start(&mut self) -> Result<(), String> {
        let program = self.command.program.display();
        let process = Process::start(&self.command).map_err(|e| format!("{program}: {e}"))?;
        let pid = process.pid();
        let ticks = start_ticks(pid).ok_or_else(|| format!("{program} is gone at once"))?;
        let generation = Generation::new(&format!("{pid}-{ticks}"), Some(pid));
        self.running = Some((process, generation.expect("digits are a name")));
        Ok(())
    }
}
