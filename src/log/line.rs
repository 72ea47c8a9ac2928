//! What the line does, in words: orders and what became of them, refusals, feeds, commands, who is there. Every line has the
//! `seq` of the input that it is or was caused by, for `kimera explain` and `kimera journal cat`.

use kimera_compliance::CHECKS;
use kimera_protocol::fixed::{UNIT_DECIMALS, format_decimal};
use kimera_protocol::{
    Absent, Alert, CancelAll, CancelOrder, Command, CommandCode, Definition, Detector, FeedState, FeedStatus,
    GapReason, Gapped, InstrumentStatus, Kind, Message, NewOrder, OrderEvent, OrderUpdate, OrphanAdopted,
    PatternMatch, PatternsLoaded, Phase, Refusal, RefusalReason, Seq, Severity, Started, VenueStatus,
    Weights,
};
use kimera_runtime::Topology;

use super::Category::{Compliance, Market, Risk, System, Trading};
use crate::config::Config;
use crate::exit::Failure;
use crate::snapshot::hex;
use crate::utc;

/// What numbers in messages are called.
#[derive(Clone, Debug, Default)]
pub struct Names {
    seats: Vec<String>,
    /// Feed and tick, in 1e-8 of the quote asset.
    instruments: Vec<(String, i64)>,
    patterns: Vec<String>,
}

impl Names {
    /// The names of a run.
    ///
    /// # Errors
    /// A configuration without valid instruments.
    pub fn of(config: &Config, topology: &Topology) -> Result<Self, Failure> {
        let ticks = config.tick_units().map_err(Failure::configuration)?;
        let feeds = config.instruments.iter().map(|s| s.feed.clone());
        let seats = topology.seats.iter().map(|s| s.name.clone()).collect();
        let programs = config.patterns().map_err(Failure::configuration)?;
        let patterns = programs.into_iter().map(|program| program.name).collect();
        Ok(Self { seats, instruments: feeds.zip(ticks).collect(), patterns })
    }

    fn instrument(&self, message: &Message) -> &str {
        self.instruments.get(usize::from(message.header.instrument)).map_or("-", |(feed, _)| feed)
    }

    fn seat(&self, seat: u64) -> &str {
        usize::try_from(seat).ok().and_then(|i| self.seats.get(i)).map_or("-", String::as_str)
    }

    fn tick(&self, message: &Message) -> i64 {
        self.instruments.get(usize::from(message.header.instrument)).map_or(0, |(_, tick)| *tick)
    }

    fn price(&self, message: &Message, ticks: i64) -> String {
        ticks.checked_mul(self.tick(message)).map_or_else(|| "-".into(), decimal)
    }
}

fn decimal(units: i64) -> String {
    format_decimal(units.into(), UNIT_DECIMALS).as_str().to_owned()
}

fn side(code: u64) -> &'static str {
    if code == 0 { "buy" } else { "sell" }
}

/// What a venue demands of orders, and what of it this run cannot do.
fn defined(message: &Message, definition: &Definition, names: &Names, time: &str) {
    let (seq, feed) = (message.header.seq, names.instrument(message));
    let (tick, lot) = (decimal(definition.tick_units), decimal(definition.lot_units));
    let (least, notional) = (decimal(definition.size_min), decimal(definition.notional_min));
    let status = definition.status().name();
    tracing::info!(target: Market.name(), seq, market_time = time, feed, tick, lot, least, notional, status, "rules");
    if definition.status() != InstrumentStatus::Trading {
        tracing::warn!(target: Market.name(), seq, market_time = time, feed, status, "the venue takes no new orders");
    }
    let own = names.tick(message);
    if definition.tick_units.checked_rem(own) != Some(0) {
        let tick = decimal(definition.tick_units);
        let run = decimal(own);
        tracing::warn!(
            target: Market.name(), seq, market_time = time, feed, tick, run,
            "the venue's tick is no multiple of the run's: prices between the run's ticks break its book; end the run, close at the venue what is open, and start \
             afresh with a tick that the venue's is a multiple of"
        );
    }
}

