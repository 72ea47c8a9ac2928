//! The life of orders: every pair of state and event, and reports that come shuffled, twice and late.

use kimera_ledger::{Books, Ledger, LedgerMeters};
use kimera_protocol::order::life_cycle::{Move, next};
use kimera_protocol::{
    Command, CommandCode, FillBook, Header, Level, Message, NewOrder, OrderEvent, OrderId, OrderRecord,
    OrderState, OrderUpdate, Price, Quantity, Quote, Side, TimeInForce,
};
use kimera_risk::{Gate, InstrumentRules, Limits};
use kimera_runtime::{Actor, Counters, Input, Outbox};

use crate::cases::Cases;

const LOT: i64 = 100_000;
/// A tick is 0.1.
const TICK_UNITS: i64 = 10_000_000;
const CAPITAL: i64 = 100_000 * 100_000_000;
const NOW: i64 = 1_000_000_000_000;

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % n.max(1)
    }
}

/// An order, and everything the venue will ever say of it.
struct Story {
    order: NewOrder,
    reports: Vec<OrderUpdate>,
    filled: i64,
    cost: i128,
}

fn story(seq: u64, random: &mut Random) -> Story {
    let side = if random.below(2) == 0 { Side::Bid } else { Side::Ask };
    let lots = 1 + random.below(20) as i64;
    let order = NewOrder {
        id: OrderId { seq, incarnation: 1, child: 0 },
        // A price of its own: the same order twice would rightly be refused.
        price: Price(500_000 + (100 + seq as i64) * if side == Side::Bid { -1 } else { 1 }),
        quantity: Quantity(lots * LOT),
        side: side as u8,
        time_in_force: TimeInForce::PostOnly as u8,
        ..NewOrder::default()
    };
    let update = |event: OrderEvent, quantity, cumulative, trade| OrderUpdate {
        id: order.id,
        side: order.side,
        event: event as u8,
        price: order.price,
        quantity: Quantity(quantity),
        cumulative: Quantity(cumulative),
        trade_id: trade,
        ..OrderUpdate::default()
    };
    let mut reports = vec![update(OrderEvent::Acknowledged, 0, 0, 0)];
    let (mut filled, whole) = (0, lots * LOT);
    let fills = if random.below(3) == 0 { lots } else { random.below(lots as usize) as i64 };
    let mut left = fills;
    while left > 0 {
        let size = 1 + random.below(left as usize) as i64;
        left -= size;
        filled += size * LOT;
        let event = if filled == whole { OrderEvent::Filled } else { OrderEvent::PartFilled };
        reports.push(update(event, size * LOT, filled, seq * 100 + filled as u64 / LOT as u64));
    }
    if filled < whole {
        reports.push(update(OrderEvent::Canceled, 0, filled, 0));
    }
    let sign = if side == Side::Bid { 1 } else { -1 };
    Story {
        order,
        reports,
        filled: sign * filled,
        cost: i128::from(sign * filled) * i128::from(order.price.0),
    }
}

/// What a run of reports has come to.
#[derive(Debug, Default, PartialEq, Eq)]
struct End {
    risk: i64,
    exposure: i128,
    /// Position and cash that the ledger publishes.
    ledger: i64,
    cash: i64,
    fill_book: i64,
    naive: i64,
    balanced: bool,
}

fn gate() -> Gate {
    let rules = InstrumentRules { tick_units: TICK_UNITS, lot_units: LOT, asset: 0, tradable: true };
    let limits = Limits {
        orders_burst: 10_000,
        working_max: 512,
        equity_start: 1_000_000_000 * 100_000_000,
        ..Limits::default()
    };
    let mut gate = Gate::new(limits, vec![rules]);
    gate.command(&Command { code: CommandCode::Resume as u64, epoch: 1, ..Command::default() }, NOW);
    let level = |price| Level { price: Price(price), size: Quantity(1) };
    gate.quote(0, &Quote { bid: level(499_999), ask: level(500_001), usable: 1, ..Quote::default() }, NOW);
    gate
}

