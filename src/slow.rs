//! Everything that thinks beside the line, as one: what estimates a market, and the slow parts of members.

use kimera_ensemble::SlowMembers;
use kimera_market::Analyst;
use kimera_protocol::{InstrumentId, Kind, Message, Nanos, Opinion};

use crate::config::Config;

/// Estimators and slow parts of members.
pub struct Slow {
    analyst: Analyst,
    members: SlowMembers,
}

impl Slow {
    /// As a configuration says; room for what is remembered of patterns is taken here.
    ///
    /// # Errors
    /// Instruments that are none.
    pub fn new(config: &Config) -> Result<Self, String> {
        Ok(Self {
            analyst: Analyst::new(config.analyst_config()?),
            members: SlowMembers::new(config.slow_config()),
        })
    }

    /// True for what they listen to.
    #[must_use]
    pub fn listens_to(kind: Kind) -> bool {
        Analyst::listens_to(kind) || SlowMembers::listens_to(kind)
    }

    /// Takes an input; what is thought of everything before it is said first.
    pub fn hear(&mut self, message: &Message, mut say: impl FnMut(InstrumentId, Opinion)) {
        self.analyst.hear(message, &mut say);
        self.members.hear(message, say);
    }

    /// Takes an input of an earlier start, and says nothing. Members remember bars from a time on: what is older would have gone by now.
    pub fn recall(&mut self, message: &Message, members_from: Nanos) {
        self.analyst.hear(message, |_, _| {});
        self.members.recall(message, message.header.time < members_from);
    }

    /// True for what is told once: nobody says it again where it was not heard.
    #[must_use]
    pub fn is_told_once(kind: Kind) -> bool {
        matches!(kind, Kind::Prime | Kind::Reading)
    }

    /// Something was not heard: what follows is not compared with what was before.
    pub fn forget(&mut self) {
        self.analyst.forget();
        self.members.forget();
    }

    /// The slow parts of members.
    #[must_use]
    pub fn members(&self) -> &SlowMembers {
        &self.members
    }
}
