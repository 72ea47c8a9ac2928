//! Every order that left or should have: what the venue has said of it, what has to be asked, what has to be cancelled.
//!
//! No socket and no clock: times are given. Monotonic nanoseconds judge silence; the venue's milliseconds judge whether
//! "not found" is final. Whatever is learnt becomes an [`OrderUpdate`], in the order it was learnt; nothing is guessed.

use std::collections::VecDeque;

use kimera_protocol::{
    InstrumentId, NewOrder, OrderEvent, OrderId, OrderRecord, OrderState, OrderUpdate, Price, Quantity,
    TradingState,
};
use kimera_runtime::Word;
use kimera_venues::binance::account::AccountTrade;
use kimera_venues::binance::orders::{Asked, RECEIVE_WINDOW_MS, Response, Verdict};

/// Orders kept at a time; the oldest that has ended makes room.
pub const ORDERS_MAX: usize = 512;
/// Wall time after which an unanswered request is silence, ns.
const ANSWER_TIMEOUT: u64 = 1_000_000_000;
/// Wall time between two questions about one order, ns.
const QUESTION_INTERVAL: u64 = 250_000_000;
/// The venue's code for an identity in use: the order may stand.
const DUPLICATE_IDENTITY: i32 = -4116;
/// The venue's code for an order it does not know.
const NO_SUCH_ORDER: i32 = -2013;

/// Why an order did not leave. The numbers are in the journal, as the code of the report.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// It has no stamp of risk.
    NoStamp = 1,
    /// The kill word says that nothing leaves.
    Halted = 2,
    /// It was stamped before a halt.
    OldEpoch = 3,
    /// Its time to be sent is over.
    TooLate = 4,
    /// No connection, or none on which its reports would be heard.
    NotConnected = 5,
    /// Too many orders.
    NoRoom = 6,
    /// It has no form on this venue's wire.
    NoWireForm = 7,
    /// It was cancelled before it was sent.
    Cancelled = 8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    /// Nothing to ask.
    No,
    /// To be asked from this monotonic instant on.
    From(u64),
}

#[derive(Clone, Debug)]
struct Entry {
    record: OrderRecord,
    instrument: InstrumentId,
    venue_order_id: u64,
    /// The venue's time of the request that placed it.
    timestamp_ms: i64,
    /// Something must have been heard by this monotonic instant.
    expected_by: Option<u64>,
    status: Ask,
    trades: bool,
    /// It is to be taken back, however often that has to be asked for.
    wanted_back: bool,
    /// A cancel is on its way.
    cancelling: bool,
    /// Cancels that the venue would not do.
    cancels_refused: u32,
    /// The venue's time when it was last asked about.
    asked_ms: i64,
}

/// The orders of one venue.
pub struct Desk {
    entries: Vec<Entry>,
    cancels: VecDeque<OrderId>,
    events: VecDeque<(InstrumentId, OrderUpdate)>,
    unexplained: u64,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            entries: Vec::with_capacity(ORDERS_MAX),
            cancels: VecDeque::with_capacity(ORDERS_MAX),
            events: VecDeque::with_capacity(4 * ORDERS_MAX),
            unexplained: 0,
        }
    }
}

impl Desk {
    fn find(&mut self, id: OrderId) -> Option<&mut Entry> {
        find(&mut self.entries, id)
    }

    /// Orders that may still be filled.
    #[must_use]
    pub fn working(&self) -> usize {
        self.entries.iter().filter(|e| e.record.state.is_working()).count()
    }

    /// Orders of which nobody knows whether they stand.
    #[must_use]
    pub fn unknown(&self) -> usize {
        self.entries.iter().filter(|e| e.record.state == OrderState::Unknown).count()
    }

    /// Answers of the venue that contradict each other.
    #[must_use]
    pub fn unexplained(&self) -> u64 {
        self.unexplained
    }

    /// The next report, oldest first.
    pub fn next_event(&mut self) -> Option<(InstrumentId, OrderUpdate)> {
        self.events.pop_front()
    }

    /// Judges whether an order may leave now, by the kill word as it is now; one that may is followed from here on.
    ///
    /// # Errors
    /// Why it does not; a report of it waits then.
    pub fn admit(
        &mut self,
        order: &NewOrder,
        instrument: InstrumentId,
        word: Word,
        connected: bool,
        market_now: i64,
    ) -> Result<(), Unsent> {
        let reason = if order.stamp_seq == 0 {
            Unsent::NoStamp
        } else if word.state == TradingState::Halted {
            Unsent::Halted
        } else if order.trading_epoch != word.epoch {
            Unsent::OldEpoch
        } else if market_now > order.send_by {
            Unsent::TooLate
        } else if !connected {
            Unsent::NotConnected
        } else if !self.make_room() {
            Unsent::NoRoom
        } else {
            self.entries.push(Entry {
                record: OrderRecord::new(*order),
                instrument,
                venue_order_id: 0,
                timestamp_ms: i64::MAX,
                expected_by: None,
                status: Ask::No,
                trades: false,
                wanted_back: false,
                cancelling: false,
                cancels_refused: 0,
                asked_ms: i64::MIN,
            });
            return Ok(());
        };
        self.unsent(order, instrument, reason);
        Err(reason)
    }

