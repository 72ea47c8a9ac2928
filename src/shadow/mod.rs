//! `kimera shadow`: a second line beside the engine, in a process of its own. It follows the journal, computes everything
//! again, compares all day, and keeps states to start from. What it finds different is an alarm, and by configuration a halt.
//!
//! * [`follower`]: the replica, its states, and the way back to one of them
//! * [`compared`]: what the journal says and what the replica says, side by side
//! * [`janitor`]: old snapshots and segments
//! * [`reads`]: positions, orders, books and decisions for those who ask

pub mod compared;
pub mod follower;
pub mod janitor;
pub mod reads;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use kimera_journal::{Fault, JournalReader};
use kimera_protocol::{Absent, Seq};
use kimera_runtime::{KillWord, Listener, Pulse, errors, process};
use serde::{Deserialize, Serialize};

use crate::claim::Claim;
use crate::config::LogSection;
use crate::config::{Config, OnDivergence, ShadowSection};
use crate::control::Server;
use crate::engine::interrupt_flag;
use crate::exit::{Exit, Failure};
use crate::line::Probes;
use crate::log;
use crate::log::Category::{Risk, System};
use crate::replay::{self, Difference};
use crate::report::SCHEMA_VERSION;
use crate::snapshot::{LineState, Place, Snapshot, hex};
use crate::state::{Layout, replace};
use follower::{BeginAnew, Follower};
use kimera_protocol::ErrorKind;
use reads::Asks;

/// Arguments of `kimera shadow`.
#[derive(Debug, Args)]
pub struct ShadowArgs {
    /// State directory of the run.
    #[arg(long)]
    state: PathBuf,
    /// Compare what is there, keep a snapshot of its end, and end. For journals that nobody writes.
    #[arg(long)]
    once: bool,
    /// With --once: from the beginning, not from the newest snapshot.
    #[arg(long, requires = "once")]
    whole: bool,
    /// One JSON object on stdout, with --once.
    #[arg(long, requires = "once")]
    json: bool,
    /// A seat that is made to say one bit of something else: shows that it would be noticed.
    #[arg(long, hide = true, conflicts_with = "once")]
    flip: Option<String>,
}

/// Between two looks at a journal that has not grown.
const LOOK: Duration = Duration::from_millis(20);
/// Between two writings of the status.
const STATUS: Duration = Duration::from_millis(500);
/// Records read before the replica has its turn.
const RECORDS: usize = 16_384;
/// Longest time for the rest of the journal after it was told to end.
const REST: Duration = Duration::from_secs(15);
/// Longest time for which a journal cannot be read before there is nothing to wait for any more.
const PATIENCE: Duration = Duration::from_secs(5);
/// Faults of a journal that is being written, one behind the other: more, and it is damaged.
const FAULTS: u32 = 20;

/// What a shadow says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Last input of the journal, as far as it was read.
    pub journal_seq: Seq,
    /// Last input that the replica has taken.
    pub seq: Seq,
    /// Decisions, orders and checkpoints that agreed.
    pub agreed: u64,
    /// Times it went back to a state it had kept.
    pub returns: u64,
    /// Last input of the newest snapshot; 0 where there is none.
    pub snapshot: Seq,
    /// Snapshots written by this process.
    pub snapshots: u64,
    /// What differs, where something does.
    pub difference: Option<Difference>,
}

/// Follows a journal, or compares one.
///
/// # Errors
/// What could not be had, or a journal that cannot be read; with `--once`, a difference.
pub fn run(a: &ShadowArgs) -> Result<Exit, Failure> {
    if !a.state.is_dir() {
        return Err(Failure::asked_wrongly(format!("{} is no state directory", a.state.display())));
    }
    let layout = Layout::of(&a.state);
    if a.once {
        let status = once(&a.state, Probes::default(), a.whole)?;
        let text = serde_json::to_string(&status).map_err(Failure::defect)?;
        if a.json {
            crate::cli::print(&text)?;
        } else {
            crate::cli::print(&summary_line(&status))?;
        }
        return Ok(if status.difference.is_none() { Exit::Ok } else { Exit::Failed });
    }
    let _claim = Claim::take(&layout.lock("shadow"), "shadow")?;
    let _log = log::thread::begin("shadow", &LogSection::default(), &layout.log("shadow"))?;
    let log = layout.errors("shadow");
    errors::keep_in(&log).map_err(|e| Failure::machine(format!("cannot use {}: {e}", log.display())))?;
    process::be_nice();
    let stop = interrupt_flag()?;
    let Some(mut shadow) = Shadow::start(&a.state, a.flip.as_deref(), &stop)? else { return Ok(Exit::Ok) };
    let (asks, handler) = reads::channel();
    let _server = Server::start(&layout.socket("shadow"), &layout.audit(), Box::new(handler))?;
    shadow.follow(&stop, &asks)?;
    Ok(if shadow.difference.is_none() { Exit::Ok } else { Exit::Failed })
}

