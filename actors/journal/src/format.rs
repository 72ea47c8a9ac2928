//! What is on disk. Little-endian throughout.
//!
//! A segment is a header of 4,096 bytes and blocks behind one another. A block is a header of 96 bytes and records;
//! its chain hash covers the hash before it, so that a block cannot be taken out or exchanged. A record is a length, a
//! CRC32C over what follows it, seq, time, kind and flags, and as many words of the body as are not zero at the end.

use bytemuck::{Pod, Zeroable};
use kimera_protocol::message::{BODY_WORDS, SCHEMA};
use kimera_protocol::{Header, Message, Seq};

/// First eight bytes of a segment.
pub const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"KIMERAJ1");
/// First four bytes of a block.
pub const BLOCK_MAGIC: u32 = u32::from_le_bytes(*b"KBLK");
/// Bytes of a segment's header.
pub const SEGMENT_HEADER_BYTES: usize = 4_096;
/// Bytes of a block's header.
pub const BLOCK_HEADER_BYTES: usize = 96;
/// Bytes of a record without its body.
pub const RECORD_HEADER_BYTES: usize = 32;
/// Bytes of the largest record.
pub const RECORD_BYTES_MAX: usize = RECORD_HEADER_BYTES + BODY_WORDS * 8;
/// Block flag: the journal ends here, in order.
pub const BLOCK_END: u32 = 1;
/// Block flag: the segment ends here and another follows.
pub const BLOCK_SEALED: u32 = 2;
/// Replay of a journal of another epoch is refused: the actors' arithmetic has changed.
pub const CODE_EPOCH: u64 = 13;

/// The first bytes of a segment; the rest of its 4,096 are zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct SegmentHeader {
    /// [`SEGMENT_MAGIC`].
    pub magic: u64,
    /// [`SCHEMA`] of the messages.
    pub schema: u64,
    /// Counts from 1.
    pub number: u64,
    /// Engine start that wrote it.
    pub incarnation: u64,
    /// First input that may be in it.
    pub first_seq: Seq,
    /// Chain hash of the last block before it.
    pub chain: [u8; 32],
    /// CRC32C of the bytes before.
    pub crc: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<SegmentHeader>() == 80);

impl SegmentHeader {
    /// A header with its checksum.
    #[must_use]
    pub fn new(number: u64, incarnation: u64, first_seq: Seq, chain: [u8; 32]) -> Self {
        let mut header = Self {
            magic: SEGMENT_MAGIC,
            schema: u64::from(SCHEMA),
            number,
            incarnation,
            first_seq,
            chain,
            crc: 0,
            reserved: 0,
        };
        header.crc = header.checksum();
        header
    }

    fn checksum(&self) -> u32 {
        crc32c::crc32c(&bytemuck::bytes_of(self)[..72])
    }

    /// The header at the start of a segment, or what is wrong with it.
    ///
    /// # Errors
    /// A reason, for people.
    pub fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        let Some(start) = bytes.get(..SEGMENT_HEADER_BYTES) else {
            return Err("the segment is shorter than its header");
        };
        let header: Self = bytemuck::pod_read_unaligned(&start[..size_of::<Self>()]);
        if header.magic != SEGMENT_MAGIC {
            return Err("the segment does not start with the journal's mark");
        }
        if header.crc != header.checksum()
            || header.reserved != 0
            || start[size_of::<Self>()..].iter().any(|&b| b != 0)
        {
            return Err("the segment's header fails its checksum");
        }
        if header.schema != u64::from(SCHEMA) {
            return Err("the segment was written by another schema of messages");
        }
        Ok(header)
    }
}

/// The first bytes of a block.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct BlockHeader {
    /// [`BLOCK_MAGIC`].
    pub magic: u32,
    /// [`BLOCK_END`], [`BLOCK_SEALED`].
    pub flags: u32,
    /// Bytes of the records.
    pub bytes: u32,
    /// Records.
    pub records: u32,
    /// Counts from 1 over the whole journal.
    pub number: u64,
    /// Last input in this block or before it.
    pub last_seq: Seq,
    /// BLAKE3 of the chain hash before, the fields above and the records.
    pub chain: [u8; 32],
    /// Zero.
    pub reserved: [u64; 3],
    /// CRC32C of the bytes before.
    pub crc: u32,
    /// Zero.
    pub reserved_tail: u32,
}

const _: () = assert!(size_of::<BlockHeader>() == BLOCK_HEADER_BYTES);

