//! The stage of the main line behind risk: what it passes goes to the gateway, to the journal in full, and on.

use kimera_protocol::order::OrderFlags;
use kimera_protocol::{
    CancelAll, CancelOrder, Detector, Kind, Message, Nanos, NewOrder, OrderUpdate, OrphanAdopted, Quote,
    Refusal, RefusalReason,
};
use kimera_runtime::{Actor, Counter, Counters, Input, Outbox, Port};

use crate::conduct::Conduct;
use crate::rules::{CHECKS, Rules};

/// Most outputs of one input: an order to the next stage, to the gateway and to the journal.
pub const OUTPUTS_MAX: usize = 3;

/// What the stage counts for those who watch.
#[derive(Clone)]
pub struct ComplianceMeters {
    orders: Counter,
    cancels: Counter,
    refused: [Counter; CHECKS.len()],
    /// Of large orders, of layers.
    suspected: [Counter; 2],
}

kimera_protocol::state!(ComplianceMeters { orders, cancels, refused, suspected });

impl ComplianceMeters {
    /// Counters `compliance.orders`, `compliance.cancels`, `compliance.refused.<reason>` and `compliance.alerts.<detector>`.
    #[must_use]
    pub fn new(counters: &Counters) -> Self {
        Self {
            orders: counters.counter("compliance.orders"),
            cancels: counters.counter("compliance.cancels"),
            refused: CHECKS.map(|r| counters.counter(&format!("compliance.refused.{}", r.name()))),
            suspected: [Detector::Spoofing, Detector::Layering]
                .map(|d| counters.counter(&format!("compliance.alerts.{}", d.name()))),
        }
    }
}

/// The stage.
pub struct Compliance {
    rules: Rules,
    conduct: Conduct,
    meters: ComplianceMeters,
}

kimera_protocol::state!(Compliance { rules, conduct, meters });

impl Compliance {
    /// A stage with these rules.
    #[must_use]
    pub fn new(rules: Rules, conduct: Conduct, meters: ComplianceMeters) -> Self {
        Self { rules, conduct, meters }
    }

    /// The rules, and our own conduct before them: a way out is open whatever was done.
    fn judge(&mut self, order: &NewOrder, instrument: u16, now: Nanos) -> Result<(), RefusalReason> {
        if self.conduct.is_held(now) && !OrderFlags::is_way_out(order.flags) {
            return Err(RefusalReason::Conduct);
        }
        self.rules.judge(order, instrument, now)
    }

    fn report(&mut self, update: &OrderUpdate, message: &Message, out: &mut Outbox) {
        let header = &message.header;
        let is_fill = self.rules.report(update, header.time);
        let place = (header.instrument, header.seq, header.time);
        let alerts = self.conduct.reported(update, is_fill, place);
        for (alert, counter) in alerts.into_iter().zip(&self.meters.suspected) {
            if let Some(alert) = alert {
                counter.add(1);
                out.send_unmarked(Port::Record, message.instrument(), alert);
            }
        }
    }

