//! A replica that follows a journal: what it says is compared with what the journal holds, its states are kept for a while,
//! and it goes back to one where the journal says something about inputs that it has passed.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use kimera_protocol::{Absent, Checkpoint, Kind, Message, Seq};
use kimera_runtime::credit::WINDOW_MAX;
use kimera_runtime::seat::CHECKPOINT_INTERVAL;

use super::compared::Compared;
use crate::config::Config;
use crate::exit::Failure;
use crate::line::Probes;
use crate::replay::Difference;
use crate::replica::Replica;
use crate::snapshot::{LineState, Place};

/// Inputs that go through the replica at a time.
const CHUNK: usize = 1_024;
/// A difference counts once so many more inputs have been read and none of them explains it …
const EXPLAINED_WITHIN: Seq = 2 * WINDOW_MAX;
/// … or this much time has passed.
const EXPLAINED_IN: Duration = Duration::from_secs(5);
/// States kept: the oldest is proven once everything up to the next has agreed.
const STATES: usize = 3;
/// Decisions kept for those who ask.
const DECISIONS: usize = 256;

struct Suspect {
    difference: Difference,
    read_to: Seq,
    since: Instant,
}

/// The replica and what it knows.
pub struct Follower {
    config: Config,
    probes: Probes,
    /// None where it has fallen on an input.
    replica: Option<Replica>,
    compared: Compared,
    /// What it began with.
    origin: Option<LineState>,
    /// Inputs behind the oldest state that is kept, and how many of them the replica has taken.
    inputs: VecDeque<Message>,
    taken: usize,
    states: VecDeque<LineState>,
    places: BTreeMap<Seq, Place>,
    absences: Vec<Absent>,
    read_to: Seq,
    suspect: Option<Suspect>,
    decisions: VecDeque<Message>,
    /// Times it went back.
    pub returns: u64,
}

/// What is read of a journal before the follower's first state cannot be gone back to: it is to begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeginAnew;

impl Follower {
    /// Follows from the beginning of a journal, or from a state on.
    ///
    /// # Errors
    /// Where the line cannot be built.
    pub fn new(
        config: Config,
        probes: Probes,
        origin: Option<LineState>,
        absences: Vec<Absent>,
    ) -> Result<Self, Failure> {
        let replica = Replica::new(&config, &probes, origin.as_ref())?;
        absences.iter().for_each(|absent| replica.note_absence(absent));
        let read_to = replica.seq();
        Ok(Self {
            config,
            probes,
            replica: Some(replica),
            compared: Compared::default(),
            origin,
            inputs: VecDeque::new(),
            taken: 0,
            states: VecDeque::new(),
            places: BTreeMap::new(),
            absences,
            read_to,
            suspect: None,
            decisions: VecDeque::new(),
            returns: 0,
        })
    }

    /// Last input read.
    #[must_use]
    pub fn read_to(&self) -> Seq {
        self.read_to
    }

    /// Last input that went through the replica.
    #[must_use]
    pub fn reached(&self) -> Seq {
        self.replica.as_ref().map_or(0, Replica::seq)
    }

    /// The replica, unless it has fallen.
    #[must_use]
    pub fn replica(&self) -> Option<&Replica> {
        self.replica.as_ref()
    }

    /// The last decisions, newest last.
    #[must_use]
    pub fn decisions(&self) -> &VecDeque<Message> {
        &self.decisions
    }

    /// Words and checkpoints that agreed.
    #[must_use]
    pub fn agreed(&self) -> u64 {
        self.compared.agreed
    }

    /// Absences that are known.
    #[must_use]
    pub fn absences(&self) -> &[Absent] {
        &self.absences
    }

    /// Takes a record of the journal; `place` says where it lies.
    ///
    /// # Errors
    /// [`BeginAnew`] where it concerns inputs before everything that is kept.
    pub fn read(&mut self, message: &Message, place: impl FnOnce() -> Place) -> Result<(), BeginAnew> {
        let seq = message.header.seq;
        if !message.kind().is_some_and(Kind::is_input) {
            // A seat makes a checkpoint at its first message behind the boundary: that may be long after it.
            if seq > self.begins_behind() || message.body::<Checkpoint>().is_some() {
                self.compared.theirs(*message);
            }
            return Ok(());
        }
        if seq <= self.read_to {
            return Ok(());
        }
        self.read_to = seq;
        if message.kind() == Some(Kind::Started) {
            self.compared.started(seq);
        }
        self.inputs.push_back(*message);
        if seq.is_multiple_of(CHECKPOINT_INTERVAL) || message.is_stop() {
            self.places.insert(seq, place());
        }
        match message.body::<Absent>() {
            Some(absent) => self.heard(*absent),
            None => Ok(()),
        }
    }

    fn begins_behind(&self) -> Seq {
        self.origin.as_ref().map_or(0, |state| state.seq)
    }

    /// Somebody was out from an input on, or came back at one; the replica may have passed it.
    fn heard(&mut self, absent: Absent) -> Result<(), BeginAnew> {
        let known = self.absences.iter().rev().find(|a| (a.seat, a.from) == (absent.seat, absent.from));
        let changed_at = match known {
            Some(known) if *known == absent => return Ok(()),
            Some(known) => known.to.min(absent.to).saturating_add(1),
            None => absent.from,
        };
        self.absences.push(absent);
        match &self.replica {
            Some(replica) if replica.seq() < changed_at => {
                replica.note_absence(&absent);
                Ok(())
            }
            _ => self.go_back(changed_at),
        }
    }

