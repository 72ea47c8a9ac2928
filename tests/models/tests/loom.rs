//! What two seats share, under a model checker that tries every order in which their threads may see it.
//! `scripts/prove models` builds it (`--cfg loom`).

#![cfg(loom)]
#![allow(clippy::unwrap_used)] // A model that is wrong fails its test.

use std::sync::Arc;

use kimera_protocol::{Features, Flags, Header, Kind, Message, Seq, Ticker, Vote, state};
use kimera_runtime::absence::{AbsenceGate, Rejoin};
use kimera_runtime::credit::{CreditWindow, InputClass, WINDOW_MAX};
use kimera_runtime::ring::{broadcast, ring};
use kimera_runtime::seat::{Cell, PortInlet, PortOutlet, Seat, SeatMeters};
use kimera_runtime::{Actor, Frontier, Inlet, Input, Outbox, Outlet, Port, Ports, Tsc};
use loom::thread;

fn message(seq: Seq) -> Message {
    let mut header = Header { seq, time: seq as i64, ..Header::default() };
    header.flags |= Flags::MARK;
    Message::new(header, Ticker { update_id: seq, ..Ticker::default() })
}

fn mark(seq: Seq) -> Message {
    let mut header = Header { seq, time: seq as i64, ..Header::default() };
    header.flags |= Flags::MARK;
    Message::new(header, Features::default())
}

fn ports(
    inlets: Vec<(Inlet, Arc<Frontier>)>,
    outlets: Vec<(Port, Outlet)>,
    frontier: &Arc<Frontier>,
) -> Ports {
    // The first is the primary stream, the others are votes.
    let inlet = |(i, (inlet, writer))| {
        let port = if i == 0 { Port::Line } else { Port::Vote };
        PortInlet { from: String::new(), port, inlet, writer }
    };
    let outlet = |(port, outlet)| PortOutlet { port, per_input: 1, outlet };
    Ports {
        name: "seat".into(),
        seat: 1,
        inlets: inlets.into_iter().enumerate().map(inlet).collect(),
        outlets: outlets.into_iter().map(outlet).collect(),
        frontier: frontier.clone(),
    }
}

/// Says what it hears; at a join, how many votes there were. Says nothing of odd inputs where it is told to be quiet.
struct Echo {
    quiet: bool,
}
state!(Echo { quiet });

impl Actor for Echo {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        let seq = input.message.header.seq;
        if self.quiet && seq % 2 == 1 {
            return;
        }
        let votes = input.joined.len() as u64;
        out.send(Port::Line, input.message.instrument(), Ticker { update_id: votes, ..Ticker::default() });
    }
}

/// Votes, and dies at one input.
struct Member {
    dies_at: Seq,
}
state!(Member { dies_at });

impl Actor for Member {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        assert!(input.message.header.seq != self.dies_at, "on purpose");
        out.send(Port::Vote, input.message.instrument(), Vote::default());
    }
}

fn seat<A: Actor + 'static>(actor: A, ports: Ports) -> Seat<A> {
    Seat::new(actor, ports, 2, SeatMeters::default(), Tsc::calibrate())
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 20_000;
    builder.check(model);
}

/// Who sees how far a seat is sees what it has sent: also where it had nothing to say, and took over its writer's progress.
#[test]
fn progress_is_never_ahead_of_what_was_sent() {
    check(|| {
        let (mut door, into) = ring(2);
        let (out, sink) = ring(2);
        let (written, done) = (Frontier::new(), Frontier::new());
        let mut echo =
            seat(Echo { quiet: true }, ports(vec![(into, written.clone())], vec![(Port::Line, out)], &done));
        let writer = thread::spawn(move || {
            for seq in 1..=2 {
                assert!(door.push(&message(seq)));
                written.advance(seq);
            }
        });
        let seat = thread::spawn(move || {
            for _ in 0..2 {
                echo.poll();
            }
        });
        // The second input is the one it says something about.
        let reached = done.get();
        assert!(reached < 2 || sink.waiting() == 1, "done with {reached}, and nothing is there");
        writer.join().unwrap();
        seat.join().unwrap();
    });
}

