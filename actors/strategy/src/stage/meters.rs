//! What the stage counts for those who watch.

use kimera_protocol::session::Seat;
use kimera_protocol::{Decision, HoldReason, InstrumentId, SESSIONS_MAX};
use kimera_runtime::{Counter, Counters};

use crate::account::Account;

/// Counters of the stage.
#[derive(Clone)]
pub struct StrategyMeters {
    decisions: Counter,
    quoted: Counter,
    leaned: Counter,
    widened: Counter,
    position: Counter,
    holds: Box<[Counter]>,
    sessions: Box<[SessionMeters]>,
}

kimera_protocol::state!(StrategyMeters { decisions, quoted, leaned, widened, position, holds, sessions });

/// Counters of one place.
#[derive(Clone)]
struct SessionMeters {
    /// Number, kind, whether it is flat and whether it runs: `number << 32 | kind << 8 | flat << 1 | runs`.
    seat: Counter,
    capital: Counter,
    exposure_bps: Counter,
    loss_bps: Counter,
    position: Counter,
    realised: Counter,
    fees: Counter,
    fills: Counter,
    /// Decisions that were said.
    said: Counter,
    /// [`HoldReason`] of the last one as its code; 0 where it wanted something.
    hold: Counter,
}

kimera_protocol::state!(SessionMeters {
    seat,
    capital,
    exposure_bps,
    loss_bps,
    position,
    realised,
    fees,
    fills,
    said,
    hold
});

impl StrategyMeters {
    /// Counters `strategy.decisions` (marks), `strategy.quoted`, `strategy.leaned`, `strategy.widened`, `strategy.position` and `strategy.hold.<reason>` of the
    /// first session, and of each place `session.<place>.<what>`: what it has, money in 1e-8, what has a sign as two's complement.
    #[must_use]
    pub fn new(counters: &Counters) -> Self {
        let holds = HoldReason::ALL.iter().map(|r| counters.counter(&format!("strategy.hold.{}", r.name())));
        let session = |place: usize| {
            let counter = |what: &str| counters.counter(&format!("session.{place}.{what}"));
            SessionMeters {
                seat: counter("seat"),
                capital: counter("capital"),
                exposure_bps: counter("exposure_bps"),
                loss_bps: counter("loss_bps"),
                position: counter("position"),
                realised: counter("realised"),
                fees: counter("fees"),
                fills: counter("fills"),
                said: counter("said"),
                hold: counter("hold"),
            }
        };
        Self {
            decisions: counters.counter("strategy.decisions"),
            quoted: counters.counter("strategy.quoted"),
            leaned: counters.counter("strategy.leaned"),
            widened: counters.counter("strategy.widened"),
            position: counters.counter("strategy.position"),
            holds: holds.collect(),
            sessions: (0..SESSIONS_MAX).map(session).collect(),
        }
    }

    /// What a place has.
    pub(super) fn session(&self, place: usize, seat: &Seat, account: &Account, traded: InstrumentId) {
        let Some(m) = self.sessions.get(place) else { return };
        let position = account.holding(traded).position as u64;
        let (number, kind) = (u64::from(seat.terms.number), u64::from(seat.terms.kind));
        let flat = u64::from(account.is_flat());
        m.seat.set(number << 32 | kind << 8 | flat << 1 | u64::from(seat.runs));
        m.capital.set(seat.terms.capital as u64);
        m.exposure_bps.set(seat.terms.exposure_bps as u64);
        m.loss_bps.set(seat.terms.loss_bps as u64);
        m.position.set(position);
        m.realised.set((account.realised() / 100_000_000) as u64);
        m.fees.set(account.fees() as u64);
        m.fills.set(account.fills());
        if place == 0 {
            self.position.set(position);
        }
    }

    /// A decision that was said.
    pub(super) fn decided(&self, place: usize, is_mark: bool, decision: &Decision, toxic_above: f64) {
        if place > 0 {
            if let Some(m) = self.sessions.get(place) {
                m.said.add(1);
                m.hold.set(u64::from(decision.hold));
            }
            return;
        }
        if !is_mark {
            return;
        }
        self.decisions.add(1);
        self.leaned.add(u64::from(decision.signal != 0.0));
        match HoldReason::from_code(decision.hold) {
            None => {
                self.quoted.add(1);
                let [bid, ask] = decision.toxicity;
                let is_wide = bid.max(ask) > toxic_above as f32;
                self.widened.add(u64::from(is_wide));
            }
            Some(reason) => {
                if let Some(i) = HoldReason::ALL.iter().position(|r| *r == reason) {
                    self.holds[i].add(1);
                }
            }
        }
    }
}