/// What the shadow of a run has said last.
#[must_use]
pub fn last_status(layout: &Layout) -> Option<Status> {
    serde_json::from_slice(&std::fs::read(layout.shadow()).ok()?).ok()
}

/// How a shadow's status reads.
#[must_use]
pub fn summary_line(status: &Status) -> String {
    match &status.difference {
        None => format!(
            "shadow: agrees up to input {} of {} ({} decisions, orders, alerts, matches and checkpoints), newest snapshot behind input {}",
            status.seq, status.journal_seq, status.agreed, status.snapshot
        ),
        Some(d) => format!(
            "shadow: DIFFERS at seat {} between input {} and {}\n  journal: {}\n  shadow:  {}",
            d.seat, d.seq, d.cause_seq, d.expected, d.actual
        ),
    }
}

/// Compares a journal that nobody writes, from its newest snapshot on or from its beginning, and keeps a snapshot of its
/// end.
///
/// # Errors
/// A journal that cannot be read; a state that cannot be written.
pub fn once(state: &Path, probes: Probes, whole: bool) -> Result<Status, Failure> {
    let layout = Layout::of(state);
    let (recorded, passed_over) =
        if whole { (replay::load(state)?, Vec::new()) } else { replay::load_latest(state)? };
    passed_over.iter().for_each(|why| log::say(System, why));
    let mut follower =
        Follower::new(recorded.config.clone(), probes, recorded.from.clone(), recorded.absences())?;
    let mut reader = open(state, recorded.from.as_ref().map(|s| s.seq))?;
    let mut place = Place::default();
    while let Some(record) = reader.next() {
        let message = record.map_err(replay::as_failure)?.message;
        place = place_of(&reader);
        let read = follower.read(&message, || place_of(&reader));
        read.map_err(|_| Failure::data("the journal says something of inputs before its first"))?;
    }
    while follower.advance()? {}
    let mut status = status_of(&follower, None);
    status.snapshot = Snapshot::all(&layout.snapshots()).first().copied().unwrap_or(0);
    if follower.doubts() {
        // Everything that could explain it has been read.
        status.difference = follower.suspected().cloned();
        return Ok(status);
    }
    if !follower.is_settled() {
        // A start that begins behind it would not write down what the run has said and the journal does not have.
        return Ok(status);
    }
    if let Some(line) = follower.state().filter(|line| line.seq > status.snapshot) {
        let written = Snapshot::write(&layout.snapshots(), &line, &recorded.configuration, place);
        written.map_err(|e| Failure::machine(format!("cannot write a snapshot: {e}")))?;
        (status.snapshot, status.snapshots) = (line.seq, 1);
    }
    Ok(status)
}

fn open(state: &Path, behind: Option<Seq>) -> Result<JournalReader, Failure> {
    let layout = Layout::of(state);
    match behind {
        Some(seq) => Snapshot::read(&layout.snapshots(), seq)?.open_journal(&layout.journal()),
        None => JournalReader::open(&layout.journal()).map_err(replay::as_failure),
    }
}

/// Nobody has written anything yet.
fn is_empty(layout: &Layout) -> bool {
    match JournalReader::open(&layout.journal()) {
        Ok(mut reader) => reader.next().is_none(),
        Err(fault) => matches!(fault, Fault::NoJournal(_)),
    }
}

fn place_of(reader: &JournalReader) -> Place {
    let start = reader.segment_start();
    Place {
        segment: start.segment,
        segment_chain: hex(&start.chain),
        segment_blocks: start.block_number,
        chain: hex(&reader.chain_hash()),
    }
}

fn status_of(follower: &Follower, difference: Option<&Difference>) -> Status {
    Status {
        schema_version: SCHEMA_VERSION,
        journal_seq: follower.read_to(),
        seq: follower.reached(),
        agreed: follower.agreed(),
        returns: follower.returns,
        difference: difference.cloned(),
        ..Status::default()
    }
}

/// The process's own loop.
struct Shadow {
    state: PathBuf,
    layout: Layout,
    section: ShadowSection,
    configuration: [u8; 32],
    reader: JournalReader,
    follower: Follower,
    flip: Option<String>,
    pulse: Pulse,
    /// Pulses of those without whom there is nothing to follow.
    others: [Listener; 2],
    silence: Duration,
    alone_since: Option<Instant>,
    difference: Option<Difference>,
    snapshot: Seq,
    snapshots: u64,
    /// When the last one was written; the first comes as soon as there is one.
    snapshot_at: Option<Instant>,
    status_at: Instant,
    faults: u32,
}

