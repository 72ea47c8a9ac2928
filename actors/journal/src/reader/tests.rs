//! Whole journals: written by the agent, read back, damaged on purpose.

use std::sync::Arc;

use kimera_protocol::{Checkpoint, Header, Levels, Ticker};
use kimera_runtime::durability::{Durability, Wait};
use kimera_runtime::ring::ring;
use kimera_runtime::seat::PortInlet;
use kimera_runtime::{Agent, Counters, Frontier, Outlet, Port, Ports};
use proptest::prelude::*;

use super::*;
use crate::writer::{Journal, JournalConfig};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kimera-journal-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn segment(&self, number: u64) -> PathBuf {
        self.0.join(segment_name(number))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn input(seq: u64) -> Message {
    let header = Header { seq, time: seq as i64 * 10, ..Header::default() };
    if seq.is_multiple_of(3) {
        Message::new(header, Levels::default())
    } else {
        Message::new(header, Ticker { update_id: seq, ..Ticker::default() })
    }
}

fn config_of(folder: &Folder, incarnation: u64) -> JournalConfig {
    JournalConfig {
        folder: folder.0.clone(),
        segment_bytes: 64 << 10,
        commit_interval: 0,
        reserve_bytes: 0,
        incarnation,
        durability: Durability::new(Wait::Gated, std::time::Duration::from_secs(2)),
    }
}

/// The ends of two rings into a journal, and its own ends.
fn two_inlets(frontier: Arc<Frontier>) -> (Outlet, Outlet, Ports) {
    let edge = || {
        let (outlet, inlet) = ring(64);
        (outlet, PortInlet { from: String::new(), port: Port::Record, inlet, writer: Frontier::new() })
    };
    let ((one, first), (other, second)): ((Outlet, _), (Outlet, _)) = (edge(), edge());
    let inlets = vec![first, second];
    (one, other, Ports { name: "journal".into(), seat: 0, inlets, outlets: vec![], frontier })
}

/// A journal of `inputs` inputs and a checkpoint every hundred; `close` says whether it is ended in order.
fn write(folder: &Folder, inputs: u64, segment_bytes: u64, close: bool) -> Arc<Frontier> {
    let config = JournalConfig { segment_bytes, ..config_of(folder, 1) };
    let (journal, _) = Journal::create(config, &Counters::detached(), Arc::default()).unwrap();
    write_to(journal, 0, inputs, close)
}

/// Goes on with a journal up to `inputs` inputs, as a later start.
fn go_on(folder: &Folder, missing: &[Message], inputs: u64, close: bool) {
    let mut reader = JournalReader::open(&folder.0).unwrap();
    assert!(reader.by_ref().all(|record| record.is_ok()));
    let at = reader.resume_point();
    let config = config_of(folder, 2);
    let (journal, _) = Journal::resume(config, &at, missing, &Counters::detached(), Arc::default()).unwrap();
    write_to(journal, at.seq, inputs, close);
}

fn write_to(mut journal: Journal, mut seq: u64, inputs: u64, close: bool) -> Arc<Frontier> {
    let frontier = Frontier::new();
    let (mut door, mut seat, mut ports) = two_inlets(frontier.clone());
    while seq < inputs {
        while seq < inputs && door.push(&input(seq + 1)) {
            seq += 1;
            if seq.is_multiple_of(100) {
                let header = Header { seq, ..Header::default() };
                let _ =
                    seat.push(&Message::new(header, Checkpoint { boundary: seq, ..Checkpoint::default() }));
            }
        }
        journal.duty_cycle(&mut ports);
    }
    while !journal.is_quiet() || ports.inlets.iter().any(|i| i.inlet.peek().is_some()) {
        journal.duty_cycle(&mut ports);
    }
    if close {
        journal.stop(&mut ports);
    }
    frontier
}

fn read(folder: &Folder) -> (Vec<Message>, Result<Tail, Fault>) {
    let mut reader = match JournalReader::open(&folder.0) {
        Ok(reader) => reader,
        Err(fault) => return (Vec::new(), Err(fault)),
    };
    let mut messages = Vec::new();
    for record in reader.by_ref() {
        match record {
            Ok(record) => messages.push(record.message),
            Err(fault) => return (messages, Err(fault)),
        }
    }
    (messages, Ok(reader.tail().clone()))
}

#[test]
fn what_is_written_is_read_over_several_segments() {
    let folder = Folder::new("segments");
    let frontier = write(&folder, 5_000, 64 << 10, true);
    assert_eq!(frontier.get(), 5_000);
    let (messages, tail) = read(&folder);
    assert_eq!(tail.unwrap(), Tail::Closed);
    let inputs: Vec<_> = messages.iter().filter(|m| m.kind().unwrap().is_input()).collect();
    assert_eq!(inputs.len(), 5_000);
    assert!(inputs.iter().zip(1..).all(|(m, seq)| **m == input(seq)));
    assert_eq!(messages.len(), 5_050);
    assert!(JournalReader::open(&folder.0).unwrap().segments() > 3);
}

/// A seat may be quicker than the journal's way round its rings: its first words wait there before the start they belong to.
#[test]
fn nothing_of_a_start_is_written_before_it() {
    let folder = Folder::new("start-first");
    write(&folder, 7, 64 << 10, false);
    let mut reader = JournalReader::open(&folder.0).unwrap();
    assert!(reader.by_ref().all(|record| record.is_ok()));
    let at = reader.resume_point();
    let (config, counters) = (config_of(&folder, 2), Counters::detached());
    let (mut journal, _) = Journal::resume(config, &at, &[], &counters, Arc::default()).unwrap();
    let (mut seat, mut door, mut ports) = two_inlets(Frontier::new());
    let said = Message::new(Header { seq: 20, ..Header::default() }, Checkpoint::default());
    assert!(seat.push(&said), "of the inlet that is looked at first");
    journal.duty_cycle(&mut ports);
    assert!((8..=20).all(|seq| door.push(&input(seq))));
    journal.stop(&mut ports);
    let (messages, tail) = read(&folder);
    assert_eq!(tail.unwrap(), Tail::Closed);
    let behind: Vec<_> = messages[7..].iter().map(|m| (m.kind().unwrap().is_input(), m.header.seq)).collect();
    assert_eq!(behind.len(), 14, "{behind:?}");
    assert_eq!(behind[0], (true, 8));
    assert!(behind.contains(&(false, 20)));
}

#[test]
fn a_journal_that_was_not_closed_is_open_or_torn() {
    let folder = Folder::new("open");
    write(&folder, 500, 1 << 20, false);
    let (messages, tail) = read(&folder);
    assert_eq!((messages.len(), tail.unwrap()), (505, Tail::Open));
    // Cut the last block off in the middle, as a crash would.
    let path = folder.segment(1);
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|&b| b != 0).unwrap();
    bytes[end - 20..].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    let (messages, tail) = read(&folder);
    assert!(messages.len() < 505);
    assert!(matches!(tail.unwrap(), Tail::Torn { segment: 1, .. }));
}