/// Says a message of the line, if it is worth a line.
pub fn say(message: &Message, names: &Names) {
    let header = &message.header;
    let (seq, feed) = (header.seq, names.instrument(message));
    let market_time = utc::stamp((header.time / 1_000).unsigned_abs());
    let time = market_time.as_str();
    match message.kind() {
        Some(Kind::NewOrder) => {
            let Some(new) = message.body::<NewOrder>() else { return };
            let (id, price) = (new.id.to_text(), names.price(message, new.price.0));
            tracing::info!(
                target: Trading.name(), seq, market_time = time, order = id.as_str(), feed, side = side(new.side.into()),
                size = new.quantity.to_string(), price, parent = new.parent, "order"
            );
        }
        Some(Kind::OrderUpdate) => {
            let Some(update) = message.body::<OrderUpdate>() else { return };
            order_update(message, update, names, time);
        }
        Some(Kind::CancelOrder) => {
            let Some(cancel) = message.body::<CancelOrder>() else { return };
            let id = cancel.id.to_text();
            tracing::info!(target: Trading.name(), seq, market_time = time, order = id.as_str(), feed, "cancel");
        }
        Some(Kind::CancelAll) => {
            let Some(all) = message.body::<CancelAll>() else { return };
            tracing::warn!(target: Trading.name(), seq, market_time = time, venue = all.venue, "cancel all");
        }
        Some(Kind::OrphanAdopted) => {
            let Some(orphan) = message.body::<OrphanAdopted>() else { return };
            let id = orphan.id.to_text();
            tracing::warn!(
                target: Trading.name(), seq, market_time = time, order = id.as_str(), feed, side = side(orphan.side),
                size = orphan.quantity.to_string(), "an order of an earlier start that the journal does not have: adopted"
            );
        }
        Some(Kind::Refusal) => {
            let Some(refusal) = message.body::<Refusal>() else { return };
            refused(message, refusal, feed, time);
        }
        Some(Kind::VenueStatus) => {
            let Some(status) = message.body::<VenueStatus>() else { return };
            let venue = status.venue;
            if status.ready == 1 {
                tracing::info!(target: Trading.name(), seq, market_time = time, venue, "orders can be sent");
            } else {
                tracing::warn!(target: Trading.name(), seq, market_time = time, venue, "no orders can be sent");
            }
        }
        _ => about_the_rest(message, names, time),
    }
}

fn about_the_rest(message: &Message, names: &Names, time: &str) {
    let (seq, feed) = (message.header.seq, names.instrument(message));
    match message.kind() {
        Some(Kind::FeedStatus) => {
            let Some(status) = message.body::<FeedStatus>() else { return };
            let connection = status.frame.epoch;
            if status.state == FeedState::Connected as u64 {
                tracing::info!(target: Market.name(), seq, market_time = time, feed, connection, "connected");
            } else {
                tracing::warn!(target: Market.name(), seq, market_time = time, feed, connection, "connection lost");
            }
        }
        Some(Kind::Gapped) => {
            let Some(gap) = message.body::<Gapped>() else { return };
            let reason = match GapReason::from_code(gap.reason) {
                Some(GapReason::Chain) => "chain",
                Some(GapReason::Disconnected) => "disconnected",
                Some(GapReason::Overflow) => "overflow",
                Some(GapReason::Undecodable) => "undecodable",
                None => "unknown",
            };
            tracing::warn!(
                target: Market.name(), seq, market_time = time, feed, reason, expected = gap.expected, got = gap.got,
                "book broken until the next snapshot"
            );
        }
        Some(Kind::Definition) => {
            let Some(definition) = message.body::<Definition>() else { return };
            defined(message, definition, names, time);
        }
        Some(Kind::Weights) => {
            let Some(weights) = message.body::<Weights>() else { return };
            let all = format!("{:?}", weights.weights);
            tracing::debug!(target: Trading.name(), seq, market_time = time, weights = all, "weights changed");
        }
        Some(Kind::Alert) => {
            let Some(alert) = message.body::<Alert>() else { return };
            suspected(message, alert, feed, time);
        }
        Some(Kind::PatternMatch) => {
            let Some(found) = message.body::<PatternMatch>() else { return };
            // Others may have been loaded: a match says the beginning of its pattern's name.
            let known = names.patterns.get(usize::from(found.pattern));
            let name =
                known.filter(|name| name.starts_with(found.name())).map_or(found.name(), String::as_str);
            let (pattern, first, last) = (name, found.first, found.last);
            tracing::info!(target: Risk.name(), seq, market_time = time, feed, pattern, first, last, "matched");
        }
        Some(Kind::PatternsLoaded) => {
            let Some(loaded) = message.body::<PatternsLoaded>() else { return };
            let (patterns, blob) = (loaded.patterns, hex(&loaded.blob));
            tracing::info!(target: System.name(), seq, market_time = time, patterns, blob, "patterns loaded");
        }
        Some(Kind::Command) => {
            let Some(command) = message.body::<Command>() else { return };
            commanded(seq, command, time);
        }
        Some(Kind::Started) => {
            let Some(started) = message.body::<Started>() else { return };
            tracing::info!(
                target: System.name(), seq, market_time = time, incarnation = started.incarnation,
                code_epoch = started.code_epoch, speed = started.speed, "started"
            );
        }
        Some(Kind::Absent) => {
            let Some(absent) = message.body::<Absent>() else { return };
            let (member, from) = (names.seat(absent.seat), absent.from);
            if absent.to == Seq::MAX {
                tracing::warn!(target: System.name(), seq, market_time = time, member, from, "out");
            } else {
                let to = absent.to;
                tracing::warn!(target: System.name(), seq, market_time = time, member, from, to, "was out");
            }
        }
        _ => {}
    }
}

