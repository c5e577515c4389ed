//! `config check` and `config print`.
//!
//! Invariant: neither touches the network or the data directory.

use crate::cli::{ConfigCommand, Globals, Output};
use crate::config;
use crate::exit::Ending;
use crate::render;

pub fn run(globals: &Globals, command: &ConfigCommand) -> Ending {
    let loaded = match config::load(globals.config.as_deref()) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return Ending::Undecided;
        }
    };
    match (command, globals.output) {
        (ConfigCommand::Check, _) => match &loaded.file {
            Some(file) => eprintln!("{} is good", file.display()),
            None => eprintln!("no configuration file; the defaults are good"),
        },
        (ConfigCommand::Print, Output::Table) => render::say(config::print(&loaded).trim_end()),
        (ConfigCommand::Print, output) => {
            render::print_data(output, &config::effective(&loaded));
        }
    }
    Ending::Done
}
