//! The stage of the main line: takes decisions, sends children and cancels; everything else is passed on.

use kimera_protocol::order::OrderFlags;
use kimera_protocol::{
    CancelAll, CancelOrder, Command, CommandCode, Decision, Definition, InstrumentId, InstrumentVersion,
    Kind, Message, Nanos, NewOrder, OrderEvent, OrderId, OrderUpdate, Refusal, Seq, Side, Started,
    TimeInForce, Trading, TradingState,
};
use kimera_runtime::{Actor, Counter, Counters, Input, Outbox, Port};

use crate::parent::{ORDERS_PER_INPUT, Parent, ParentConfig};

/// Most outputs of one input: the input itself, and for each side either cancels or new children.
pub const OUTPUTS_MAX: usize = 1 + 2 * ORDERS_PER_INPUT;

/// What the stage needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecutionConfig {
    /// Instrument that is traded.
    pub instrument: InstrumentId,
    /// Venue its orders go to.
    pub venue: u8,
    /// What orders for it are bound to until the venue says otherwise.
    pub configured: InstrumentVersion,
    /// When and how quotes are replaced.
    pub parent: ParentConfig,
}

/// What the stage counts for those who watch.
#[derive(Clone)]
pub struct ExecutionMeters {
    placed: Counter,
    cancels: Counter,
    withheld: Counter,
}

kimera_protocol::state!(ExecutionMeters { placed, cancels, withheld });

impl ExecutionMeters {
    /// Counters `execution.placed`, `execution.cancels` and `execution.withheld`: how often a side wanted what the venue would not take.
    #[must_use]
    pub fn new(counters: &Counters) -> Self {
        let counter = |what: &str| counters.counter(&format!("execution.{what}"));
        Self { placed: counter("placed"), cancels: counter("cancels"), withheld: counter("withheld") }
    }
}

/// The stage.
pub struct Execution {
    config: ExecutionConfig,
    sides: [Parent; 2],
    /// What the venue demands now.
    version: InstrumentVersion,
    incarnation: u32,
    strategy: u16,
    /// Position that the last decision was made with, in 1e-8.
    position: i64,
    trading: Trading,
    /// The input that children are being named after, and the next child's number.
    naming: (Seq, u32),
    meters: ExecutionMeters,
}

kimera_protocol::state!(Execution { sides, version, incarnation, strategy, position, trading, naming, meters } fixed { config });

impl Execution {
    /// A stage with nothing standing.
    #[must_use]
    pub fn new(config: ExecutionConfig, meters: ExecutionMeters) -> Self {
        Self {
            config,
            sides: [Parent::new(Side::Bid), Parent::new(Side::Ask)],
            version: config.configured,
            incarnation: 0,
            strategy: 0,
            position: 0,
            trading: Trading::default(),
            naming: (0, 0),
            meters,
        }
    }

    /// Cancels what should not stand, then places what should.
    fn settle(&mut self, message: &Message, out: &mut Outbox) {
        let (seq, now) = (message.header.seq, message.header.time);
        if self.naming.0 != seq {
            self.naming = (seq, 0);
        }
        let reduce_only =
            if self.trading.state == TradingState::Reducing { OrderFlags::REDUCE_ONLY } else { 0 };
        let base = NewOrder {
            strategy: self.strategy,
            flags: reduce_only,
            time_in_force: TimeInForce::PostOnly as u8,
            venue: self.config.venue,
            ..NewOrder::default()
        };
        let Self { config, sides, version, incarnation, position, naming, meters, .. } = self;
        for parent in sides {
            parent.cancels(now, (&config.parent, version), |id| {
                meters.cancels.add(1);
                let cancel = CancelOrder { id, venue: u64::from(config.venue), ..CancelOrder::default() };
                out.send(Port::Line, config.instrument, cancel);
            });
            let next = || {
                naming.1 += 1;
                OrderId { seq, incarnation: *incarnation, child: naming.1 - 1 }
            };
            let takes =
                parent.places((seq, now), (&config.parent, version), (&base, *position), next, |order| {
                    meters.placed.add(1);
                    out.send(Port::Line, config.instrument, order);
                });
            meters.withheld.add(u64::from(!takes));
        }
    }

    fn cancel_all(&mut self, now: Nanos, out: &mut Outbox) {
        self.sides.iter_mut().for_each(|p| p.all_cancelled(now));
        let all = CancelAll { venue: u64::from(self.config.venue), ..CancelAll::default() };
        out.send(Port::Line, self.config.instrument, all);
    }

    fn command(&mut self, command: &Command, now: Nanos, out: &mut Outbox) {
        self.trading.apply(command);
        let cancels = CommandCode::from_code(command.code)
            .is_some_and(|c| matches!(c, CommandCode::Halt | CommandCode::CancelAll));
        if cancels {
            self.cancel_all(now, out);
        }
    }
}

impl Actor for Execution {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        let message = input.message;
        let now = message.header.time;
        if let Some(decision) = message.body::<Decision>() {
            (self.strategy, self.position) = (decision.strategy as u16, decision.position);
            self.sides[0].want(decision.bid);
            self.sides[1].want(decision.ask);
            self.settle(message, out);
            return;
        }
        if message.kind() != Some(Kind::Timer) {
            out.forward(Port::Line, message);
        }
        if let Some(update) = message.body::<OrderUpdate>() {
            if self.sides.iter().any(|p| p.knows(update.id)) {
                self.sides.iter_mut().for_each(|p| p.report(update, now, &self.config.parent));
                // A fill changes what is wanted: strategy's decision about it follows with the same input.
                if !OrderEvent::from_code(update.event).is_some_and(OrderEvent::is_fill) {
                    self.settle(message, out);
                }
            }
        } else if let Some(refusal) = message.body::<Refusal>() {
            // It makes room; the next decision uses it: a refusal itself causes no order.
            self.sides.iter_mut().for_each(|p| p.refused(refusal.id, now, &self.config.parent));
        } else if let Some(command) = message.body::<Command>() {
            self.command(command, now, out);
        } else if let Some(definition) = message.body::<Definition>() {
            // What stands the venue has taken; what comes next goes by the new rules.
            if message.instrument() == self.config.instrument {
                self.version.apply(message.header.seq, definition);
            }
        } else if let Some(started) = message.body::<Started>() {
            self.incarnation = started.incarnation as u32;
            self.trading = Trading::default();
        }
    }

    fn digest(&self) -> u64 {
        let start =
            u64::from(self.incarnation) ^ self.version.digest() ^ (self.position as u64).rotate_left(29);
        self.sides.iter().fold(start, |d, p| d.rotate_left(17) ^ p.digest())
    }
}

#[cfg(test)]
mod tests;
