//! State of a whole line behind an input: taken where everything is at rest, kept in a file with a manifest that names every
//! part by its hash and the place in the journal it belongs to.
//!
//! A snapshot is valid once its manifest has its name: it is written, synced and renamed last. It is used only where the
//! journal still holds the very block it was taken behind.

use std::path::{Path, PathBuf};

use kimera_journal::format::CODE_EPOCH;
use kimera_journal::{JournalReader, SegmentStart};
use kimera_protocol::state::STATE_SCHEMA;
use kimera_protocol::{Absent, Kind, Loader, Message, Nanos, Saver, Seq, StateError};
use kimera_runtime::files::{self, File};
use kimera_runtime::seat::Cell;
use kimera_runtime::topology::{Frontiers, SEQUENCER};
use kimera_sequencer::DoorState;
use serde::{Deserialize, Serialize};

use crate::exit::Failure;
use crate::orders::OrderTable;
use crate::replay::as_failure;
use crate::report::SCHEMA_VERSION;
use crate::state::replace;

/// Name of the part with the orders.
const ORDERS: &str = "orders";

/// Brings a state one schema further.
type Migration = fn(&mut LineState) -> Result<(), Failure>;

/// The way from each older schema to the next one: whoever changes the listed fields of an actor counts [`STATE_SCHEMA`] up
/// and adds a step here.
const MIGRATIONS: &[(u64, Migration)] = &[];

/// The steps from a schema to ours; none where there is no way.
fn steps(from: u64) -> Option<Vec<Migration>> {
    let step = |schema| MIGRATIONS.iter().find(|(of, _)| *of == schema).map(|(_, migration)| *migration);
    (from <= STATE_SCHEMA).then(|| (from..STATE_SCHEMA).map(step).collect())?
}

/// State of a line behind an input.
#[derive(Clone, Debug, PartialEq)]
pub struct LineState {
    /// The input.
    pub seq: Seq,
    /// Its market time.
    pub time: Nanos,
    /// Who was out, and what is left out.
    pub absences: Vec<Absent>,
    /// State by seat.
    parts: Vec<(String, Vec<u8>)>,
}

/// A part of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Seat, or `orders`.
    pub name: String,
    /// Bytes in the file.
    pub bytes: usize,
    /// BLAKE3 of them.
    pub blake3: String,
}

/// Where the journal was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Segment that holds the input.
    pub segment: u64,
    /// Chain hash before that segment.
    pub segment_chain: String,
    /// Blocks before it.
    pub segment_blocks: u64,
    /// Chain hash of the block that holds the input.
    pub chain: String,
}

/// What makes a snapshot valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Arithmetic of the actors.
    pub code_epoch: u64,
    /// Encoding of their state.
    pub state_schema: u64,
    /// BLAKE3 of the configuration.
    pub configuration: String,
    /// Last input in it.
    pub seq: Seq,
    /// Its market time.
    pub time: Nanos,
    /// Where the journal was.
    pub place: Place,
    /// Seat index, first and last input without an answer, 1 where it is left out.
    pub absences: Vec<(u64, Seq, Seq, u64)>,
    /// Parts, in the order of the file.
    pub parts: Vec<Part>,
}

/// A snapshot on disk.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What it says of itself.
    pub manifest: Manifest,
    /// State of the line.
    pub state: LineState,
}

