//! Reads a journal back, checking everything: header and chain of each block, checksum of each record, order of seqs.
//!
//! A tail that was being written when the process died is cut off and reported. Damage anywhere else is a fault with
//! segment, offset and seq.

use std::io;
use std::path::{Path, PathBuf};

use kimera_protocol::{Kind, Message, Seq};
use kimera_runtime::files;

use crate::archive;
use crate::format::{
    BLOCK_END, BLOCK_HEADER_BYTES, BLOCK_SEALED, BlockHeader, SEGMENT_HEADER_BYTES, SegmentHeader,
    read_record, segment_name,
};

/// A record and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The message; its ingress stamp is 0.
    pub message: Message,
    /// Segment.
    pub segment: u64,
    /// Byte in the segment.
    pub offset: u64,
}

/// How a journal ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tail {
    /// Not read to its end.
    #[default]
    Unknown,
    /// Closed in order.
    Closed,
    /// The process ended without closing it; nothing is lost but what was never written.
    Open,
    /// The last block was cut off while being written.
    Torn {
        /// Segment.
        segment: u64,
        /// Where the good part ends.
        offset: u64,
        /// Bytes after it that are no record.
        bytes: u64,
    },
}

/// Damage, or a journal that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A damaged place.
    #[error("journal segment {segment:06}: at offset {offset} (seq {seq}): {reason}")]
    Damaged {
        /// Segment.
        segment: u64,
        /// Byte in the segment.
        offset: u64,
        /// The input that is damaged or would have come next.
        seq: Seq,
        /// What is wrong.
        reason: &'static str,
    },
    /// A segment is not there.
    #[error("journal segment {segment:06} is missing from {folder} (seq {seq} on)")]
    MissingSegment {
        /// Segment.
        segment: u64,
        /// Folder.
        folder: PathBuf,
        /// First input that is missing.
        seq: Seq,
    },
    /// The folder holds no journal.
    #[error("{0} holds no journal (no segment 000001.kj)")]
    NoJournal(PathBuf),
    /// The system refuses.
    #[error("cannot read {path}: {source}")]
    Io {
        /// File.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Where a journal can be gone on with: behind its last good block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumePoint {
    /// Segment.
    pub segment: u64,
    /// Byte in it behind the last good block.
    pub offset: u64,
    /// Chain hash of that block.
    pub chain: [u8; 32],
    /// Number of that block.
    pub block_number: u64,
    /// Last input.
    pub seq: Seq,
    /// Market time of the last input.
    pub time: i64,
    /// True where the segment is sealed or the journal closed: nothing may be added to it.
    pub sealed: bool,
}

/// Where a segment begins in the chain: enough to read the journal from there on.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SegmentStart {
    /// Segment.
    pub segment: u64,
    /// Chain hash of the last block before it.
    pub chain: [u8; 32],
    /// Number of that block.
    pub block_number: u64,
}

/// Bytes that a follower reads at a time; of a larger block, all of it.
const FOLLOW_BYTES: usize = 64 << 10;

/// Iterates over the records of a journal, inputs and outputs in the order they were written.
pub struct JournalReader {
    folder: PathBuf,
    last_segment: u64,
    segment: u64,
    bytes: Vec<u8>,
    at: usize,
    block_end: usize,
    chain: [u8; 32],
    block_number: u64,
    seq: Seq,
    time: i64,
    tail: Tail,
    sealed: bool,
    incarnation: u64,
    done: bool,
    /// Where the segment that is being read begins.
    start: SegmentStart,
    /// It follows a journal that is being written: a segment is read as far as it is needed.
    follows: bool,
}

impl JournalReader {
    /// Opens the journal in a folder of segments.
    ///
    /// # Errors
    /// Where there is none.
    pub fn open(folder: &Path) -> Result<Self, Fault> {
        let path = folder.to_owned();
        let start = archive::beginning(folder).map_err(|source| Fault::Io { path, source })?;
        Self::open_at(folder, &start)
    }

