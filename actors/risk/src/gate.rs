//! The gate: judges orders, takes reports, quotes and commands. Pure integers, no allocation after construction.

use kimera_protocol::order::OrderFlags;
use kimera_protocol::session::UNBOUND_BPS;
use kimera_protocol::{
    Alert, Command, CommandCode, Definition, InstrumentVersion, Nanos, NewOrder, OrderEvent, OrderId,
    OrderRecord, OrderUpdate, OrphanAdopted, Quote, RefusalReason, Seq, SessionTerms, Trading, TradingState,
};

use crate::book::{Effect, Passed, PositionBook};
use crate::checks::{CHECKS, Case};
use crate::equity::Equity;
use crate::limits::{InstrumentRules, Limits};
use crate::sessions::SessionBook;

/// The market's price of an instrument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reference {
    /// Bid plus ask in ticks; 0 before the first.
    pub doubled_mid: i64,
    /// Market time of it.
    pub time: Nanos,
}

kimera_protocol::state!(Reference { doubled_mid, time });

/// Everything risk knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    pub(crate) limits: Limits,
    pub(crate) book: PositionBook,
    pub(crate) equity: Equity,
    pub(crate) sessions: SessionBook,
    rules: Vec<InstrumentRules>,
    /// What the venue demands now, by instrument.
    versions: Box<[InstrumentVersion]>,
    references: Vec<Reference>,
    /// Behind an alert, by instrument: until when only ways out pass.
    held_until: Vec<Nanos>,
    trading: Trading,
    /// Tokens times nanoseconds a token, so that nothing is lost between orders.
    tokens: i128,
    tokens_time: Nanos,
}

kimera_protocol::state!(Gate { book, equity, sessions, versions, references, held_until, trading, tokens, tokens_time } fixed { limits, rules });

const SECOND: i128 = 1_000_000_000;

impl Gate {
    /// The checks, in the order in which they are made.
    pub fn checks() -> impl Iterator<Item = RefusalReason> {
        CHECKS.iter().map(|(reason, _)| *reason)
    }

    /// A gate with no position and no order, for one session that has the whole account. It is halted until a command says
    /// otherwise: nothing leaves before someone has said that it may.
    #[must_use]
    pub fn new(limits: Limits, rules: Vec<InstrumentRules>) -> Self {
        let one = SessionTerms {
            number: 1,
            capital: limits.equity_start,
            exposure_bps: UNBOUND_BPS,
            loss_bps: UNBOUND_BPS,
            ..SessionTerms::default()
        };
        Self::with_sessions(limits, rules, &[one])
    }

    /// The same for these sessions.
    #[must_use]
    pub fn with_sessions(limits: Limits, rules: Vec<InstrumentRules>, sessions: &[SessionTerms]) -> Self {
        // As many ended orders are kept as may work: late fills come soon or not at all.
        let book = PositionBook::new(rules.len(), limits.working_max * 2);
        let equity = Equity::new(limits.equity_start);
        let tokens = i128::from(limits.orders_burst) * SECOND;
        let references = vec![Reference::default(); rules.len()];
        let held_until = vec![Nanos::MIN; rules.len()];
        let configured = |r: &InstrumentRules| InstrumentVersion::configured(r.tick_units, r.lot_units);
        let versions = rules.iter().map(configured).collect();
        let trading = Trading::default();
        let sessions = SessionBook::new(sessions, rules.len());
        Self {
            limits,
            book,
            equity,
            sessions,
            rules,
            versions,
            references,
            held_until,
            trading,
            tokens,
            tokens_time: 0,
        }
    }

    /// The trading state.
    #[must_use]
    pub fn trading_state(&self) -> TradingState {
        self.trading.state
    }

