//! An engine without a supervisor: for a while it trades on, then only ways out leave, then it ends in order. One that comes
//! back takes it up again.

use std::time::Duration;

use kimera_runtime::{Listener, Pulse};

use crate::config::SupervisionSection;
use crate::log;
use crate::log::Category::System;

/// What an engine is to do about its supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is there.
    Supervised,
    /// It is silent: only ways out leave.
    Orphaned,
    /// It does not come back.
    Abandoned,
}

/// Looks at the supervisor's pulse.
pub struct Orphan {
    pulse: Option<Listener>,
    reduce_after: Duration,
    end_after: Duration,
    before: Standing,
}

impl Orphan {
    /// For an engine that is supervised, or for one that nobody supervises.
    #[must_use]
    pub fn new(pulse: Option<Pulse>, section: &SupervisionSection) -> Self {
        let ms = |ms: u32| Duration::from_millis(ms.into());
        Self {
            pulse: pulse.map(Listener::new),
            reduce_after: ms(section.orphan_reduce_ms),
            end_after: ms(section.orphan_end_ms),
            before: Standing::Supervised,
        }
    }

    /// How it stands now; says what has changed.
    pub fn look(&mut self) -> Standing {
        let Some(pulse) = &mut self.pulse else { return Standing::Supervised };
        let silence = pulse.silence().unwrap_or_default();
        let now = match silence {
            s if s >= self.end_after => Standing::Abandoned,
            s if s >= self.reduce_after => Standing::Orphaned,
            _ => Standing::Supervised,
        };
        if now != self.before {
            match now {
                Standing::Supervised => {
                    log::say(System, &format!("supervised again, by process {}", pulse.process()))
                }
                Standing::Orphaned => {
                    log::warn(System, "the supervisor is silent: only ways out leave until one is back")
                }
                Standing::Abandoned => {
                    log::warn(System, "no supervisor has come back: the run ends in order")
                }
            }
            self.before = now;
        }
        now
    }
}