    /// Opens the journal at the beginning of a segment, which has to follow what `start` says of the chain before it.
    ///
    /// # Errors
    /// Where there is no journal, or the segment does not follow.
    pub fn open_at(folder: &Path, start: &SegmentStart) -> Result<Self, Fault> {
        let mut reader = Self {
            folder: folder.to_owned(),
            last_segment: last_segment(folder, start.segment)?,
            segment: 0,
            bytes: Vec::new(),
            at: 0,
            block_end: 0,
            chain: start.chain,
            block_number: start.block_number,
            start: start.clone(),
            follows: false,
            seq: 0,
            time: i64::MIN,
            tail: Tail::Unknown,
            sealed: false,
            incarnation: 0,
            done: false,
        };
        if reader.last_segment == 0 {
            return Err(Fault::NoJournal(folder.to_owned()));
        }
        reader.load(start.segment)?;
        if start.segment > 1 {
            let header = SegmentHeader::read(&reader.bytes).map_err(|reason| reader.damaged(0, reason))?;
            reader.seq = header.first_seq.saturating_sub(1);
        }
        Ok(reader)
    }

    /// Reads only as far as is needed from here on: for a journal that is being written. Where the iterator has ended,
    /// [`JournalReader::look_again`] sees what has come since.
    #[must_use]
    pub fn following(mut self) -> Self {
        self.follows = true;
        self
    }

    /// What has come since the iterator ended; true where there may be something.
    ///
    /// # Errors
    /// A segment that does not follow, and what the system says.
    pub fn look_again(&mut self) -> Result<bool, Fault> {
        self.last_segment = last_segment(&self.folder, self.segment)?;
        if self.sealed {
            let more = self.segment < self.last_segment;
            if more {
                self.load(self.segment + 1)?;
                (self.tail, self.done) = (Tail::Unknown, false);
            }
            return Ok(more);
        }
        let path = self.folder.join(segment_name(self.segment));
        let failed = |source| Fault::Io { path: path.clone(), source };
        let head = files::read_range(&path, self.at as u64, BLOCK_HEADER_BYTES).map_err(failed)?;
        if head.iter().all(|b| *b == 0) && self.segment == self.last_segment {
            return Ok(false);
        }
        (self.tail, self.done) = (Tail::Unknown, false);
        self.bytes.truncate(self.at);
        self.bytes.extend(files::read_range(&path, self.at as u64, FOLLOW_BYTES).map_err(failed)?);
        Ok(true)
    }

    /// Where the segment that is being read begins.
    #[must_use]
    pub fn segment_start(&self) -> &SegmentStart {
        &self.start
    }

    /// Number of the last block read.
    #[must_use]
    pub fn block_number(&self) -> u64 {
        self.block_number
    }

    /// Segment that is being read.
    #[must_use]
    pub fn segment(&self) -> u64 {
        self.segment
    }

    /// Makes sure that a follower has a whole block before it, where there is one.
    fn reach(&mut self) -> Result<(), Fault> {
        if !self.follows {
            return Ok(());
        }
        let block = BlockHeader::read(&self.bytes[self.at..]).map_or(0, |header| header.bytes as usize);
        let wanted = self.at + BLOCK_HEADER_BYTES + block;
        if wanted <= self.bytes.len() {
            return Ok(());
        }
        let (path, missing) = (self.folder.join(segment_name(self.segment)), wanted - self.bytes.len());
        let more = files::read_range(&path, self.bytes.len() as u64, missing.max(FOLLOW_BYTES));
        let more = more.map_err(|source| Fault::Io { path, source })?;
        self.bytes.extend(&more);
        // The header may have been cut off as well.
        if block == 0 && !more.is_empty() { self.reach() } else { Ok(()) }
    }

    /// How the journal ends; known once the iterator has ended without a fault.
    #[must_use]
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Where to go on; known once the iterator has ended without a fault.
    #[must_use]
    pub fn resume_point(&self) -> ResumePoint {
        ResumePoint {
            segment: self.segment,
            offset: self.at as u64,
            chain: self.chain,
            block_number: self.block_number,
            seq: self.seq,
            time: self.time,
            sealed: self.sealed,
        }
    }