    /// Takes up an order of an earlier start that may still stand: the venue is asked what became of it. It was sent, if
    /// at all, by its send-by time. One that was found there and adopted is taken back.
    pub fn adopt(&mut self, record: &OrderRecord, instrument: InstrumentId, now: u64) {
        let timestamp_ms = record.order.send_by / 1_000_000 + 1;
        self.entries.push(Entry {
            record: *record,
            instrument,
            venue_order_id: 0,
            timestamp_ms,
            expected_by: None,
            status: Ask::From(now),
            trades: false,
            wanted_back: false,
            cancelling: false,
            cancels_refused: 0,
            asked_ms: i64::MIN,
        });
        if record.state == OrderState::Pending {
            self.report(record.order.id, OrderEvent::Silent, 0);
        }
        if record.order.stamp_seq == 0 {
            // Nobody on the line wanted it: an orphan, whose cancel may not have left.
            self.cancel(record.order.id);
        }
    }

    /// An order of which the venue knows other fills than we do: its trades are fetched, and it is asked about.
    pub fn look_into(
        &mut self,
        record: &OrderRecord,
        instrument: InstrumentId,
        venue_order_id: u64,
        now: u64,
    ) {
        if self.find(record.order.id).is_none() {
            self.adopt(record, instrument, now);
        }
        if let Some(entry) = self.find(record.order.id) {
            (entry.venue_order_id, entry.trades) = (venue_order_id, true);
        }
    }

    /// True where nothing has to be asked, fetched or waited for.
    #[must_use]
    pub fn is_explained(&self) -> bool {
        self.entries.iter().all(|e| {
            let open =
                e.record.state.is_working() && (e.status != Ask::No || e.record.state == OrderState::Unknown);
            let still_wanted_back = e.wanted_back && e.record.state.is_working();
            !open && !still_wanted_back && !e.trades
        })
    }

    fn make_room(&mut self) -> bool {
        if self.entries.len() < ORDERS_MAX {
            return true;
        }
        let ended = self.entries.iter().position(|e| !e.record.state.is_working());
        ended.map(|i| self.entries.remove(i)).is_some()
    }

    /// Reports that an order did not leave.
    pub fn unsent(&mut self, order: &NewOrder, instrument: InstrumentId, reason: Unsent) {
        let update = OrderUpdate {
            id: order.id,
            side: order.side,
            event: OrderEvent::Unsent as u8,
            code: reason as i32,
            ..OrderUpdate::default()
        };
        if let Some(entry) = self.find(order.id) {
            entry.record.apply(&update);
        }
        self.events.push_back((instrument, update));
    }

    /// The request that places it is on its way.
    pub fn placed(&mut self, id: OrderId, timestamp_ms: i64, now: u64) {
        if let Some(entry) = self.find(id) {
            entry.timestamp_ms = timestamp_ms;
            entry.expected_by = Some(now + ANSWER_TIMEOUT);
        }
    }

    /// Wants an order back. One that has ended, or never left, has nothing to take back.
    pub fn cancel(&mut self, id: OrderId) {
        let Some(entry) = self.find(id).filter(|e| e.record.state.is_working() && !e.cancelling) else {
            return;
        };
        (entry.wanted_back, entry.cancelling) = (true, true);
        self.cancels.push_back(id);
    }

    /// Wants everything back that may stand; also what was asked for already, in case that was lost.
    pub fn cancel_all(&mut self) {
        self.cancels.clear();
        for entry in self.entries.iter_mut().filter(|e| e.record.state.is_working()) {
            (entry.wanted_back, entry.cancelling) = (true, true);
            self.cancels.push_back(entry.record.order.id);
        }
    }

    /// Asks again for what is wanted back and still stands: after a connection was lost, or now and then under a halt.
    pub fn cancel_wanted(&mut self) {
        for entry in self.entries.iter_mut().filter(|e| e.wanted_back && e.record.state.is_working()) {
            if !self.cancels.contains(&entry.record.order.id) {
                entry.cancelling = true;
                self.cancels.push_back(entry.record.order.id);
            }
        }
    }