    /// Trading epoch: the kill word's, which grows at every halt, so that nothing stamped before one leaves after it.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.trading.epoch
    }

    /// Positions and working orders.
    #[must_use]
    pub fn book(&self) -> &PositionBook {
        &self.book
    }

    /// Equity in 1e-16 of the quote asset.
    #[must_use]
    pub fn equity(&self) -> &Equity {
        &self.equity
    }

    /// What sessions have and may.
    #[must_use]
    pub fn sessions(&self) -> &SessionBook {
        &self.sessions
    }

    /// Twice the mid of an instrument in 1e-8 of the quote asset, as it was last known; 0 before that.
    pub(crate) fn doubled_price(&self, instrument: u16) -> i128 {
        let tick_units = self.rules.get(usize::from(instrument)).map_or(0, |rules| rules.tick_units);
        i128::from(self.reference(instrument).doubled_mid) * i128::from(tick_units)
    }

    pub(crate) fn reference(&self, instrument: u16) -> Reference {
        self.references.get(usize::from(instrument)).copied().unwrap_or_default()
    }

    pub(crate) fn instruments(&self) -> impl Iterator<Item = (u16, &InstrumentRules)> {
        self.rules.iter().enumerate().map(|(i, r)| (i as u16, r))
    }

    /// Whole tokens there would be at a time.
    pub(crate) fn tokens_at(&self, now: Nanos) -> i128 {
        self.refilled(now) / SECOND
    }

    fn refilled(&self, now: Nanos) -> i128 {
        let elapsed = i128::from(now.saturating_sub(self.tokens_time).max(0));
        let full = i128::from(self.limits.orders_burst) * SECOND;
        (self.tokens + elapsed * i128::from(self.limits.orders_per_second)).min(full)
    }

    /// Judges an order: the stamped order, or the reason it does not pass. A refusal changes nothing.
    ///
    /// # Errors
    /// The reason of the first check that says no.
    pub fn judge(
        &mut self,
        order: &NewOrder,
        instrument: u16,
        seq: Seq,
        now: Nanos,
    ) -> Result<NewOrder, RefusalReason> {
        let reduces = self.check(order, instrument, now)?;
        let stamped = NewOrder {
            flags: order.flags | if reduces { OrderFlags::REDUCES } else { 0 },
            stamp_seq: seq,
            limits_version: self.limits.version,
            trading_epoch: self.trading.epoch,
            send_by: now.saturating_add(self.limits.send_within),
            ..*order
        };
        if !self.book.insert(Passed { record: OrderRecord::new(stamped), instrument, time: now }) {
            return Err(RefusalReason::TooManyOrders); // what is not followed is not sent, whatever the checks said
        }
        self.tokens = self.refilled(now) - SECOND;
        self.tokens_time = now;
        Ok(stamped)
    }

    /// True where it can only make the position smaller.
    fn check(&self, order: &NewOrder, instrument: u16, now: Nanos) -> Result<bool, RefusalReason> {
        let at = usize::from(instrument);
        let rules = self.rules.get(at).copied().ok_or(RefusalReason::Malformed)?;
        let version = *self.versions.get(at).ok_or(RefusalReason::Malformed)?;
        let side = order.side().ok_or(RefusalReason::Malformed)?;
        let reduces = order.quantity.0 > 0 && self.book.reduces(instrument, side, order.quantity.0);
        let session = order.id.session();
        let size = order.quantity.0;
        let leads_out = self.sessions.leads_out(&self.book, session, instrument, side, size);
        let case =
            Case { gate: self, order, instrument, rules, version, side, now, reduces, session, leads_out };
        match CHECKS.iter().find(|(_, passes)| !passes(&case)) {
            Some((reason, _)) => Err(*reason),
            None => Ok(reduces),
        }
    }

    /// Another start of the engine: nothing leaves until it has been said that it may.
    pub fn restarted(&mut self) {
        self.trading = Trading::default();
    }

    /// Charges an order that was sent and whose cause is lost: it may be filled like any other. False where there is no room
    /// for it.
    #[must_use]
    pub fn adopt(&mut self, orphan: &OrphanAdopted, instrument: u16, now: Nanos) -> bool {
        self.book.adopt(orphan.order(), instrument, now)
    }

    /// Takes a report about an order.
    pub fn report(&mut self, instrument: u16, update: &OrderUpdate, now: Nanos) -> Effect {
        let effect = self.book.apply(instrument, update);
        if effect.signed_fill != 0
            && let Some(rules) = self.rules.get(usize::from(instrument))
        {
            let price = i128::from(update.price.0) * i128::from(rules.tick_units);
            self.equity.fill(effect.signed_fill, price, update.fee);
            let session = update.id.session();
            self.sessions.fill(session, instrument, effect.signed_fill, price, update.fee);
            self.mark(now);
        }
        effect
    }

    /// Takes the market's price of an instrument. One that is not usable leaves the last, which grows stale.
    pub fn quote(&mut self, instrument: u16, quote: &Quote, now: Nanos) {
        if quote.usable == 0 {
            return;
        }
        if let Some(reference) = self.references.get_mut(usize::from(instrument)) {
            *reference = Reference { doubled_mid: quote.bid.price.0 + quote.ask.price.0, time: now };
            if self.book.position(instrument) != 0 {
                self.mark(now);
            }
        }
    }

    fn mark(&mut self, now: Nanos) {
        let value = self.rules.iter().zip(&self.references).enumerate().fold(
            0i128,
            |sum, (i, (rules, reference))| {
                let price = i128::from(reference.doubled_mid) * i128::from(rules.tick_units);
                sum + price * i128::from(self.book.position(i as u16)) / 2
            },
        );
        self.equity.mark(value, now, self.limits.daily_loss);
    }

    /// Takes what a venue demands from here on; true where it is another version of the instrument.
    pub fn define(&mut self, instrument: u16, seq: Seq, definition: &Definition) -> bool {
        self.versions.get_mut(usize::from(instrument)).is_some_and(|version| version.apply(seq, definition))
    }

    /// Takes a detector's suspicion: it counts for every instrument with the same asset.
    pub fn alerted(&mut self, instrument: u16, alert: &Alert, now: Nanos) {
        let Some(until) = self.limits.alerts.holds_until(alert, now) else { return };
        let Some(asset) = self.rules.get(usize::from(instrument)).map(|rules| rules.asset) else { return };
        for (rules, held) in self.rules.iter().zip(&mut self.held_until) {
            if rules.asset == asset {
                *held = until.max(*held);
            }
        }
    }

    /// A word for what alerts hold and what venues demand.
    pub(crate) fn rules_digest(&self) -> u64 {
        let versions = self.versions.iter().fold(0, |d: u64, version| d.rotate_left(17) ^ version.digest());
        self.held_until.iter().fold(versions, |digest, until| {
            (digest ^ *until as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23)
        })
    }

    /// True where only orders that make the position smaller pass, behind an alert.
    pub(crate) fn is_held(&self, instrument: u16, now: Nanos) -> bool {
        self.held_until.get(usize::from(instrument)).is_some_and(|until| now < *until)
    }

    /// Takes a command. A resume on a later day also rearms after a day's loss.
    pub fn command(&mut self, command: &Command, now: Nanos) {
        self.sessions.command(command);
        if self.trading.apply(command) && command.code == CommandCode::Resume as u64 {
            self.equity.rearm(now);
        }
    }

    /// Takes back what was passed and a later stage refused: it was never sent.
    pub fn refused_later(&mut self, instrument: u16, id: OrderId) {
        let unsent = OrderUpdate { id, event: OrderEvent::Unsent as u8, ..OrderUpdate::default() };
        self.book.apply(instrument, &unsent);
    }
}

#[cfg(test)]
mod tests;
