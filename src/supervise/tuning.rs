//! The machine's settings for as long as a run lasts.

use kimera_runtime::plan::available_cores;

use crate::cli::print;
use crate::config::{Config, chosen};
use crate::exit::Failure;
use crate::log;
use crate::log::Category::System;
use crate::machine::Machine;
use crate::machine::doctor::wanted;
use crate::machine::settings::Wanted;
use crate::machine::tuning::{Held, Tuning, summary, table};

fn wanted_by(config: &Config, plan: Option<&str>) -> Result<Wanted, Failure> {
    let available = available_cores();
    let chosen = chosen(plan.unwrap_or(&config.plan), &Machine::default(), &available)?;
    Ok(wanted(config, &chosen, &available))
}

/// A dry run: every write there would be.
///
/// # Errors
/// An unknown plan; where stdout cannot be written.
pub fn say_what_would_be(config: &Config, plan: Option<&str>) -> Result<(), Failure> {
    let wanted = wanted_by(config, plan)?;
    print(&table(&Tuning::of(Machine::default()).apply(&wanted, true)?))
}

/// Applies everything until what is returned is dropped. A machine on which what held before cannot be kept is left as it is,
/// and the run goes on.
///
/// # Errors
/// An unknown plan.
pub fn hold(config: &Config, plan: Option<&str>) -> Result<Option<Held>, Failure> {
    match Held::take(Machine::default(), &wanted_by(config, plan)?) {
        Ok((held, applied)) => {
            log::say(System, &summary(&applied));
            Ok(Some(held))
        }
        Err(e) => {
            log::warn(System, &format!("degraded: the machine is not tuned: {e}"));
            Ok(None)
        }
    }
}
