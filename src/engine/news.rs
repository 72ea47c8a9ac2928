//! Headlines, readings and the hours before a run on their way into a running line.

use kimera_protocol::{Header, InstrumentId, Kind, Message};
use kimera_runtime::{Counter, Counters, Port};

use super::live::Live;
use crate::config::Config;
use crate::exit::Failure;
use crate::log::Category::System;
use crate::news::history::HistoryDesk;
use crate::news::{NewsDesk, Published, Tally};
use crate::state::Layout;

/// The desks of a run, and what is counted of them.
pub(super) struct NewsAgent {
    desk: NewsDesk,
    history: Option<HistoryDesk>,
    hours: Counter,
    about: InstrumentId,
    told: Counter,
    known: Counter,
    old: Counter,
    unread: Counter,
    said: Tally,
}

impl NewsAgent {
    /// Desks where the configuration asks for one.
    pub(super) fn new(
        config: &Config,
        layout: &Layout,
        counters: &Counters,
    ) -> Result<Option<Self>, Failure> {
        let history = config.history.minutes.as_deref().map(HistoryDesk::open).transpose()?;
        if !config.news.is_used() && history.is_none() {
            return Ok(None);
        }
        let counter = |what: &str| counters.counter(&format!("news.{what}"));
        Ok(Some(Self {
            desk: NewsDesk::open(&config.news, &layout.socket("news"))?,
            history,
            hours: counters.counter("history.hours"),
            about: config.traded_id(),
            told: counter("told"),
            known: counter("known"),
            old: counter("old"),
            unread: counter("unread"),
            said: Tally::default(),
        }))
    }
}

impl Live<'_> {
    /// Tells the line what is due.
    pub(super) fn hear_news(&mut self) {
        let Some(agent) = &mut self.news else { return };
        let (now, control, about) = (self.run.venue.clock.now(), &mut self.built.control, agent.about);
        if let Some(history) = &mut agent.history {
            let hours = &agent.hours;
            history.look(now, |hour| {
                let told =
                    control.send(Port::Input, &Message::new(Header::unsequenced(Kind::Prime, about), *hour));
                hours.add(u64::from(told));
                told
            });
        }
        agent.desk.look(now, |published| {
            let message = match published {
                Published::News(news) => Message::new(Header::unsequenced(Kind::News, about), *news),
                Published::Reading(reading) => {
                    Message::new(Header::unsequenced(Kind::Reading, about), *reading)
                }
            };
            control.send(Port::Input, &message)
        });
        let tally = agent.desk.tally;
        if tally == agent.said {
            return;
        }
        if tally.unread > agent.said.unread {
            let why = agent.desk.last_wrong.as_deref().unwrap_or_default();
            tracing::warn!(target: System.name(), unread = tally.unread, why, "news that cannot be read");
        }
        agent.told.set(tally.told);
        agent.known.set(tally.known);
        agent.old.set(tally.old);
        agent.unread.set(tally.unread);
        agent.said = tally;
    }
}
