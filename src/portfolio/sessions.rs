//! What the sessions of a run returned, bar by bar: their results marked to the mid, from the run's journal.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use kimera_protocol::order::FillBook;
use kimera_protocol::{Command, Message, Nanos, OrderUpdate, SESSIONS_MAX, SessionTerms, Sessions, Ticker};
use kimera_strategy::account::Account;
use serde_json::{Value, json};

use super::estimate::{ROWS_MIN, Returns, YEAR};
use crate::exit::Failure;
use crate::extensions;
use crate::replay;
use crate::report::money;

/// What is worth less than this (1e-8 of the quote asset) is nothing to a session: it is stopped.
const LEAST: i64 = 1_000_000;
const SECOND: Nanos = 1_000_000_000;

/// A session that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its number.
    pub number: u16,
    /// Its kind, and its number.
    pub name: String,
    /// Its share of the account, in 1e-8 of the quote asset.
    pub capital: i64,
}

/// The sessions of a run.
#[derive(Clone, Debug)]
pub struct RunSessions {
    /// Returns of those that have traded, on their own capital.
    pub returns: Returns,
    /// Those, in the same order.
    pub active: Vec<Held>,
    /// Those that neither earned nor lost anything: nothing is known of their risk, and they keep what they have.
    pub idle: Vec<Held>,
    /// What there is for those that have traded, in 1e-8 of the quote asset: the account less what the others have.
    pub whole: i64,
}

/// What a session is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// It goes on with this capital, in 1e-8 of the quote asset.
    Weigh(u16, i64),
    /// It is left nothing.
    Stop(u16),
}

impl Order {
    /// Method and parameters of the control socket.
    #[must_use]
    pub fn request(&self) -> (&'static str, Value) {
        match self {
            Self::Weigh(session, capital) => {
                ("session.weigh", json!({"session": session, "capital": money(*capital)}))
            }
            Self::Stop(session) => ("session.stop", json!({"session": session})),
        }
    }

    /// As one object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let (method, params) = self.request();
        json!({"method": method, "params": params})
    }
}

/// As a person would type it.
impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weigh(session, capital) => {
                write!(f, "kimera session weigh {session} --capital {}", money(*capital))
            }
            Self::Stop(session) => write!(f, "kimera session stop {session}"),
        }
    }
}

impl RunSessions {
    /// Shares of `whole` that they have now. The first session begins with the whole account, beside which others have theirs: where that is more than there is,
    /// shares are of all that they have.
    #[must_use]
    pub fn now(&self) -> Vec<f64> {
        let have = self.active.iter().fold(0i64, |sum, held| sum.saturating_add(held.capital));
        let whole = have.max(self.whole).max(1) as f64;
        self.active.iter().map(|held| held.capital as f64 / whole).collect()
    }

    /// What to tell them so that they have these shares: those that get less first, since together they never have more than there is.
    #[must_use]
    pub fn orders(&self, weights: &[f64]) -> Vec<Order> {
        let mut all: Vec<(i64, Order)> = Vec::new();
        for (held, weight) in self.active.iter().zip(weights) {
            let wanted = (weight.clamp(0.0, 1.0) * self.whole as f64).round() as i64 / LEAST * LEAST;
            let more = wanted - held.capital;
            if wanted == 0 {
                all.push((more, Order::Stop(held.number)));
            } else if more.abs() >= LEAST {
                all.push((more, Order::Weigh(held.number, wanted)));
            }
        }
        all.sort_by_key(|(more, _)| *more);
        all.into_iter().map(|(_, order)| order).collect()
    }
}

/// Reads the journal of a run, one that is still running too.
///
/// # Errors
/// A journal that cannot be read, or no longer begins with the run; no session that has traded; fewer than thirty bars.
pub fn read(state: &Path, bar: Nanos) -> Result<RunSessions, Failure> {
    if bar % SECOND != 0 {
        return Err(Failure::usage("--bar: whole seconds, as 10s or 1m".to_owned()));
    }
    let recorded = replay::load(state)?;
    if recorded.from.is_some() {
        return Err(Failure::missing(format!(
            "{} no longer has the run's beginning: what its sessions held then is not known",
            state.display()
        )));
    }
    let config = &recorded.config;
    let ticks: Vec<i64> =
        config.instruments().map_err(Failure::configuration)?.iter().map(|i| i.tick_units).collect();
    let terms = config.session_terms().map_err(Failure::configuration)?;
    let account = config.capital().map_err(Failure::configuration)?;
    let mut books = Books::new(&terms, ticks, bar);
    recorded.inputs.iter().for_each(|message| books.hear(message));
    books.returns(account)
}

/// What a session was worth at the end of a bar, and its capital, both in the quote asset.
type Worth = (f64, f64);

