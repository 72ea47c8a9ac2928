//! A stage that panics on any message of any input, and another with the state from before it.

use super::*;
use crate::mend::Mend;

/// Sends the sum so far; dies once, on one message, after it has sent something.
struct Sum {
    sum: u64,
    seen: u64,
    dies_on: Option<u64>,
}

kimera_protocol::state!(Sum { sum, seen } fixed { dies_on });

impl Actor for Sum {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        self.seen += 1;
        self.sum = self.sum.wrapping_mul(31) + input.message.body::<Ticker>().map_or(0, |t| t.update_id);
        out.send(Port::Line, InstrumentId(0), Quote { update_id: self.sum, ..Quote::default() });
        assert!(self.dies_on != Some(self.seen), "once");
    }
}

fn sum(dies_on: Option<u64>) -> Sum {
    Sum { sum: 1, seen: 0, dies_on }
}

/// A seat with these messages before it, and where its outputs go.
fn seated(actor: Sum, messages: &[Message]) -> (Seat<Sum>, Inlet) {
    let (mut primary, inlet) = ring(256);
    let (line_out, line) = ring(256);
    let writer = Frontier::new();
    let ports = Ports {
        name: "sum".into(),
        seat: 1,
        inlets: vec![PortInlet { from: String::new(), port: Port::Line, inlet, writer }],
        outlets: vec![PortOutlet { port: Port::Line, per_input: 2, outlet: line_out }],
        frontier: Frontier::new(),
    };
    assert!(messages.iter().all(|m| primary.push(m)));
    (Seat::new(actor, ports, 2, SeatMeters::default(), Tsc::calibrate()), line)
}

fn said(seat: &mut Seat<Sum>, line: &mut Inlet) -> Vec<Message> {
    while seat.poll() == Work::Done {}
    std::iter::from_fn(|| line.pop()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However many messages an input has, and whichever of them it dies on: with the state that a twin has before it, it
    /// says what one says that does not die.
    #[test]
    fn another_with_the_state_from_before_goes_on_as_if_nothing_had_been(
        counts in prop::collection::vec(1u64..5, 1..20),
        which in any::<prop::sample::Index>(),
    ) {
        let each = |(seq, count): (u64, &u64)| (0..*count).map(move |n| ticker(seq + 1, 10 * seq + n));
        let messages: Vec<Message> = (0u64..).zip(&counts).flat_map(each).collect();
        let (mut well, mut line) = seated(sum(None), &messages);
        let expected = said(&mut well, &mut line);
        let dies_on = which.index(messages.len()) as u64 + 1;
        let (seat, mut line) = seated(sum(Some(dies_on)), &messages);
        let (mend, health) = (Arc::<Mend>::default(), Arc::<Health>::default());
        mend.arm();
        let mut seat = seat.as_stage(sum(None), mend.clone(), health.clone());
        let mut all = said(&mut seat, &mut line);
        prop_assert_eq!(all.len() as u64, dies_on - 1, "nothing of the message it died on");
        let (seq, handled) = mend.wanted().unwrap();
        let fatal = &messages[dies_on as usize - 1];
        prop_assert_eq!(seq, fatal.header.seq);
        // A twin beside it gets as far as that message, and no further.
        let (twin, mut twins_line) = seated(sum(None), &messages);
        let mut twin = twin.with_stop(Some((seq, handled)));
        prop_assert_eq!(said(&mut twin, &mut twins_line).len() as u64, dies_on - 1);
        mend.deliver(twin.save_actor().unwrap());
        all.extend(said(&mut seat, &mut line));
        prop_assert_eq!(all, expected);
        prop_assert_eq!(seat.desk.outbox.saved_hash(), well.desk.outbox.saved_hash());
        prop_assert!(mend.wanted().is_none() && health.restarts() == 1);
    }
}

#[test]
fn without_somebody_who_makes_another_it_falls_as_before() {
    let (seat, _line) = seated(sum(Some(1)), &[ticker(1, 5)]);
    let mut seat = seat.as_stage(sum(None), Arc::default(), Arc::default());
    assert!(catch_unwind(AssertUnwindSafe(|| seat.poll())).is_err());
    assert_eq!(seat.desk.frontier.death(), Some(1));
}
