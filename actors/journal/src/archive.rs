//! Segments that nobody writes any more: compressed where they lie, and taken away once a snapshot makes them superfluous.
//! The chain goes through both: what is compressed is checked byte by byte when it is read, and where a journal begins in the
//! middle, the place in the chain is written down first.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use kimera_runtime::files::{self, File};

use crate::format::segment_name;
use crate::reader::SegmentStart;

/// Where a journal begins whose first segments were taken away.
const BEGINS: &str = "begins";
/// Largest segment that is unpacked: no compressed file makes the reader take more memory.
const UNPACKED_MAX: u64 = 2 << 30;

fn compressed(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{}.gz", segment_name(number)))
}

/// True where a segment is there, compressed or not.
#[must_use]
pub fn has_segment(folder: &Path, number: u64) -> bool {
    files::exists(&folder.join(segment_name(number))) || files::exists(&compressed(folder, number))
}

/// True where a folder holds a journal, or what is left of one.
#[must_use]
pub fn has_journal(folder: &Path) -> bool {
    has_segment(folder, 1) || files::exists(&folder.join(BEGINS))
}

/// The bytes of a segment, unpacked where it is compressed.
///
/// # Errors
/// As the system says; what is no compressed file.
pub fn read_segment(folder: &Path, number: u64) -> io::Result<Vec<u8>> {
    match files::read(&folder.join(segment_name(number))) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let packed = files::read(&compressed(folder, number))?;
            let mut bytes = Vec::new();
            GzDecoder::new(packed.as_slice()).take(UNPACKED_MAX).read_to_end(&mut bytes)?;
            Ok(bytes)
        }
        read => read,
    }
}

/// The number of a segment by the name of its file.
#[must_use]
pub fn segment_number(name: &str) -> Option<u64> {
    name.strip_suffix(".gz").unwrap_or(name).strip_suffix(".kj")?.parse().ok()
}

/// Compresses a sealed segment. It is there all the while: the new file is durable before the old one goes.
///
/// # Errors
/// As the system says.
pub fn compress(folder: &Path, number: u64) -> io::Result<()> {
    let (plain, packed) = (folder.join(segment_name(number)), compressed(folder, number));
    if !files::exists(&plain) {
        return Ok(());
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&files::read(&plain)?)?;
    let partial = packed.with_extension("partial");
    let mut file = File::create(&partial)?;
    file.write_all(&encoder.finish()?)?;
    file.sync_all()?;
    files::rename(&partial, &packed)?;
    files::sync_folder(folder)?;
    files::remove_file(&plain)
}

/// Takes every segment before `start` away. Where the journal begins from then on is durable first.
///
/// # Errors
/// As the system says.
pub fn retire(folder: &Path, start: &SegmentStart) -> io::Result<u64> {
    let chain: String = start.chain.iter().map(|b| format!("{b:02x}")).collect();
    let partial = folder.join(BEGINS).with_extension("partial");
    let mut file = File::create(&partial)?;
    file.write_all(format!("{} {chain} {}\n", start.segment, start.block_number).as_bytes())?;
    file.sync_all()?;
    files::rename(&partial, &folder.join(BEGINS))?;
    files::sync_folder(folder)?;
    let mut gone = 0;
    for name in files::names_in(folder)? {
        if segment_number(&name).is_some_and(|number| number < start.segment) {
            files::remove_file(&folder.join(name))?;
            gone += 1;
        }
    }
    Ok(gone)
}

/// Where the journal begins: its first segment, or what was written down when that was taken away.
///
/// # Errors
/// As the system says; a file that does not say it.
pub fn beginning(folder: &Path) -> io::Result<SegmentStart> {
    // Said first, done second: where it is said, segments before it may still lie there.
    if !files::exists(&folder.join(BEGINS)) {
        return Ok(SegmentStart { segment: 1, ..SegmentStart::default() });
    }
    let text = files::read_to_string(&folder.join(BEGINS))?;
    let mut words = text.split_whitespace();
    let start = (|| {
        let segment = words.next()?.parse().ok()?;
        let chain = blake3::Hash::from_hex(words.next()?).ok()?.into();
        Some(SegmentStart { segment, chain, block_number: words.next()?.parse().ok()? })
    })();
    start
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it does not say where the journal begins"))
}