/// Accounts as inputs move them.
struct Books {
    seats: Sessions,
    fills: FillBook,
    accounts: [Account; SESSIONS_MAX],
    ticks: Vec<i64>,
    /// Mids in 1e-8 of the quote asset.
    mids: Vec<i64>,
    bar: Nanos,
    /// The bar that is open.
    open: Option<i64>,
    ended: BTreeMap<i64, [Option<Worth>; SESSIONS_MAX]>,
}

impl Books {
    fn new(terms: &[SessionTerms], ticks: Vec<i64>, bar: Nanos) -> Self {
        Self {
            seats: Sessions::running(terms),
            fills: FillBook::default(),
            accounts: std::array::from_fn(|_| Account::new(ticks.len())),
            mids: vec![0; ticks.len()],
            ticks,
            bar,
            open: None,
            ended: BTreeMap::new(),
        }
    }

    fn hear(&mut self, message: &Message) {
        let header = &message.header;
        let number = header.time.div_euclid(self.bar);
        if let Some(open) = self.open.replace(number).filter(|open| *open != number) {
            let worth = std::array::from_fn(|place| self.worth(place));
            self.ended.insert(open, worth);
        }
        let of = usize::from(header.instrument);
        if let Some(ticker) = message.body::<Ticker>() {
            let (bid, ask) = (ticker.bid.price.0, ticker.ask.price.0);
            if bid > 0
                && ask > bid
                && let (Some(mid), Some(tick)) = (self.mids.get_mut(of), self.ticks.get(of))
            {
                *mid = bid.saturating_add(ask).saturating_mul(*tick) / 2;
            }
        } else if let Some(update) = message.body::<OrderUpdate>() {
            let size = self.fills.signed_fill(update);
            let tick = self.ticks.get(of).copied().unwrap_or_default();
            if size != 0
                && let Some(account) = self.accounts.get_mut(update.id.session())
            {
                let price = update.price.0.saturating_mul(tick);
                account.fill(message.instrument(), size, price, update.fee, header.time);
            }
        } else if let Some(command) = message.body::<Command>() {
            self.seats.apply(command);
        }
    }

    fn worth(&self, place: usize) -> Option<Worth> {
        let seat = self.seats.seat(place).filter(|seat| seat.runs && seat.terms.capital > 0)?;
        let price =
            |of: kimera_protocol::InstrumentId| self.mids.get(usize::from(of.0)).copied().unwrap_or(0);
        // Without a price nothing that is held has a value.
        let account = &self.accounts[place];
        let is_known = account.holdings().iter().zip(&self.mids).all(|(h, mid)| h.position == 0 || *mid > 0);
        is_known.then(|| (account.result(price) as f64 * 1e-16, seat.terms.capital as f64 * 1e-8))
    }

