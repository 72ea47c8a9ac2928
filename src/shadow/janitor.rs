//! What a new snapshot makes superfluous: older snapshots, and the segments of the journal that lie before all of them.

use std::io;

use kimera_journal::{SegmentStart, archive};

use crate::config::JournalSection;
use crate::snapshot::{Snapshot, unhex};
use crate::state::Layout;

/// Puts away what is not needed any more. `current` is the segment that is being written.
///
/// # Errors
/// What the disk refuses; whatever was done until then is whole.
pub fn tidy(layout: &Layout, keep: u32, section: &JournalSection, current: u64) -> io::Result<()> {
    let (snapshots, journal) = (layout.snapshots(), layout.journal());
    let all = Snapshot::all(&snapshots);
    for old in all.iter().skip(keep as usize) {
        Snapshot::remove(&snapshots, *old)?;
    }
    Snapshot::sweep(&snapshots)?;
    let Some(oldest) = all.get(..all.len().min(keep as usize)).and_then(<[_]>::last) else { return Ok(()) };
    let Ok(manifest) = Snapshot::manifest(&snapshots, *oldest) else { return Ok(()) };
    let place = &manifest.place;
    let first = archive::beginning(&journal)?.segment;
    if section.compress {
        (first..place.segment).try_for_each(|number| archive::compress(&journal, number))?;
    }
    let retained = u64::from(section.retain_segments);
    if retained > 0
        && first < place.segment
        && place.segment + retained <= current + 1
        && let Some(chain) = unhex(&place.segment_chain)
    {
        let start = SegmentStart { segment: place.segment, chain, block_number: place.segment_blocks };
        archive::retire(&journal, &start)?;
    }
    Ok(())
}
