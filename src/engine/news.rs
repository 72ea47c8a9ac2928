//! Headlines, readings and the hours before a run on their way into a running line.

use kimera_protocol::{Header, InstrumentId, Kind, Message};
use kimera_runtime::{Counter, Counters, Port};

use super::live::Live;
use crate::config::Config;
use crate::exit::Failure;
use crate::log;
use crate::log::Category::System;
use crate::news::history::HistoryDesk;
use crate::news::{NewsDesk, Published, Tally};
use crate::state::Layout;

/// The desks of a run: opened before anything runs, so that a file that is none is said first.
pub(super) struct Desks {
    desk: NewsDesk,
    history: Option<HistoryDesk>,
}

impl Desks {
    /// Desks where the configuration asks for one.
    ///
    /// # Errors
    /// A history that is none, a socket that cannot be made.
    pub(super) fn open(config: &Config, layout: &Layout) -> Result<Option<Self>, Failure> {
        let history = config.history.minutes.as_deref().map(HistoryDesk::open).transpose()?;
        if !config.news.is_used() && history.is_none() {
            return Ok(None);
        }
        if let Some(path) = config.news.file.as_deref().filter(|path| !path.exists()) {
            log::say(System, &format!("news: {} is not there yet", path.display()));
        }
        Ok(Some(Self { desk: NewsDesk::open(&config.news, &layout.socket("news"))?, history }))
    }
}

/// The desks at work, and what is counted of them.
pub(super) struct NewsAgent {
    desks: Desks,
    hours: Counter,
    about: InstrumentId,
    told: Counter,
    known: Counter,
    old: Counter,
    unread: Counter,
    said: Tally,
}

impl NewsAgent {
    /// Nothing told yet.
    pub(super) fn new(desks: Desks, config: &Config, counters: &Counters) -> Self {
        let counter = |what: &str| counters.counter(&format!("news.{what}"));
        Self {
            desks,
            hours: counters.counter("history.hours"),
            about: config.traded_id(),
            told: counter("told"),
            known: counter("known"),
            old: counter("old"),
            unread: counter("unread"),
            said: Tally::default(),
        }
    }
}

impl Live<'_> {
    /// Tells the line what is due.
    pub(super) fn hear_news(&mut self) {
        let Some(agent) = &mut self.news else { return };
        let (now, control, about) = (self.run.venue.clock.now(), &mut self.built.control, agent.about);
        if let Some(history) = &mut agent.desks.history {
            let hours = &agent.hours;
            history.look(now, |hour| {
                let told =
                    control.send(Port::Input, &Message::new(Header::unsequenced(Kind::Prime, about), *hour));
                hours.add(u64::from(told));
                told
            });
        }
        agent.desks.desk.look(now, |published| {
            let message = match published {
                Published::News(news) => Message::new(Header::unsequenced(Kind::News, about), *news),
                Published::Reading(reading) => {
                    Message::new(Header::unsequenced(Kind::Reading, about), *reading)
                }
            };
            control.send(Port::Input, &message)
        });
        let tally = agent.desks.desk.tally;
        if tally == agent.said {
            return;
        }
        if tally.unread > agent.said.unread {
            let why = agent.desks.desk.last_wrong.as_deref().unwrap_or_default();
            tracing::warn!(target: System.name(), unread = tally.unread, why, "news that cannot be read");
        }
        agent.told.set(tally.told);
        agent.known.set(tally.known);
        agent.old.set(tally.old);
        agent.unread.set(tally.unread);
        agent.said = tally;
    }
}
