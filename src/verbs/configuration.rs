//! `config check` and `config print`.
//!
//! Invariant: neither touches the network or the data directory.

use crate::cli::{ConfigCommand, Globals, Output};
use crate::config::{self, Config};
use crate::exit::Ending;
use crate::render;

/// Says for each liveness contract which beats keep it, and on what presumption.
fn explain_contracts(config: &Config) {
    let judge = &config.watchdog.judge;
    for service in &config.services {
        let (Some(contract), Some(Ok(plan))) = (service.liveness, service.plan(judge)) else {
            continue;
        };
        eprintln!(
            "liveness of `{}`: beat every {} ms; each beat is waited for {} ms past its time, so a \
             loss is suspected within {} ms (presuming {} % of the beats lost and {} ms of jitter)",
            service.name(),
            plan.interval_ms,
            plan.margin_ms,
            contract.detect_ms,
            judge.path_loss * 100.0,
            judge.path_jitter_ms,
        );
    }
}

pub fn run(globals: &Globals, command: &ConfigCommand) -> Ending {
    let loaded = match config::load(globals.config.as_deref()) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return Ending::Undecided;
        }
    };
    for mistake in loaded.environment_mistakes() {
        eprintln!("{mistake}");
    }
    if !loaded.environment_mistakes().is_empty() {
        return Ending::Undecided;
    }
    for warning in loaded.config.collector.warnings() {
        eprintln!("warning: {warning}");
    }
    match (command, globals.output) {
        (ConfigCommand::Check { service: Some(service) }, output) => {
            let explained = config::policy::explain(&loaded, service);
            match output {
                Output::Table => render::say(&config::policy::text(&explained)),
                Output::Json | Output::Yaml => render::print_data(output, &explained),
            }
        }
        (ConfigCommand::Check { service: None }, _) => {
            match &loaded.file {
                Some(file) => eprintln!("{} is good", file.display()),
                None => eprintln!("no configuration file; the defaults are good"),
            }
            explain_contracts(&loaded.config);
        }
        (ConfigCommand::Print, Output::Table) => render::say(config::print(&loaded).trim_end()),
        (ConfigCommand::Print, output) => {
            render::print_data(output, &config::effective(&loaded));
        }
    }
    Ending::Done
}