    /// Begins again with the newest state before an input.
    fn go_back(&mut self, before: Seq) -> Result<(), BeginAnew> {
        while self.states.back().is_some_and(|state| state.seq >= before) {
            self.states.pop_back();
        }
        let state = self.states.back().or(self.origin.as_ref());
        let behind = state.map_or(0, |state| state.seq);
        // What comes behind it has to be here.
        let first = self.inputs.front().map_or(self.read_to + 1, |m| m.header.seq);
        if behind >= before || behind + 1 < first {
            return Err(BeginAnew);
        }
        let replica = Replica::new(&self.config, &self.probes, state).map_err(|_| BeginAnew)?;
        self.absences.iter().for_each(|absent| replica.note_absence(absent));
        self.taken = self.inputs.partition_point(|m| m.header.seq <= behind);
        self.compared.back_to(behind);
        self.decisions.retain(|m| m.header.seq <= behind);
        self.replica = Some(replica);
        self.suspect = None;
        self.returns += 1;
        Ok(())
    }

    /// Sends the next inputs through the replica and compares; true where there were some.
    ///
    /// # Errors
    /// Where the line does not take them.
    pub fn advance(&mut self) -> Result<bool, Failure> {
        if self.suspect.is_some() {
            return Ok(false);
        }
        let Some(mut replica) = self.replica.take() else { return Ok(false) };
        let next = self.inputs.get(self.taken).map_or(0, |m| m.header.seq);
        let boundary = next.next_multiple_of(CHECKPOINT_INTERVAL);
        let waiting = self.inputs.range(self.taken..).take(CHUNK);
        let chunk: Vec<Message> = waiting.take_while(|m| m.header.seq <= boundary).copied().collect();
        if chunk.is_empty() {
            // Words of what it has passed may have come.
            let difference = self.compared.compare(replica.seq(), &replica.topology);
            self.replica = Some(replica);
            self.suspect(difference);
            return Ok(false);
        }
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let said = replica.run(&chunk)?;
            Ok((replica, said))
        }));
        let Ok(ran) = ran else {
            self.suspect(Some(fell(&chunk)));
            return Ok(false);
        };
        let (mut replica, said) = ran?;
        self.taken += chunk.len();
        self.decisions.extend(&said.said.decisions);
        self.decisions.drain(..self.decisions.len().saturating_sub(DECISIONS));
        self.compared.mine(&said);
        let difference = self.compared.compare(replica.seq(), &replica.topology);
        if difference.is_none() && replica.seq() == boundary {
            self.states.extend(replica.state());
        }
        self.replica = Some(replica);
        self.suspect(difference);
        self.forget();
        Ok(true)
    }

    fn suspect(&mut self, difference: Option<Difference>) {
        if let Some(difference) = difference {
            self.suspect = Some(Suspect { difference, read_to: self.read_to, since: Instant::now() });
        }
    }

    /// States beyond those that are kept, and everything before the oldest.
    fn forget(&mut self) {
        while self.states.len() > STATES {
            self.states.pop_front();
        }
        let Some(oldest) = self.states.front().map(|state| state.seq) else { return };
        if self.states.len() < STATES {
            return;
        }
        self.origin = None;
        while self.inputs.front().is_some_and(|m| m.header.seq <= oldest) {
            self.inputs.pop_front();
            self.taken -= 1;
        }
        self.compared.forget(oldest);
        self.places.retain(|seq, _| *seq >= oldest);
    }

    /// A state with its place in the journal, behind which everything has agreed up to the next one.
    #[must_use]
    pub fn proven(&self) -> Option<(&LineState, &Place)> {
        if self.suspect.is_some() {
            return None;
        }
        let newest = self.states.iter().zip(self.states.iter().skip(1)).rev();
        let mut settled = newest.filter(|(_, next)| self.compared.is_settled(next.seq));
        let state = settled.next()?.0;
        Some((state, self.places.get(&state.seq)?))
    }

    /// State and place of the end of a run: where it has stopped, and everything has agreed.
    pub fn ended(&mut self) -> Option<(LineState, Place)> {
        let at_end = self.reached() == self.read_to && self.is_settled();
        let place = self.places.get(&self.read_to).cloned().filter(|_| at_end)?;
        Some((self.state()?, place))
    }

    /// True where everything that the replica has said is in the journal.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.suspect.is_none() && self.compared.is_settled(Seq::MAX)
    }

    /// A difference that nothing has explained.
    #[must_use]
    pub fn difference(&self) -> Option<&Difference> {
        let suspect = self.suspect.as_ref()?;
        let counts =
            self.read_to >= suspect.read_to + EXPLAINED_WITHIN || suspect.since.elapsed() >= EXPLAINED_IN;
        counts.then_some(&suspect.difference)
    }

    /// The difference that may still be explained.
    #[must_use]
    pub fn suspected(&self) -> Option<&Difference> {
        self.suspect.as_ref().map(|suspect| &suspect.difference)
    }

    /// Configuration of the run.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// True while a difference may still be explained.
    #[must_use]
    pub fn doubts(&self) -> bool {
        self.suspect.is_some()
    }

    /// State of the replica here and now.
    pub fn state(&mut self) -> Option<LineState> {
        self.replica.as_mut()?.state()
    }
}

fn fell(chunk: &[Message]) -> Difference {
    let seq = chunk.first().map_or(0, |m| m.header.seq);
    Difference {
        seq,
        seat: "replica".into(),
        kind: "panic".into(),
        expected: "a line that survives its inputs".into(),
        actual: "a stage that panicked".into(),
        cause_seq: chunk.last().map_or(0, |m| m.header.seq),
    }
}
