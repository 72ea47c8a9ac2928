//! The stage of the main line: takes decisions, sends children and cancels; everything else is passed on.
//!
//! Every session has two parents of each instrument that it may trade. What one input may cause is bounded for all of them
//! together: who finds nothing left of it is settled with the next decision.

use kimera_protocol::order::OrderFlags;
use kimera_protocol::{
    CHILDREN_PER_SESSION, CancelAll, CancelOrder, Command, CommandCode, Decision, Definition, InstrumentId,
    InstrumentVersion, Kind, Message, Nanos, NewOrder, OrderEvent, OrderId, OrderUpdate, Price, Refusal,
    SESSIONS_MAX, Seq, Side, Started, TimeInForce, Trading, TradingState, Urgency,
};
use kimera_runtime::{Actor, Counter, Counters, Input, Outbox, Port};

use crate::parent::{ORDERS_PER_INPUT, Parent, ParentConfig};

/// Orders and cancels that one message may cause.
pub const EFFECTS_PER_MESSAGE: usize = 2 * ORDERS_PER_INPUT;
/// Orders and cancels that all messages of one input may cause together.
pub const EFFECTS_PER_INPUT: usize = 2 * EFFECTS_PER_MESSAGE;
/// Venues that orders may go to, at most: a mass cancel says one message to each.
pub const VENUES_MAX: usize = 8;
/// Most outputs of one message: itself, and orders and cancels, or a mass cancel of each venue.
pub const OUTPUTS_MAX: usize = 1 + EFFECTS_PER_MESSAGE;

const _: () = assert!(VENUES_MAX <= EFFECTS_PER_MESSAGE);

/// An instrument that may be traded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tradable {
    /// Instrument.
    pub instrument: InstrumentId,
    /// Venue its orders go to.
    pub venue: u8,
    /// What orders for it are bound to until the venue says otherwise.
    pub configured: InstrumentVersion,
}

/// What the stage needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutionConfig {
    /// Instruments that may be traded.
    pub tradable: Vec<Tradable>,
    /// When and how quotes are replaced.
    pub parent: ParentConfig,
}

/// What the stage counts for those who watch.
#[derive(Clone)]
pub struct ExecutionMeters {
    placed: Counter,
    cancels: Counter,
    withheld: Counter,
    deferred: Counter,
}

kimera_protocol::state!(ExecutionMeters { placed, cancels, withheld, deferred });

impl ExecutionMeters {
    /// Counters `execution.placed`, `execution.cancels`, `execution.withheld` (how often a side wanted what the venue would not take) and
    /// `execution.deferred` (how often a session had to wait for the next input).
    #[must_use]
    pub fn new(counters: &Counters) -> Self {
        let counter = |what: &str| counters.counter(&format!("execution.{what}"));
        Self {
            placed: counter("placed"),
            cancels: counter("cancels"),
            withheld: counter("withheld"),
            deferred: counter("deferred"),
        }
    }
}

/// Both sides of what a session wants of an instrument.
#[derive(Clone, Debug)]
struct Pair {
    sides: [Parent; 2],
    strategy: u16,
    urgency: Urgency,
    /// The session's position that the last decision was made with, in 1e-8.
    position: i64,
    /// It has been left out, and is settled with the next decision.
    is_due: bool,
}

kimera_protocol::state!(Pair { sides, strategy, urgency, position, is_due });

/// The stage.
pub struct Execution {
    config: ExecutionConfig,
    /// By instrument of the tradable ones, then by place of the session.
    pairs: Box<[Pair]>,
    /// What the venue demands now, by tradable instrument.
    versions: Box<[InstrumentVersion]>,
    incarnation: u32,
    trading: Trading,
    /// Orders and cancels of an input so far.
    effects: (Seq, usize),
    /// How many are due.
    due: u64,
    /// By session: the input that children are being named after, and how many of it there are.
    named: [(Seq, u32); SESSIONS_MAX],
    /// Somebody behind the first session has decided something.
    has_others: bool,
    meters: ExecutionMeters,
}