    /// The next order whose cancel is to be sent.
    pub fn next_cancel(&mut self) -> Option<OrderId> {
        self.cancels.pop_front()
    }

    /// The request that cancels it is on its way.
    pub fn cancel_sent(&mut self, id: OrderId, now: u64) {
        if let Some(entry) = self.find(id) {
            entry.expected_by = Some(now + ANSWER_TIMEOUT);
        }
    }

    /// Takes a report of the private stream. An order that is not known here is of an earlier start, and passed on.
    pub fn user_event(&mut self, instrument: InstrumentId, update: &OrderUpdate) {
        if let Some(entry) = self.find(update.id) {
            entry.hear(update);
            // It says how much is filled in all: what was missed on the way is fetched, whatever became of the order.
            entry.trades |= update.cumulative.0 > entry.record.filled();
        }
        self.events.push_back((instrument, *update));
    }

    /// Takes an answer of the order connection.
    pub fn response(&mut self, response: &Response, now: u64) {
        let Some(entry) = self.find(response.order) else { return };
        if response.venue_order_id != 0 {
            entry.venue_order_id = response.venue_order_id;
        }
        let event = match (response.asked, response.verdict) {
            (Asked::Place, Verdict::Done) => Some((OrderEvent::Acknowledged, 0)),
            (Asked::Place, Verdict::Refused(code)) if code != DUPLICATE_IDENTITY => {
                Some((OrderEvent::Rejected, code))
            }
            (Asked::Place, Verdict::Refused(code) | Verdict::Unclear(code)) => {
                entry.status = Ask::From(now);
                Some((OrderEvent::Silent, code))
            }
            // The private stream says what became of it; silence there is noticed by the time given.
            (Asked::Cancel, Verdict::Done) => None,
            (Asked::Cancel, Verdict::Refused(code)) => {
                entry.cancel_refused(now);
                Some((OrderEvent::CancelRefused, code))
            }
            (Asked::Cancel, Verdict::Unclear(_)) => {
                entry.cancel_refused(now);
                None
            }
            (Asked::Status, _) => {
                self.status_answer(response, now);
                return;
            }
        };
        if let Some((event, code)) = event {
            self.report(response.order, event, code);
        }
    }

    /// A report that is not the private stream's own.
    fn report(&mut self, id: OrderId, event: OrderEvent, code: i32) {
        let Some(entry) = self.find(id) else { return };
        let update = OrderUpdate {
            id,
            side: entry.record.order.side,
            venue_order_id: entry.venue_order_id,
            cumulative: Quantity(entry.record.filled()),
            event: event as u8,
            code,
            ..OrderUpdate::default()
        };
        let instrument = entry.instrument;
        entry.hear(&update);
        self.events.push_back((instrument, update));
    }

    fn status_answer(&mut self, response: &Response, now: u64) {
        let Some(entry) = find(&mut self.entries, response.order) else { return };
        let later = Ask::From(now + QUESTION_INTERVAL);
        let event = match response.verdict {
            Verdict::Done if response.filled > entry.record.filled() => {
                // Fills were missed: they are fetched one by one, then it is asked about again.
                (entry.trades, entry.status) = (true, later);
                None
            }
            Verdict::Done if response.standing => {
                entry.status = Ask::No;
                Some(OrderEvent::FoundOpen)
            }
            Verdict::Done if response.ended.is_some() => {
                entry.status = Ask::No;
                response.ended
            }
            // Filled, it says, by less than is known: no answer to rely on.
            Verdict::Done => {
                entry.status = later;
                self.unexplained += 1;
                None
            }
            Verdict::Refused(NO_SUCH_ORDER)
                if entry.asked_ms > entry.timestamp_ms.saturating_add(i64::from(RECEIVE_WINDOW_MS)) =>
            {
                entry.status = Ask::No;
                Some(OrderEvent::NotFound)
            }
            Verdict::Refused(_) | Verdict::Unclear(_) => {
                entry.status = later;
                None
            }
        };
        if let Some(event) = event {
            let was_wanted_back = event == OrderEvent::FoundOpen && entry.wanted_back;
            self.report(response.order, event, 0);
            if was_wanted_back {
                self.cancel_wanted();
            }
        }
    }