/// Kills in the middle of a segment, with the next one made ahead, and around a seal.
#[test]
fn a_crash_around_segments_is_a_tail_not_damage() {
    let folder = Folder::new("seal");
    write(&folder, 5_000, 64 << 10, false);
    let mut numbers: Vec<u64> = (1..100).filter(|n| folder.segment(*n).exists()).collect();
    let prepared = |n: u64| std::fs::read(folder.segment(n)).unwrap()[..64].iter().all(|&b| b == 0);
    if prepared(*numbers.last().unwrap()) {
        numbers.pop();
    }
    let last = *numbers.last().unwrap();
    assert!(last > 2);
    let good = read(&folder);
    assert_eq!((good.0.len(), good.1.unwrap()), (5_050, Tail::Open));
    // A block being written in the last segment while the next one is prepared.
    std::fs::write(folder.segment(last + 1), vec![0u8; 64 << 10]).unwrap();
    let bytes = std::fs::read(folder.segment(last)).unwrap();
    let end = bytes.iter().rposition(|&b| b != 0).unwrap();
    let mut torn = bytes.clone();
    torn[end - 20..].fill(0);
    std::fs::write(folder.segment(last), &torn).unwrap();
    assert!(matches!(read(&folder).1, Ok(Tail::Torn { segment, .. }) if segment == last));
    // Sealed, and killed before the next segment had its header; with and without what was reserved behind the seal.
    std::fs::write(folder.segment(last), vec![0u8; 64 << 10]).unwrap();
    std::fs::remove_file(folder.segment(last + 1)).unwrap();
    assert_eq!(read(&folder).1.unwrap(), Tail::Open);
    let mut sealed = std::fs::read(folder.segment(last - 1)).unwrap();
    sealed.resize(64 << 10, 0);
    std::fs::write(folder.segment(last - 1), &sealed).unwrap();
    assert_eq!(read(&folder).1.unwrap(), Tail::Open);
    std::fs::remove_file(folder.segment(last)).unwrap();
    assert_eq!(read(&folder).1.unwrap(), Tail::Open);
}