kimera_protocol::state!(Execution { pairs, versions, incarnation, trading, effects, due, named, has_others, meters } fixed { config });

impl Execution {
    /// A stage with nothing standing.
    #[must_use]
    pub fn new(config: ExecutionConfig, meters: ExecutionMeters) -> Self {
        let pair = || Pair {
            sides: [Parent::new(Side::Bid), Parent::new(Side::Ask)],
            strategy: 0,
            urgency: Urgency::Quote,
            position: 0,
            is_due: false,
        };
        let pairs = (0..config.tradable.len() * SESSIONS_MAX).map(|_| pair()).collect();
        let versions = config.tradable.iter().map(|t| t.configured).collect();
        Self {
            config,
            pairs,
            versions,
            incarnation: 0,
            trading: Trading::default(),
            effects: (0, 0),
            due: 0,
            named: [(0, 0); SESSIONS_MAX],
            has_others: false,
            meters,
        }
    }

    /// Where the parents of a session for an instrument are.
    fn place_of(&self, instrument: InstrumentId, session: usize) -> Option<usize> {
        let at = self.config.tradable.iter().position(|t| t.instrument == instrument)?;
        (session < SESSIONS_MAX).then_some(at * SESSIONS_MAX + session)
    }

    /// What is left for this message of what one input may cause.
    fn room(&mut self, seq: Seq) -> usize {
        if self.effects.0 != seq {
            self.effects = (seq, 0);
        }
        EFFECTS_PER_MESSAGE.min(EFFECTS_PER_INPUT.saturating_sub(self.effects.1))
    }

    /// Net position of all sessions in a tradable instrument, as their decisions said it.
    fn net(&self, which: usize) -> i64 {
        let pairs = &self.pairs[which * SESSIONS_MAX..][..SESSIONS_MAX];
        pairs.iter().fold(0i64, |sum, pair| sum.saturating_add(pair.position))
    }

    /// Nearest price at which something of ours may be filled on a side of a tradable instrument.
    fn nearest(&self, which: usize, side: Side) -> Option<Price> {
        let pairs = &self.pairs[which * SESSIONS_MAX..][..SESSIONS_MAX];
        let prices = pairs.iter().filter_map(|pair| pair.sides[side as usize].nearest());
        if side == Side::Bid { prices.max() } else { prices.min() }
    }

    /// Cancels what should not stand, then places what should; what finds no room is left for the next decision.
    fn settle(&mut self, at: usize, room: &mut usize, message: &Message, out: &mut Outbox) {
        let (seq, now) = (message.header.seq, message.header.time);
        let (which, session) = (at / SESSIONS_MAX, at % SESSIONS_MAX);
        if at >= self.pairs.len() {
            return;
        }
        if self.pairs[at].urgency == Urgency::Take || self.trading.state == TradingState::Reducing {
            self.fit(at);
        }
        let Self { config, pairs, meters, effects, due, .. } = self;
        let (pair, tradable) = (&mut pairs[at], &config.tradable[which]);
        *due -= u64::from(std::mem::take(&mut pair.is_due));
        let before = *room;
        let mut places = false;
        for parent in &mut pair.sides {
            parent.cancels(now, (&config.parent, &self.versions[which]), *room, |id| {
                *room -= 1;
                meters.cancels.add(1);
                let cancel = CancelOrder { id, venue: u64::from(tradable.venue), ..CancelOrder::default() };
                out.send(Port::Line, tradable.instrument, cancel);
            });
            places |= parent.has_to_place(now);
        }
        effects.1 += before - *room;
        if places {
            self.place((at, session), room, (seq, now), out);
        }
        if *room == 0 {
            self.pairs[at].is_due = true;
            self.due += 1;
            self.meters.deferred.add(1);
        }
    }