    /// Takes the trades of an order, oldest first and all of them: those that are known change nothing. How many were new.
    pub fn trades(&mut self, id: OrderId, trades: &[AccountTrade]) -> u64 {
        let Some(entry) = find(&mut self.entries, id) else { return 0 };
        let mut booked = 0;
        let (instrument, ordered) = (entry.instrument, entry.record.order.quantity.0);
        let of_order = entry.venue_order_id;
        let mut total = 0i64;
        for trade in trades.iter().filter(|t| t.venue_order_id == of_order) {
            total = total.saturating_add(trade.quantity.0);
            let event = if total == ordered { OrderEvent::Filled } else { OrderEvent::PartFilled };
            let update = OrderUpdate {
                id,
                venue_order_id: trade.venue_order_id,
                venue_time: i64::try_from(trade.time_ms).unwrap_or(i64::MAX).saturating_mul(1_000_000),
                price: Price(trade.price.0),
                quantity: trade.quantity,
                cumulative: Quantity(total),
                fee: trade.fee,
                trade_id: trade.trade_id,
                event: event as u8,
                maker: u8::from(trade.maker),
                side: trade.side as u8,
                ..OrderUpdate::default()
            };
            if entry.record.clone().apply(&update).books_fill() {
                entry.hear(&update);
                self.events.push_back((instrument, update));
                booked += 1;
            }
        }
        booked
    }

    /// The order connection is gone: what was asked on it will not be answered.
    pub fn connection_lost(&mut self, now: u64) {
        self.cancels.clear();
        for i in 0..self.entries.len() {
            let entry = &mut self.entries[i];
            if !entry.record.state.is_working() {
                continue;
            }
            (entry.cancelling, entry.status) = (false, Ask::From(now));
            if entry.record.state == OrderState::Pending {
                let id = entry.record.order.id;
                self.report(id, OrderEvent::Silent, 0);
            }
        }
    }

    /// The private stream was away: everything that may stand is asked about.
    pub fn ask_about_everything(&mut self, now: u64) {
        self.entries
            .iter_mut()
            .filter(|e| e.record.state.is_working())
            .for_each(|e| e.status = Ask::From(now));
    }

    /// Notices silence. Called often, it does little.
    pub fn tick(&mut self, now: u64) {
        for i in 0..self.entries.len() {
            let entry = &mut self.entries[i];
            if !entry.record.state.is_working() || entry.expected_by.is_none_or(|by| now < by) {
                continue;
            }
            entry.expected_by = None;
            entry.status = Ask::From(now);
            if entry.record.state == OrderState::Pending {
                let id = entry.record.order.id;
                self.report(id, OrderEvent::Silent, 0);
            }
        }
    }

    /// The next order to ask the venue about.
    /// It is asked at `venue_ms` of the venue's time: a "not found" says nothing about what may arrive after that.
    pub fn next_question(&mut self, now: u64, venue_ms: i64) -> Option<OrderId> {
        let due =
            |e: &&mut Entry| matches!(e.status, Ask::From(at) if at <= now) && e.record.state.is_working();
        let entry = self.entries.iter_mut().find(due)?;
        // Unanswered, it is asked again.
        entry.status = Ask::From(now + ANSWER_TIMEOUT);
        entry.asked_ms = venue_ms;
        Some(entry.record.order.id)
    }

    /// Its trades could not be fetched: they are still to be.
    pub fn trades_failed(&mut self, id: OrderId) {
        if let Some(entry) = self.find(id) {
            entry.trades = true;
        }
    }

    /// The next order whose trades have to be fetched, with the venue's identifier.
    pub fn next_trades(&mut self) -> Option<(OrderId, u64)> {
        let entry = self.entries.iter_mut().find(|e| e.trades && e.venue_order_id != 0)?;
        entry.trades = false;
        Some((entry.record.order.id, entry.venue_order_id))
    }
}

fn find(entries: &mut [Entry], id: OrderId) -> Option<&mut Entry> {
    entries.iter_mut().rev().find(|e| e.record.order.id == id)
}

impl Entry {
    /// The venue would not take it back: it is asked what became of it, at once the first time; a venue that says again and
    /// again that it stands and is unknown to it is not to be asked in a circle.
    fn cancel_refused(&mut self, now: u64) {
        let pause = if self.cancels_refused == 0 { 0 } else { QUESTION_INTERVAL };
        self.cancels_refused += 1;
        (self.cancelling, self.status) = (false, Ask::From(now + pause));
    }

    /// Takes a report and forgets what it was waited for.
    fn hear(&mut self, update: &OrderUpdate) {
        let before = self.record.state;
        self.record.apply(update);
        if update.venue_order_id != 0 {
            self.venue_order_id = update.venue_order_id;
        }
        let answered = before == OrderState::Pending && self.record.state != OrderState::Pending;
        if !self.record.state.is_working() {
            (self.expected_by, self.status, self.cancelling) = (None, Ask::No, false);
        } else if answered && !self.cancelling {
            self.expected_by = None;
        }
        if self.record.state == OrderState::Unknown && self.status == Ask::No {
            self.status = Ask::From(0);
        }
    }
}

#[cfg(test)]
mod tests;