    /// Segments there are.
    #[must_use]
    pub fn segments(&self) -> u64 {
        self.last_segment
    }

    /// Chain hash of the last block read.
    #[must_use]
    pub fn chain_hash(&self) -> [u8; 32] {
        self.chain
    }

    fn load(&mut self, segment: u64) -> Result<(), Fault> {
        let path = self.folder.join(segment_name(segment));
        let read = if self.follows && files::exists(&path) {
            files::read_start(&path, FOLLOW_BYTES)
        } else {
            archive::read_segment(&self.folder, segment)
        };
        self.bytes = match read {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Fault::MissingSegment {
                    segment,
                    folder: self.folder.clone(),
                    seq: self.seq + 1,
                });
            }
            Err(source) => return Err(Fault::Io { path, source }),
        };
        self.segment = segment;
        self.at = 0;
        let header = SegmentHeader::read(&self.bytes).map_err(|reason| self.damaged(0, reason))?;
        if header.number != segment || header.chain != self.chain || header.incarnation < self.incarnation {
            return Err(self.damaged(0, "the segment does not follow the one before it"));
        }
        self.incarnation = header.incarnation;
        self.start = SegmentStart { segment, chain: self.chain, block_number: self.block_number };
        self.sealed = false;
        self.at = SEGMENT_HEADER_BYTES;
        self.block_end = self.at;
        Ok(())
    }

    fn damaged(&self, offset: usize, reason: &'static str) -> Fault {
        Fault::Damaged { segment: self.segment, offset: offset as u64, seq: self.seq + 1, reason }
    }

    /// Goes to the next block; false at the end of the journal.
    fn next_block(&mut self) -> Result<bool, Fault> {
        loop {
            self.reach()?;
            let rest = &self.bytes[self.at..];
            let Some(header) = BlockHeader::read(rest) else { return self.end_or_fault() };
            let end = BLOCK_HEADER_BYTES + header.bytes as usize;
            let Some(records) = rest.get(BLOCK_HEADER_BYTES..end) else { return self.end_or_fault() };
            if header.chain_of(&self.chain, records) != header.chain || header.number != self.block_number + 1
            {
                return self.bad_block(header);
            }
            self.chain = header.chain;
            self.block_number = header.number;
            let start = self.at + BLOCK_HEADER_BYTES;
            self.block_end = self.at + end;
            self.at = start;
            if header.flags & BLOCK_END != 0 {
                if self.bytes[self.block_end..].iter().any(|&b| b != 0) {
                    return Err(self.damaged(self.block_end, "something follows the end of the journal"));
                }
                self.sealed = true;
                self.at = self.block_end;
                if self.segment < self.last_segment {
                    // A later start of the engine went on with it.
                    self.load(self.segment + 1)?;
                    continue;
                }
                self.tail = Tail::Closed;
                return Ok(false);
            }
            if header.flags & BLOCK_SEALED != 0 {
                // Cut to its length only after the seal is durable: zeros may still follow it.
                if self.bytes[self.block_end..].iter().any(|&b| b != 0) {
                    return Err(self.damaged(self.block_end, "something follows the end of the segment"));
                }
                if self.segment == self.last_segment {
                    // The process ended between the seal and the next segment's header.
                    self.tail = Tail::Open;
                    self.at = self.block_end;
                    self.sealed = true;
                    return Ok(false);
                }
                self.load(self.segment + 1)?;
                continue;
            }
            if header.bytes > 0 {
                return Ok(true);
            }
            self.at = self.block_end;
        }
    }

    /// A block whose header is good and whose content is not: names the first bad record.
    fn bad_block(&mut self, header: BlockHeader) -> Result<bool, Fault> {
        if self.is_torn_tail(self.at + BLOCK_HEADER_BYTES + header.bytes as usize) {
            return self.torn();
        }
        let mut at = self.at + BLOCK_HEADER_BYTES;
        let end = at + header.bytes as usize;
        while at < end {
            match read_record(&self.bytes[at..end]) {
                Ok((message, length)) => {
                    self.note_seq(&message);
                    at += length;
                }
                Err(reason) => return Err(self.damaged(at, reason)),
            }
        }
        Err(self.damaged(self.at, "the block does not belong to the chain"))
    }

    /// Neither header nor zeros: the tail was torn, or the middle is damaged.
    fn end_or_fault(&mut self) -> Result<bool, Fault> {
        let rest = &self.bytes[self.at..];
        if self.segment == self.last_segment && rest.iter().all(|&b| b == 0) {
            self.tail = Tail::Open;
            return Ok(false);
        }
        if self.is_torn_tail(self.at + 1) {
            return self.torn();
        }
        Err(self.damaged(self.at, "the block's header fails its checksum"))
    }

    fn torn(&mut self) -> Result<bool, Fault> {
        let bytes = self.bytes[self.at..].iter().rposition(|&b| b != 0).map_or(0, |last| last as u64 + 1);
        self.tail = Tail::Torn { segment: self.segment, offset: self.at as u64, bytes };
        Ok(false)
    }

    /// True where nothing good comes after `from`: then the damage is the block that was being written.
    fn is_torn_tail(&self, from: usize) -> bool {
        if self.segment != self.last_segment {
            return false;
        }
        let mut at = from.next_multiple_of(8);
        while at + BLOCK_HEADER_BYTES <= self.bytes.len() {
            if BlockHeader::read(&self.bytes[at..]).is_some() {
                return false;
            }
            at += 8;
        }
        true
    }

    fn note_seq(&mut self, message: &Message) {
        if message.kind().is_some_and(Kind::is_input) {
            self.seq = message.header.seq;
        }
    }

    fn step(&mut self) -> Result<Option<Record>, Fault> {
        if self.at == self.block_end && !self.next_block()? {
            return Ok(None);
        }
        let offset = self.at;
        let (message, length) = read_record(&self.bytes[offset..self.block_end])
            .map_err(|reason| self.damaged(offset, reason))?;
        let Some(kind) = message.kind() else {
            return Err(self.damaged(offset, "a record of a kind this build does not know"));
        };
        if kind.is_input() {
            if message.header.seq != self.seq + 1 || message.header.time <= self.time {
                return Err(self.damaged(offset, "the input is out of order"));
            }
            self.seq = message.header.seq;
            self.time = message.header.time;
        }
        self.at += length;
        Ok(Some(Record { message, segment: self.segment, offset: offset as u64 }))
    }
}