    /// Places what should stand.
    fn place(
        &mut self,
        (at, session): (usize, usize),
        room: &mut usize,
        (seq, now): (Seq, Nanos),
        out: &mut Outbox,
    ) {
        let which = at / SESSIONS_MAX;
        let net = self.net(which);
        let reduce_only =
            if self.trading.state == TradingState::Reducing { OrderFlags::REDUCE_ONLY } else { 0 };
        let Self { config, pairs, versions, incarnation, meters, effects, named, .. } = self;
        let (pair, tradable, version) = (&mut pairs[at], &config.tradable[which], &versions[which]);
        let before = *room;
        let takes = pair.urgency == Urgency::Take;
        let tif = if takes { TimeInForce::ImmediateOrCancel } else { TimeInForce::PostOnly };
        let base = NewOrder {
            strategy: pair.strategy,
            flags: reduce_only,
            time_in_force: tif as u8,
            venue: tradable.venue,
            ..NewOrder::default()
        };
        // A way out is one of the account, too: of no more than is open in all.
        let same = (pair.position > 0) == (net > 0);
        let out_of = if same { pair.position.clamp(-net.abs(), net.abs()) } else { 0 };
        let named = &mut named[session];
        if named.0 != seq {
            *named = (seq, 0);
        }
        for parent in &mut pair.sides {
            let next = || {
                named.1 += 1;
                let child = session as u32 * CHILDREN_PER_SESSION + (named.1 - 1) % CHILDREN_PER_SESSION;
                OrderId { seq, incarnation: *incarnation, child }
            };
            let (rules, about) = ((&config.parent, version), (&base, out_of, *room));
            let takes = parent.places((seq, now), rules, about, next, |order| {
                *room -= 1;
                meters.placed.add(1);
                out.send(Port::Line, tradable.instrument, order);
            });
            meters.withheld.add(u64::from(!takes));
        }
        effects.1 += before - *room;
    }

    /// What takes keeps off our own quotes; where only ways out leave, what is wanted keeps to what is open in all.
    fn fit(&mut self, at: usize) {
        let which = at / SESSIONS_MAX;
        let step = self.versions[which].price_step().max(1);
        if self.pairs[at].urgency == Urgency::Take {
            let (bid, ask) = (self.nearest(which, Side::Bid), self.nearest(which, Side::Ask));
            let sides = &mut self.pairs[at].sides;
            if let Some(ask) = ask {
                sides[0].keep_to(Price(ask.0 - step));
            }
            if let Some(bid) = bid {
                sides[1].keep_to(Price(bid.0 + step));
            }
        }
        if self.trading.state == TradingState::Reducing {
            let net = self.net(which);
            let sides = &mut self.pairs[at].sides;
            sides[0].keep_within(net.saturating_neg().max(0));
            sides[1].keep_within(net.max(0));
        }
    }

    /// A decision: of the session that made it, then of whoever was left out before, as far as there is room. The first session speaks at every mark
    /// and deadline: by its word everybody else is looked at again whom time alone may have changed.
    fn decided(&mut self, decision: &Decision, message: &Message, out: &mut Outbox) {
        let Some(at) = self.place_of(message.instrument(), usize::from(decision.session)) else { return };
        let pair = &mut self.pairs[at];
        (pair.strategy, pair.position) = (decision.strategy, decision.position);
        pair.urgency = Urgency::from_code(decision.urgency).unwrap_or_default();
        pair.sides[0].want(decision.bid);
        pair.sides[1].want(decision.ask);
        if decision.session == 0 {
            if self.has_others {
                self.look_at_others();
            }
        } else {
            self.has_others = true;
        }
        let mut room = self.room(message.header.seq);
        self.settle(at, &mut room, message, out);
        let mut from = 0;
        while room > 0
            && self.due > 0
            && let Some(next) = self.pairs[from..].iter().position(|pair| pair.is_due)
        {
            self.settle(from + next, &mut room, message, out);
            from += next + 1;
        }
    }

