//! A journal in memory: its inputs, what it says was said, and the configuration of its run; the whole of it, or what comes
//! behind a snapshot.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use kimera_journal::format::CODE_EPOCH;
use kimera_journal::{Blobs, Fault, JournalReader, ResumePoint, Tail, archive};
use kimera_protocol::{Absent, Alert, Checkpoint, Detector, Kind, Message, PatternsLoaded, Seq, Started};

use super::line::Recomputed;
use crate::config::Config;
use crate::exit::Failure;
use crate::line;
use crate::snapshot::{LineState, Snapshot};
use crate::state::Layout;

/// A journal in memory.
pub struct Recorded {
    /// Configuration of the run.
    pub config: Config,
    /// Inputs in order.
    pub inputs: Arc<[Message]>,
    /// Checkpoints by seat index and boundary.
    pub checkpoints: BTreeMap<(u64, Seq), Checkpoint>,
    /// What was decided and sent, in full.
    pub said: Said,
    /// How the journal ends.
    pub tail: Tail,
    /// State of the line behind which the inputs come; none where they are all there are.
    pub from: Option<LineState>,
    /// Where the journal can be gone on with.
    pub at: ResumePoint,
    /// Hash of the configuration that its last start had.
    pub configuration: [u8; 32],
}

impl Recorded {
    /// Last input before those that are here.
    #[must_use]
    pub fn behind(&self) -> Seq {
        self.from.as_ref().map_or(0, |state| state.seq)
    }

    /// Everything that is said of absences.
    #[must_use]
    pub fn absences(&self) -> Vec<Absent> {
        let before = self.from.iter().flat_map(|state| state.absences.iter().copied());
        before.chain(self.inputs.iter().filter_map(|m| m.body::<Absent>().copied())).collect()
    }

    /// Checkpoints that a replay from here has to make again: one that was made before is not made again.
    pub fn expected_of<'a>(
        &'a self,
        replayed: &'a Recomputed,
    ) -> impl Iterator<Item = (&'a (u64, Seq), &'a Checkpoint)> {
        let behind = self.behind();
        self.checkpoints
            .iter()
            .filter(move |(key, _)| key.1 > behind + 1 || replayed.checkpoints.contains_key(*key))
    }
}

/// What was said in full, each stream in its seat's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// What strategy wanted.
    pub decisions: Vec<Message>,
    /// Orders and cancels that went to a gateway.
    pub orders: Vec<Message>,
    /// What detectors suspected.
    pub alerts: Vec<Message>,
    /// What patterns found.
    pub matches: Vec<Message>,
    /// What compliance suspected of our own orders.
    pub conduct: Vec<Message>,
}

/// Seats whose streams are kept in full, in the order of [`Said::streams`].
pub const STREAMS: [&str; 5] =
    [line::STRATEGY, line::COMPLIANCE, line::DETECTORS, line::PATTERNS, line::COMPLIANCE];

/// Which of [`STREAMS`] a message belongs to, where it does.
#[must_use]
pub fn stream_of(message: &Message) -> Option<usize> {
    match message.kind()? {
        Kind::Decision => Some(0),
        Kind::NewOrder | Kind::CancelOrder | Kind::CancelAll => Some(1),
        Kind::Alert if is_about_us(message) => Some(4),
        Kind::Alert => Some(2),
        Kind::PatternMatch => Some(3),
        _ => None,
    }
}

/// True for suspicions about our own orders: compliance's, not the detectors'.
fn is_about_us(message: &Message) -> bool {
    let detector = message.body::<Alert>().and_then(|alert| Detector::from_code(alert.detector));
    matches!(detector, Some(Detector::Spoofing | Detector::Layering))
}

