//! The stage of the main line. Orders come from execution and leave stamped; refusals go back through the door; cancels
//! always pass; reports, quotes and commands are taken and passed on. What detectors suspect is heard before anything else about
//! the same input.

use kimera_protocol::{
    Alert, Command, Definition, Kind, Message, NewOrder, OrderUpdate, OrphanAdopted, Quote, Refusal,
    RefusalReason,
};
use kimera_runtime::{Actor, Counter, Counters, Input, Outbox, Port};

use crate::checks::CHECKS;
use crate::gate::Gate;

/// Most outputs of one input.
pub const OUTPUTS_MAX: usize = 1;

/// What the stage counts for those who watch.
#[derive(Clone)]
pub struct RiskMeters {
    passed: Counter,
    trading_state: Counter,
    epoch: Counter,
    alarms: Counter,
    definitions: Counter,
    sessions: Counter,
    refused: Box<[Counter]>,
}

kimera_protocol::state!(RiskMeters { passed, trading_state, epoch, alarms, definitions, sessions, refused });

impl RiskMeters {
    /// Counters `risk.passed`, `risk.alarms`, `risk.definitions`, `risk.sessions` (commands about them), `risk.trading_state`, `risk.epoch` and `risk.refused.<reason>`.
    #[must_use]
    pub fn new(counters: &Counters) -> Self {
        let refused = CHECKS.iter().map(|(r, _)| counters.counter(&format!("risk.refused.{}", r.name())));
        Self {
            passed: counters.counter("risk.passed"),
            trading_state: counters.counter("risk.trading_state"),
            epoch: counters.counter("risk.epoch"),
            alarms: counters.counter("risk.alarms"),
            definitions: counters.counter("risk.definitions"),
            sessions: counters.counter("risk.sessions"),
            refused: refused.collect(),
        }
    }

    fn refused(&self, reason: RefusalReason) {
        if let Some(counter) = CHECKS.iter().position(|(r, _)| *r == reason).and_then(|i| self.refused.get(i))
        {
            counter.add(1);
        }
    }
}

/// The stage.
pub struct Risk {
    gate: Gate,
    alarms: u64,
    refusals: u64,
    meters: RiskMeters,
}

kimera_protocol::state!(Risk { gate, alarms, refusals, meters });

impl Risk {
    /// A stage with this gate.
    #[must_use]
    pub fn new(gate: Gate, meters: RiskMeters) -> Self {
        Self { gate, alarms: 0, refusals: 0, meters }
    }

    /// The gate.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    fn tell_trading(&self) {
        self.meters.trading_state.set(self.gate.trading_state() as u64);
        self.meters.epoch.set(self.gate.epoch());
    }

    fn new_order(&mut self, order: &NewOrder, message: &Message, out: &mut Outbox) {
        let header = &message.header;
        match self.gate.judge(order, header.instrument, header.seq, header.time) {
            Ok(stamped) => {
                self.meters.passed.add(1);
                out.send(Port::Line, message.instrument(), stamped);
            }
            Err(reason) => {
                self.refusals += 1;
                self.meters.refused(reason);
                let refusal = Refusal {
                    id: order.id,
                    reason: reason as u64,
                    strategy: u64::from(order.strategy),
                    ..Refusal::default()
                };
                out.send(Port::Feedback, message.instrument(), refusal);
            }
        }
    }
}

