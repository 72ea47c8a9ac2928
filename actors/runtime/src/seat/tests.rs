//! What a seat promises: atomic handlers, joins at marks, progress through silence, checkpoints.

mod ahead;
mod stage;

use std::panic::{AssertUnwindSafe, catch_unwind};

use kimera_protocol::{Checkpoint, Features, Flags, Header, InstrumentId, Kind, OrderUpdate, Quote, Ticker};
use proptest::prelude::*;

use super::*;
use crate::actor::Input;
use crate::credit::WINDOW_MAX;
use crate::ring::ring;

/// Sends a quote for every input; at a join also the number of votes. Panics on an update identifier of 13.
struct Echo;

kimera_protocol::state!(Echo {});

impl Actor for Echo {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        let id = input.message.body::<Ticker>().map_or(0, |t| t.update_id);
        if id == 7 {
            return; // nothing to say
        }
        let votes = input.joined.len() as u64;
        out.send(Port::Line, InstrumentId(0), Quote { update_id: id, usable: votes, ..Quote::default() });
        assert!(id != 13, "unlucky");
        out.send(Port::Line, InstrumentId(0), Quote { update_id: id + 1_000, ..Quote::default() });
    }
}

struct Rig {
    seat: Seat<Echo>,
    primary: Outlet,
    votes: Vec<Outlet>,
    line: Inlet,
    record: Inlet,
    writer: Arc<Frontier>,
    frontier: Arc<Frontier>,
}

fn rig(joins: usize, capacity: usize) -> Rig {
    let writer = Frontier::new();
    let (mut inlets, mut outlets) = (Vec::new(), Vec::new());
    for port in std::iter::once(Port::Line).chain(std::iter::repeat_n(Port::Vote, joins)) {
        let (outlet, inlet) = ring(16_384);
        outlets.push(outlet);
        inlets.push(PortInlet { from: String::new(), port, inlet, writer: writer.clone() });
    }
    let (line_out, line) = ring(capacity);
    let (record_out, record) = ring(64);
    let frontier = Frontier::new();
    let ports = Ports {
        name: "echo".into(),
        seat: 5,
        inlets,
        outlets: vec![
            PortOutlet { port: Port::Line, per_input: 2, outlet: line_out },
            PortOutlet { port: Port::Record, per_input: 1, outlet: record_out },
        ],
        frontier: frontier.clone(),
    };
    let primary = outlets.remove(0);
    let seat = Seat::new(Echo, ports, 2, SeatMeters::default(), Tsc::calibrate());
    Rig { seat, primary, votes: outlets, line, record, writer, frontier }
}

fn ticker(seq: Seq, update_id: u64) -> Message {
    Message::new(
        Header { seq, time: seq as i64, ..Header::default() },
        Ticker { update_id, ..Ticker::default() },
    )
}

fn features(seq: Seq, flags: u8) -> Message {
    Message::new(Header { seq, flags, ..Header::default() }, Features::default())
}

impl Rig {
    fn input(&mut self, message: Message) {
        assert!(self.primary.push(&message));
        self.writer.advance(message.header.seq);
    }

    fn said(&mut self) -> Vec<(Seq, u64)> {
        std::iter::from_fn(|| self.line.pop())
            .map(|m| (m.header.seq, m.body::<Quote>().map_or(0, |q| q.update_id)))
            .collect()
    }
}

#[test]
fn outputs_carry_the_seq_of_their_cause() {
    let mut rig = rig(0, 64);
    rig.input(ticker(3, 1));
    rig.input(ticker(4, 7));
    rig.input(ticker(9, 2));
    assert_eq!(rig.seat.poll(), Work::Done);
    assert_eq!(rig.said(), [(3, 1), (3, 1_001), (9, 2), (9, 1_002)]);
}

#[test]
fn a_stage_that_leaves_inputs_out_passes_on_what_every_stage_has_to_hear_of() {
    let mut rig = rig(0, 64);
    for seq in [3, 4] {
        rig.frontier.absences().skip(seq);
    }
    let fill = Message::new(
        Header { seq: 4, ..Header::default() },
        OrderUpdate { trade_id: 77, ..OrderUpdate::default() },
    );
    rig.input(ticker(3, 1));
    rig.input(fill);
    assert_eq!(rig.seat.poll(), Work::Done);
    assert!(
        rig.line.pop() == Some(fill) && rig.line.pop().is_none(),
        "the fill as it came, and nothing of the market"
    );
    assert!(rig.frontier.get() >= 3);
}

