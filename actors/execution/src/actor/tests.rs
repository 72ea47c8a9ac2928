//! Decisions in, orders out.

use kimera_protocol::{Body, Header, InstrumentStatus, Level, OrderEvent, Price, Quantity};

use super::*;

const LOT: i64 = 100_000;
const PERP: InstrumentId = InstrumentId(1);

struct Rig {
    stage: Execution,
    seq: Seq,
    time: Nanos,
}

impl Rig {
    fn started() -> Self {
        let parent = ParentConfig {
            child_size_max: 10 * LOT,
            requote_ticks: 10,
            requote_interval: 1_000,
            cancel_retry: 5_000,
            refusal_pause: 500,
        };
        let configured = InstrumentVersion::configured(10_000_000, LOT);
        let tradable = vec![Tradable { instrument: PERP, venue: 1, configured }];
        let config = ExecutionConfig { tradable, parent };
        let stage = Execution::new(config, ExecutionMeters::new(&Counters::detached()));
        let mut rig = Self { stage, seq: 0, time: 0 };
        rig.send(Started { incarnation: 3, ..Started::default() });
        rig
    }

    /// The next input.
    fn send<B: Body>(&mut self, body: B) -> Vec<Message> {
        self.seq += 1;
        self.send_again(body)
    }

    /// Another message of the same input.
    fn send_again<B: Body>(&mut self, body: B) -> Vec<Message> {
        let header = Header { seq: self.seq, time: self.time, instrument: PERP.0, ..Header::default() };
        let message = Message::new(header, body);
        let mut out = Outbox::new(OUTPUTS_MAX);
        out.begin(&message);
        self.stage.handle(Input { message: &message, joined: &[] }, &mut out);
        out.staged().inspect(|(port, _)| assert_eq!(*port, Port::Line)).map(|(_, m)| *m).collect()
    }
}

fn wants(bid: i64, ask: i64) -> Decision {
    let level =
        |price: i64| Level { price: Price(price), size: Quantity(if price > 0 { 5 * LOT } else { 0 }) };
    Decision { bid: level(bid), ask: level(ask), strategy: 7, ..Decision::default() }
}

fn orders(messages: &[Message]) -> Vec<NewOrder> {
    messages.iter().filter_map(|m| m.body::<NewOrder>().copied()).collect()
}

fn report(order: &NewOrder, event: OrderEvent) -> OrderUpdate {
    OrderUpdate {
        id: order.id,
        event: event as u8,
        quantity: order.quantity,
        cumulative: order.quantity,
        side: order.side,
        ..OrderUpdate::default()
    }
}

#[test]
fn a_decision_becomes_one_order_a_side() {
    let mut rig = Rig::started();
    let placed = orders(&rig.send(wants(100, 200)));
    let ids: Vec<_> = placed.iter().map(|o| (o.id.incarnation, o.id.seq, o.id.child)).collect();
    assert_eq!(ids, [(3, 2, 0), (3, 2, 1)]);
    assert_eq!(placed[0].time_in_force, TimeInForce::PostOnly as u8);
    assert_eq!((placed[0].strategy, placed[0].venue, placed[0].flags), (7, 1, 0));
    assert!(rig.send(wants(101, 201)).is_empty(), "near enough: neither cancel nor order");
}

#[test]
fn two_messages_of_one_input_never_share_an_identity() {
    let mut rig = Rig::started();
    let placed = orders(&rig.send(wants(100, 0)));
    let again = orders(&rig.send(report(&placed[0], OrderEvent::Canceled)));
    assert_eq!(again.len(), 1, "the wanted quote is put up again");
    let both = orders(&rig.send_again(wants(100, 200)));
    assert_eq!((again[0].id.child, both[0].id.child), (0, 1));
    assert_eq!(again[0].id.seq, both[0].id.seq);
    let filled = orders(&rig.send(report(&again[0], OrderEvent::Filled)));
    assert!(filled.is_empty(), "what is wanted after a fill is for strategy to say");
    assert_eq!(orders(&rig.send_again(wants(90, 200))).len(), 1);
}