#[test]
fn a_later_start_goes_on_behind_the_last_good_block() {
    for (name, close) in [("closed", true), ("cut", false)] {
        let folder = Folder::new(&format!("resume-{name}"));
        write(&folder, 1_500, 64 << 10, close);
        if !close {
            // Torn: half a block of nonsense behind the last good one.
            let mut reader = JournalReader::open(&folder.0).unwrap();
            assert!(reader.by_ref().all(|record| record.is_ok()));
            let at = reader.resume_point();
            let path = folder.segment(at.segment);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[at.offset as usize..at.offset as usize + 300].fill(0xAB);
            std::fs::write(&path, bytes).unwrap();
            assert!(matches!(read(&folder).1.unwrap(), Tail::Torn { .. }));
        }
        let missing = [Message::new(Header { seq: 1_500, ..Header::default() }, Checkpoint::default())];
        go_on(&folder, &missing, 2_000, false);
        go_on(&folder, &[], 2_600, true);
        let (messages, tail) = read(&folder);
        assert_eq!(tail.unwrap(), Tail::Closed, "{name}");
        let inputs: Vec<_> = messages.iter().filter(|m| m.kind().unwrap().is_input()).collect();
        assert!(inputs.len() == 2_600 && inputs.iter().zip(1..).all(|(m, seq)| **m == input(seq)), "{name}");
        assert!(messages.contains(&missing[0]), "{name}");
        // What was written before is guarded as before.
        let first = folder.segment(1);
        let mut bytes = std::fs::read(&first).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        std::fs::write(&first, bytes).unwrap();
        assert!(matches!(read(&folder).1, Err(Fault::Damaged { segment: 1, .. })), "{name}");
    }
}

#[test]
fn a_missing_segment_is_named() {
    let folder = Folder::new("missing");
    write(&folder, 5_000, 64 << 10, true);
    std::fs::remove_file(folder.segment(2)).unwrap();
    let (_, tail) = read(&folder);
    assert!(matches!(tail, Err(Fault::MissingSegment { segment: 2, .. })));
    std::fs::remove_file(folder.segment(1)).unwrap();
    assert!(matches!(read(&folder).1, Err(Fault::MissingSegment { segment: 1, .. })));
    assert!(matches!(JournalReader::open(Path::new("/nowhere")), Err(Fault::Io { .. })));
}

