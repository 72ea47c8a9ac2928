//! The agent on the journal's own thread: takes inputs and outputs from its rings, writes them in blocks.
//!
//! Blocks are group commits: whatever has gathered while the disk was busy, at latest after the commit interval. One
//! block is in flight at a time, so that a later one is never durable before an earlier one. An error of the disk
//! stops the draining: credit runs out, nothing new is admitted, and the engine reads the reason.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use kimera_protocol::{Kind, Message, Seq};
use kimera_runtime::clock::{give_way, monotonic_ns};
use kimera_runtime::failpoint;
use kimera_runtime::files::{self, File};
use kimera_runtime::storage::BlockWriter;
use kimera_runtime::{Agent, Counter, Counters, Durability, Histogram, Observer, Ports, Work};

use crate::format::{
    BLOCK_END, BLOCK_HEADER_BYTES, BLOCK_MAGIC, BLOCK_SEALED, BlockHeader, RECORD_BYTES_MAX,
    SEGMENT_HEADER_BYTES, SegmentHeader, segment_name, write_record,
};
use crate::reader::ResumePoint;
use crate::segment::{self, Segment};

/// Most bytes of one block.
const BLOCK_BYTES_MAX: usize = 1 << 20;
/// Least bytes of a segment.
pub const SEGMENT_BYTES_MIN: u64 = 16 << 10;
/// A block of this size does not wait for the commit interval.
const BLOCK_BYTES_EAGER: usize = 64 << 10;

/// How the journal is written.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// Folder of the segments.
    pub folder: PathBuf,
    /// Bytes of a segment, reserved when it is made.
    pub segment_bytes: u64,
    /// Longest time a record waits for its block, ns.
    pub commit_interval: u64,
    /// Bytes kept aside for the day the disk is full: the end of a run still fits.
    pub reserve_bytes: u64,
    /// Engine start that writes.
    pub incarnation: u64,
    /// Where others see how far it is.
    pub durability: Arc<Durability>,
}

/// True for kinds that an observer asks for.
pub type Wants = fn(Kind) -> bool;

/// Where the journal's thread leaves the reason it stopped.
pub type JournalFailure = Arc<Mutex<Option<String>>>;

struct Meters {
    records: Counter,
    bytes: Counter,
    blocks: Counter,
    durable_seq: Counter,
    stalls: Counter,
    /// 1 while what was kept aside is being used: the disk is full.
    reserve_used: Counter,
    commit: Histogram,
}

impl Meters {
    fn new(counters: &Counters) -> Self {
        let counter = |what: &str| counters.counter(&format!("journal.{what}"));
        Self {
            records: counter("records"),
            bytes: counter("bytes"),
            blocks: counter("blocks"),
            durable_seq: counter("durable_seq"),
            stalls: counter("stalls"),
            reserve_used: counter("reserve_used"),
            commit: counters.histogram("journal.commit_ns"),
        }
    }
}

/// The agent.
pub struct Journal {
    config: JournalConfig,
    writer: BlockWriter,
    segment: Segment,
    next: Option<Segment>,
    /// The block that gathers, with room for its header.
    gathering: Vec<u8>,
    spares: Vec<Vec<u8>>,
    records: u32,
    /// A block grows no larger: half a segment always holds it.
    block_bytes_max: usize,
    gathering_since: u64,
    block_number: u64,
    chain: [u8; 32],
    last_seq: Seq,
    /// The first input of this start is written: readers take what was said before it for what an earlier start has lost.
    has_begun: bool,
    /// Last input of a block that was handed to the disk.
    committed_seq: Seq,
    in_flight_seq: Seq,
    submitted_at: u64,
    failed: bool,
    preparation_tried: bool,
    failure: JournalFailure,
    meters: Meters,
    /// Are shown what they ask for.
    observers: Vec<(Observer, Wants)>,
}

fn fresh_block() -> Vec<u8> {
    let mut block = Vec::with_capacity(BLOCK_HEADER_BYTES + BLOCK_BYTES_MAX + RECORD_BYTES_MAX);
    block.resize(BLOCK_HEADER_BYTES, 0);
    block
}

