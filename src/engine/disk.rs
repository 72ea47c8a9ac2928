//! A disk that is full: what was kept aside takes the end of the run, and nothing new leaves any more. A disk that says
//! nothing: the line waits for it, and the gateway has taken everything back.

use std::time::Duration;

use kimera_runtime::clock::monotonic_ns;

use super::live::Live;
use crate::log;
use crate::log::Category::{Risk, System};
use kimera_protocol::ErrorKind;

/// A disk that takes longer is not well.
const UNWELL: Duration = Duration::from_secs(1);

impl Live<'_> {
    /// The journal's thread, while it waits for the disk.
    pub(super) fn thread_at_disk(&self) -> Option<&str> {
        let waits = self.built.durability.is_at_disk();
        let thread = self.run.plan.threads.iter().find(|t| t.seats.iter().any(|seat| seat == "journal"));
        thread.filter(|_| waits).map(|t| t.name.as_str())
    }

    /// True while the disk does not answer; longer than any disk that is well.
    pub(super) fn waits_for_disk(&self) -> bool {
        self.built.durability.silence() > UNWELL
    }

    /// Says when the disk goes silent and when it is heard again; the gateways act by themselves.
    pub(super) fn follow_silence(&mut self) {
        let silence = self.built.durability.silence();
        let silent = self.silence.look(&self.built.durability);
        match self.disk_silent {
            None if silent => {
                self.disk_silent = Some(monotonic_ns().saturating_sub(silence.as_nanos() as u64));
                let text = format!(
                    "the disk of the journal has said nothing for {} ms: what stands is taken back, nothing new leaves",
                    silence.as_millis()
                );
                log::fault(ErrorKind::Machine, "journal", &text);
            }
            Some(since) if !silent => {
                self.disk_silent = None;
                let ms = monotonic_ns().saturating_sub(since) / 1_000_000;
                let text = format!("the disk of the journal is heard again, after {ms} ms");
                log::say(System, &text);
                self.built.degraded.push(format!("the disk of the journal said nothing for {ms} ms"));
            }
            _ => {}
        }
    }

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