#[test]
fn a_panic_leaves_nothing_half_sent() {
    let mut rig = rig(0, 64);
    rig.input(ticker(1, 13));
    assert!(catch_unwind(AssertUnwindSafe(|| rig.seat.poll())).is_err());
    assert!(rig.said().is_empty(), "the first output was staged, not sent");
    assert_eq!(rig.frontier.get(), 0, "and the input is not done");
}

#[test]
fn without_room_for_everything_nothing_is_handled() {
    let mut rig = rig(0, 3);
    rig.input(ticker(1, 1));
    rig.input(ticker(2, 2));
    assert_eq!(rig.seat.poll(), Work::Done);
    assert_eq!(rig.seat.poll(), Work::Blocked);
    assert_eq!(rig.said(), [(1, 1), (1, 1_001)]);
    assert_eq!(rig.seat.poll(), Work::Done);
    assert_eq!(rig.said(), [(2, 2), (2, 1_002)]);
}

#[test]
fn progress_passes_through_a_silent_seat() {
    let mut rig = rig(0, 64);
    rig.input(ticker(5, 7));
    rig.seat.poll();
    assert_eq!(rig.frontier.get(), 5);
    // The writer has handled inputs that caused nothing for this seat.
    rig.writer.advance(90);
    assert_eq!(rig.seat.poll(), Work::Idle);
    assert_eq!(rig.frontier.get(), 90);
}

#[test]
fn a_mark_waits_for_every_vote_of_its_seq_and_other_inputs_do_not() {
    let mut rig = rig(2, 64);
    rig.input(ticker(1, 1));
    rig.input(features(2, Flags::MARK));
    rig.input(ticker(3, 3));
    rig.seat.poll();
    assert_eq!(rig.said(), [(1, 1), (1, 1_001)]);
    assert!(rig.votes[0].push(&features(2, 0)));
    assert_eq!(rig.seat.poll(), Work::Blocked, "one vote is missing");
    assert_eq!(rig.frontier.get(), 0, "seq 2 is not done, and 1 is all that is known");
    assert!(rig.votes[1].push(&features(2, 0)));
    assert_eq!(rig.seat.poll(), Work::Done);
    let said: Vec<_> = std::iter::from_fn(|| rig.line.pop()).collect();
    assert_eq!(said[0].body::<Quote>().map(|q| q.usable), Some(2));
    assert_eq!(said.iter().map(|m| m.header.seq).collect::<Vec<_>>(), [2, 2, 3, 3]);
}

#[test]
fn checkpoints_come_at_boundaries_and_at_the_end() {
    let mut rig = rig(0, 16_384);
    for seq in [1, 4_000, 4_095, 4_096, 9_000] {
        rig.input(ticker(seq, 1));
    }
    let mut stop = ticker(9_001, 1);
    stop.header.flags = Flags::STOP;
    rig.input(stop);
    while rig.seat.poll() == Work::Done {}
    let checkpoints: Vec<_> =
        std::iter::from_fn(|| rig.record.pop()).filter_map(|m| m.body::<Checkpoint>().copied()).collect();
    let seen: Vec<_> = checkpoints.iter().map(|c| (c.seat, c.boundary, c.outputs)).collect();
    assert_eq!(seen, [(5, 4_096, 6), (5, 8_192, 8), (5, 9_002, 12)]);
    assert!(checkpoints.windows(2).all(|w| w[0].outputs_hash != w[1].outputs_hash));
}

proptest! {
    /// However polls and inputs interleave, what is said and its hash are the same.
    #[test]
    fn interleaving_changes_nothing(ids in proptest::collection::vec(0u64..12, 1..60), polls in proptest::collection::vec(0usize..3, 60)) {
        let mut together = rig(0, 1_024);
        for (i, id) in ids.iter().enumerate() {
            together.input(ticker(i as u64 + 1, *id));
        }
        while together.seat.poll() == Work::Done {}
        let mut apart = rig(0, 1_024);
        for (i, id) in ids.iter().enumerate() {
            apart.input(ticker(i as u64 + 1, *id));
            for _ in 0..polls[i] {
                apart.seat.poll();
            }
        }
        while apart.seat.poll() == Work::Done {}
        prop_assert_eq!(together.said(), apart.said());
        prop_assert_eq!(together.seat.desk.outbox.saved_hash(), apart.seat.desk.outbox.saved_hash());
    }
}

/// Votes at every mark; panics at the seq it is told.
struct Member {
    dies_at: Seq,
}

kimera_protocol::state!(Member { dies_at });

impl Actor for Member {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        let mark = input.message.is_mark() && input.message.kind() == Some(Kind::Features);
        if mark {
            out.send(Port::Vote, InstrumentId(0), Quote { update_id: 1, ..Quote::default() });
        }
        assert!(input.message.header.seq != self.dies_at, "unlucky");
    }
}