#[test]
fn the_first_bad_record_is_named() {
    let folder = Folder::new("named");
    write(&folder, 500, 1 << 20, true);
    let mut reader = JournalReader::open(&folder.0).unwrap();
    let victim = reader.find(|r| r.as_ref().is_ok_and(|r| r.message.header.seq == 322)).unwrap().unwrap();
    let path = folder.segment(victim.segment);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[victim.offset as usize + 40] ^= 4;
    std::fs::write(&path, &bytes).unwrap();
    match read(&folder).1 {
        Err(Fault::Damaged { segment, offset, seq, .. }) => {
            assert_eq!((segment, offset, seq), (victim.segment, victim.offset, 322));
        }
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_flipped_bit_of_a_closed_journal_is_detected(place in any::<prop::sample::Index>(), bit in 0u8..8) {
        static BYTES: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let clean = BYTES.get_or_init(|| {
            let folder = Folder::new("flip-source");
            write(&folder, 300, 1 << 20, true);
            std::fs::read(folder.segment(1)).unwrap()
        });
        let folder = Folder::new("flip");
        std::fs::create_dir_all(&folder.0).unwrap();
        let mut bytes = clean.clone();
        let at = place.index(bytes.len());
        bytes[at] ^= 1 << bit;
        std::fs::write(folder.segment(1), &bytes).unwrap();
        let (_, tail) = read(&folder);
        prop_assert!(!matches!(tail, Ok(Tail::Closed)), "byte {at}");
    }
}

/// Puts a journal that lies on the machine into the world that has been entered.
fn into_world(folder: &Folder) -> PathBuf {
    let there = PathBuf::from("/engine/journal");
    files::create_dir_all(&there).unwrap();
    for number in (1..).take_while(|n| folder.segment(*n).exists()) {
        let mut file = files::File::create(&there.join(segment_name(number))).unwrap();
        file.write_all(&std::fs::read(folder.segment(number)).unwrap()).unwrap();
        file.sync_data().unwrap();
    }
    there
}

#[test]
fn every_flipped_byte_of_sealed_segments_is_detected() {
    let folder = Folder::new("flip-all");
    write(&folder, 1_200, 32 << 10, true);
    let _entered = kimera_runtime::world::enter(1);
    let there = into_world(&folder);
    let read = || {
        let mut reader = JournalReader::open(&there)?;
        reader.by_ref().try_for_each(|record| record.map(drop))?;
        Ok::<Tail, Fault>(reader.tail().clone())
    };
    assert_eq!(read().unwrap(), Tail::Closed);
    let segments = JournalReader::open(&there).unwrap().segments();
    assert!(segments >= 2);
    let mut flipped = 0;
    for number in 1..=segments {
        let path = there.join(segment_name(number));
        let length = files::read(&path).unwrap().len();
        // A zero of the header's padding is like another: every seventeenth of them will do.
        for at in (0..length).filter(|at| !(128..SEGMENT_HEADER_BYTES).contains(at) || at % 17 == 0) {
            let flip = || kimera_runtime::world::with_disk(|disk, _, _| disk.flip(&path, at)).unwrap();
            assert!(flip());
            assert!(!matches!(read(), Ok(Tail::Closed)), "segment {number}, byte {at}");
            assert!(flip());
            flipped += 1;
        }
    }
    assert_eq!(read().unwrap(), Tail::Closed);
    assert!(flipped > 30_000, "{flipped}");
}

/// A block is being written when the power fails: whichever of its sectors are on disk, what was durable before is read,
/// the block is there whole or not at all, and nothing is taken for damage.
#[test]
fn every_legal_crash_state_of_a_block_is_a_tail() {
    let (before, after) = (Folder::new("crash-before"), Folder::new("crash-after"));
    write(&before, 500, 1 << 20, false);
    std::fs::create_dir_all(&after.0).unwrap();
    std::fs::copy(before.segment(1), after.segment(1)).unwrap();
    let good = read(&before).0.len();
    // One more block, of 90 inputs: some ten sectors.
    let bytes = std::fs::read(before.segment(1)).unwrap();
    let mut reader = JournalReader::open(&before.0).unwrap();
    assert!(reader.by_ref().all(|record| record.is_ok()));
    let at = reader.resume_point();
    let mut block = vec![0; BLOCK_HEADER_BYTES];
    for seq in 501..=590 {
        crate::format::write_record(&input(seq), &mut block);
    }
    let mut header = BlockHeader {
        magic: crate::format::BLOCK_MAGIC,
        bytes: (block.len() - BLOCK_HEADER_BYTES) as u32,
        records: 90,
        number: at.block_number + 1,
        last_seq: 590,
        ..BlockHeader::default()
    };
    header.seal(&at.chain, &block[BLOCK_HEADER_BYTES..]);
    block[..BLOCK_HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&header));
    let _entered = kimera_runtime::world::enter(1);
    let there = into_world(&before);
    let path = there.join(segment_name(1));
    files::File::open(&path).unwrap().write_all_at(&block, at.offset).unwrap();
    let states =
        kimera_runtime::world::with_disk(|disk, _, _| disk.crash_states(&path, 1 << 13)).flatten().unwrap();
    assert!(states.len() >= 1 << 8, "{}", states.len());
    let (mut whole, mut none) = (0, 0);
    for state in states {
        assert!(state[..at.offset as usize] == bytes[..at.offset as usize]);
        files::File::create(&path).unwrap().write_all(&state).unwrap();
        let mut reader = JournalReader::open(&there).unwrap();
        let records = reader.by_ref().map(Result::unwrap).count();
        match (records - good, reader.tail()) {
            (90, Tail::Open) => whole += 1,
            (0, Tail::Open | Tail::Torn { segment: 1, .. }) => none += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(whole == 1 && none >= 255, "{whole} {none}");
}

fn all(reader: &mut JournalReader) -> Vec<Message> {
    reader.by_ref().map(|record| record.unwrap().message).collect()
}

#[test]
fn a_follower_sees_everything_once_however_little_is_written_at_a_time() {
    let (whole, grown) = (Folder::new("whole"), Folder::new("grown"));
    write(&whole, 3_000, 64 << 10, false);
    go_on(&whole, &[], 3_500, true);
    let expected = all(&mut JournalReader::open(&whole.0).unwrap());
    let segments = JournalReader::open(&whole.0).unwrap().segments();
    assert!(segments > 2);
    for step in [97, 1_000, 70_000] {
        std::fs::create_dir_all(&grown.0).unwrap();
        let (mut follower, mut seen) = (None, Vec::new());
        for number in 1..=segments {
            let bytes = std::fs::read(whole.segment(number)).unwrap();
            let mut file = vec![0; (64 << 10).max(bytes.len())];
            let mut written = SEGMENT_HEADER_BYTES;
            loop {
                file[..written].copy_from_slice(&bytes[..written]);
                let sealed = written == bytes.len();
                std::fs::write(grown.segment(number), if sealed { &bytes } else { &file }).unwrap();
                let reader =
                    follower.get_or_insert_with(|| JournalReader::open(&grown.0).unwrap().following());
                // A block that is half there looks torn: nothing comes of it before it is whole.
                while reader.look_again().unwrap() {
                    let more = all(reader);
                    if more.is_empty() {
                        break;
                    }
                    seen.extend(more);
                }
                if sealed {
                    break;
                }
                written = (written + step).min(bytes.len());
            }
        }
        assert!(seen == expected, "step {step}: {} of {}", seen.len(), expected.len());
        assert_eq!(follower.unwrap().tail(), &Tail::Closed);
        std::fs::remove_dir_all(&grown.0).unwrap();
    }
}

#[test]
fn a_journal_is_read_from_any_segment_whose_place_in_the_chain_is_known() {
    let folder = Folder::new("middle");
    write(&folder, 3_000, 64 << 10, true);
    let (mut reader, mut starts, mut seen) =
        (JournalReader::open(&folder.0).unwrap(), Vec::new(), Vec::new());
    while let Some(record) = reader.next() {
        seen.push(record.unwrap());
        let start = reader.segment_start().clone();
        if starts.last() != Some(&start) {
            starts.push(start);
        }
    }
    assert!(starts.len() > 2);
    for start in &starts {
        // The segments before it are not needed.
        for gone in 1..start.segment {
            let _ = std::fs::remove_file(folder.segment(gone));
        }
        let from: Vec<Record> = seen.iter().copied().filter(|r| r.segment >= start.segment).collect();
        let read: Vec<Record> =
            JournalReader::open_at(&folder.0, start).unwrap().map(|record| record.unwrap()).collect();
        assert!(read == from, "segment {}", start.segment);
        let other = SegmentStart { chain: [7; 32], ..start.clone() };
        let fault =
            JournalReader::open_at(&folder.0, &other).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(fault.contains("does not follow"), "{fault}");
    }
}

#[test]
fn compressed_and_retired_segments_leave_a_journal_that_is_checked_as_before() {
    let folder = Folder::new("archive");
    write(&folder, 3_000, 64 << 10, true);
    let whole: Vec<Record> = JournalReader::open(&folder.0).unwrap().map(|r| r.unwrap()).collect();
    let last = JournalReader::open(&folder.0).unwrap().segments();
    for number in 1..last {
        archive::compress(&folder.0, number).unwrap();
        assert!(!folder.segment(number).exists());
    }
    let read =
        |folder: &Folder| JournalReader::open(&folder.0).unwrap().map(|r| r.unwrap()).collect::<Vec<_>>();
    assert!(read(&folder) == whole);
    let packed = folder.0.join("000002.kj.gz");
    let good = std::fs::read(&packed).unwrap();
    for at in (20..good.len()).step_by(good.len() / 40) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&packed, bad).unwrap();
        let mut reader = JournalReader::open(&folder.0).unwrap();
        assert!(reader.by_ref().any(|r| r.is_err()), "byte {at}");
    }
    std::fs::write(&packed, good).unwrap();
    let mut reader = JournalReader::open(&folder.0).unwrap();
    let at = reader.by_ref().find(|r| r.as_ref().unwrap().segment == 3).unwrap().unwrap();
    let start = reader.segment_start().clone();
    assert_eq!((at.segment, start.segment), (3, 3));
    let first = std::fs::read(folder.0.join("000001.kj.gz")).unwrap();
    assert_eq!(archive::retire(&folder.0, &start).unwrap(), 2);
    // As after a process that ended in the middle of it.
    std::fs::write(folder.0.join("000001.kj.gz"), first).unwrap();
    assert!(read(&folder) == whole.iter().copied().filter(|r| r.segment >= 3).collect::<Vec<_>>());
    let begins = folder.0.join("begins");
    let text = std::fs::read_to_string(&begins).unwrap();
    std::fs::write(&begins, text.replacen(' ', " 00", 1)).unwrap();
    assert!(JournalReader::open(&folder.0).is_err(), "a beginning that is none");
}