impl Actor for Risk {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        let message = input.message;
        if let Some(order) = message.body::<NewOrder>() {
            self.new_order(order, message, out);
            return;
        }
        let time = message.header.time;
        if let Some(update) = message.body::<OrderUpdate>() {
            let effect = self.gate.report(message.header.instrument, update, time);
            self.alarms += u64::from(effect.alarm);
            self.meters.alarms.set(self.alarms);
        } else if let Some(quote) = message.body::<Quote>() {
            self.gate.quote(message.header.instrument, quote, time);
        } else if let Some(alert) = message.body::<Alert>() {
            self.gate.alerted(message.header.instrument, alert, time);
        } else if let Some(definition) = message.body::<Definition>() {
            let is_new = self.gate.define(message.header.instrument, message.header.seq, definition);
            self.meters.definitions.add(u64::from(is_new));
        } else if let Some(command) = message.body::<Command>() {
            self.gate.command(command, time);
            self.meters.sessions.set(self.gate.sessions().terms().taken());
            self.tell_trading();
        } else if let Some(orphan) = message.body::<OrphanAdopted>() {
            let charged = self.gate.adopt(orphan, message.header.instrument, time);
            self.alarms += u64::from(!charged);
            self.meters.alarms.set(self.alarms);
        } else if message.kind() == Some(Kind::Started) {
            self.gate.restarted();
            self.tell_trading();
        } else if let Some(refusal) = message.body::<Refusal>() {
            self.gate.refused_later(message.header.instrument, refusal.id);
        }
        let passes_on = message.kind().is_some_and(|k| {
            matches!(k, Kind::Quote | Kind::CancelOrder | Kind::CancelAll)
                || (k.is_input() && k != Kind::Refusal && k != Kind::Timer)
        });
        if passes_on {
            out.forward(Port::Line, message);
        }
    }

    fn digest(&self) -> u64 {
        let equity = self.gate.equity().now();
        self.gate.book().digest()
            ^ self.gate.sessions().digest().rotate_left(13)
            ^ self.gate.rules_digest()
            ^ (equity as u64).rotate_left(7)
            ^ ((equity >> 64) as u64).rotate_left(19)
            ^ self.alarms.rotate_left(31)
            ^ self.refusals.rotate_left(43)
            ^ self.gate.epoch().rotate_left(53)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{InstrumentRules, Limits};
    use kimera_protocol::{CancelOrder, CommandCode, Header, Level, OrderId, Price, Quantity, Side};

    fn risk() -> Risk {
        let rules = InstrumentRules { tick_units: 10_000_000, lot_units: 100_000, asset: 0, tradable: true };
        let mut gate = Gate::new(Limits::default(), vec![rules]);
        let resume = Command { code: CommandCode::Resume as u64, epoch: 1, ..Command::default() };
        gate.command(&resume, 0);
        Risk::new(gate, RiskMeters::new(&Counters::detached()))
    }

    fn handle<B: kimera_protocol::Body>(risk: &mut Risk, body: B) -> Vec<(Port, Message)> {
        let header = Header { seq: 5, time: 1_000, ..Header::default() };
        let message = Message::new(header, body);
        let mut out = Outbox::new(OUTPUTS_MAX);
        out.begin(&message);
        risk.handle(Input { message: &message, joined: &[] }, &mut out);
        out.staged().map(|(port, m)| (port, *m)).collect()
    }

    #[test]
    fn orders_leave_stamped_or_come_back_and_the_rest_passes() {
        let mut risk = risk();
        let order = NewOrder {
            id: OrderId { incarnation: 1, seq: 5, child: 0 },
            price: Price(500_000),
            quantity: Quantity(100_000),
            side: Side::Ask as u8,
            time_in_force: 3,
            ..NewOrder::default()
        };
        let refused = handle(&mut risk, order);
        assert_eq!(refused[0].0, Port::Feedback);
        assert_eq!(refused[0].1.body::<Refusal>().map(|r| r.reason), Some(RefusalReason::StalePrice as u64));
        let level = |p| Level { price: Price(p), size: Quantity(1) };
        let quote = Quote { bid: level(499_999), ask: level(500_001), usable: 1, ..Quote::default() };
        assert_eq!(handle(&mut risk, quote)[0].0, Port::Line);
        let passed = handle(&mut risk, order);
        assert_eq!(passed[0].1.body::<NewOrder>().map(|o| (o.stamp_seq, o.trading_epoch)), Some((5, 1)));
        assert_eq!(
            handle(&mut risk, Command { code: CommandCode::Halt as u64, ..Command::default() }).len(),
            1
        );
        assert_eq!(
            handle(&mut risk, CancelOrder { id: order.id, ..CancelOrder::default() }).len(),
            1,
            "also under halt"
        );
        assert_eq!(handle(&mut risk, Refusal::default()).len(), 0, "a refusal is not passed on");
    }
}