impl BlockHeader {
    /// The chain hash of a block with these fields and records.
    #[must_use]
    pub fn chain_of(&self, before: &[u8; 32], records: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(before);
        hasher.update(&bytemuck::bytes_of(self)[..32]);
        hasher.update(records);
        *hasher.finalize().as_bytes()
    }

    /// Fills in chain hash and checksum.
    pub fn seal(&mut self, before: &[u8; 32], records: &[u8]) {
        self.chain = self.chain_of(before, records);
        self.crc = self.checksum();
    }

    fn checksum(&self) -> u32 {
        crc32c::crc32c(&bytemuck::bytes_of(self)[..88])
    }

    /// The header at the start of `bytes`, where there is a good one.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let header: Self = bytemuck::pod_read_unaligned(bytes.get(..BLOCK_HEADER_BYTES)?);
        let good = header.magic == BLOCK_MAGIC
            && header.crc == header.checksum()
            && header.reserved_tail == 0
            && header.reserved == [0; 3];
        good.then_some(header)
    }
}

/// Appends a message as a record.
#[inline]
pub fn write_record(message: &Message, out: &mut Vec<u8>) {
    let body = message.words();
    let used = body.iter().rposition(|&w| w != 0).map_or(0, |last| last + 1);
    let length = RECORD_HEADER_BYTES + used * 8;
    let [seq, time, _ingress, meta] = *message.header.words();
    let mut record = [0u8; RECORD_BYTES_MAX];
    record[..4].copy_from_slice(&(length as u32).to_le_bytes());
    record[8..16].copy_from_slice(&seq.to_le_bytes());
    record[16..24].copy_from_slice(&time.to_le_bytes());
    record[24..32].copy_from_slice(&meta.to_le_bytes());
    record[RECORD_HEADER_BYTES..length].copy_from_slice(bytemuck::cast_slice(&body[..used]));
    let crc = crc32c::crc32c(&record[8..length]);
    record[4..8].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&record[..length]);
}

/// The record at the start of `bytes` and its length, or what is wrong with it.
///
/// # Errors
/// A reason, for people.
pub fn read_record(bytes: &[u8]) -> Result<(Message, usize), &'static str> {
    let Some(head) = bytes.first_chunk::<RECORD_HEADER_BYTES>() else { return Err("the record is cut off") };
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| head[at + i]));
    let (length, crc) = ((word(0) & 0xFFFF_FFFF) as usize, (word(0) >> 32) as u32);
    if !(RECORD_HEADER_BYTES..=RECORD_BYTES_MAX).contains(&length) || !length.is_multiple_of(8) {
        return Err("the record's length is impossible");
    }
    let Some(record) = bytes.get(..length) else { return Err("the record is cut off") };
    if crc32c::crc32c(&record[8..]) != crc {
        return Err("the record fails its checksum");
    }
    let mut words = [0u64; BODY_WORDS];
    bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..length - RECORD_HEADER_BYTES]
        .copy_from_slice(&record[RECORD_HEADER_BYTES..]);
    let header: Header = bytemuck::must_cast([word(8), word(16), 0, word(24)]);
    Ok((Message::from_words(header, words), length))
}

/// Name of a segment's file.
#[must_use]
pub fn segment_name(number: u64) -> String {
    format!("{number:06}.kj")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::{InstrumentId, Kind};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_is_the_message_without_its_ingress_stamp(words in prop::array::uniform12(prop_oneof![Just(0u64), any::<u64>()]), seq: u64, time: i64) {
            let mut header = Header::unsequenced(Kind::Levels, InstrumentId(7));
            (header.seq, header.time, header.count) = (seq, time, 3);
            let message = Message::from_words(header, words);
            let mut with_ingress = message;
            with_ingress.header.ingress = 99;
            let mut bytes = Vec::new();
            write_record(&with_ingress, &mut bytes);
            prop_assert_eq!(read_record(&bytes), Ok((message, bytes.len())));
        }

        #[test]
        fn a_flipped_bit_is_noticed(bit in 0usize..128 * 8) {
            let message = Message::from_words(Header { seq: 5, ..Header::default() }, [1; BODY_WORDS]);
            let mut bytes = Vec::new();
            write_record(&message, &mut bytes);
            prop_assert_eq!(bytes.len(), RECORD_BYTES_MAX);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(read_record(&bytes).is_err());
        }
    }
}