#[test]
fn a_refusal_causes_no_order_and_the_next_decision_waits() {
    let mut rig = Rig::started();
    let placed = orders(&rig.send(wants(100, 0)));
    let refusal = Refusal { id: placed[0].id, reason: 1, ..Refusal::default() };
    let passed = rig.send(refusal);
    assert_eq!(passed.iter().map(Message::kind).collect::<Vec<_>>(), [Some(Kind::Refusal)]);
    assert!(orders(&rig.send(wants(100, 0))).is_empty());
    rig.time += 500;
    assert_eq!(orders(&rig.send(wants(100, 0))).len(), 1);
}

#[test]
fn a_halt_cancels_everything_by_one_message() {
    let mut rig = Rig::started();
    let placed = orders(&rig.send(wants(100, 200)));
    let halted = rig.send(Command { code: CommandCode::Halt as u64, epoch: 2, ..Command::default() });
    let kinds: Vec<_> = halted.iter().filter_map(Message::kind).collect();
    assert_eq!(kinds, [Kind::Command, Kind::CancelAll]);
    assert!(rig.send(Decision::default()).is_empty(), "asked already");
    for order in &placed {
        rig.send(report(order, OrderEvent::Canceled));
    }
    rig.send(Command { code: CommandCode::Resume as u64, epoch: 2, ..Command::default() });
    rig.send(Command { code: CommandCode::Reduce as u64, epoch: 2, ..Command::default() });
    let out = orders(&rig.send(Decision { position: 3 * LOT, ..wants(0, 200) }));
    assert_eq!((out[0].flags, out[0].quantity.0), (OrderFlags::REDUCE_ONLY, 3 * LOT), "no more than is open");
}

/// What is wanted was said before the change: what is sent behind it goes by the new rules all the same.
#[test]
fn a_quote_that_is_replaced_behind_a_change_has_the_new_step() {
    let mut rig = Rig::started();
    let first = orders(&rig.send(wants(503, 0)))[0];
    rig.time = 1_000;
    assert_eq!(rig.send(wants(523, 0)).len(), 1, "the cancel");
    rig.send(Definition { tick_units: 50_000_000, lot_units: LOT, status: 1, ..Definition::default() });
    let again = orders(&rig.send(report(&first, OrderEvent::Canceled)));
    assert_eq!(again.iter().map(|o| o.price.0).collect::<Vec<_>>(), [520]);
    // A coarse price stands for all those that are rounded to it, and for those within ten ticks of them.
    let mut placed_for = |bid: i64| {
        rig.time += 1_000;
        rig.send(wants(bid, 0)).iter().any(|m| m.kind() == Some(Kind::CancelOrder))
    };
    assert!(!placed_for(520) && !placed_for(533) && !placed_for(511) && placed_for(510));
}

/// Only ways out may be smaller than the venue's least, or leave while it takes no others; and they have to say so.
#[test]
fn a_way_out_is_of_any_size_and_leaves_at_any_time() {
    for rules in [
        Definition { size_min: 9 * LOT, status: InstrumentStatus::Trading as u64, ..Definition::default() },
        Definition { status: InstrumentStatus::Closed as u64, ..Definition::default() },
    ] {
        let placed = |messages: &[Message]| -> Vec<_> {
            orders(messages).iter().map(|o| (o.side, o.quantity.0 / LOT, o.flags)).collect()
        };
        let defined = || {
            let mut rig = Rig::started();
            rig.send(Definition { tick_units: 10_000_000, lot_units: LOT, ..rules });
            rig
        };
        let mut rig = defined();
        assert_eq!(placed(&rig.send(wants(503, 521))), []);
        rig.send(Command { code: CommandCode::Reduce as u64, ..Command::default() });
        let short = Decision { position: -5 * LOT, ..wants(503, 0) };
        assert_eq!(placed(&rig.send(short)), [(0, 5, OrderFlags::REDUCE_ONLY)]);
        for (position, out) in [(5, Some(1)), (4, None), (-5, Some(0)), (-9, Some(0)), (0, None)] {
            let decision = Decision { position: position * LOT, ..wants(503, 521) };
            let expected: Vec<_> = out.map(|side| (side, 5, OrderFlags::REDUCE_ONLY)).into_iter().collect();
            assert_eq!(placed(&defined().send(decision)), expected, "{position}");
        }
    }
    // Where the venue takes it as it is nothing is said.
    let decision = Decision { position: 5 * LOT, ..wants(0, 521) };
    assert_eq!(orders(&Rig::started().send(decision))[0].flags, 0);
}