    fn returns(&self, account: i64) -> Result<RunSessions, Failure> {
        let held = |place: usize| {
            let seat = self.seats.seat(place).filter(|seat| seat.runs && seat.terms.capital > 0)?;
            let SessionTerms { number, kind, capital, .. } = seat.terms;
            let kind =
                extensions::kind(kind).map_or_else(|| kind.to_string(), |(name, ..)| (*name).to_owned());
            Some((place, Held { number, name: format!("{kind}-{number}"), capital }))
        };
        let running: Vec<(usize, Held)> = (0..SESSIONS_MAX).filter_map(held).collect();
        let (active, idle): (Vec<_>, Vec<_>) =
            running.into_iter().partition(|(place, _)| self.accounts[*place].fills() > 0);
        if active.is_empty() {
            return Err(Failure::missing(
                "no session that runs has traded: nothing is known of any".to_owned(),
            ));
        }
        let mut rows = Vec::new();
        for (number, now) in &self.ended {
            let Some(before) = self.ended.get(&(number - 1)) else { continue };
            let row: Option<Vec<f64>> = active
                .iter()
                .map(|(place, _)| {
                    let ((now, _), (then, capital)) = (now[*place]?, before[*place]?);
                    Some((now - then) / capital)
                })
                .collect();
            rows.extend(row);
        }
        if rows.len() < ROWS_MIN {
            return Err(Failure::missing(format!(
                "{} bars in a row have all sessions that trade: {ROWS_MIN} are needed; take shorter ones (--bar), or wait",
                rows.len()
            )));
        }
        let [active, idle] =
            [active, idle].map(|of| of.into_iter().map(|(_, held)| held).collect::<Vec<_>>());
        let names = active.iter().map(|held| held.name.clone()).collect();
        let kept = idle.iter().fold(0i64, |sum, held| sum.saturating_add(held.capital));
        let whole = account.saturating_sub(kept).max(0);
        let returns = Returns { names, rows, per_year: YEAR / self.bar as f64 };
        Ok(RunSessions { returns, active, idle, whole })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::order::OrderEvent;
    use kimera_protocol::{
        CommandCode, Header, Level, OrderId, Price, Quantity, order::CHILDREN_PER_SESSION,
    };

    const UNIT: i64 = 100_000_000;

    fn terms(number: u16, capital: i64) -> SessionTerms {
        SessionTerms { number, capital: capital * UNIT, ..SessionTerms::default() }
    }

    struct Tape {
        books: Books,
        seq: u64,
    }

    impl Tape {
        fn hear<B: kimera_protocol::Body>(&mut self, second: i64, body: B) {
            self.seq += 1;
            let header = Header { seq: self.seq, time: second * SECOND, ..Header::default() };
            self.books.hear(&Message::new(header, body));
        }

        fn mid(&mut self, second: i64, ticks: i64) {
            let level = |price| Level { price: Price(price), size: Quantity(UNIT) };
            self.hear(second, Ticker { bid: level(ticks - 1), ask: level(ticks + 1), ..Ticker::default() });
        }

        fn fill(&mut self, second: i64, place: u32, side: u8, ticks: i64, fee: i64) {
            let child = place * CHILDREN_PER_SESSION;
            self.hear(
                second,
                OrderUpdate {
                    id: OrderId { seq: self.seq, incarnation: 1, child },
                    price: Price(ticks),
                    quantity: Quantity(UNIT),
                    cumulative: Quantity(UNIT),
                    fee,
                    event: OrderEvent::Filled as u8,
                    side,
                    ..OrderUpdate::default()
                },
            );
        }
    }

    /// Sessions 1, 5 and 7; the tick is a tenth of the quote asset.
    fn tape() -> Tape {
        let terms = [terms(1, 1_000), terms(5, 400), terms(7, 100)];
        Tape { books: Books::new(&terms, vec![UNIT / 10], SECOND), seq: 0 }
    }

    #[test]
    fn sessions_return_what_they_earned_on_their_own_capital() {
        let mut tape = tape();
        for second in 0..50 {
            tape.mid(second, 1_000 + 10 * second);
            if second == 3 {
                tape.fill(second, 0, 0, 1_030, 0); // session 1 buys at 103
                tape.fill(second, 1, 1, 1_030, UNIT); // session 5 sells, and pays 1
            }
            if second == 20 {
                let weighed = Command {
                    code: CommandCode::SessionWeigh as u64,
                    session: 0,
                    terms: terms(1, 500),
                    ..Command::default()
                };
                tape.hear(second, weighed);
            }
        }
        let run = tape.books.returns(1_000 * UNIT).unwrap();
        assert_eq!(run.returns.names.len(), 2);
        assert_eq!(run.returns.rows.len(), 48, "49 bars have ended");
        let near = |row: usize, of: [f64; 2]| {
            let got = &run.returns.rows[row];
            assert!(got.iter().zip(of).all(|(a, b)| (a - b).abs() < 1e-12), "{row}: {got:?}");
        };
        // The mid goes up by 1 a second. Row 0 is from second 0 to 1; the fee is paid in second 3.
        near(0, [0.0, 0.0]);
        near(2, [0.0, -1.0 / 400.0]);
        near(3, [1.0 / 1_000.0, -1.0 / 400.0]);
        near(19, [1.0 / 1_000.0, -1.0 / 400.0]);
        near(20, [1.0 / 500.0, -1.0 / 400.0]);
        // Session 7 has not traded: it keeps its hundred.
        assert_eq!((run.idle.len(), run.idle[0].number, run.whole), (1, 7, 900 * UNIT));
        assert_eq!(run.now(), [500.0 / 900.0, 400.0 / 900.0]);
        assert_eq!(run.orders(&[0.7, 0.3]), [Order::Weigh(5, 270 * UNIT), Order::Weigh(1, 630 * UNIT)]);
        assert_eq!(run.orders(&[1.0, 0.0]), [Order::Stop(5), Order::Weigh(1, 900 * UNIT)]);
        assert_eq!(run.orders(&run.now()), []);
    }

    #[test]
    fn what_is_not_known_is_said() {
        let mut nothing = tape();
        (0..50).for_each(|second| nothing.mid(second, 1_000));
        assert!(nothing.books.returns(UNIT).unwrap_err().message.contains("has traded"));
        let mut short = tape();
        (0..20).for_each(|second| short.mid(second, 1_000));
        short.fill(20, 0, 0, 1_000, 0);
        assert!(short.books.returns(UNIT).unwrap_err().message.contains("30 are needed"));
        // A gap of a second: nothing is compared across it.
        let mut gap = tape();
        (0..80).filter(|s| *s != 40).for_each(|second| gap.mid(second, 1_000));
        gap.fill(80, 0, 0, 1_000, 0);
        assert_eq!(gap.books.returns(1_000 * UNIT).unwrap().returns.rows.len(), 77);
    }
}
