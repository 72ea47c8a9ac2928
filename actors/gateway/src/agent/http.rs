//! What goes over HTTP, one exchange at a time: the key of the private stream, missed trades, the orders of an earlier start,
//! and a mass cancel where the order connection is away.

use std::time::Duration;

use kimera_protocol::{Header, Kind, Message, OrderId, OrderRecord, OrderState, OrphanAdopted, TradingState};
use kimera_runtime::clock::monotonic_ns;
use kimera_runtime::failpoint;
use kimera_runtime::net::http::Exchange;
use kimera_venues::binance::account::{VenueOrder, read_listen_key, read_orders, read_trades, signed_path};

use super::{Gateway, Reconciling};

const HTTP_TIMEOUT: Duration = Duration::from_secs(5);
const HTTP_BYTES_MAX: usize = 4 << 20;
/// Between two tries of one thing, ns.
const HTTP_RETRY: u64 = 1_000_000_000;
/// The listen key lives an hour; it is prolonged this often, ns.
const KEY_PROLONG: u64 = 30 * 60 * 1_000_000_000;

pub(super) enum Job {
    Key,
    Prolong,
    Trades(OrderId),
    Orders,
    CancelAll,
    Countdown(u64),
}

impl Gateway {
    /// The next thing to do over HTTP, one at a time.
    fn next_job(&mut self, now: u64) -> Option<Job> {
        let halted = self.seen.state == TradingState::Halted || self.disk_silent;
        // A halt waits neither for the order connection nor for knowing what stands.
        let away = !self.orders.is_open() && self.desk.working() > 0;
        if halted && (away || self.meanwhile.is_some()) {
            return Some(Job::CancelAll);
        }
        if self.private_path.is_none() {
            return Some(Job::Key);
        }
        if self.reconciling == Reconciling::Wanted && self.orders.is_open() && self.private.is_open() {
            return Some(Job::Orders);
        }
        if let Some((id, venue_order_id)) = self.desk.next_trades() {
            let query = format!("orderId={venue_order_id}&symbol={}", self.config.instrument.symbol);
            self.start(Job::Trades(id), "GET", "/fapi/v1/userTrades", &query);
            return None;
        }
        if let Some(countdown) = self.dead_man.due(now) {
            return Some(Job::Countdown(countdown));
        }
        (now.saturating_sub(self.key_age) > KEY_PROLONG).then_some(Job::Prolong)
    }

    fn start(&mut self, job: Job, method: &str, path: &str, query: &str) {
        let headers = [("X-MBX-APIKEY", self.config.signer.api_key())];
        let path = match job {
            Job::Key | Job::Prolong => path.to_owned(),
            Job::Trades(_) | Job::CancelAll | Job::Orders | Job::Countdown(_) => {
                signed_path(&self.config.signer, path, query, self.now_ms())
            }
        };
        let (address, timeout) = (self.config.address, HTTP_TIMEOUT);
        match Exchange::start(address, method, &path, &headers, b"", HTTP_BYTES_MAX, timeout) {
            Ok(exchange) => self.http = Some((job, exchange)),
            Err(_) => self.failed(&job),
        }
    }

    /// It is tried again later; what was to be fetched is still to be.
    fn failed(&mut self, job: &Job) {
        self.http_not_before = monotonic_ns() + HTTP_RETRY;
        if let Job::Trades(id) = job {
            self.desk.trades_failed(*id);
        } else if let Job::Countdown(_) = job {
            self.dead_man.refused(self.http_not_before);
        }
    }