/// A member and a seat that joins its votes, on two primaries with the same messages.
fn member_rig(panic_at: Seq) -> (Seat<Member>, Rig, Outlet, Arc<AbsenceGate>) {
    let mut echo = rig(1, 1_024);
    let (vote_out, vote_in) = ring(1_024);
    let (primary, inlet) = ring(1_024);
    let frontier = Frontier::new();
    echo.seat.desk.sides[0] =
        PortInlet { from: "member".into(), port: Port::Vote, inlet: vote_in, writer: frontier.clone() };
    let ports = Ports {
        name: "member".into(),
        seat: 6,
        inlets: vec![PortInlet { from: String::new(), port: Port::Line, inlet, writer: echo.writer.clone() }],
        outlets: vec![PortOutlet { port: Port::Vote, per_input: 1, outlet: vote_out }],
        frontier,
    };
    let gate = AbsenceGate::new();
    let seat = Seat::new(Member { dies_at: panic_at }, ports, 1, SeatMeters::default(), Tsc::calibrate());
    (seat.as_member(gate.clone(), Arc::default()), echo, primary, gate)
}

#[test]
fn a_member_that_panics_stays_out_and_nobody_waits_for_it() {
    let (mut member, mut echo, mut primary, gate) = member_rig(3);
    for seq in 1..=5 {
        let mark = features(seq, Flags::MARK);
        assert!(primary.push(&mark) && echo.primary.push(&mark));
    }
    while member.poll() == Work::Done {}
    while echo.seat.poll() == Work::Done {}
    let votes: Vec<_> = std::iter::from_fn(|| echo.line.pop())
        .filter_map(|m| m.body::<Quote>().map(|q| (m.header.seq, *q)))
        .collect();
    // Two outputs an input; the first says how many votes were joined.
    let joined: Vec<_> = votes.iter().step_by(2).map(|(seq, q)| (*seq, q.usable)).collect();
    assert_eq!(joined, [(1, 1), (2, 1), (3, 0), (4, 0), (5, 0)]);
    assert_eq!(member.desk.frontier.absences().open(), Some(3));
    assert!(gate.holds(3) && gate.holds(9) && !gate.holds(2));
    gate.set_durable(1);
    assert!(!gate.holds(3));
}

#[test]
fn an_absence_that_is_known_ahead_gives_the_same() {
    let (mut member, mut echo, mut primary, gate) = member_rig(Seq::MAX);
    member.desk.frontier.absences().begin(3);
    for seq in 1..=5 {
        let mark = features(seq, Flags::MARK);
        assert!(primary.push(&mark) && echo.primary.push(&mark));
    }
    // The join first, as far as it comes: what it does not get yet it waits for, what will never come it does not.
    while echo.seat.poll() == Work::Done || member.poll() == Work::Done {}
    let joined: Vec<_> = std::iter::from_fn(|| echo.line.pop())
        .step_by(2)
        .filter_map(|m| m.body::<Quote>().map(|q| (m.header.seq, q.usable)))
        .collect();
    assert_eq!(joined, [(1, 1), (2, 1), (3, 0), (4, 0), (5, 0)]);
    assert!(!gate.holds(3), "it is on disk already");
}

/// Lets a mark through both, and gives how many votes were joined.
fn mark(member: &mut Seat<Member>, echo: &mut Rig, primary: &mut Outlet, seq: Seq) -> u64 {
    assert!(primary.push(&features(seq, Flags::MARK)));
    echo.input(features(seq, Flags::MARK));
    while echo.seat.poll() == Work::Done || member.poll() == Work::Done {}
    let joined = echo.line.pop().and_then(|m| m.body::<Quote>().map(|q| q.usable));
    while echo.line.pop().is_some() {}
    joined.expect("nobody waits")
}

