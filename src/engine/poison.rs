//! Inputs that a stage of the line does not survive. Where it dies on one in a run and dies on it again when the journal goes
//! through the line, the input is left out for that stage from then on, everything is halted, and both are inputs too.

use std::path::PathBuf;
use std::sync::Arc;

use kimera_protocol::{Absent, Seq};
use kimera_runtime::{Frontier, files};
use serde::{Deserialize, Serialize};

use crate::exit::Failure;
use crate::log;
use crate::log::Category::System;
use crate::state::replace;
use kimera_protocol::ErrorKind;

/// Deaths on one input after which it is left out.
const DEATHS: u32 = 2;

/// A stage that has died on an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Death {
    seat: String,
    index: u64,
    seq: Seq,
    times: u32,
}

/// Who dies on what, in this start and in those before.
pub struct Deaths {
    path: PathBuf,
    known: Vec<Death>,
    /// Seats of the line: name, index, progress.
    seats: Vec<(String, u64, Arc<Frontier>)>,
}

impl Deaths {
    /// What the file of earlier starts holds; every input that is left out is noted at its seat.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn load(path: PathBuf, seats: Vec<(String, u64, Arc<Frontier>)>) -> Result<Self, Failure> {
        let known = match files::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map_err(|e| {
                Failure::data(format!("{} does not say who died on what: {e}", path.display()))
            })?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(Failure::machine(format!("cannot read {}: {e}", path.display()))),
        };
        let deaths = Self { path, known, seats };
        for death in deaths.poisonous() {
            if let Some((_, _, frontier)) = deaths.seats.iter().find(|(name, _, _)| *name == death.seat) {
                frontier.absences().skip(death.seq);
            }
        }
        Ok(deaths)
    }

    fn poisonous(&self) -> impl Iterator<Item = &Death> {
        self.known.iter().filter(|death| death.times >= DEATHS)
    }

    /// Writes down who has died in this start.
    pub fn record(&mut self) {
        let mut new = false;
        for (seat, index, frontier) in &self.seats {
            let Some(seq) = frontier.death() else { continue };
            new = true;
            match self.known.iter_mut().find(|d| d.seat == *seat && d.seq == seq) {
                Some(death) => death.times += 1,
                None => self.known.push(Death { seat: seat.clone(), index: *index, seq, times: 1 }),
            }
            let why = format!("died on input {seq}");
            log::fault(ErrorKind::Defect, seat, &why);
        }
        if !new {
            return;
        }
        let written = serde_json::to_vec(&self.known)
            .map_err(std::io::Error::other)
            .and_then(|bytes| replace(&self.path, &bytes));
        if let Err(e) = written {
            log::alarm(System, &format!("the death cannot be written down in {}: {e}", self.path.display()));
        }
    }

    /// Inputs that are left out and that the journal does not know of yet: `journal` is what it says.
    #[must_use]
    pub fn untold(&self, journal: &[Absent]) -> Vec<Absent> {
        let told = |death: &&Death| {
            !journal.iter().any(|a| a.skipped != 0 && a.seat == death.index && a.from == death.seq)
        };
        let absent = |death: &Death| {
            let (seat, from, to) = (death.index, death.seq, death.seq);
            Absent { seat, from, to, skipped: 1, ..Absent::default() }
        };
        self.poisonous().filter(told).map(absent).collect()
    }
}
