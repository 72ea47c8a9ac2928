//! What is computed beside a run that goes on: from its newest snapshot and its journal, on a thread of its own.

use std::sync::mpsc::{Receiver, channel};

use kimera_protocol::{Absent, Message, Seq};
use kimera_runtime::{Counters, world};

use super::faults::Faults;
use crate::config::Config;
use crate::exit::Failure;
use crate::line::Probes;
use crate::replay::{Recomputed, Recorded};
use crate::replica::Replica;
use crate::shelf::Ready;
use crate::state::Layout;

/// What has to be known for it.
#[derive(Clone)]
pub struct Workshop {
    /// Where the journal lies.
    pub layout: Layout,
    /// Configuration of the run.
    pub config: Config,
    /// Faults, where they are allowed: a poison acts there as well.
    pub faults: Option<Faults>,
    /// Where whoever comes from here counts.
    pub counters: Counters,
    /// Patterns that are ready for the line that runs.
    pub patterns: Ready,
}

impl Workshop {
    /// A line that has taken everything up to an input, and what it has said of that. `absences` is who is out now: the journal may not say it yet.
    ///
    /// # Errors
    /// A journal that does not hold that input; a stage that panics.
    pub fn replica(
        &self,
        recorded: &Recorded,
        up_to: Seq,
        absences: &[Absent],
        probes: &Probes,
    ) -> Result<(Replica, Recomputed), Failure> {
        let inputs: Vec<Message> =
            recorded.inputs.iter().copied().take_while(|m| m.header.seq <= up_to).collect();
        if inputs.last().is_none_or(|m| m.header.seq != up_to) {
            return Err(Failure::data(format!("the journal does not hold input {up_to}")));
        }
        let mut replica = Replica::new(&self.config, probes, recorded.from.as_ref())?;
        recorded.absences().iter().chain(absences).for_each(|absent| replica.note_absence(absent));
        let said = replica.try_run(&inputs)?;
        Ok((replica, said))
    }
}

/// Does something on a thread of its own. A world has one thread: there it is done at once.
///
/// # Errors
/// Where there is no thread for it.
pub fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<Receiver<T>, Failure> {
    let (sender, receiver) = channel();
    let work = move || drop(sender.send(work()));
    if world::active() {
        work();
    } else {
        let spawned = std::thread::Builder::new().name("workshop".into()).spawn(work);
        spawned.map_err(|e| Failure::machine(format!("cannot start a thread: {e}")))?;
    }
    Ok(receiver)
}