#[test]
fn a_new_actor_answers_again_from_an_input_nobody_can_have_seen() {
    let (mut member, mut echo, mut primary, gate) = member_rig(3);
    let rejoin = member.desk.member.as_ref().unwrap().rejoin.clone();
    let mut joined = |seq| mark(&mut member, &mut echo, &mut primary, seq);
    assert_eq!([1, 2, 3, 4].map(&mut joined), [1, 1, 0, 0]);
    gate.set_durable(1);
    rejoin.ask();
    assert_eq!(rejoin.kept_from(), None);
    assert_eq!([5, 6].map(&mut joined), [0, 0]);
    assert_eq!(rejoin.kept_from(), Some(6), "the one at which it was asked may have begun");
    // One that knows everything before 6, and dies on nothing.
    rejoin.deliver(Box::new(Some(Member { dies_at: Seq::MAX })));
    assert_eq!(joined(7), 0, "there, but silent");
    rejoin.let_return();
    assert_eq!(joined(8), 0);
    let back_at = 8 + WINDOW_MAX + 1;
    assert!(gate.holds(back_at), "who acts on its return waits until that is on disk");
    for seq in 9..back_at {
        assert_eq!(joined(seq), 0, "{seq}");
    }
    assert_eq!([back_at, back_at + 1].map(&mut joined), [1, 1]);
    assert_eq!(member.desk.frontier.absences().all(), [(3, back_at)]);
}

/// After a start from the journal somebody sits there who has seen everything: nobody has to come, and that is not waited for.
#[test]
fn one_that_was_there_all_along_can_be_replaced_later() {
    let (mut member, mut echo, mut primary, _gate) = member_rig(Seq::MAX);
    let rejoin = member.desk.member.as_ref().unwrap().rejoin.clone();
    member.desk.frontier.absences().begin(1);
    let mut joined = |seq| mark(&mut member, &mut echo, &mut primary, seq);
    assert_eq!(joined(1), 0);
    rejoin.ask();
    rejoin.let_return();
    let back_at = 2 + WINDOW_MAX + 1;
    assert!((2..back_at).all(|seq| joined(seq) == 0));
    assert_eq!(joined(back_at), 1);
    rejoin.leave();
    assert_eq!([back_at + 1, back_at + 2].map(&mut joined), [0, 0]);
    rejoin.ask();
    assert_eq!(rejoin.kept_from(), None);
    assert_eq!(joined(back_at + 3), 0);
    assert_eq!(rejoin.kept_from(), Some(back_at + 4), "another one is made from there");
}

#[test]
fn one_that_dies_while_it_catches_up_is_asked_for_again() {
    let (mut member, mut echo, mut primary, _gate) = member_rig(1);
    let rejoin = member.desk.member.as_ref().unwrap().rejoin.clone();
    let mut joined = |seq| mark(&mut member, &mut echo, &mut primary, seq);
    assert_eq!(joined(1), 0);
    rejoin.ask();
    assert_eq!([2, 3, 4].map(&mut joined), [0, 0, 0]);
    rejoin.deliver(Box::new(Some(Member { dies_at: 4 })));
    rejoin.let_return();
    assert_eq!(joined(5), 0);
    assert!(rejoin.has_failed());
    rejoin.ask();
    assert_eq!([6, 7].map(&mut joined), [0, 0]);
    rejoin.deliver(Box::new(Some(Member { dies_at: Seq::MAX })));
    rejoin.let_return();
    assert_eq!([8, 9].map(&mut joined), [0, 0], "it catches up, then says when it is back");
    assert_eq!([9 + WINDOW_MAX, 9 + WINDOW_MAX + 1].map(&mut joined), [0, 1]);
}

#[test]
fn one_that_is_asked_to_leave_is_out_from_its_next_input() {
    let (mut member, mut echo, mut primary, gate) = member_rig(Seq::MAX);
    let rejoin = member.desk.member.as_ref().unwrap().rejoin.clone();
    let mut joined = |seq| mark(&mut member, &mut echo, &mut primary, seq);
    assert_eq!([1, 2].map(&mut joined), [1, 1]);
    rejoin.leave();
    assert_eq!([3, 4].map(&mut joined), [0, 0]);
    assert!(gate.holds(3) && !gate.holds(2) && !rejoin.is_to_leave());
    assert_eq!(member.desk.frontier.absences().open(), Some(3));
}

#[test]
fn a_vote_of_one_that_is_back_is_not_taken_for_an_earlier_mark() {
    let (mut member, mut echo, mut primary, _gate) = member_rig(Seq::MAX);
    member.desk.frontier.absences().note(2, 4);
    for seq in 1..=5 {
        let mark = features(seq, Flags::MARK);
        assert!(primary.push(&mark) && echo.primary.push(&mark));
    }
    // The member is far ahead: its vote for 4 stands at the head while 2 is joined.
    while member.poll() == Work::Done {}
    while echo.seat.poll() == Work::Done {}
    let joined: Vec<_> = std::iter::from_fn(|| echo.line.pop())
        .step_by(2)
        .filter_map(|m| m.body::<Quote>().map(|q| (m.header.seq, q.usable)))
        .collect();
    assert_eq!(joined, [(1, 1), (2, 0), (3, 0), (4, 1), (5, 1)]);
}