/// A hash in hexadecimal digits.
#[must_use]
pub fn hex(hash: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

/// A hash from 64 hexadecimal digits.
#[must_use]
pub fn unhex(text: &str) -> Option<[u8; 32]> {
    blake3::Hash::from_hex(text).ok().map(Into::into)
}

impl LineState {
    /// Takes the state of a line at rest. None where somebody's seat is empty.
    #[must_use]
    pub fn take(
        cells: &[Box<dyn Cell>],
        door: &DoorState,
        orders: &OrderTable,
        frontiers: &Frontiers,
    ) -> Option<Self> {
        let mut parts = vec![(SEQUENCER.to_owned(), Saver::of(door)), (ORDERS.to_owned(), Saver::of(orders))];
        for cell in cells.iter().filter(|cell| cell.is_sealed()) {
            parts.push((cell.name().to_owned(), cell.save()?));
        }
        Some(Self { seq: door.seq, time: door.time, absences: frontiers.absences(), parts })
    }

    fn part(&self, name: &str) -> Result<Loader<'_>, Failure> {
        let part = self.parts.iter().find(|(part, _)| part == name);
        let missing = || Failure::data(format!("the snapshot has no part \"{name}\""));
        Ok(Loader::new(&part.ok_or_else(missing)?.1))
    }

    /// Puts the state into a line that was built from the same configuration; what the door knows is given back.
    ///
    /// # Errors
    /// Parts that are missing or do not fit. The line is not to be used then.
    pub fn put(&self, cells: &mut [Box<dyn Cell>], frontiers: &Frontiers) -> Result<DoorState, Failure> {
        let wrong = |name: &str, e| {
            let what = format!("the snapshot's part \"{name}\": {e}");
            if matches!(e, StateError::Missing { .. }) { Failure::missing(what) } else { Failure::data(what) }
        };
        self.absences.iter().for_each(|absent| frontiers.note_absence(absent));
        for cell in cells.iter_mut().filter(|cell| cell.is_sealed()) {
            let bytes = self.parts.iter().find(|(part, _)| part == cell.name());
            let (name, bytes) = bytes
                .ok_or_else(|| Failure::data(format!("the snapshot has no part \"{}\"", cell.name())))?;
            cell.load(bytes).map_err(|e| wrong(name, e))?;
        }
        frontiers.resume_at(self.seq);
        let mut door = DoorState::default();
        self.part(SEQUENCER)?.into_state(&mut door).map_err(|e| wrong(SEQUENCER, e))?;
        Ok(door)
    }

    /// The orders.
    ///
    /// # Errors
    /// Where they are missing.
    pub fn orders(&self) -> Result<OrderTable, Failure> {
        let mut orders = OrderTable::default();
        let loaded = self.part(ORDERS)?.into_state(&mut orders);
        loaded.map_err(|e| Failure::data(format!("the snapshot's part \"{ORDERS}\": {e}")))?;
        Ok(orders)
    }

    /// Bytes of all parts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|(_, bytes)| bytes.len()).sum()
    }
}

fn manifest_path(folder: &Path, seq: Seq) -> PathBuf {
    folder.join(format!("{seq:012}.json"))
}

fn state_path(folder: &Path, seq: Seq) -> PathBuf {
    folder.join(format!("{seq:012}.state"))
}

impl Snapshot {
    /// Writes a snapshot; it is durable and valid afterwards.
    ///
    /// # Errors
    /// What the disk refuses. What was there before stays.
    pub fn write(
        folder: &Path,
        state: &LineState,
        configuration: &[u8; 32],
        place: Place,
    ) -> std::io::Result<Manifest> {
        files::create_dir_all(folder)?;
        let part = |(name, bytes): &(String, Vec<u8>)| Part {
            name: name.clone(),
            bytes: bytes.len(),
            blake3: blake3::hash(bytes).to_hex().to_string(),
        };
        let manifest = Manifest {
            schema_version: SCHEMA_VERSION,
            code_epoch: CODE_EPOCH,
            state_schema: STATE_SCHEMA,
            configuration: hex(configuration),
            seq: state.seq,
            time: state.time,
            place,
            absences: state.absences.iter().map(|a| (a.seat, a.from, a.to, a.skipped)).collect(),
            parts: state.parts.iter().map(part).collect(),
        };
        let mut file = File::create(&state_path(folder, state.seq))?;
        for (_, bytes) in &state.parts {
            file.write_all(bytes)?;
        }
        file.sync_all()?;
        replace(&manifest_path(folder, state.seq), &serde_json::to_vec_pretty(&manifest)?)?;
        Ok(manifest)
    }

