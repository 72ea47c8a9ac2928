//! A stream that is heard ahead of the primary one.

use super::*;

/// A seat with both streams, and their writers.
struct Two {
    seat: Seat<Echo>,
    streams: [(Outlet, Arc<Frontier>); 2],
    line: Inlet,
    frontier: Arc<Frontier>,
}

const PRIMARY: usize = 0;
const AHEAD: usize = 1;

fn two() -> Two {
    let stream = |port| {
        let ((outlet, inlet), writer) = (ring(1_024), Frontier::new());
        ((outlet, writer.clone()), PortInlet { from: String::new(), port, inlet, writer })
    };
    let ((primary, line_inlet), (alerts, alert_inlet)) = (stream(Port::Line), stream(Port::Alert));
    let (line_out, line) = ring(4_096);
    let frontier = Frontier::new();
    let ports = Ports {
        name: "echo".into(),
        seat: 5,
        inlets: vec![line_inlet, alert_inlet],
        outlets: vec![PortOutlet { port: Port::Line, per_input: 2, outlet: line_out }],
        frontier: frontier.clone(),
    };
    let seat = Seat::new(Echo, ports, 2, SeatMeters::default(), Tsc::calibrate());
    Two { seat, streams: [primary, alerts], line, frontier }
}

impl Two {
    fn push(&mut self, stream: usize, seq: Seq, id: u64) {
        assert!(self.streams[stream].0.push(&ticker(seq, id)));
    }

    fn said(&mut self) -> Vec<u64> {
        let all = std::iter::from_fn(|| self.line.pop());
        all.filter_map(|m| m.body::<Quote>().map(|q| q.update_id)).filter(|id| *id < 1_000).collect()
    }
}

#[test]
fn nothing_is_handled_before_the_other_stream_is_known_up_to_it() {
    let mut two = two();
    two.push(PRIMARY, 5, 1);
    two.streams[PRIMARY].1.advance(5);
    assert_eq!(two.seat.poll(), Work::Blocked);
    assert!(two.said().is_empty());
    two.push(AHEAD, 5, 2);
    two.streams[AHEAD].1.advance(4);
    assert_eq!(two.seat.poll(), Work::Done, "what is there can be heard");
    assert_eq!((two.said(), two.frontier.get()), (vec![2], 4));
    two.streams[AHEAD].1.advance(5);
    assert_eq!(two.seat.poll(), Work::Done);
    assert_eq!(two.said(), [1]);
    // Progress of a silent seat is the smaller of both.
    two.streams[PRIMARY].1.advance(90);
    assert_eq!((two.seat.poll(), two.frontier.get()), (Work::Blocked, 5));
    two.streams[AHEAD].1.advance(95);
    assert_eq!((two.seat.poll(), two.frontier.get()), (Work::Idle, 90));
    // An alert beyond what the primary stream is known to have said waits.
    two.push(AHEAD, 93, 3);
    assert_eq!(two.seat.poll(), Work::Idle);
    two.streams[PRIMARY].1.advance(93);
    two.seat.poll();
    assert_eq!(two.said(), [3]);
}

proptest! {
    /// However the two streams come, there is one order: by input, the one ahead first; and who is told that an input is done
    /// finds everything about it said.
    #[test]
    fn there_is_one_order(
        inputs in proptest::collection::vec((0usize..3, 0usize..3), 1..40),
        moves in proptest::collection::vec(0usize..3, 200),
    ) {
        let mut two = two();
        let mut expected = Vec::new();
        for (i, (primary, ahead)) in inputs.iter().enumerate() {
            let id = |stream: usize, n: usize| (i * 10 + stream * 5 + n) as u64 + 1;
            expected.extend((0..*ahead).map(|n| id(AHEAD, n)).chain((0..*primary).map(|n| id(PRIMARY, n))));
        }
        expected.retain(|id| *id != 7); // the echo is silent about it
        let mut told = [0usize; 2];
        let mut said = Vec::new();
        let mut moves = moves.into_iter();
        loop {
            let choice = moves.next().unwrap_or_else(|| (told[0] + told[1]) % 3);
            let open = [told[0] < inputs.len(), told[1] < inputs.len()];
            if choice < 2 && open[choice] {
                let (stream, i) = (choice, told[choice]);
                let count = if stream == PRIMARY { inputs[i].0 } else { inputs[i].1 };
                (0..count).for_each(|n| two.push(stream, i as Seq + 1, (i * 10 + stream * 5 + n) as u64 + 1));
                two.streams[stream].1.advance(i as Seq + 1);
                told[stream] += 1;
            } else {
                let work = two.seat.poll();
                said.extend(two.said());
                let done = two.frontier.get() as usize;
                prop_assert!(expected.iter().filter(|id| ((*id - 1) / 10) < done as u64).all(|id| said.contains(id)));
                if !open[0] && !open[1] && work == Work::Idle {
                    break;
                }
            }
        }
        prop_assert_eq!(said, expected);
        prop_assert_eq!(two.frontier.get(), inputs.len() as Seq);
    }
}

/// Votes at every mark, and does not survive what comes behind one about the same input.
struct Unlucky;

kimera_protocol::state!(Unlucky {});

impl Actor for Unlucky {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        if input.message.is_mark() {
            out.send(Port::Vote, InstrumentId(0), Quote::default());
        }
        assert!(input.message.header.seq != 3 || input.message.is_mark(), "unlucky");
    }
}

#[test]
fn what_a_member_has_said_about_an_input_stays_said() {
    let ((mut primary, inlet), (vote_out, mut votes)) = (ring(64), ring(64));
    let (writer, frontier) = (Frontier::new(), Frontier::new());
    let ports = Ports {
        name: "member".into(),
        seat: 6,
        inlets: vec![PortInlet { from: String::new(), port: Port::Line, inlet, writer }],
        outlets: vec![PortOutlet { port: Port::Vote, per_input: 1, outlet: vote_out }],
        frontier: frontier.clone(),
    };
    let seat = Seat::new(Unlucky, ports, 1, SeatMeters::default(), Tsc::calibrate());
    let mut seat = seat.as_member(AbsenceGate::new(), Arc::default());
    for seq in 2..=4 {
        assert!(primary.push(&features(seq, Flags::MARK)) && primary.push(&ticker(seq, 1)));
    }
    while seat.poll() == Work::Done {}
    let said: Vec<_> = std::iter::from_fn(|| votes.pop()).map(|m| m.header.seq).collect();
    assert_eq!(said, [2, 3], "its word about 3 is out");
    assert_eq!(frontier.absences().open(), Some(4), "so it is missing from 4 on");
}
