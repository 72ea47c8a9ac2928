//! Members that are out: their absence becomes an input, a new actor is made from the journal off the line's core, and it
//! answers again from an input that is written down ahead of what depends on it.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use kimera_protocol::{Absent, Message, Seq};
use kimera_runtime::health::Wish;
use kimera_runtime::seat::Cell;
use kimera_runtime::{Frontier, Health, Rejoin, SeatState};

use super::workshop::{Workshop, beside};
use crate::config::{self, SupervisionSection};
use crate::exit::Failure;
use crate::line::Probes;
use crate::log;
use crate::log::Category::System;
use crate::replay::{self, Recorded};
use crate::replica::Replica;
use crate::supervise::restarts::Restarts;

/// Inputs that a new actor may leave out because it does not survive them.
const SKIPS: usize = 3;

/// A member's seat, as the engine's own loop sees it.
pub struct MemberSeat {
    /// Name in the topology.
    pub name: String,
    /// Index in the topology.
    pub index: u64,
    /// Progress and absences.
    pub frontier: Arc<Frontier>,
    /// How it comes back.
    pub rejoin: Arc<Rejoin>,
    /// How it is, and what is wished of it.
    pub health: Arc<Health>,
    /// What the journal of earlier starts says: first input without an answer, first one with; and what is left out.
    pub recorded: (Vec<(Seq, Seq)>, Vec<Seq>),
}

/// A new actor in a seat beside the line, and the inputs it does not survive.
pub struct Rebuilt {
    cell: Box<dyn Cell>,
    skips: Vec<Seq>,
}

enum Stage {
    /// It answers, or is out and nothing has been done yet.
    Rest,
    /// Its seat is to keep what arrives.
    Asked,
    /// A new actor is being made.
    Making(Receiver<Result<Rebuilt, Failure>>),
    /// The new actor is on its way back.
    Returning,
    /// It stays out.
    GivenUp,
}

/// The way back of one member.
pub struct WayBack {
    stage: Stage,
    restarts: Restarts,
    /// Ranges that the sequence knows: first input without an answer, first one with.
    told: Vec<(Seq, Seq)>,
    skips_told: Vec<Seq>,
    /// It was told to stop, and not to start again.
    stopped: bool,
    /// An operator wants it back: that is no fall.
    by_hand: bool,
}

impl WayBack {
    /// For a member as the journal of earlier starts has it: what its frontier says beyond that is to be told.
    #[must_use]
    pub fn new(member: &MemberSeat, section: &SupervisionSection) -> Self {
        let group = section.group_of(&member.name).filter(|g| g.way_back == config::WayBack::FromJournal);
        let (most, within) = group.map_or((0, 60_000), |g| (g.restarts as usize, g.within_ms));
        Self {
            stage: Stage::Rest,
            restarts: Restarts::new(most, Duration::from_millis(within.into())),
            stopped: false,
            by_hand: false,
            told: member.recorded.0.clone(),
            skips_told: member.recorded.1.clone(),
        }
    }

    /// Changes that the sequence does not know yet, oldest first, and how many of them orders wait for.
    #[must_use]
    pub fn untold(&self, member: &MemberSeat) -> Vec<(Absent, bool)> {
        let absent = |from: Seq, back_at: Seq| Absent {
            seat: member.index,
            from,
            to: if back_at == Seq::MAX { Seq::MAX } else { back_at - 1 },
            ..Absent::default()
        };
        let mut changes = Vec::new();
        let skips = member.frontier.absences().skips();
        for seq in skips.iter().filter(|s| !self.skips_told.contains(s)) {
            changes.push((Absent { skipped: 1, ..absent(*seq, *seq + 1) }, false));
        }
        for (i, (from, back_at)) in member.frontier.absences().all().into_iter().enumerate() {
            match self.told.get(i) {
                None => {
                    changes.push((absent(from, Seq::MAX), true));
                    if back_at != Seq::MAX {
                        changes.push((absent(from, back_at), true));
                    }
                }
                Some(told) if told.1 != back_at => changes.push((absent(from, back_at), true)),
                Some(_) => {}
            }
        }
        changes
    }

    /// The sequence knows of a change.
    pub fn tell(&mut self, absent: &Absent) {
        if absent.skipped != 0 {
            self.skips_told.push(absent.from);
            return;
        }
        let back_at = absent.to.saturating_add(1);
        match self.told.iter_mut().find(|(from, _)| *from == absent.from) {
            Some(known) => known.1 = back_at,
            None => self.told.push((absent.from, back_at)),
        }
    }

