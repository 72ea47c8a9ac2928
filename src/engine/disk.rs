//! A disk that is full: what was kept aside takes the end of the run, and nothing new leaves any more.

use super::live::Live;
use crate::log;
use crate::log::Category::{Risk, System};
use kimera_protocol::ErrorKind;

impl Live<'_> {
    /// Once the journal writes into what was kept aside, everything is halted: orders are taken back while that still fits.
    /// It stays halted until somebody resumes; the journal says itself when there is room again.
    pub(super) fn follow_disk(&mut self) {
        let full = self.counter("journal.reserve_used") == 1;
        if full == std::mem::replace(&mut self.disk_full, full) {
            return;
        }
        if !full {
            log::say(System, "the disk has room again; resume with: kimera ctl trading.resume");
            return;
        }
        let text = "the disk is full: halted; the journal goes on in what was kept aside for this (free space, then resume)";
        log::fault(ErrorKind::Machine, "journal", text);
        self.built.degraded.push(text.into());
        if let Err(e) = self.run.word.halt() {
            log::alarm(Risk, &format!("halted, but the kill word is not on disk: {e}"));
        }
    }
}