/// From the input on that says so, orders keep to what the venue demands; what it does not take is not tried.
#[test]
fn orders_keep_to_the_newest_version_of_their_instrument() {
    let mut rig = Rig::started();
    let rules = Definition {
        tick_units: 50_000_000, // five ticks of the run
        lot_units: 2 * LOT,
        size_min: 4 * LOT,
        notional_min: 0,
        status: InstrumentStatus::Trading as u64,
        ..Definition::default()
    };
    let placed = |messages: &[Message]| -> Vec<_> {
        orders(messages).iter().map(|o| (o.side, o.price.0, o.quantity.0 / LOT)).collect()
    };
    assert_eq!(placed(&rig.send(wants(503, 0))), [(0, 503, 5)]);
    let passed_on = rig.send(rules);
    assert_eq!(passed_on.len(), 1, "what stands the venue has taken: {passed_on:?}");
    assert_eq!(passed_on[0].body::<Definition>(), Some(&rules));
    assert_eq!(placed(&rig.send(wants(503, 521))), [(1, 525, 4)]);
    for (named, unwanted) in [
        ("is closed", Definition { status: InstrumentStatus::CancelOnly as u64, ..rules }),
        ("wants more", Definition { size_min: 6 * LOT, ..rules }),
        ("wants dearer ones", Definition { notional_min: 1_000_000_000_000, ..rules }),
        ("has no such price", Definition { tick_units: 10_000_000 * 600, ..rules }),
    ] {
        let mut rig = Rig::started();
        rig.send(unwanted);
        assert_eq!(placed(&rig.send(wants(503, 0))), [], "{named}");
        rig.send(rules);
        assert_eq!(placed(&rig.send(wants(503, 0))), [(0, 500, 4)], "{named}");
    }
    // Rules of another instrument are none of ours.
    let mut rig = Rig::started();
    let header = Header { seq: 9, instrument: 0, ..Header::default() };
    let mut out = Outbox::new(OUTPUTS_MAX);
    let other = Message::new(header, rules);
    out.begin(&other);
    rig.stage.handle(Input { message: &other, joined: &[] }, &mut out);
    assert_eq!(placed(&rig.send(wants(503, 0))), [(0, 503, 5)]);
}

const SPOT: InstrumentId = InstrumentId(0);

/// Two instruments that may be traded.
fn two() -> Rig {
    let mut rig = Rig::started();
    let configured = InstrumentVersion::configured(1_000_000, LOT);
    let mut config = rig.stage.config.clone();
    config.tradable.push(Tradable { instrument: SPOT, venue: 0, configured });
    rig.stage = Execution::new(config, ExecutionMeters::new(&Counters::detached()));
    rig.send(Started { incarnation: 3, ..Started::default() });
    rig
}

fn of(session: u8, decision: Decision) -> Decision {
    Decision { session, strategy: 10 + u16::from(session), ..decision }
}

fn taking(decision: Decision) -> Decision {
    Decision { urgency: Urgency::Take as u8, ..decision }
}

/// A decision about the other instrument, of the same input.
fn send_spot(rig: &mut Rig, decision: Decision) -> Vec<Message> {
    let header = Header { seq: rig.seq, time: rig.time, instrument: SPOT.0, ..Header::default() };
    let message = Message::new(header, decision);
    let mut out = Outbox::new(OUTPUTS_MAX);
    out.begin(&message);
    rig.stage.handle(Input { message: &message, joined: &[] }, &mut out);
    out.staged().map(|(_, m)| *m).collect()
}

#[test]
fn both_legs_of_an_input_have_identities_of_their_own() {
    let mut rig = two();
    let first = orders(&rig.send(of(3, taking(wants(100, 0)))));
    let second = orders(&send_spot(&mut rig, of(3, taking(wants(0, 200)))));
    assert_eq!((first[0].id.child, second[0].id.child), (300, 301));
    assert_eq!((first[0].venue, second[0].venue, first[0].strategy), (1, 0, 13));
    assert_eq!(first[0].time_in_force, TimeInForce::ImmediateOrCancel as u8);
    assert_eq!((first[0].id.session(), first[0].id.seq), (3, second[0].id.seq));
}

