//! What leaves, what does not, and what is made of silence.

use kimera_protocol::Side;

use super::*;

const WORD: Word = Word { state: TradingState::Active, epoch: 4 };
const PERP: InstrumentId = InstrumentId(1);
const SECOND: u64 = 1_000_000_000;

fn order(seq: u64) -> NewOrder {
    NewOrder {
        id: OrderId { seq, incarnation: 1, child: 0 },
        price: Price(600_000),
        quantity: Quantity(10),
        side: Side::Ask as u8,
        stamp_seq: seq,
        trading_epoch: 4,
        send_by: 100,
        ..NewOrder::default()
    }
}

fn events(desk: &mut Desk) -> Vec<(u64, OrderEvent)> {
    std::iter::from_fn(|| desk.next_event())
        .map(|(_, u)| (u.id.seq, OrderEvent::from_code(u.event).unwrap()))
        .collect()
}

/// A desk whose order 1 was sent at 0, with the venue's timestamp 1,000.
fn sent() -> Desk {
    let mut desk = Desk::default();
    desk.admit(&order(1), PERP, WORD, true, 50).unwrap();
    desk.placed(order(1).id, 1_000, 0);
    desk
}

fn answer(asked: Asked, verdict: Verdict) -> Response {
    Response {
        asked,
        order: order(1).id,
        verdict,
        venue_order_id: 77,
        filled: 0,
        standing: false,
        ended: None,
    }
}

fn acknowledged() -> Desk {
    let mut desk = sent();
    desk.response(&answer(Asked::Place, Verdict::Done), 1);
    assert_eq!(events(&mut desk), [(1, OrderEvent::Acknowledged)]);
    desk
}

#[test]
fn what_may_not_leave_says_why() {
    let halted = Word { state: TradingState::Halted, epoch: 4 };
    let newer = Word { epoch: 5, ..WORD };
    let cases = [
        (NewOrder { stamp_seq: 0, ..order(1) }, WORD, true, 50, Unsent::NoStamp),
        (order(1), halted, true, 50, Unsent::Halted),
        (order(1), newer, true, 50, Unsent::OldEpoch),
        (order(1), WORD, true, 101, Unsent::TooLate),
        (order(1), WORD, false, 50, Unsent::NotConnected),
    ];
    for (order, word, connected, now, reason) in cases {
        let mut desk = Desk::default();
        assert_eq!(desk.admit(&order, PERP, word, connected, now), Err(reason));
        let (_, update) = desk.next_event().unwrap();
        assert_eq!((update.event, update.code), (OrderEvent::Unsent as u8, reason as i32));
        assert_eq!(desk.working(), 0);
    }
    let mut desk = Desk::default();
    for seq in 1..=ORDERS_MAX as u64 {
        desk.admit(&order(seq), PERP, WORD, true, 50).unwrap();
    }
    assert_eq!(desk.admit(&order(9_999), PERP, WORD, true, 50), Err(Unsent::NoRoom));
}

#[test]
fn silence_is_unknown_until_the_venue_has_been_asked() {
    let mut desk = sent();
    desk.tick(SECOND - 1);
    assert_eq!((events(&mut desk), desk.unknown()), (vec![], 0));
    desk.tick(SECOND);
    assert_eq!((events(&mut desk), desk.unknown()), (vec![(1, OrderEvent::Silent)], 1));
    assert_eq!(desk.next_question(SECOND, 6_000), Some(order(1).id));
    assert_eq!(desk.next_question(SECOND, 6_000), None, "asked once at a time");
    // "Not found" means nothing before its timestamp and the receive window have passed at the venue.
    let missing = answer(Asked::Status, Verdict::Refused(NO_SUCH_ORDER));
    desk.response(&missing, SECOND);
    assert_eq!((events(&mut desk), desk.unknown()), (vec![], 1));
    assert_eq!(desk.next_question(SECOND + QUESTION_INTERVAL, 6_001), Some(order(1).id));
    desk.response(&missing, 2 * SECOND);
    assert_eq!((events(&mut desk), desk.working()), (vec![(1, OrderEvent::NotFound)], 0));
    assert_eq!(desk.next_question(u64::MAX, i64::MAX), None);
}

#[test]
fn an_order_that_was_silent_may_be_found() {
    let mut desk = sent();
    desk.connection_lost(5);
    assert_eq!(events(&mut desk), [(1, OrderEvent::Silent)]);
    desk.response(&Response { standing: true, ..answer(Asked::Status, Verdict::Done) }, 6);
    assert_eq!(events(&mut desk), [(1, OrderEvent::FoundOpen)]);
    assert_eq!((desk.working(), desk.unknown()), (1, 0));
    let duplicate = answer(Asked::Place, Verdict::Refused(DUPLICATE_IDENTITY));
    desk.response(&duplicate, 7);
    assert_eq!(desk.unknown(), 1, "an identity in use is an order that may stand");
}

#[test]
fn missed_fills_are_fetched_and_booked_once() {
    let mut desk = acknowledged();
    desk.ask_about_everything(5);
    assert_eq!(desk.next_question(5, 1_005), Some(order(1).id));
    desk.response(&Response { filled: 10, ..answer(Asked::Status, Verdict::Done) }, 6);
    assert_eq!(events(&mut desk), []);
    assert_eq!(desk.next_trades(), Some((order(1).id, 77)));
    let trade = |trade_id, size, venue_order_id| AccountTrade {
        trade_id,
        venue_order_id,
        side: Side::Ask,
        price: Price(600_000),
        quantity: Quantity(size),
        fee: 1,
        maker: true,
        time_ms: 5,
    };
    // The first of them was heard before.
    let heard = OrderUpdate {
        id: order(1).id,
        event: OrderEvent::PartFilled as u8,
        quantity: Quantity(4),
        cumulative: Quantity(4),
        ..OrderUpdate::default()
    };
    desk.user_event(PERP, &heard);
    desk.trades(order(1).id, &[trade(1, 4, 77), trade(2, 9, 5), trade(3, 6, 77)]);
    assert_eq!(events(&mut desk), [(1, OrderEvent::PartFilled), (1, OrderEvent::Filled)]);
    desk.trades(order(1).id, &[trade(1, 4, 77), trade(3, 6, 77)]);
    assert_eq!((events(&mut desk), desk.working()), (vec![], 0));
}