    fn look_at_others(&mut self) {
        for (i, pair) in self.pairs.iter_mut().enumerate() {
            let is_other = i % SESSIONS_MAX != 0;
            if is_other && !pair.is_due && pair.sides.iter().any(Parent::is_restless) {
                (pair.is_due, self.due) = (true, self.due + 1);
            }
        }
    }

    fn cancel_all(&mut self, (seq, now): (Seq, Nanos), out: &mut Outbox) {
        for pair in &mut self.pairs {
            pair.sides.iter_mut().for_each(|p| p.all_cancelled(now));
        }
        for (i, tradable) in self.config.tradable.iter().enumerate() {
            let is_told = self.config.tradable[..i].iter().any(|before| before.venue == tradable.venue);
            if !is_told {
                let so_far = if self.effects.0 == seq { self.effects.1 } else { 0 };
                self.effects = (seq, so_far + 1);
                let all = CancelAll { venue: u64::from(tradable.venue), ..CancelAll::default() };
                out.send(Port::Line, tradable.instrument, all);
            }
        }
    }

    fn command(&mut self, command: &Command, at: (Seq, Nanos), out: &mut Outbox) {
        self.trading.apply(command);
        let cancels = CommandCode::from_code(command.code)
            .is_some_and(|c| matches!(c, CommandCode::Halt | CommandCode::CancelAll));
        if cancels {
            self.cancel_all(at, out);
        }
    }

    fn report(&mut self, update: &OrderUpdate, message: &Message, out: &mut Outbox) {
        let Some(at) = self.place_of(message.instrument(), update.id.session()) else { return };
        let Self { pairs, config, .. } = self;
        let sides = &mut pairs[at].sides;
        if !sides.iter().any(|p| p.knows(update.id)) {
            return;
        }
        sides.iter_mut().for_each(|p| p.report(update, message.header.time, &config.parent));
        // A fill changes what is wanted: strategy's decision about it follows with the same input.
        if !OrderEvent::from_code(update.event).is_some_and(OrderEvent::is_fill) {
            let mut room = self.room(message.header.seq);
            self.settle(at, &mut room, message, out);
        }
    }
}

impl Actor for Execution {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        let message = input.message;
        let now = message.header.time;
        if let Some(decision) = message.body::<Decision>() {
            self.decided(decision, message, out);
            return;
        }
        if message.kind() == Some(Kind::Quote) {
            // The commonest of what only risk asks for.
            out.forward(Port::Line, message);
            return;
        }
        if message.kind() != Some(Kind::Timer) {
            out.forward(Port::Line, message);
        }
        if let Some(update) = message.body::<OrderUpdate>() {
            self.report(update, message, out);
        } else if let Some(refusal) = message.body::<Refusal>() {
            // It makes room; the next decision uses it: a refusal itself causes no order.
            if let Some(at) = self.place_of(message.instrument(), refusal.id.session()) {
                let Self { pairs, config, .. } = self;
                pairs[at].sides.iter_mut().for_each(|p| p.refused(refusal.id, now, &config.parent));
            }
        } else if let Some(command) = message.body::<Command>() {
            self.command(command, (message.header.seq, now), out);
        } else if let Some(definition) = message.body::<Definition>() {
            // What stands the venue has taken; what comes next goes by the new rules.
            let of = |t: &Tradable| t.instrument == message.instrument();
            if let Some(at) = self.config.tradable.iter().position(of) {
                self.versions[at].apply(message.header.seq, definition);
            }
        } else if let Some(started) = message.body::<Started>() {
            self.incarnation = started.incarnation as u32;
            self.trading = Trading::default();
        }
    }

    fn digest(&self) -> u64 {
        let start = u64::from(self.incarnation) ^ self.due.rotate_left(41);
        let start = self.versions.iter().fold(start, |d, v| d.rotate_left(23) ^ v.digest());
        self.pairs.iter().fold(start, |d, pair| {
            let d = d.rotate_left(29) ^ pair.position as u64;
            pair.sides.iter().fold(d, |d, p| d.rotate_left(17) ^ p.digest())
        })
    }
}

#[cfg(test)]
mod tests;