/// What a detector says is a suspicion, whatever it measured.
fn suspected(message: &Message, alert: &Alert, feed: &str, time: &str) {
    let seq = message.header.seq;
    let what = Detector::from_code(alert.detector).map_or("unknown", Detector::name);
    let phase = Phase::from_code(alert.phase).map_or("unknown", Phase::name);
    let severity = Severity::from_code(alert.severity);
    let (score, limit, first, last) = (alert.score, alert.limit, alert.first, alert.last);
    let named = severity.map_or("unknown", Severity::name);
    if severity == Some(Severity::Notice) {
        tracing::info!(target: Risk.name(), seq, market_time = time, feed, detector = what, phase, severity = named, score, limit, first, last, "suspected");
    } else {
        tracing::warn!(target: Risk.name(), seq, market_time = time, feed, detector = what, phase, severity = named, score, limit, first, last, "suspected");
    }
}

fn order_update(message: &Message, update: &OrderUpdate, names: &Names, time: &str) {
    let (seq, feed) = (message.header.seq, names.instrument(message));
    let id = update.id.to_text();
    let order = id.as_str();
    let Some(event) = OrderEvent::ALL.into_iter().find(|e| *e as u8 == update.event) else { return };
    let what = event.name();
    match event {
        OrderEvent::PartFilled | OrderEvent::Filled => tracing::info!(
            target: Trading.name(), seq, market_time = time, order, feed, side = side(update.side.into()),
            size = update.quantity.to_string(), price = names.price(message, update.price.0),
            filled = update.cumulative.to_string(), fee = decimal(update.fee), maker = update.maker == 1,
            trade = update.trade_id, "{what}"
        ),
        OrderEvent::Acknowledged | OrderEvent::Canceled | OrderEvent::FoundOpen => {
            tracing::info!(target: Trading.name(), seq, market_time = time, order, feed, "{what}");
        }
        _ => {
            let code = update.code;
            tracing::warn!(target: Trading.name(), seq, market_time = time, order, feed, code, "{what}");
        }
    }
}

fn refused(message: &Message, refusal: &Refusal, feed: &str, time: &str) {
    let seq = message.header.seq;
    let reason = u8::try_from(refusal.reason).ok().and_then(RefusalReason::from_code);
    let (name, id) = (reason.map_or("unknown", RefusalReason::name), refusal.id.to_text());
    let (order, strategy) = (id.as_str(), refusal.strategy);
    if reason.is_some_and(|reason| CHECKS.contains(&reason)) {
        tracing::warn!(target: Compliance.name(), seq, market_time = time, order, feed, strategy, reason = name, "refused");
    } else {
        tracing::warn!(target: Risk.name(), seq, market_time = time, order, feed, strategy, reason = name, "refused");
    }
}

fn commanded(seq: Seq, command: &Command, time: &str) {
    let epoch = command.epoch;
    match CommandCode::from_code(command.code) {
        Some(CommandCode::Halt) => {
            tracing::warn!(target: Risk.name(), seq, market_time = time, epoch, "halted: nothing new leaves");
        }
        Some(CommandCode::Reduce) => {
            tracing::warn!(target: Risk.name(), seq, market_time = time, epoch, "reducing: only ways out leave");
        }
        Some(CommandCode::Resume) => {
            tracing::info!(target: Risk.name(), seq, market_time = time, epoch, "active: orders may leave");
        }
        Some(CommandCode::CancelAll) => {
            tracing::warn!(target: Risk.name(), seq, market_time = time, epoch, "every order is taken back");
        }
        Some(code @ (CommandCode::SessionStart | CommandCode::SessionStop | CommandCode::SessionWeigh)) => {
            let (place, number, kind) = (command.session, command.terms.number, command.terms.kind);
            let what = match code {
                CommandCode::SessionStart => "a session begins",
                CommandCode::SessionStop => "a session stops, and gives back what it holds",
                _ => "a session goes on with other terms",
            };
            tracing::info!(target: Risk.name(), seq, market_time = time, place, number, kind, "{what}");
        }
        Some(CommandCode::Stop) => {
            tracing::info!(target: System.name(), seq, market_time = time, "the run ends");
        }
        None => tracing::warn!(target: System.name(), seq, code = command.code, "an unknown command"),
    }
}