    fn new_order(&mut self, order: &NewOrder, message: &Message, out: &mut Outbox) {
        let header = &message.header;
        match self.judge(order, header.instrument, header.time) {
            Ok(()) => {
                self.conduct.sent(order, header.instrument, header.time);
                self.meters.orders.add(1);
                for port in [Port::Orders, Port::Record, Port::Line] {
                    out.forward(port, message);
                }
            }
            Err(reason) => {
                if let Some(i) = CHECKS.iter().position(|r| *r == reason) {
                    self.meters.refused[i].add(1);
                }
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

impl Actor for Compliance {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        let message = input.message;
        if let Some(order) = message.body::<NewOrder>() {
            self.new_order(order, message, out);
            return;
        }
        let time = message.header.time;
        let cancel = message.body::<CancelOrder>();
        if cancel.is_some() || message.body::<CancelAll>().is_some() {
            if let Some(cancel) = cancel {
                self.conduct.asked_back(cancel.id, message.header.instrument, time);
            }
            self.meters.cancels.add(1);
            self.rules.cancelled(time);
            out.forward(Port::Orders, message);
            out.forward(Port::Record, message);
            return;
        }
        if let Some(orphan) = message.body::<OrphanAdopted>() {
            self.rules.adopt(orphan, message.header.instrument);
        } else if let Some(update) = message.body::<OrderUpdate>() {
            self.report(update, message, out);
        } else if let Some(quote) = message.body::<Quote>() {
            self.conduct.quoted(quote, message.header.instrument, time);
        }
        if message.kind().is_some_and(|k| k == Kind::Quote || k.is_input()) {
            out.forward(Port::Line, message);
        }
    }

    fn digest(&self) -> u64 {
        self.rules.digest() ^ self.conduct.digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conduct::ConductConfig;
    use crate::rules::ComplianceConfig;
    use kimera_protocol::{Body, Header, Level, OrderEvent, OrderId, Price, Quantity, Side};

    fn handle<B: Body>(stage: &mut Compliance, body: B) -> Vec<(Port, Kind)> {
        let message = Message::new(Header { seq: 5, time: 1_000, ..Header::default() }, body);
        let mut out = Outbox::new(OUTPUTS_MAX);
        out.begin(&message);
        stage.handle(Input { message: &message, joined: &[] }, &mut out);
        out.staged().filter_map(|(port, m)| Some((port, m.kind()?))).collect()
    }

    #[test]
    fn what_passes_goes_to_the_gateway_and_into_the_journal() {
        let meters = ComplianceMeters::new(&Counters::detached());
        let mut stage = Compliance::new(
            Rules::new(ComplianceConfig::default()),
            Conduct::new(ConductConfig::default(), 1),
            meters,
        );
        let order = |seq, side: Side| NewOrder {
            id: OrderId { seq, incarnation: 1, child: 0 },
            price: Price(100),
            quantity: Quantity(1),
            side: side as u8,
            ..NewOrder::default()
        };
        let passed = handle(&mut stage, order(1, Side::Bid));
        assert_eq!(passed, [Port::Orders, Port::Record, Port::Line].map(|p| (p, Kind::NewOrder)));
        assert_eq!(handle(&mut stage, order(2, Side::Ask)), [(Port::Feedback, Kind::Refusal)]);
        let cancel = handle(&mut stage, CancelOrder::default());
        assert_eq!(cancel, [Port::Orders, Port::Record].map(|p| (p, Kind::CancelOrder)));
        let all = handle(&mut stage, CancelAll::default());
        assert_eq!(all, [Port::Orders, Port::Record].map(|p| (p, Kind::CancelAll)));
        assert_eq!(handle(&mut stage, OrderUpdate::default()), [(Port::Line, Kind::OrderUpdate)]);
    }

    /// Behind a layer of ours nothing leaves that could make a position larger; what risk has found to make it smaller does.
    #[test]
    fn behind_an_alarm_only_ways_out_leave() {
        let conduct = Conduct::new(ConductConfig::default(), 1);
        let rules = Rules::new(ComplianceConfig::default());
        let meters = ComplianceMeters::new(&Counters::detached());
        let mut stage = Compliance::new(rules, conduct, meters);
        let level = |price| Level { price: Price(price), size: Quantity(10) };
        handle(&mut stage, Quote { bid: level(100), ask: level(110), usable: 1, ..Quote::default() });
        let order = |seq, side: Side, price, flags| NewOrder {
            id: OrderId { seq, incarnation: 1, child: 0 },
            price: Price(price),
            quantity: Quantity(if side == Side::Bid { 30 } else { 5 }),
            side: side as u8,
            flags,
            ..NewOrder::default()
        };
        (0..3).for_each(|i| {
            assert_eq!(handle(&mut stage, order(i + 1, Side::Bid, 100 - i as i64, 0)).len(), 3)
        });
        handle(&mut stage, order(4, Side::Ask, 110, 0));
        let report = |seq, event: OrderEvent, quantity| OrderUpdate {
            id: OrderId { seq, incarnation: 1, child: 0 },
            event: event as u8,
            quantity: Quantity(quantity),
            cumulative: Quantity(quantity),
            ..OrderUpdate::default()
        };
        handle(&mut stage, report(4, OrderEvent::Filled, 5));
        let mut said = Vec::new();
        for seq in 1..=3 {
            let id = OrderId { seq, incarnation: 1, child: 0 };
            handle(&mut stage, CancelOrder { id, ..CancelOrder::default() });
            said.extend(handle(&mut stage, report(seq, OrderEvent::Canceled, 0)));
        }
        assert_eq!(said.iter().filter(|s| **s == (Port::Record, Kind::Alert)).count(), 1, "{said:?}");
        assert_eq!(handle(&mut stage, order(5, Side::Bid, 99, 0)), [(Port::Feedback, Kind::Refusal)]);
        for (seq, flags) in [(6, OrderFlags::REDUCES), (7, OrderFlags::REDUCE_ONLY)] {
            assert_eq!(handle(&mut stage, order(seq, Side::Ask, 110, flags)).len(), 3, "a way out");
        }
    }
}
