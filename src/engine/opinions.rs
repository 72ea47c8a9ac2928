//! Slow estimators beside the line: fed by the journal's thread, on a thread of their own that runs when nobody else wants to. What they think is
//! an input like any other.

use std::cell::Cell;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use kimera_journal::{Fault, JournalReader, Tail};
use kimera_protocol::{Header, InstrumentId, Kind, Message, Nanos, Opinion, Seq};
use kimera_runtime::plan::keep_to_cores;
use kimera_runtime::process::be_nice;
use kimera_runtime::{Counter, Counters, Inlet, Port, Ports};

use crate::exit::Failure;
use crate::log;
use crate::log::Category::System;
use crate::slow::Slow;

/// Messages that may wait to be heard; what comes then is not heard, and counted.
pub const MESSAGES: usize = 8_192;
/// Messages that are kept while an earlier start is read; beyond them only what is told once.
const KEPT: usize = 65_536;
/// Messages that are heard in a row.
const IN_A_ROW: usize = 1_024;
/// Between two looks where there was nothing.
const LOOK: Duration = Duration::from_millis(2);

/// What the estimators hear, and where they speak.
pub struct Ends {
    /// Messages of the line, by the journal's thread.
    pub heard: Inlet,
    /// The sequencer's inlet for them.
    pub ports: Ports,
    /// Those who think.
    pub slow: Slow,
}

/// What the journal has from before this start, from its beginning: what is fitted over hours and days is in no snapshot.
pub struct History {
    folder: PathBuf,
    /// Last input from before.
    up_to: Seq,
    /// Market time from which members hear it.
    members_from: Nanos,
    reader: Option<JournalReader>,
}

impl History {
    /// Of the journal in a folder, up to an input; members hear it from a market time on.
    #[must_use]
    pub fn new(folder: PathBuf, up_to: Seq, members_from: Nanos) -> Self {
        Self { folder, up_to, members_from, reader: None }
    }

    /// Shows the next inputs; false where there is none left.
    fn show(&mut self, mut each: impl FnMut(&Message)) -> Result<bool, Fault> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => none.insert(JournalReader::open(&self.folder)?),
        };
        for record in reader.take(IN_A_ROW) {
            let message = record?.message;
            if message.kind().is_some_and(Kind::is_input) {
                each(&message);
                if message.header.seq >= self.up_to {
                    return Ok(false);
                }
            }
        }
        Ok(*reader.tail() == Tail::Unknown)
    }
}

/// The estimators in their place.
pub struct OpinionDesk {
    /// What was said already: heard first.
    earlier: Option<History>,
    /// What came while that was read: heard next.
    kept: VecDeque<Message>,
    /// Something before what is kept was not heard.
    has_hole: bool,
    ends: Ends,
    /// Messages that found no room, and how many of them are known.
    shed: Counter,
    shed_known: u64,
    said: Counter,
    /// Opinions for which the sequencer had no room.
    dropped: Counter,
    memory: MemoryMeters,
}

/// What is known of the memory of patterns.
struct MemoryMeters {
    held: Counter,
    evicted: Counter,
    /// Of a million neighbours.
    recall: Counter,
    exact: Counter,
    /// It was said that the graph finds too little.
    said: Cell<bool>,
}

impl MemoryMeters {
    fn new(counters: &Counters) -> Self {
        let of = |what: &str| counters.counter(&format!("pattern.{what}"));
        Self {
            held: of("held"),
            evicted: of("evicted"),
            recall: of("recall_ppm"),
            exact: of("exact"),
            said: Cell::new(false),
        }
    }

    fn publish(&self, slow: &Slow) {
        let memory = slow.members().patterns().memory();
        self.held.set(memory.len() as u64);
        self.evicted.set(memory.evicted());
        self.recall.set(memory.recall().map_or(0, |share| (share * 1e6) as u64));
        self.exact.set(u64::from(memory.is_exact()));
        let is_poor = memory.is_exact() && memory.recall().is_some();
        if is_poor && !self.said.replace(true) {
            let found = memory.recall().unwrap_or_default();
            let text = format!(
                "the pattern member's graph finds {found:.3} of its nearest windows: everybody is looked at instead"
            );
            log::warn(System, &text);
        }
    }
}