impl Journal {
    /// Makes the first segment. The second value says what could not be had.
    ///
    /// # Errors
    /// Where the folder cannot be written or the disk is full.
    pub fn create(
        config: JournalConfig,
        counters: &Counters,
        failure: JournalFailure,
    ) -> io::Result<(Self, Option<String>)> {
        if config.segment_bytes < SEGMENT_BYTES_MIN {
            let text = format!("a journal segment needs at least {SEGMENT_BYTES_MIN} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let half = (config.segment_bytes as usize - SEGMENT_HEADER_BYTES) / 2;
        let block_bytes_max = BLOCK_BYTES_MAX.min(half - BLOCK_HEADER_BYTES - RECORD_BYTES_MAX);
        files::create_dir_all(&config.folder)?;
        segment::keep_aside(&config)?;
        let segment = segment::make(&config, 1)?;
        let (writer, degraded) = BlockWriter::new();
        let meters = Meters::new(counters);
        let mut journal = Self {
            config,
            writer,
            segment,
            next: None,
            gathering: fresh_block(),
            spares: vec![fresh_block(), fresh_block()],
            records: 0,
            block_bytes_max,
            gathering_since: 0,
            block_number: 0,
            chain: [0; 32],
            last_seq: 0,
            has_begun: false,
            committed_seq: 0,
            in_flight_seq: 0,
            submitted_at: 0,
            failed: false,
            preparation_tried: false,
            failure,
            meters,
            observers: Vec::new(),
        };
        journal.write_segment_header()?;
        Ok((journal, degraded))
    }

    /// Goes on with a journal behind its last good block: a tail that was cut off is cut away, the segment is sealed, and
    /// the next begins with `missing`, what the run before has said and did not get to disk.
    ///
    /// # Errors
    /// Where the folder cannot be written or the disk is full. What was good before stays good.
    pub fn resume(
        config: JournalConfig,
        at: &ResumePoint,
        missing: &[Message],
        counters: &Counters,
        failure: JournalFailure,
    ) -> io::Result<(Self, Option<String>)> {
        let half = (config.segment_bytes.max(SEGMENT_BYTES_MIN) as usize - SEGMENT_HEADER_BYTES) / 2;
        let path = config.folder.join(segment_name(at.segment));
        let file = File::open(&path)?;
        let mut later = at.segment + 1;
        // A segment that was only prepared holds nothing.
        while files::exists(&config.folder.join(segment_name(later))) {
            files::remove_file(&config.folder.join(segment_name(later)))?;
            later += 1;
        }
        file.set_len(at.offset)?;
        file.sync_all()?;
        let (writer, degraded) = BlockWriter::new();
        let meters = Meters::new(counters);
        meters.durable_seq.set(at.seq);
        config.durability.set(at.seq);
        let mut journal = Self {
            writer,
            segment: Segment { file: Arc::new(file), number: at.segment, at: at.offset, limit: 0 },
            next: None,
            gathering: fresh_block(),
            spares: vec![fresh_block(), fresh_block()],
            records: 0,
            block_bytes_max: BLOCK_BYTES_MAX.min(half - BLOCK_HEADER_BYTES - RECORD_BYTES_MAX),
            gathering_since: 0,
            block_number: at.block_number,
            chain: at.chain,
            last_seq: at.seq,
            has_begun: false,
            committed_seq: at.seq,
            in_flight_seq: at.seq,
            submitted_at: 0,
            failed: false,
            preparation_tried: false,
            failure,
            meters,
            observers: Vec::new(),
            config,
        };
        if !at.sealed {
            journal.commit(BLOCK_SEALED)?;
            journal.wait()?;
        }
        segment::keep_aside(&journal.config)?;
        journal.segment = segment::make(&journal.config, at.segment + 1)?;
        journal.write_segment_header()?;
        for message in missing {
            if journal.gathering.len() + RECORD_BYTES_MAX > journal.block_bytes_max {
                journal.commit(0)?;
                journal.wait()?;
            }
            write_record(message, &mut journal.gathering);
            journal.records += 1;
        }
        Ok((journal, degraded))
    }

    /// Shows somebody messages of the kinds that he asks for: everything passes here anyway, off the hot plane.
    #[must_use]
    pub fn with_observer(mut self, observer: Observer, wants: Wants) -> Self {
        self.observers.push((observer, wants));
        self
    }

    fn write_segment_header(&mut self) -> io::Result<()> {
        let header = SegmentHeader::new(
            self.segment.number,
            self.config.incarnation,
            self.committed_seq + 1,
            self.chain,
        );
        self.segment.file.write_all_at(bytemuck::bytes_of(&header), 0)?;
        self.segment.file.sync_data()?;
        files::sync_folder(&self.config.folder)
    }

    /// Takes what waits in the rings, as far as the block has room.
    fn gather(&mut self, ports: &mut Ports) -> bool {
        let before = self.records;
        for port in &mut ports.inlets {
            while self.gathering.len() < self.block_bytes_max {
                let Some(message) = port.inlet.peek() else { break };
                let kind = message.kind();
                if kind.is_some_and(Kind::is_input) {
                    self.last_seq = message.header.seq;
                    self.has_begun = true;
                } else if !self.has_begun {
                    break; // it was caused by an input that came while this went round: that one first
                }
                write_record(message, &mut self.gathering);
                for (observer, wants) in &mut self.observers {
                    if kind.is_some_and(*wants) {
                        observer.show(message);
                    }
                }
                port.inlet.advance();
                self.records += 1;
            }
        }
        if self.records == before {
            return false;
        }
        if before == 0 {
            self.gathering_since = monotonic_ns();
        }
        self.meters.records.add(u64::from(self.records - before));
        ports.frontier.advance(self.last_seq);
        true
    }

    /// True where everything taken from the rings is durable.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.records == 0 && self.writer.is_idle()
    }

    fn take_spare(&mut self) -> Vec<u8> {
        self.spares.pop().unwrap_or_else(fresh_block)
    }

    /// Hands the gathered block to the disk.
    fn commit(&mut self, flags: u32) -> io::Result<()> {
        let bytes = self.gathering.len() as u64;
        let sealed = BLOCK_HEADER_BYTES as u64;
        // Room is always left for the empty block that seals a segment.
        if flags == 0 && self.segment.at + bytes + sealed > self.segment.limit {
            return self.rotate();
        }
        self.block_number += 1;
        // The empty block that seals a segment comes before what has been gathered: it says nothing of it.
        if flags != BLOCK_SEALED {
            self.committed_seq = self.last_seq;
        }
        let (head, records) = self.gathering.split_at_mut(BLOCK_HEADER_BYTES);
        let mut header = BlockHeader {
            magic: BLOCK_MAGIC,
            flags,
            bytes: records.len() as u32,
            records: self.records,
            number: self.block_number,
            last_seq: self.committed_seq,
            ..BlockHeader::default()
        };
        header.seal(&self.chain, records);
        head.copy_from_slice(bytemuck::bytes_of(&header));
        self.chain = header.chain;
        let spare = self.take_spare();
        let full = std::mem::replace(&mut self.gathering, spare);
        self.submitted_at = monotonic_ns();
        self.in_flight_seq = self.committed_seq;
        failpoint::hit("journal.before_write");
        self.writer.submit(full, self.segment.file.clone(), self.segment.at)?;
        self.segment.at += bytes;
        self.records = 0;
        self.meters.bytes.add(bytes);
        self.meters.blocks.add(1);
        Ok(())
    }

    /// Seals the segment with an empty block and goes on in the next; what was gathered stays gathered.
    #[cold]
    fn rotate(&mut self) -> io::Result<()> {
        let spare = self.take_spare();
        let waiting = std::mem::replace(&mut self.gathering, spare);
        let records = std::mem::take(&mut self.records);
        self.commit(BLOCK_SEALED)?;
        self.wait()?;
        self.segment.file.set_len(self.segment.at)?;
        self.preparation_tried = false;
        let spare = std::mem::replace(&mut self.gathering, waiting);
        self.spares.push(spare);
        self.records = records;
        self.segment = match self.next.take() {
            Some(next) => next,
            None => self.next_segment()?,
        };
        self.write_segment_header()
    }

    /// A new segment; where the disk is full, what was kept aside for that.
    #[cold]
    fn next_segment(&mut self) -> io::Result<Segment> {
        let number = self.segment.number + 1;
        match segment::make(&self.config, number) {
            Ok(made) => {
                // There is room again: the next time is provided for.
                let kept = segment::keep_aside(&self.config).is_ok();
                self.meters.reserve_used.set(u64::from(!kept));
                Ok(made)
            }
            Err(full) => {
                let taken = segment::take_aside(&self.config, number).map_err(|_| full)?;
                self.meters.reserve_used.set(1);
                Ok(taken)
            }
        }
    }

    /// Takes back a block that has become durable.
    fn settle(&mut self) -> io::Result<bool> {
        let Some(mut buffer) = self.writer.poll()? else { return Ok(false) };
        buffer.truncate(BLOCK_HEADER_BYTES);
        self.spares.push(buffer);
        self.meters.commit.record(monotonic_ns().saturating_sub(self.submitted_at));
        self.meters.durable_seq.set(self.in_flight_seq);
        self.config.durability.set(self.in_flight_seq);
        self.config.durability.progress();
        failpoint::hit("journal.after_sync");
        Ok(true)
    }

    fn wait(&mut self) -> io::Result<()> {
        while !self.writer.is_idle() {
            if !self.settle()? {
                give_way();
            }
        }
        Ok(())
    }

    /// Does what this thread itself may have to wait for; whoever watches it is told.
    fn at_disk<T>(&mut self, act: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        self.config.durability.set_at_disk(true);
        let done = act(self);
        self.config.durability.set_at_disk(false);
        done
    }

    fn cycle(&mut self, ports: &mut Ports) -> io::Result<bool> {
        let mut worked = !self.writer.is_idle() && self.settle()?;
        worked |= self.gather(ports);
        if self.writer.is_idle() {
            self.config.durability.progress(); // nothing is at the disk: what comes goes there
        }
        if self.records == 0 {
            return Ok(worked);
        }
        if !self.writer.is_idle() {
            if self.gathering.len() >= self.block_bytes_max {
                self.meters.stalls.add(1);
            }
            return Ok(worked);
        }
        let due = self.gathering.len() >= BLOCK_BYTES_EAGER
            || monotonic_ns().saturating_sub(self.gathering_since) >= self.config.commit_interval;
        if due {
            self.at_disk(|journal| journal.commit(0))?;
            worked = true;
        } else if self.next.is_none() && !self.preparation_tried && self.segment.at > self.segment.limit / 2 {
            // Only preparation: where the disk is full now it may have room again when the segment is needed.
            self.preparation_tried = true;
            self.next =
                self.at_disk(|journal| segment::make(&journal.config, journal.segment.number + 1)).ok();
        }
        Ok(worked)
    }

    fn finish(&mut self, ports: &mut Ports) -> io::Result<()> {
        self.wait()?;
        self.gather(ports);
        while self.records > 0 {
            self.commit(0)?;
            self.wait()?;
            self.gather(ports);
        }
        self.commit(BLOCK_END)?;
        self.wait()?;
        self.segment.file.set_len(self.segment.at)?;
        self.segment.file.sync_all()?;
        if let Some(next) = self.next.take() {
            files::remove_file(&self.config.folder.join(segment_name(next.number)))?;
        }
        Ok(())
    }

    #[cold]
    fn fail(&mut self, error: &io::Error) {
        self.failed = true;
        let path = self.config.folder.join(segment_name(self.segment.number));
        let text = format!(
            "journal {} at offset {}: {error}; nothing is admitted any more (free space or another disk, then restart)",
            path.display(),
            self.segment.at
        );
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }
}

impl Agent for Journal {
    fn duty_cycle(&mut self, ports: &mut Ports) -> Work {
        if self.failed {
            return Work::Blocked;
        }
        match self.cycle(ports) {
            Ok(true) => Work::Done,
            Ok(false) => Work::Idle,
            Err(e) => {
                self.fail(&e);
                Work::Blocked
            }
        }
    }

    fn stop(&mut self, ports: &mut Ports) {
        if self.failed {
            return;
        }
        if let Err(e) = self.finish(ports) {
            self.fail(&e);
        }
    }
}