/// The last segment there is from `first` on, without a gap.
fn last_segment(folder: &Path, first: u64) -> Result<u64, Fault> {
    let mut last = first - 1;
    while archive::has_segment(folder, last + 1) {
        last += 1;
    }
    last_written_segment(folder, last)
}

/// The last segment that has a header. The next one is made ahead, all zeros, and counts only once it has one.
fn last_written_segment(folder: &Path, contiguous: u64) -> Result<u64, Fault> {
    let highest = highest_segment(folder)?;
    if highest == 0 || highest < contiguous {
        return Ok(contiguous);
    }
    let path = folder.join(segment_name(highest));
    if !files::exists(&path) {
        return Ok(highest); // compressed: it was sealed
    }
    let start =
        files::read_start(&path, SEGMENT_HEADER_BYTES).map_err(|source| Fault::Io { path, source })?;
    let prepared = highest > 1 && start.iter().all(|&b| b == 0);
    Ok(if prepared { highest - 1 } else { highest })
}

fn highest_segment(folder: &Path) -> Result<u64, Fault> {
    let names = files::names_in(folder).map_err(|source| Fault::Io { path: folder.to_owned(), source })?;
    let numbers = names.iter().filter_map(|name| archive::segment_number(name));
    Ok(numbers.max().unwrap_or(0))
}

impl Iterator for JournalReader {
    type Item = Result<Record, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let step = self.step().transpose();
        self.done = !matches!(step, Some(Ok(_)));
        step
    }
}

#[cfg(test)]
mod tests;