fn run(stories: &[Story], reports: &[OrderUpdate]) -> Option<End> {
    let mut gate = gate();
    let counters = Counters::detached();
    let meters = LedgerMeters::new(&counters, 1);
    let mut ledger = Ledger::new(Books::new(CAPITAL, &[TICK_UNITS]), meters);
    let mut fills = FillBook::default();
    let mut out = Outbox::new(0);
    let mut tell = |ledger: &mut Ledger, message: &Message| {
        out.begin(message);
        ledger.handle(Input { message, joined: &[] }, &mut out);
    };
    for story in stories {
        let stamped = gate.judge(&story.order, 0, story.order.id.seq, NOW).ok()?;
        tell(&mut ledger, &Message::new(Header::default(), stamped));
    }
    let mut end = End::default();
    for report in reports {
        gate.report(0, report, NOW);
        tell(&mut ledger, &Message::new(Header::default(), *report));
        end.fill_book += fills.signed_fill(report);
        if OrderEvent::from_code(report.event).is_some_and(OrderEvent::is_fill) {
            end.naive += if report.side == 0 { report.quantity.0 } else { -report.quantity.0 };
        }
    }
    end.risk = gate.book().position(0);
    end.exposure = gate.book().worst_position(0);
    let published = counters.snapshot();
    end.ledger = published.counter("ledger.position.0") as i64;
    end.cash = published.counter("ledger.cash") as i64;
    end.balanced = ledger.books().balanced();
    Some(end)
}

pub fn prove(cases: &mut Cases, seed: u64, rounds: u64) {
    let (mut steps, mut stays, mut alarms, mut refused) = (0, 0, 0, 0);
    let mut broken = 0;
    for state in OrderState::ALL {
        for event in OrderEvent::ALL {
            let to = next(state, event);
            match to {
                Move::To(_) => steps += 1,
                Move::Stay => stays += 1,
                Move::Alarm(_) => alarms += 1,
                Move::Refused => refused += 1,
            }
            // Money is never refused; a filled order stays filled; an end is left by alarms alone.
            let ended = !state.is_working();
            let leaves_end = matches!(to, Move::To(s) if ended && s.is_working());
            let loses_money = event.is_fill() && to == Move::Refused;
            let unfills = state == OrderState::Filled && !matches!(to, Move::Stay | Move::Refused);
            broken += usize::from(leaves_end || loses_money || unfills);
        }
    }
    let pairs = OrderState::ALL.len() * OrderEvent::ALL.len();
    cases.is("every pair of state and event has an answer", pairs, steps + stays + alarms + refused);
    cases.note(&format!("{steps} steps, {stays} stay, {alarms} alarms, {refused} refused"));
    cases.is("pairs that lose money, unfill or revive an order", 0, broken);

    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let (mut wrong, mut unequal, mut told, mut naive_right) = (0, 0, 0u64, 0);
    for _ in 0..rounds {
        let stories: Vec<_> = (1..=1 + random.below(12) as u64).map(|seq| story(seq, &mut random)).collect();
        let once: Vec<OrderUpdate> = stories.iter().flat_map(|s| s.reports.iter().copied()).collect();
        // Every report at least once, some twice or three times, in any order.
        let mut shuffled = once.clone();
        for _ in 0..once.len() + 1 {
            shuffled.push(once[random.below(once.len())]);
        }
        for i in (1..shuffled.len()).rev() {
            shuffled.swap(i, random.below(i + 1));
        }
        told += shuffled.len() as u64;
        let truth: i64 = stories.iter().map(|s| s.filled).sum();
        // Lots of 1e-3 at ticks of 0.1 are whole units.
        let ticks: i128 = stories.iter().map(|s| s.cost).sum();
        let cost = ticks * i128::from(TICK_UNITS) / 100_000_000;
        let (Some(in_order), Some(in_disorder)) = (run(&stories, &once), run(&stories, &shuffled)) else {
            wrong += 1;
            continue;
        };
        let exact = |end: &End| {
            end.risk == truth
                && end.fill_book == truth
                && end.exposure == i128::from(truth).abs()
                && end.balanced
                && end.ledger == truth
                && i128::from(end.cash) == i128::from(CAPITAL) - cost
        };
        wrong += usize::from(!exact(&in_order) || !exact(&in_disorder));
        naive_right += usize::from(in_disorder.naive == truth);
        unequal += usize::from(End { naive: 0, ..in_order } != End { naive: 0, ..in_disorder });
    }
    cases.note(&format!("{rounds} rounds, {told} reports, seed {seed}"));
    cases.is("rounds with position, exposure or ledger wrong", 0, wrong);
    cases.is("rounds in which disorder ends otherwise than order", 0, unequal);
    let naive_wrong = rounds as usize - naive_right;
    cases.holds(
        "control: adding up what is told goes wrong",
        naive_wrong > rounds as usize / 2,
        format!("{naive_wrong} rounds"),
    );
    let mut record = OrderRecord::new(stories_order());
    let lie = OrderUpdate {
        event: OrderEvent::Filled as u8,
        quantity: Quantity(3),
        cumulative: Quantity(3),
        ..OrderUpdate::default()
    };
    record.apply(&lie);
    cases.is("control: more filled than was ordered is not booked", 0, record.filled());
}

fn stories_order() -> NewOrder {
    NewOrder { quantity: Quantity(2), ..NewOrder::default() }
}