impl Shadow {
    /// Waits for a journal with a first input, and begins with its newest snapshot. None where it is told to end before.
    fn start(state: &Path, flip: Option<&str>, stop: &AtomicBool) -> Result<Option<Self>, Failure> {
        let layout = Layout::of(state);
        let pulse = |name: &str| {
            let path = layout.pulse(name);
            Pulse::open(&path).map_err(|e| Failure::machine(format!("cannot use {}: {e}", path.display())))
        };
        let own = pulse("shadow")?;
        let mut broken_since = None;
        let recorded = loop {
            own.beat();
            match replay::load_latest(state) {
                Ok((recorded, _)) => break recorded,
                Err(_) if stop.load(Ordering::Acquire) => return Ok(None),
                Err(_) if is_empty(&layout) => broken_since = None,
                // What is being written may look broken for a moment.
                Err(e) => {
                    if broken_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                        return Err(e);
                    }
                }
            }
            std::thread::sleep(LOOK);
        };
        let probes = flipped(flip, &recorded.config, recorded.inputs.len() as Seq / 2 + 1)?;
        let from = recorded.from.clone();
        let behind = from.as_ref().map(|line| line.seq);
        // What the journal says of absences is known ahead as far as it goes.
        let follower = Follower::new(recorded.config.clone(), probes, from, recorded.absences())?;
        Ok(Some(Self {
            reader: open(state, behind)?.following(),
            state: state.to_owned(),
            section: recorded.config.shadow.clone(),
            configuration: recorded.configuration,
            follower,
            flip: flip.map(str::to_owned),
            pulse: own,
            others: [Listener::new(pulse("engine")?), Listener::new(pulse("supervisor")?)],
            silence: recorded.config.supervision.venue_linger(),
            alone_since: None,
            difference: None,
            snapshot: behind.unwrap_or(0),
            snapshots: 0,
            snapshot_at: None,
            status_at: Instant::now(),
            faults: 0,
            layout,
        }))
    }

    fn follow(&mut self, stop: &AtomicBool, asks: &Asks) -> Result<(), Failure> {
        let mut deadline = None;
        loop {
            self.pulse.beat();
            let worked = self.turn()?;
            asks.serve(self);
            self.report();
            if deadline.is_none() && (stop.load(Ordering::Acquire) || self.is_alone()) {
                deadline = Some(Instant::now() + REST);
            }
            let done = !worked && !self.follower.doubts();
            if deadline.is_some_and(|at| done || Instant::now() > at) {
                break;
            }
            if !worked {
                std::thread::sleep(LOOK);
            }
        }
        self.keep_the_end();
        self.write_status();
        self.pulse.rest();
        log::say(System, &summary_line(&self.status()));
        Ok(())
    }

    /// Nobody has been there for a long while: nobody writes the journal any more.
    fn is_alone(&mut self) -> bool {
        let limit = self.silence;
        // Both are listened to: one that is not would not be counted.
        let silent =
            self.others.each_mut().map(|other| other.silence().is_none_or(|silence| silence > limit));
        if !silent.iter().all(|silent| *silent) {
            self.alone_since = None;
            return false;
        }
        self.alone_since.get_or_insert_with(Instant::now).elapsed() > self.silence
    }

    /// Reads and computes a little; true where there was something.
    fn turn(&mut self) -> Result<bool, Failure> {
        let mut worked = match self.read() {
            Ok(worked) => worked,
            Err(Trouble::BeginAnew) => {
                self.begin_anew()?;
                true
            }
            Err(Trouble::Fault(fault)) => {
                self.faults += 1;
                if self.faults > FAULTS {
                    return Err(replay::as_failure(fault));
                }
                // A block that is being written looks torn for a moment: from its beginning again.
                std::thread::sleep(LOOK);
                self.begin_anew()?;
                false
            }
        };
        if self.difference.is_none() {
            worked |= self.follower.advance()?;
            if let Some(difference) = self.follower.difference().cloned() {
                self.alarm(difference);
            } else {
                self.keep();
            }
        }
        Ok(worked)
    }

    fn read(&mut self) -> Result<bool, Trouble> {
        // The replica is not left behind by more than it can go back.
        if self.difference.is_none() && self.follower.read_to() > self.follower.reached() + RECORDS as Seq {
            return Ok(!self.follower.doubts());
        }
        let mut read = 0;
        while read < RECORDS {
            let Some(record) = self.reader.next() else {
                if self.reader.look_again()? {
                    continue;
                }
                break;
            };
            let message = record?.message;
            read += 1;
            let reader = &self.reader;
            self.follower.read(&message, || place_of(reader))?;
        }
        self.faults = if read > 0 { 0 } else { self.faults };
        Ok(read > 0)
    }

    /// From the newest snapshot, with everything that is known of absences by now.
    fn begin_anew(&mut self) -> Result<(), Failure> {
        let (recorded, _) = replay::load_latest(&self.state)?;
        let mut absences: Vec<Absent> = recorded.absences();
        absences.extend(self.follower.absences().iter().filter(|a| !recorded.absences().contains(a)));
        let behind = recorded.from.as_ref().map(|line| line.seq);
        let probes = flipped(self.flip.as_deref(), &recorded.config, 1)?;
        let returns = self.follower.returns + 1;
        self.follower = Follower::new(recorded.config, probes, recorded.from, absences)?;
        self.follower.returns = returns;
        self.reader = open(&self.state, behind)?.following();
        Ok(())
    }

    /// Keeps a snapshot where it is time for one and a state has proven itself.
    fn keep(&mut self) {
        let every = Duration::from_millis(self.section.snapshot_every_ms.into());
        if self.snapshot_at.is_some_and(|at| at.elapsed() < every) {
            return;
        }
        let Some((line, place)) = self.follower.proven().filter(|(line, _)| line.seq > self.snapshot) else {
            return;
        };
        self.snapshot_at = Some(Instant::now());
        let (line, place) = (line.clone(), place.clone());
        self.write(&line, place);
    }

    /// A run that has ended in order leaves a snapshot of its end: what starts behind it has nothing to go through.
    fn keep_the_end(&mut self) {
        if self.difference.is_none()
            && let Some((line, place)) = self.follower.ended()
            && line.seq > self.snapshot
        {
            self.write(&line, place);
        }
    }

    fn write(&mut self, line: &LineState, place: Place) {
        let folder = self.layout.snapshots();
        match Snapshot::write(&folder, line, &self.configuration, place) {
            Ok(manifest) => {
                (self.snapshot, self.snapshots) = (manifest.seq, self.snapshots + 1);
                let section = &self.follower.config().journal;
                let tidied = janitor::tidy(&self.layout, self.section.keep, section, self.reader.segment());
                if let Err(e) = tidied {
                    errors::note(
                        ErrorKind::Machine,
                        "shadow",
                        &format!("what is not needed any more cannot be put away: {e}"),
                    );
                }
            }
            Err(e) => {
                let text = format!("a snapshot cannot be written: {e}");
                log::fault(ErrorKind::Machine, "shadow", &text);
            }
        }
    }

    /// The line and its replica do not say the same: that is said aloud, and by configuration everything is halted.
    fn alarm(&mut self, difference: Difference) {
        self.difference = Some(difference);
        let text = summary_line(&self.status());
        log::fault(ErrorKind::Defect, "shadow", &text);
        self.write_status();
        if self.section.on_divergence == OnDivergence::Halt {
            let halted = KillWord::open(&self.layout.kill_word()).and_then(|word| word.halt());
            match halted {
                Ok(word) => log::warn(Risk, &format!("halted (epoch {}): the shadow differs", word.epoch)),
                Err(e) => log::alarm(Risk, &format!("the shadow differs, and the halt is not on disk: {e}")),
            }
        }
    }

    fn status(&self) -> Status {
        Status {
            snapshot: self.snapshot,
            snapshots: self.snapshots,
            ..status_of(&self.follower, self.difference.as_ref())
        }
    }

    fn report(&mut self) {
        if self.status_at.elapsed() >= STATUS {
            self.status_at = Instant::now();
            self.write_status();
        }
    }

    fn write_status(&self) {
        let written = serde_json::to_vec(&self.status())
            .map_err(std::io::Error::other)
            .and_then(|bytes| replace(&self.layout.shadow(), &bytes));
        if let Err(e) = written {
            errors::note(ErrorKind::Machine, "shadow", &format!("the status cannot be written: {e}"));
        }
    }
}

/// Why reading stopped.
enum Trouble {
    BeginAnew,
    Fault(Fault),
}

impl From<BeginAnew> for Trouble {
    fn from(_: BeginAnew) -> Self {
        Self::BeginAnew
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

fn flipped(flip: Option<&str>, config: &Config, from: Seq) -> Result<Probes, Failure> {
    let Some(seat) = flip else { return Ok(Probes::default()) };
    let known = crate::line::compared_seats(&crate::line::topology(config));
    if !known.iter().any(|name| name == seat) {
        return Err(Failure::usage(format!("--flip {seat}: there are {}", known.join(", "))));
    }
    Ok(Probes { flip: Some((seat.to_owned(), from)), ..Probes::default() })
}