impl OpinionDesk {
    /// Goes on behind what an earlier start has left.
    #[must_use]
    pub fn new(earlier: Option<History>, ends: Ends, counters: &Counters) -> Self {
        let (said, dropped) = (counters.counter("opinions.said"), counters.counter("opinions.dropped"));
        let shed = counters.counter("opinions.shed");
        let memory = MemoryMeters::new(counters);
        Self {
            earlier,
            kept: VecDeque::new(),
            has_hole: false,
            ends,
            shed,
            shed_known: 0,
            said,
            dropped,
            memory,
        }
    }

    /// Takes what waits out of the ring, for later. Where that is too much, or some of it was shed, only what is told once is left of it: nobody knows
    /// where the hole is among the rest.
    fn keep(&mut self) {
        while let Some(message) = self.ends.heard.pop() {
            self.kept.push_back(message);
        }
        let now_shed = self.shed.get();
        if now_shed != self.shed_known || self.kept.len() > KEPT {
            self.shed_known = now_shed;
            self.kept.retain(|message| message.kind().is_some_and(Slow::is_told_once));
            self.has_hole = true;
        }
    }

    /// Hears what waits, and says what is thought of it; false where there was nothing.
    pub fn poll(&mut self) -> bool {
        if self.earlier.is_some() {
            self.keep();
            self.recall();
            return true;
        }
        if self.shed.get() != self.shed_known {
            self.keep();
        }
        if std::mem::take(&mut self.has_hole) {
            self.ends.slow.forget();
        }
        let Self { kept, ends: Ends { heard, ports, slow }, said, dropped, memory, .. } = self;
        let mut say = |about, opinion| {
            let sent = ports.send(Port::Input, &spoken(about, opinion));
            if sent { said.add(1) } else { dropped.add(1) }
        };
        let mut any = false;
        for _ in 0..IN_A_ROW {
            if let Some(message) = kept.pop_front() {
                slow.hear(&message, &mut say);
            } else {
                let Some(message) = heard.peek() else { break };
                slow.hear(message, &mut say);
                heard.advance();
            }
            any = true;
        }
        if any {
            memory.publish(slow);
        }
        any
    }

    /// The next inputs of an earlier start.
    fn recall(&mut self) {
        let slow = &mut self.ends.slow;
        let Some(history) = &mut self.earlier else { return };
        let from = history.members_from;
        let shown = history.show(|message| slow.recall(message, from));
        if let Err(e) = &shown {
            log::warn(System, &format!("the slow estimators begin anew, they cannot read the journal: {e}"));
            slow.forget();
        }
        if !shown.is_ok_and(|more| more) {
            self.earlier = None;
        }
    }

    /// On a thread of its own, on these cores.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(mut self, cores: Vec<usize>) -> Result<Running, Failure> {
        let ending = Arc::new(AtomicBool::new(false));
        let told = ending.clone();
        let work = move || {
            // Without them it runs where the system lets it.
            let _ = keep_to_cores(&cores);
            be_nice();
            while !told.load(Ordering::Acquire) {
                if !self.poll() {
                    std::thread::sleep(LOOK);
                }
            }
        };
        let thread = std::thread::Builder::new().name("opinions".into()).spawn(work);
        let thread =
            thread.map_err(|e| Failure::machine(format!("cannot start the opinions' thread: {e}")))?;
        Ok(Running { ending, thread: Some(thread) })
    }
}

/// Where they run.
pub enum Estimators {
    /// On a thread of their own.
    Beside(Running),
    /// In the engine's own loop: a world has one thread.
    Here(Box<OpinionDesk>),
}