    /// Makes progress; `durable` is the last input on disk.
    pub fn poll(&mut self, member: &MemberSeat, workshop: &Workshop, durable: Seq) {
        self.obey(member);
        self.stage = match std::mem::replace(&mut self.stage, Stage::Rest) {
            Stage::Rest => self.begin(member),
            Stage::Asked | Stage::Returning if member.frontier.absences().open().is_none() => {
                if let Some((from, back_at)) = member.frontier.absences().all().last() {
                    log::say(
                        System,
                        &format!("{} was out from input {from}, answers again from {back_at}", member.name),
                    );
                }
                member.health.restarted();
                Stage::Rest
            }
            Stage::Asked if member.rejoin.has_failed() => Stage::Rest,
            Stage::Asked => match member.rejoin.kept_from() {
                Some(from) if durable + 1 >= from => Self::make(member, workshop, from),
                _ => Stage::Asked,
            },
            Stage::Making(_) if member.rejoin.has_failed() => {
                log::warn(
                    System,
                    &format!("{}: more has arrived than its seat can keep; made anew", member.name),
                );
                Stage::Rest
            }
            Stage::Making(made) => match made.try_recv() {
                Ok(Ok(mut rebuilt)) => {
                    // Nobody else writes there: who sat there is gone, and no other is made.
                    rebuilt.cell.attach(&workshop.counters);
                    rebuilt.skips.iter().for_each(|seq| member.frontier.absences().skip(*seq));
                    if let Some(actor) = rebuilt.cell.take_actor() {
                        member.rejoin.deliver(actor);
                    }
                    member.rejoin.let_return();
                    Stage::Returning
                }
                Ok(Err(failure)) => {
                    log::warn(System, &format!("{} stays out: {failure}", member.name));
                    Stage::GivenUp
                }
                Err(std::sync::mpsc::TryRecvError::Empty) => Stage::Making(made),
                Err(std::sync::mpsc::TryRecvError::Disconnected) => {
                    log::warn(System, &format!("{} stays out: its maker panicked", member.name));
                    Stage::GivenUp
                }
            },
            // The new one has fallen while it caught up, before it could answer.
            Stage::Returning if member.rejoin.has_failed() => Stage::Rest,
            other => other,
        };
        match self.stage {
            Stage::Rest => {}
            Stage::GivenUp => member.health.set(SeatState::GivenUp),
            Stage::Asked | Stage::Making(_) | Stage::Returning => member.health.set(SeatState::Returning),
        }
    }

    /// Does what was wished of it.
    fn obey(&mut self, member: &MemberSeat) {
        let out = member.frontier.absences().open().is_some();
        match member.health.take_wish() {
            Wish::None => {}
            Wish::Stop => self.stopped = true,
            Wish::Start | Wish::Restart if matches!(self.stage, Stage::GivenUp) => {
                self.stage = Stage::Rest;
                (self.stopped, self.by_hand) = (false, true);
            }
            Wish::Start => (self.stopped, self.by_hand) = (false, out),
            Wish::Restart => {
                (self.stopped, self.by_hand) = (false, true);
                if !out {
                    member.rejoin.leave();
                }
            }
        }
        if self.stopped && matches!(self.stage, Stage::Rest) {
            if !out {
                member.rejoin.leave();
            }
            member.health.set(SeatState::Stopped);
        }
    }

    fn begin(&mut self, member: &MemberSeat) -> Stage {
        let absences = member.frontier.absences();
        // Told first: what comes after is behind it in the sequence.
        let Some(from) = absences.open().filter(|from| self.told.iter().any(|(f, _)| f == from)) else {
            return Stage::Rest;
        };
        if self.stopped {
            return Stage::Rest;
        }
        if !absences.may_end() || !(std::mem::take(&mut self.by_hand) || self.restarts.allow(true)) {
            log::warn(
                System,
                &format!("{} stays out from input {from}: it has fallen too often", member.name),
            );
            return Stage::GivenUp;
        }
        member.rejoin.ask();
        // One that went through the journal with the line has an actor that has seen everything.
        member.rejoin.let_return();
        Stage::Asked
    }

    fn make(member: &MemberSeat, workshop: &Workshop, before: Seq) -> Stage {
        let (name, of) = (member.name.clone(), workshop.clone());
        match beside(move || rebuild(&of, &name, before)) {
            Ok(made) => Stage::Making(made),
            Err(e) => {
                log::warn(System, &format!("{} stays out: {}", member.name, e.message));
                Stage::GivenUp
            }
        }
    }
}

/// Makes a member's actor anew from the journal: everything before an input goes through a line of its own, from the newest
/// snapshot on.
///
/// # Errors
/// A journal that cannot be read; a member that survives too little.
fn rebuild(workshop: &Workshop, member: &str, before: Seq) -> Result<Rebuilt, Failure> {
    let (recorded, _) = replay::load_latest(workshop.layout.root())?;
    let inputs: Vec<Message> =
        recorded.inputs.iter().copied().take_while(|m| m.header.seq < before).collect();
    let last = inputs.last().map_or(recorded.behind(), |m| m.header.seq);
    if last + 1 != before {
        return Err(Failure::data(format!("the journal ends with input {last}, before {before}")));
    }
    let mut skips = Vec::new();
    for _ in 0..=SKIPS {
        match pass(workshop, member, &recorded, &inputs, &skips)? {
            (Some(cell), _) => return Ok(Rebuilt { cell, skips }),
            (None, died_at) => {
                log::warn(System, &format!("{member} does not survive input {died_at}: left out"));
                skips.push(died_at);
            }
        }
    }
    Err(Failure::defect(format!("it does not survive {} inputs", skips.len())))
}

/// One pass through the line: the member in its seat there, or the input it died on.
fn pass(
    workshop: &Workshop,
    member: &str,
    recorded: &Recorded,
    inputs: &[Message],
    skips: &[Seq],
) -> Result<(Option<Box<dyn Cell>>, Seq), Failure> {
    let died_at = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let probes = Probes {
        faults: workshop.faults.clone(),
        deaths: Some((member.to_owned(), died_at.clone())),
        patterns_of_line: workshop.patterns.clone(),
        ..Probes::default()
    };
    let mut replica = Replica::new(&workshop.config, &probes, recorded.from.as_ref())?;
    for absent in inputs.iter().filter_map(|m| m.body::<Absent>()) {
        replica.note_absence(absent);
    }
    let missing = || Failure::defect(format!("the topology has no {member}"));
    let frontier = replica.frontier(member).ok_or_else(missing)?;
    skips.iter().for_each(|seq| frontier.absences().skip(*seq));
    replica.try_run(inputs)?;
    let died_at = died_at.load(std::sync::atomic::Ordering::Acquire);
    Ok((if died_at == 0 { replica.take_cell(member) } else { None }, died_at))
}