    /// Inputs of which there are manifests, newest first.
    #[must_use]
    pub fn all(folder: &Path) -> Vec<Seq> {
        let names = files::names_in(folder).unwrap_or_default();
        let mut seqs: Vec<Seq> =
            names.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect();
        seqs.sort_unstable_by(|a, b| b.cmp(a));
        seqs
    }

    /// Reads the manifest of one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn manifest(folder: &Path, seq: Seq) -> Result<Manifest, Failure> {
        let path = manifest_path(folder, seq);
        let bytes = files::read(&path)
            .map_err(|e| Failure::machine(format!("cannot read {}: {e}", path.display())))?;
        let wrong = |why: String| Failure::data(format!("snapshot {}: {why}", path.display()));
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
        if steps(manifest.state_schema).is_none() {
            return Err(wrong(format!(
                "it is of state schema {}, this program is of {STATE_SCHEMA} and does not know the way from there",
                manifest.state_schema
            )));
        }
        if manifest.seq != seq {
            return Err(wrong(format!("it says it is behind input {}", manifest.seq)));
        }
        Ok(manifest)
    }

    /// Reads one, and checks every part of it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(folder: &Path, seq: Seq) -> Result<Self, Failure> {
        let manifest = Self::manifest(folder, seq)?;
        let path = state_path(folder, seq);
        let wrong = |why: &str| Failure::data(format!("snapshot {}: {why}", path.display()));
        let bytes = files::read(&path).map_err(|e| wrong(&e.to_string()))?;
        let mut rest = bytes.as_slice();
        let mut parts = Vec::new();
        for part in &manifest.parts {
            let (bytes, after) = rest.split_at_checked(part.bytes).ok_or_else(|| wrong("it is cut off"))?;
            if blake3::hash(bytes).to_hex().as_str() != part.blake3 {
                return Err(wrong(&format!("part \"{}\" is not what the manifest says", part.name)));
            }
            parts.push((part.name.clone(), bytes.to_vec()));
            rest = after;
        }
        if !rest.is_empty() {
            return Err(wrong("it is longer than the manifest says"));
        }
        let absent = |&(seat, from, to, skipped): &(u64, Seq, Seq, u64)| Absent {
            seat,
            from,
            to,
            skipped,
            ..Absent::default()
        };
        let absences = manifest.absences.iter().map(absent).collect();
        let mut state = LineState { seq, time: manifest.time, absences, parts };
        for migration in steps(manifest.state_schema).unwrap_or_default() {
            migration(&mut state)?;
        }
        Ok(Self { manifest, state })
    }

    /// Hash of the configuration.
    ///
    /// # Errors
    /// A manifest that holds none.
    pub fn configuration(&self) -> Result<[u8; 32], Failure> {
        let wrong = || Failure::data("the snapshot's manifest does not name a configuration");
        unhex(&self.manifest.configuration).ok_or_else(wrong)
    }

    /// The journal from the beginning of the segment that holds the snapshot's input.
    ///
    /// # Errors
    /// A journal that does not hold that segment as it was.
    pub fn open_journal(&self, folder: &Path) -> Result<JournalReader, Failure> {
        let place = &self.manifest.place;
        let start = SegmentStart {
            segment: place.segment,
            chain: unhex(&place.segment_chain).ok_or_else(|| self.foreign("it names no place in it"))?,
            block_number: place.segment_blocks,
        };
        JournalReader::open_at(folder, &start).map_err(as_failure)
    }

    /// True for the snapshot's own input; where its block is another than it was, the snapshot is of another journal.
    ///
    /// # Errors
    /// As said.
    pub fn is_at(&self, reader: &JournalReader, message: &Message) -> Result<bool, Failure> {
        let here = message.header.seq == self.manifest.seq && message.kind().is_some_and(Kind::is_input);
        if here && hex(&reader.chain_hash()) != self.manifest.place.chain {
            return Err(self.foreign("the block that holds its input is another"));
        }
        Ok(here)
    }

    /// It is not of this journal.
    #[must_use]
    pub fn foreign(&self, why: &str) -> Failure {
        Failure::data(format!(
            "the snapshot behind input {} is not of this journal: {why}",
            self.manifest.seq
        ))
    }

    /// Takes one away: the manifest first, so that what is left of it is no snapshot.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn remove(folder: &Path, seq: Seq) -> std::io::Result<()> {
        files::remove_file(&manifest_path(folder, seq))?;
        files::sync_folder(folder)?;
        files::remove_file(&state_path(folder, seq))
    }

    /// Takes away what a process that ended in the middle of writing or removing one has left. Nobody else writes there.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn sweep(folder: &Path) -> std::io::Result<()> {
        let valid = Self::all(folder);
        for name in files::names_in(folder)? {
            let of = |end: &str| name.strip_suffix(end)?.parse::<Seq>().ok();
            if of(".partial").is_some() || of(".state").is_some_and(|seq| !valid.contains(&seq)) {
                files::remove_file(&folder.join(&name))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::line::Probes;
    use crate::replica::Replica;
    use kimera_protocol::{Header, Started};

    fn config() -> Config {
        Config::parse(include_str!("../config/profiles/paper.toml")).unwrap()
    }

    fn state() -> LineState {
        let header = Header { seq: 1, time: 5, ..Header::default() };
        let started =
            Message::new(header, Started { incarnation: 3, code_epoch: CODE_EPOCH, ..Started::default() });
        let mut replica = Replica::new(&config(), &Probes::default(), None).unwrap();
        replica.run(&[started]).unwrap();
        replica.state().unwrap()
    }

    #[test]
    fn a_snapshot_comes_back_as_it_was_and_a_flipped_bit_does_not() {
        let folder = std::env::temp_dir().join(format!("kimera-snapshot-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let state = state();
        Snapshot::write(&folder, &state, &[7; 32], Place::default()).unwrap();
        assert_eq!(Snapshot::all(&folder), [1]);
        let read = Snapshot::read(&folder, 1).unwrap();
        assert!(read.state == state && read.configuration().unwrap() == [7; 32]);
        let again = Replica::new(&config(), &Probes::default(), Some(&read.state)).unwrap().state().unwrap();
        assert!(again == state, "what was put back is what was taken");
        let path = state_path(&folder, 1);
        let good = std::fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(good.len() / 50) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, bad).unwrap();
            assert!(
                Snapshot::read(&folder, 1).err().unwrap().message.contains("is not what the manifest says")
            );
        }
        std::fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(Snapshot::read(&folder, 1).err().unwrap().message.contains("cut off"));
        std::fs::write(&path, &good).unwrap();
        let manifest = manifest_path(&folder, 1);
        let text = std::fs::read_to_string(&manifest).unwrap();
        let schema = format!("\"state_schema\": {STATE_SCHEMA}");
        for other in [STATE_SCHEMA + 1, 0] {
            std::fs::write(&manifest, text.replace(&schema, &format!("\"state_schema\": {other}"))).unwrap();
            let why = Snapshot::read(&folder, 1).err().unwrap().message;
            assert!(why.contains("does not know the way from there"), "{why}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_is_half_written_or_half_removed_is_swept_away() {
        let folder = std::env::temp_dir().join(format!("kimera-sweep-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        Snapshot::write(&folder, &state(), &[7; 32], Place::default()).unwrap();
        for left in ["000000000002.state", "000000000003.partial"] {
            std::fs::write(folder.join(left), "left").unwrap();
        }
        Snapshot::sweep(&folder).unwrap();
        let mut names = files::names_in(&folder).unwrap();
        names.sort();
        assert_eq!(names, ["000000000001.json", "000000000001.state"]);
        assert!(Snapshot::read(&folder, 1).is_ok());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_state_does_not_fit_a_line_of_another_configuration() {
        let other = config().patched("[market]\nvariance_window_bars = 1800").unwrap();
        let why = Replica::new(&other, &Probes::default(), Some(&state())).err().unwrap().message;
        assert!(why.contains("the configuration says another"), "{why}");
    }
}