#[test]
fn sessions_have_parents_of_their_own_and_reports_find_them() {
    let mut rig = Rig::started();
    let maker = orders(&rig.send(of(0, wants(100, 200))));
    let other = orders(&rig.send_again(of(2, wants(90, 0))));
    assert_eq!((maker.len(), other.len(), other[0].id.child), (2, 1, 200));
    // What becomes of one's order is nothing to the other.
    let gone = orders(&rig.send(report(&other[0], OrderEvent::Canceled)));
    assert_eq!(gone.iter().map(|o| o.id.session()).collect::<Vec<_>>(), [2]);
    let cancels = rig.send(of(2, Decision::default()));
    assert_eq!(cancels.len(), 1, "its own quote alone: {cancels:?}");
}

#[test]
fn what_takes_keeps_off_our_own_quotes() {
    let mut rig = Rig::started();
    rig.send(of(0, wants(100, 200)));
    let sold = orders(&rig.send(of(1, taking(wants(0, 95)))));
    assert_eq!(sold[0].price, Price(101), "not through our own bid");
    let mut rig = Rig::started();
    rig.send(of(0, wants(100, 200)));
    let bought = orders(&rig.send(of(2, taking(wants(250, 0)))));
    assert_eq!(bought[0].price, Price(199));
}

#[test]
fn whom_time_alone_has_changed_is_looked_at_with_the_first_session() {
    let mut rig = Rig::started();
    let order = orders(&rig.send(of(1, wants(100, 0))))[0];
    // Wanted elsewhere, too young to be replaced; and nothing more is said of it.
    assert!(rig.send(of(1, wants(150, 0))).is_empty());
    rig.time += 1_000;
    let said = rig.send(of(0, Decision::default()));
    assert_eq!(said.iter().map(Message::kind).collect::<Vec<_>>(), [Some(Kind::CancelOrder)]);
    // No answer: asked again.
    rig.time += 5_000;
    assert_eq!(rig.send(of(0, Decision::default())).len(), 1);
    // It has expired, and the side waits: tried again when it may.
    rig.send(report(&order, OrderEvent::Expired));
    assert!(rig.send(of(0, Decision::default())).is_empty());
    rig.time += 500;
    assert_eq!(orders(&rig.send(of(0, Decision::default())))[0].id.session(), 1);
}

#[test]
fn one_input_causes_so_much_and_the_rest_with_the_next() {
    let mut rig = Rig::started();
    // Eight sessions with four children each: more than one input may cause.
    let large =
        |price| Decision { bid: Level { price: Price(price), size: Quantity(40 * LOT) }, ..wants(0, 0) };
    let mut placed = orders(&rig.send(of(0, large(100)))).len();
    for session in 1..8 {
        placed += orders(&rig.send_again(of(session, large(100 - i64::from(session))))).len();
    }
    assert_eq!(placed, EFFECTS_PER_INPUT);
    let mut inputs = 0;
    while placed < 32 {
        placed += orders(&rig.send(of(0, large(100)))).len();
        inputs += 1;
    }
    assert_eq!((placed, inputs), (32, 2), "eight a message");
    // All of them withdraw.
    let mut cancels = rig.send(of(0, Decision::default())).len();
    for session in 1..8 {
        cancels += rig.send_again(of(session, Decision::default())).len();
    }
    assert_eq!(cancels, EFFECTS_PER_INPUT);
    cancels += rig.send(of(0, Decision::default())).len() + rig.send(of(0, Decision::default())).len();
    assert_eq!(cancels, 32);
}

#[test]
fn where_only_ways_out_leave_they_are_ways_out_of_the_account() {
    let mut rig = Rig::started();
    rig.send(Command { code: CommandCode::Resume as u64, epoch: 1, ..Command::default() });
    rig.send(of(1, Decision { position: 13 * LOT, ..Decision::default() }));
    rig.send(of(2, Decision { position: -10 * LOT, ..Decision::default() }));
    rig.send(Command { code: CommandCode::Reduce as u64, epoch: 1, ..Command::default() });
    let one = Decision { position: 13 * LOT, ..taking(wants(0, 95)) };
    let out = orders(&rig.send(of(1, one)));
    assert_eq!(
        (out[0].quantity.0, out[0].flags),
        (3 * LOT, OrderFlags::REDUCE_ONLY),
        "three are open in all"
    );
    let other = Decision { position: -10 * LOT, ..taking(wants(105, 0)) };
    assert!(orders(&rig.send(of(2, other))).is_empty(), "it would open");
}