/// The same, with a reader that looks at the ring before it looks at its writer's progress: it must be caught.
#[test]
#[should_panic(expected = "took over")]
fn control_a_seat_that_looks_the_other_way_round_is_caught() {
    check(|| {
        let (mut door, into) = ring(2);
        let written = Frontier::new();
        let behind = written.clone();
        let writer = thread::spawn(move || {
            assert!(door.push(&message(1)));
            behind.advance(1);
        });
        let reader = thread::spawn(move || {
            let empty = into.peek().is_none();
            let upstream = written.get();
            assert!(!empty || upstream == 0, "took over progress that it has not heard of");
        });
        writer.join().unwrap();
        reader.join().unwrap();
    });
}

/// Two readers of a ring with one slot: each sees what was sent whole and in order, and nothing is overwritten while it is
/// looked at.
#[test]
fn a_slot_is_written_again_only_when_every_reader_has_let_it_go() {
    check(|| {
        let (mut out, inlets) = broadcast(1, 2);
        assert!(out.push(&message(1)) && !out.push(&message(2)));
        let read = |mut inlet: Inlet| {
            let mut seen = 0;
            for _ in 0..2 {
                if let Some(message) = inlet.peek() {
                    assert_eq!(message.header.seq, seen + 1);
                    seen += 1;
                    inlet.advance();
                }
            }
            assert!(seen > 0, "it was there from the beginning");
            inlet
        };
        let readers: Vec<_> = inlets.into_iter().map(|inlet| thread::spawn(move || read(inlet))).collect();
        let _ = out.push(&message(2)) || out.push(&message(2));
        // Who is gone is not waited for: they stay until the writer has done what it can.
        readers.into_iter().for_each(|reader| drop(reader.join().unwrap()));
    });
}

/// As long as the door asks for credit, no ring of a window's length is ever full.
#[test]
fn credit_keeps_room_in_every_ring() {
    check(|| {
        let (mut door, mut into) = ring(WINDOW_MAX as usize);
        let sink = Frontier::new();
        let mut window = CreditWindow::new(vec![sink.clone()]);
        let reader = thread::spawn(move || {
            let mut taken = 0;
            while taken < 4 {
                match into.pop() {
                    Some(message) => {
                        assert_eq!(message.header.seq, taken + 1);
                        taken += 1;
                        sink.advance(taken);
                    }
                    None => thread::yield_now(),
                }
            }
        });
        let mut seq = 0;
        while seq < 4 {
            if window.admits(InputClass::Execution, seq, 1) {
                seq += 1;
                assert!(door.push(&message(seq)), "admitted, and there is no room");
            } else {
                thread::yield_now();
            }
        }
        reader.join().unwrap();
    });
}

/// A member that dies at its second input has voted on the first and not on the second, whenever the join looks.
#[test]
fn an_absence_is_one_value_for_every_join() {
    std::panic::set_hook(Box::new(|_| {}));
    check(|| {
        let (mut to_member, member_in) = ring(2);
        let (mut to_join, join_in) = ring(2);
        let (votes_out, votes_in) = ring(2);
        let (out, mut sink) = ring(4);
        let (written, member_done, join_done) = (Frontier::new(), Frontier::new(), Frontier::new());
        for seq in 1..=2 {
            assert!(to_member.push(&mark(seq)) && to_join.push(&mark(seq)));
        }
        written.advance(2);
        let gate = AbsenceGate::new();
        let member_ports =
            ports(vec![(member_in, written.clone())], vec![(Port::Vote, votes_out)], &member_done);
        let mut member =
            seat(Member { dies_at: 2 }, member_ports).as_member(gate.clone(), Arc::new(Rejoin::default()));
        let inlets = vec![(join_in, written), (votes_in, member_done)];
        let mut join = seat(Echo { quiet: false }, ports(inlets, vec![(Port::Line, out)], &join_done));
        let member = thread::spawn(move || {
            member.poll();
        });
        let mut seen = Vec::new();
        while seen.len() < 2 {
            join.poll();
            while let Some(said) = sink.pop() {
                assert_eq!(said.kind(), Some(Kind::Ticker));
                seen.extend(said.body::<Ticker>().map(|t| t.update_id));
                // Orders that depend on it wait from before anybody can go on without the vote.
                assert!(seen.len() < 2 || gate.holds(2), "the join went on, and the gate is open");
            }
            thread::yield_now();
        }
        assert_eq!(seen, [1, 0]);
        member.join().unwrap();
    });
    let _ = std::panic::take_hook();
}