#[test]
fn a_cancel_is_asked_for_until_the_order_has_ended() {
    let mut desk = acknowledged();
    desk.cancel(order(1).id);
    desk.cancel(order(1).id);
    assert_eq!((desk.next_cancel(), desk.next_cancel()), (Some(order(1).id), None));
    desk.cancel_sent(order(1).id, 10);
    desk.response(&answer(Asked::Cancel, Verdict::Done), 11);
    // The stream does not say what became of it.
    desk.tick(10 + ANSWER_TIMEOUT);
    assert_eq!(desk.next_question(10 + ANSWER_TIMEOUT, 1_025), Some(order(1).id));
    desk.response(&Response { standing: true, ..answer(Asked::Status, Verdict::Done) }, 12);
    assert_eq!(desk.next_cancel(), Some(order(1).id), "it still stands: again");
    let ended = Response { ended: Some(OrderEvent::Canceled), ..answer(Asked::Status, Verdict::Done) };
    desk.response(&ended, 13);
    assert_eq!(events(&mut desk), [(1, OrderEvent::FoundOpen), (1, OrderEvent::Canceled)]);
    desk.cancel(order(1).id);
    assert_eq!((desk.next_cancel(), desk.working()), (None, 0));
}

#[test]
fn a_refused_cancel_asks_what_became_of_it() {
    let mut desk = acknowledged();
    desk.cancel(order(1).id);
    desk.next_cancel();
    desk.response(&answer(Asked::Cancel, Verdict::Refused(-2011)), 11);
    assert_eq!(events(&mut desk), [(1, OrderEvent::CancelRefused)]);
    assert_eq!(desk.next_question(11, 1_020), Some(order(1).id));
    desk.response(&Response { filled: 3, ..answer(Asked::Status, Verdict::Done) }, 12);
    // Filled, and no trade says so: it stays open here, and is asked about again.
    desk.trades(order(1).id, &[]);
    assert_eq!((desk.working(), desk.next_question(12 + QUESTION_INTERVAL, 1_300)), (1, Some(order(1).id)));
}

#[test]
fn all_of_them_are_wanted_back() {
    let mut desk = Desk::default();
    for seq in 1..=20 {
        desk.admit(&order(seq), PERP, WORD, true, 50).unwrap();
    }
    desk.cancel(order(3).id);
    desk.cancel_all();
    let all: Vec<_> = std::iter::from_fn(|| desk.next_cancel()).map(|id| id.seq).collect();
    assert_eq!(all, (1..=20).collect::<Vec<_>>());
}

#[test]
fn an_end_that_speaks_of_more_fills_than_were_heard_has_them_fetched() {
    let mut desk = acknowledged();
    let ended = OrderUpdate {
        id: order(1).id,
        event: OrderEvent::Canceled as u8,
        cumulative: Quantity(4),
        venue_order_id: 77,
        ..OrderUpdate::default()
    };
    desk.user_event(PERP, &ended);
    assert_eq!((desk.working(), desk.is_explained()), (0, false));
    assert_eq!(desk.next_trades(), Some((order(1).id, 77)));
    desk.trades_failed(order(1).id);
    assert_eq!(desk.next_trades(), Some((order(1).id, 77)), "one that failed is fetched again");
}

#[test]
fn what_is_wanted_back_stays_wanted_over_a_lost_connection() {
    let mut desk = acknowledged();
    desk.cancel(order(1).id);
    desk.next_cancel();
    desk.connection_lost(5);
    assert_eq!((desk.next_cancel(), desk.is_explained()), (None, false));
    desk.cancel_wanted();
    assert_eq!((desk.next_cancel(), desk.next_cancel()), (Some(order(1).id), None));
}

#[test]
fn a_venue_that_will_not_take_it_back_and_says_that_it_stands_is_not_asked_in_a_circle() {
    let mut desk = acknowledged();
    desk.cancel(order(1).id);
    let mut asked = Vec::new();
    for now in (0..2 * SECOND).step_by(1_000_000) {
        if let Some(id) = desk.next_cancel() {
            desk.cancel_sent(id, now);
            asked.push(now);
            desk.response(&answer(Asked::Cancel, Verdict::Refused(-2011)), now);
        }
        if desk.next_question(now, 2_000).is_some() {
            let open = Response { standing: true, ..answer(Asked::Status, Verdict::Done) };
            desk.response(&open, now);
        }
    }
    // The second time at once, from then on four times a second.
    assert!(asked.len() >= 8 && asked.len() <= 10 && asked[1] < 10_000_000, "{asked:?}");
}

#[test]
fn an_orphan_that_is_taken_up_again_is_taken_back_again() {
    let mut desk = Desk::default();
    let record = |seq, stamp_seq| {
        let mut record = OrderRecord::new(NewOrder { stamp_seq, ..order(seq) });
        record.state = OrderState::Unknown;
        record
    };
    // The journal has adopted it, and the gateway that did so may have fallen before its cancel left.
    desk.adopt(&record(1, 0), PERP, 5);
    desk.adopt(&record(2, 2), PERP, 5);
    assert_eq!((desk.next_cancel(), desk.next_cancel()), (Some(order(1).id), None));
    assert!(!desk.is_explained());
}