    pub(super) fn serve_http(&mut self) -> bool {
        let Some((job, mut exchange)) = self.http.take() else {
            let now = monotonic_ns();
            if now < self.http_not_before {
                return false;
            }
            let symbol = format!("symbol={}", self.config.instrument.symbol);
            match self.next_job(now) {
                Some(job @ Job::Key) => self.start(job, "POST", "/fapi/v1/listenKey", ""),
                Some(job @ Job::Prolong) => self.start(job, "PUT", "/fapi/v1/listenKey", ""),
                Some(job @ Job::Orders) => self.start(job, "GET", "/fapi/v1/allOrders", &symbol),
                Some(job @ Job::CancelAll) => self.start(job, "DELETE", "/fapi/v1/allOpenOrders", &symbol),
                Some(Job::Countdown(ms)) => {
                    let query = format!("countdownTime={ms}&{symbol}");
                    self.start(Job::Countdown(ms), "POST", "/fapi/v1/countdownCancelAll", &query);
                }
                Some(Job::Trades(_)) | None => return false,
            }
            return true;
        };
        match exchange.poll() {
            Ok(None) => {
                self.http = Some((job, exchange));
                return false;
            }
            Ok(Some(response)) if response.status == 200 => self.answered(&job, &response.body),
            Ok(Some(_)) | Err(_) => self.failed(&job),
        }
        true
    }

    fn answered(&mut self, job: &Job, body: &[u8]) {
        let now = monotonic_ns();
        match job {
            Job::Key => match read_listen_key(body) {
                Some(key) => {
                    self.private_path = Some(format!("/private/ws/{key}"));
                    self.key_age = now;
                }
                None => self.http_not_before = now + HTTP_RETRY,
            },
            Job::Prolong => self.key_age = now,
            Job::Countdown(ms) => self.dead_man.taken(*ms),
            Job::Orders => match read_orders(&self.config.instrument, body) {
                Ok(orders) => self.reconcile(&orders, now),
                Err(_) => {
                    self.meters.unreadable.add(1);
                    self.http_not_before = now + HTTP_RETRY;
                }
            },
            Job::Trades(id) => match read_trades(&self.config.instrument, body) {
                Ok(trades) => {
                    let booked = self.desk.trades(*id, &trades);
                    self.meters.fills_found.add(booked);
                }
                Err(_) => {
                    self.meters.unreadable.add(1);
                    self.failed(job);
                }
            },
            // The private stream, or the questions, say what became of each.
            Job::CancelAll => {
                self.desk.ask_about_everything(now);
                self.http_not_before = now + HTTP_RETRY;
            }
        }
    }

    /// Compares what the venue lists with what the journal knows: an order of ours that it does not have is adopted and
    /// taken back, one with other fills is looked into.
    fn reconcile(&mut self, orders: &[VenueOrder], now: u64) {
        failpoint::hit("recovery.asked");
        let mut orphans = Vec::new();
        for order in orders {
            let Some(id) = order.id else { continue }; // not ours: the account's comparison will show what it did
            match self.known.get(&id) {
                Some((instrument, record)) if record.filled() != order.executed => {
                    self.desk.look_into(record, *instrument, order.venue_order_id, now);
                }
                // It stands, and the journal says that it has ended: it is taken back.
                Some((instrument, record)) if order.standing && !record.state.is_working() => {
                    let mut standing = *record;
                    standing.state = OrderState::Unknown;
                    self.meters.orphans.add(1);
                    self.desk.look_into(&standing, *instrument, order.venue_order_id, now);
                    self.desk.cancel(id);
                }
                Some(_) => {}
                // It has ended long ago, and was explained then.
                None if !order.standing && id <= self.forgotten => {}
                None => {
                    failpoint::hit("recovery.orphan");
                    self.meters.orphans.add(1);
                    let orphan = OrphanAdopted {
                        id,
                        venue_order_id: order.venue_order_id,
                        price: order.price,
                        quantity: order.quantity,
                        side: order.side as u64,
                        venue: u64::from(self.config.venue),
                        ..OrphanAdopted::default()
                    };
                    let instrument = self.config.instrument.id;
                    let header = Header::unsequenced(Kind::OrphanAdopted, instrument);
                    self.staged.push_back(Message::new(header, orphan));
                    let mut record = OrderRecord::new(orphan.order());
                    record.state = OrderState::Unknown;
                    self.desk.look_into(&record, instrument, order.venue_order_id, now);
                    self.desk.cancel(id);
                    // Listed again, it is known.
                    record.state = OrderState::Canceled;
                    orphans.push((id, (instrument, record)));
                }
            }
        }
        self.known.extend(orphans);
        self.reconciling = Reconciling::Explaining;
    }
}