/// An opinion as it enters by the sequencer.
fn spoken(about: InstrumentId, opinion: Opinion) -> Message {
    Message::new(Header::unsequenced(Kind::Opinion, about), opinion)
}

impl Running {
    /// True where it has ended on its own: it has panicked.
    #[must_use]
    pub fn has_fallen(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }
}

/// The thread; it ends when this is dropped.
pub struct Running {
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        // One that has panicked has been said where panics are.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use kimera_protocol::{HOUR, Prime, Ticker};
    use kimera_runtime::{Wiring, observer};

    use super::*;
    use crate::config::Config;
    use crate::line;

    /// A desk that hears by a ring of so many messages, with the ring's other end.
    fn desk(capacity: usize, counters: &Counters) -> (kimera_runtime::Observer, OpinionDesk) {
        let config = Config::parse(include_str!("../../config/profiles/paper.toml")).unwrap();
        let (shown, heard) = observer(capacity, counters.counter("opinions.shed"));
        let mut wiring = Wiring::build(&line::topology(&config)).unwrap();
        let ports = wiring.take(line::OPINIONS).unwrap();
        let ends = Ends { heard, ports, slow: Slow::new(&config).unwrap() };
        (shown, OpinionDesk::new(None, ends, counters))
    }

    fn told(seq: Seq) -> Message {
        let header = Header { seq, time: 100 * HOUR, instrument: 1, ..Header::default() };
        let hour = Prime { begins: seq as i64 * HOUR, close: 1.0, minutes: 60, ..Prime::default() };
        Message::new(header, hour)
    }

    fn market(seq: Seq) -> Message {
        let header = Header { seq, time: 100 * HOUR, instrument: 1, ..Header::default() };
        Message::new(header, Ticker::default())
    }

    #[test]
    fn behind_a_ring_that_has_shed_only_what_is_told_once_is_heard() {
        let path = std::env::temp_dir().join(format!("kimera-desk-{}", std::process::id()));
        let counters = Counters::create(&path, 1).unwrap();
        std::fs::remove_file(&path).unwrap();
        let (mut shown, mut desk) = desk(64, &counters);
        (1..=64).for_each(|seq| shown.show(&if seq % 8 == 0 { told(seq) } else { market(seq) }));
        desk.keep();
        assert_eq!((desk.kept.len(), desk.has_hole), (64, false), "nothing was shed: everything is kept");
        (65..=140).for_each(|seq| shown.show(&if seq % 8 == 0 { told(seq) } else { market(seq) }));
        assert_eq!(counters.counter_of("opinions.shed").get(), 12);
        desk.keep();
        let kept: Vec<_> = desk.kept.iter().map(|message| message.header.seq).collect();
        assert_eq!(kept, (1..=16).map(|i| 8 * i).collect::<Vec<_>>());
        assert!(desk.has_hole);
        // It is heard, once, and then what comes.
        assert!(desk.poll() && desk.kept.is_empty() && !desk.has_hole);
        assert!(!desk.poll());
        shown.show(&market(141));
        assert!(desk.poll() && !desk.poll() && !desk.has_hole);
    }

    #[test]
    fn no_more_than_there_is_room_for_is_kept_while_a_journal_is_read() {
        let path = std::env::temp_dir().join(format!("kimera-desk-long-{}", std::process::id()));
        let counters = Counters::create(&path, 1).unwrap();
        std::fs::remove_file(&path).unwrap();
        let (mut shown, mut desk) = desk(1_024, &counters);
        shown.show(&told(1));
        for seq in 2..=KEPT as u64 + 2 {
            shown.show(&market(seq));
            if seq % 1_024 == 0 {
                desk.keep();
            }
        }
        desk.keep();
        assert_eq!(counters.counter_of("opinions.shed").get(), 0);
        assert!(desk.has_hole && desk.kept.front().is_some_and(|first| first.header.seq == 1));
        assert!(desk.kept.len() < 1_100, "{}", desk.kept.len());
    }
}