impl Said {
    /// Every stream, with the seat it is from.
    #[must_use]
    pub fn streams(&self) -> [(&'static str, &[Message]); 5] {
        let Self { decisions, orders, alerts, matches, conduct } = self;
        let all: [&[Message]; 5] = [decisions, orders, alerts, matches, conduct];
        std::array::from_fn(|i| (STREAMS[i], all[i]))
    }

    fn streams_mut(&mut self) -> [&mut Vec<Message>; 5] {
        let Self { decisions, orders, alerts, matches, conduct } = self;
        [decisions, orders, alerts, matches, conduct]
    }

    /// Keeps a message that is one of them, without its ingress stamp.
    pub(super) fn keep(&mut self, mut message: Message) {
        message.header.ingress = 0;
        if let Some(stream) = stream_of(&message) {
            self.streams_mut()[stream].push(message);
        }
    }

    /// What was caused by inputs behind one.
    #[must_use]
    pub fn behind(&self, seq: Seq) -> Self {
        let mut later = self.clone();
        later.streams_mut().into_iter().for_each(|stream| stream.retain(|m| m.header.seq > seq));
        later
    }

    /// Drops what was caused by later inputs: they are not in the journal any more.
    pub(super) fn up_to(&mut self, last: Seq) {
        self.streams_mut().into_iter().for_each(|stream| stream.retain(|m| m.header.seq <= last));
    }
}

/// Reads the journal of a state directory, with its configuration; where its beginning has been retired, from the oldest
/// snapshot on.
///
/// # Errors
/// Damage (1), a missing blob (7), a journal of another code epoch.
pub fn load(state: &Path) -> Result<Recorded, Failure> {
    let layout = Layout::of(state);
    let begins = archive::beginning(&layout.journal());
    if begins.map_or(1, |start| start.segment) == 1 {
        return load_from(state, None);
    }
    let folder = layout.snapshots();
    let oldest_first: Vec<Seq> = Snapshot::all(&folder).into_iter().rev().collect();
    let mut wrong = None;
    for seq in oldest_first {
        match Snapshot::read(&folder, seq).and_then(|snapshot| load_from(state, Some(snapshot))) {
            Ok(recorded) => return Ok(recorded),
            Err(e) => wrong = Some(e),
        }
    }
    match wrong {
        Some(wrong) => Err(wrong),
        None => load_from(state, None),
    }
}

/// Reads the journal from its newest snapshot on that fits; the whole of it where there is none. The second value says
/// which snapshots were passed over, and why.
///
/// # Errors
/// As [`load`].
pub fn load_latest(state: &Path) -> Result<(Recorded, Vec<String>), Failure> {
    load_behind(state, Seq::MAX)
}

/// As [`load_latest`], with everything behind an input: a snapshot that is newer is none for this.
///
/// # Errors
/// As [`load`].
pub fn load_behind(state: &Path, seq: Seq) -> Result<(Recorded, Vec<String>), Failure> {
    let folder = Layout::of(state).snapshots();
    let mut passed_over = Vec::new();
    for seq in Snapshot::all(&folder).into_iter().filter(|at| *at <= seq) {
        match Snapshot::read(&folder, seq).and_then(|snapshot| load_from(state, Some(snapshot))) {
            Ok(recorded) => return Ok((recorded, passed_over)),
            Err(e) => passed_over.push(format!("{}; it is passed over", e.message)),
        }
    }
    Ok((load(state)?, passed_over))
}

/// Reads the journal behind a snapshot, or the whole of it.
///
/// # Errors
/// As [`load`]; a snapshot that is of another journal than this.
pub fn load_from(state: &Path, snapshot: Option<Snapshot>) -> Result<Recorded, Failure> {
    let folder = Layout::of(state).journal();
    let (mut reader, behind) = match &snapshot {
        None => (JournalReader::open(&folder).map_err(as_failure)?, 0),
        Some(s) => (s.open_journal(&folder)?, s.manifest.seq),
    };
    let mut found = snapshot.is_none();
    let (mut inputs, mut checkpoints, mut said) = (Vec::new(), BTreeMap::new(), Said::default());
    while let Some(record) = reader.next() {
        let message = record.map_err(as_failure)?.message;
        if message.header.seq <= behind && message.kind() != Some(Kind::Checkpoint) {
            found = found || snapshot.as_ref().map_or(Ok(true), |s| s.is_at(&reader, &message))?;
            continue;
        }
        if let Some(checkpoint) = message.body::<Checkpoint>() {
            checkpoints.insert((checkpoint.seat, checkpoint.boundary), *checkpoint);
        } else if message.kind().is_some_and(Kind::is_input) {
            if message.kind() == Some(Kind::Started) {
                // What an earlier start said of inputs that it lost is of other inputs than those that follow.
                let last = message.header.seq - 1;
                said.up_to(last);
                checkpoints.retain(|(_, boundary), _| *boundary <= message.header.seq);
            }
            inputs.push(message);
        } else {
            said.keep(message);
        }
    }
    if let Some(snapshot) = snapshot.as_ref().filter(|_| !found) {
        return Err(snapshot.foreign("it ends before the snapshot's input"));
    }
    check_epochs(snapshot.as_ref(), &inputs, reader.tail())?;
    let first = first_configuration(snapshot.as_ref(), inputs.first())?;
    let config = Config { state: Some(state.to_owned()), ..parse_configuration(state, &first)? };
    for loaded in inputs.iter().filter_map(|m| m.body::<PatternsLoaded>()) {
        Blobs::of(state).get(&loaded.blob).map_err(Failure::missing)?;
    }
    let starts = inputs.iter().rev().find_map(|m| m.body::<Started>());
    let configuration = starts.map_or(first, |s| s.configuration);
    let (tail, at) = (reader.tail().clone(), reader.resume_point());
    let from = snapshot.map(|s| s.state);
    Ok(Recorded { config, inputs: inputs.into(), checkpoints, said, tail, from, at, configuration })
}

/// What another arithmetic has computed is not computed again: a journal of another code epoch is for the program that wrote
/// it. A snapshot of one is a beginning for this program where the run has ended in order right behind it.
fn check_epochs(snapshot: Option<&Snapshot>, inputs: &[Message], tail: &Tail) -> Result<(), Failure> {
    let starts = || inputs.iter().filter_map(|m| Some((m.header.seq, m.body::<Started>()?.code_epoch)));
    if let Some((seq, epoch)) = starts().find(|(_, epoch)| *epoch != CODE_EPOCH) {
        return Err(Failure::data(format!(
            "from input {seq} on the journal was written by code epoch {epoch}, this program is of epoch {CODE_EPOCH}: replay it with the program that wrote it; to go on with this one, end the run there in order and keep a snapshot of its end (kimera shadow --once)"
        )));
    }
    let Some(snapshot) = snapshot.filter(|s| s.manifest.code_epoch != CODE_EPOCH) else { return Ok(()) };
    let ended_there = inputs.is_empty() && *tail == Tail::Closed;
    let upgraded_there = starts().next().is_some_and(|(seq, _)| seq == snapshot.manifest.seq + 1);
    if ended_there || upgraded_there {
        return Ok(());
    }
    Err(snapshot.foreign(&format!(
        "it is of code epoch {}, and the run goes on behind it",
        snapshot.manifest.code_epoch
    )))
}

/// Hash of a run's configuration, as its snapshot or its first record says.
fn first_configuration(snapshot: Option<&Snapshot>, first: Option<&Message>) -> Result<[u8; 32], Failure> {
    if let Some(snapshot) = snapshot {
        return snapshot.configuration();
    }
    let started = first.and_then(|m| m.body::<Started>());
    let started =
        started.ok_or_else(|| Failure::data("the journal does not begin with the record of a start"))?;
    Ok(started.configuration)
}

/// The configuration of a hash, from the blobs of a state directory.
fn parse_configuration(state: &Path, hash: &[u8; 32]) -> Result<Config, Failure> {
    let blob = Blobs::of(state).get(hash).map_err(Failure::missing)?;
    Config::parse(&String::from_utf8_lossy(&blob)).map_err(Failure::configuration)
}

pub(crate) fn as_failure(fault: Fault) -> Failure {
    match fault {
        Fault::MissingSegment { .. } | Fault::NoJournal(_) => Failure::missing(fault),
        _ => Failure::data(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::Probes;
    use crate::replica::Replica;
    use crate::snapshot::Place;
    use kimera_protocol::Header;

    fn started(seq: Seq, code_epoch: u64) -> Message {
        let header = Header { seq, time: 5, ..Header::default() };
        Message::new(header, Started { incarnation: 1, code_epoch, ..Started::default() })
    }

    /// A snapshot behind input 1, of a program of some epoch.
    fn snapshot(code_epoch: u64) -> Snapshot {
        let config = Config::parse(include_str!("../../config/profiles/paper.toml")).unwrap();
        let mut replica = Replica::new(&config, &Probes::default(), None).unwrap();
        replica.run(&[started(1, CODE_EPOCH)]).unwrap();
        let folder = std::env::temp_dir().join(format!("kimera-epochs-{code_epoch}-{}", std::process::id()));
        Snapshot::write(&folder, &replica.state().unwrap(), &[7; 32], Place::default()).unwrap();
        let mut read = Snapshot::read(&folder, 1).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        read.manifest.code_epoch = code_epoch;
        read
    }

    /// Two seats speak of suspicions, each in its own order: they are not compared as one.
    #[test]
    fn suspicions_of_our_own_orders_are_a_stream_of_their_own() {
        let mut said = Said::default();
        for detector in Detector::ALL {
            let body = Alert { detector: detector as u64, ..Alert::default() };
            said.keep(Message::new(Header::default(), body));
        }
        let of = |seat: &str| {
            said.streams().iter().filter(|(of, _)| *of == seat).map(|(_, all)| all.len()).sum::<usize>()
        };
        assert_eq!((of(line::DETECTORS), of(line::COMPLIANCE)), (Detector::ALL.len() - 2, 2));
    }

    #[test]
    fn another_arithmetic_is_gone_on_with_only_behind_a_snapshot_of_an_ordered_end() {
        const OLD: u64 = CODE_EPOCH - 1;
        let why = |snapshot: Option<&Snapshot>, inputs: &[Message], tail: &Tail| {
            check_epochs(snapshot, inputs, tail).err().map(|e| e.message).unwrap_or_default()
        };
        assert_eq!(why(None, &[started(1, CODE_EPOCH)], &Tail::Open), "");
        let of_old = why(None, &[started(1, OLD)], &Tail::Closed);
        assert!(of_old.contains(&format!("from input 1 on the journal was written by code epoch {OLD}")));
        let old = snapshot(OLD);
        assert_eq!(why(Some(&old), &[], &Tail::Closed), "", "the old program ended in order right behind it");
        for tail in [Tail::Open, Tail::Torn { segment: 1, offset: 8, bytes: 3 }] {
            assert!(why(Some(&old), &[], &tail).contains("the run goes on behind it"), "{tail:?}");
        }
        assert_eq!(why(Some(&old), &[started(2, CODE_EPOCH)], &Tail::Open), "", "this program went on there");
        let more = Message::new(Header { seq: 2, ..Header::default() }, kimera_protocol::Timer::default());
        assert!(
            why(Some(&old), &[more, started(3, CODE_EPOCH)], &Tail::Closed).contains("goes on behind it")
        );
        assert!(why(Some(&old), &[started(2, OLD)], &Tail::Closed).contains("from input 2 on"));
        assert_eq!(why(Some(&snapshot(CODE_EPOCH)), &[more], &Tail::Open), "");
    }
}
