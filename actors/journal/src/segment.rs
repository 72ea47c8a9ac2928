//! Files of the journal that is being written, and one that is kept aside for the day the disk is full.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use kimera_runtime::files::{self, File};

use crate::format::{SEGMENT_HEADER_BYTES, segment_name};
use crate::writer::JournalConfig;

/// A segment that is being written.
pub(crate) struct Segment {
    pub file: Arc<File>,
    pub number: u64,
    pub at: u64,
    /// Bytes that are reserved for it.
    pub limit: u64,
}

/// Makes a segment; all its bytes are reserved.
pub(crate) fn make(config: &JournalConfig, number: u64) -> io::Result<Segment> {
    let path = config.folder.join(segment_name(number));
    let file = File::create_new(&path)?;
    if let Err(e) = file.reserve(config.segment_bytes) {
        let _ = files::remove_file(&path);
        return Err(e);
    }
    Ok(Segment { file: Arc::new(file), number, at: SEGMENT_HEADER_BYTES as u64, limit: config.segment_bytes })
}

fn aside(config: &JournalConfig) -> PathBuf {
    config.folder.join("reserve")
}

/// Keeps bytes aside that the disk cannot give to anybody else.
pub(crate) fn keep_aside(config: &JournalConfig) -> io::Result<()> {
    let path = aside(config);
    if config.reserve_bytes == 0 || files::exists(&path) {
        return Ok(());
    }
    let partial = path.with_extension("partial");
    if files::exists(&partial) {
        files::remove_file(&partial)?;
    }
    let file = File::create_new(&partial)?;
    if let Err(e) = file.reserve(config.reserve_bytes).and_then(|()| file.sync_all()) {
        let _ = files::remove_file(&partial);
        return Err(e);
    }
    files::rename(&partial, &path)
}

/// What was kept aside becomes a segment.
pub(crate) fn take_aside(config: &JournalConfig, number: u64) -> io::Result<Segment> {
    let path = config.folder.join(segment_name(number));
    files::rename(&aside(config), &path)?;
    let file = File::open(&path)?;
    Ok(Segment { file: Arc::new(file), number, at: SEGMENT_HEADER_BYTES as u64, limit: config.reserve_bytes })
}
