//! The live sequencer.
//!
//! Inlets are served by class, executions first and market data last, market inlets in turn frame by frame. A frame
//! is admitted whole. The mark is set on the last message of a frame when the inlet it came from is empty behind it,
//! or when the instrument has had [`FRAMES_WITHOUT_MARK_MAX`] frames without one: under load marks become rarer and
//! the books still take everything.
//!
//! What stages tell back comes by feedback inlets: refusals are inputs like executions; requests for a deadline are
//! kept here, and the input is made when their time has come.

use std::collections::VecDeque;

use kimera_protocol::{DepthBegin, Flags, Header, Kind, Message, Nanos, Source, Timer, TimerRequest};
use kimera_runtime::credit::InputClass;
use kimera_runtime::seat::PortInlet;
use kimera_runtime::{Agent, Counter, Counters, Inlet, MarketClock, Ports, Work};

use crate::door::Door;
use crate::replayer::Resumed;
use crate::timers::Timers;

/// K of the mark rule.
pub const FRAMES_WITHOUT_MARK_MAX: u32 = 64;
/// Frames of one inlet in one duty cycle.
const FRAMES_PER_CYCLE: usize = 64;
/// Passes without an input between two looks at the clock for a deadline.
const PASSES_PER_LOOK: u32 = 64;
/// Frames of each inlet in turn between two looks for others that have woken up meanwhile.
const ROUNDS_PER_LOOK: usize = 8;
/// Cycles with an input between two times that everything is counted.
const CYCLES_PER_COUNT: u32 = 16;

/// Inlets, a bit each: a sequencer has at most 128.
type Inlets = u128;
/// Most inlets.
const INLETS_MAX: usize = Inlets::BITS as usize;

struct Meters {
    inputs: Counter,
    marks: Counter,
    seq: Counter,
    market_time: Counter,
    waits: Counter,
    stopped: Counter,
    timers_refused: Counter,
    absences: Counter,
}

/// The agent.
pub struct Sequencer {
    door: Door,
    clock: MarketClock,
    classes: Vec<InputClass>,
    /// Inlets above market data, the most urgent first.
    urgent: Vec<usize>,
    market: Inlets,
    turn: usize,
    /// A market inlet whose frame waits for credit: no other market input enters before it.
    owed: Option<usize>,
    frames_without_mark: Vec<u32>,
    started: bool,
    marks: u64,
    timers: Timers,
    /// Refusals that a run before was told and did not write down.
    refusals: VecDeque<Message>,
    idle_passes: u32,
    admitted: u64,
    /// Cycles with an input: not everything is counted in each, for every counter is a cache line more.
    cycles: u32,
    meters: Meters,
}

impl Sequencer {
    /// A sequencer whose inlet `i` is of class `classes[i]`.
    #[must_use]
    pub fn new(
        door: Door,
        clock: MarketClock,
        classes: Vec<InputClass>,
        instruments: usize,
        counters: &Counters,
    ) -> Self {
        assert!(
            classes.len() <= INLETS_MAX,
            "more inlets than a sequencer has; a configuration has at most 64 feeds"
        );
        let (market, mut urgent): (Vec<_>, Vec<_>) =
            (0..classes.len()).partition(|&i| classes[i] == InputClass::Market);
        urgent.sort_by_key(|&i| std::cmp::Reverse(classes[i]));
        let market = market.into_iter().fold(0, |all, index| all | bit(index));
        let counter = |what: &str| counters.counter(&format!("sequencer.{what}"));
        let meters = Meters {
            inputs: counter("inputs"),
            marks: counter("marks"),
            seq: counter("seq"),
            market_time: counter("market_time_ns"),
            waits: counter("credit_waits"),
            stopped: counter("stopped"),
            timers_refused: counter("timers_refused"),
            absences: counter("absences"),
        };
        Self {
            door,
            clock,
            classes,
            urgent,
            market,
            turn: 0,
            owed: None,
            frames_without_mark: vec![0; instruments],
            started: false,
            marks: 0,
            timers: Timers::default(),
            refusals: VecDeque::new(),
            idle_passes: 0,
            admitted: 0,
            cycles: 0,
            meters,
        }
    }

    /// Another clock from here on: for measurements over recorded time.
    pub fn set_clock(&mut self, clock: MarketClock) {
        self.clock = clock;
    }

    /// Goes on behind a replay.
    #[must_use]
    pub fn resumed(mut self, from: Resumed) -> Self {
        self.timers = from.timers;
        self.refusals = from.refusals;
        self.marks = from.marks;
        self.meters.marks.set(self.marks);
        self
    }

    /// What a run before has left to say comes right behind the record of who runs now.
    fn admit_refusals(&mut self, now: Nanos, ports: &mut Ports) {
        while self.started
            && !self.refusals.is_empty()
            && self.door.admits(InputClass::Execution, 1)
            && let Some(message) = self.refusals.pop_front()
        {
            self.door.admit(&message, now, ports);
        }
    }

    /// Admits the frame at the head of inlet `index`: true where one was.
    #[inline]
    fn admit_frame(&mut self, index: usize, now: Nanos, ports: &mut Ports) -> bool {
        let class = self.classes[index];
        let inlet = &mut ports.inlets[index].inlet;
        let Some(first) = inlet.peek() else { return false };
        let length = first.body::<DepthBegin>().map_or(1, |begin| (begin.messages as usize).max(1));
        if let Some(request) = first.body::<TimerRequest>() {
            self.timers.request(request);
            self.meters.timers_refused.set(self.timers.refused());
            inlet.advance();
            return true;
        }
        if !self.started && first.header.kind != Kind::Started as u8 {
            return false; // the first record of a run says whose run it is
        }
        if !self.door.admits(class, length) {
            self.meters.waits.add(1);
            if class == InputClass::Market {
                self.owed = Some(index);
            }
            return false;
        }
        debug_assert!(inlet.waiting() >= length, "a feed sends frames whole");
        for _ in 0..length {
            let Some(message) = inlet.peek() else { break };
            let mut header = message.header;
            header.source = Source(index as u8).0;
            if header.flags & Flags::FRAME_END != 0
                && class == InputClass::Market
                && self.marks(header, inlet)
            {
                header.flags |= Flags::MARK;
            }
            self.started |= header.kind == Kind::Started as u8;
            self.door.admit_as(header, message, now, &mut ports.outlets);
            inlet.advance();
            ports.frontier.advance(self.door.seq());
            if header.kind == Kind::Absent as u8 {
                // Its seq is out first: who sees this count sees a seq that is not older.
                self.meters.seq.set(self.door.seq());
                self.meters.absences.add(1);
            }
        }
        true
    }

    /// Market inlets in turn, frame by frame. A frame that waits for credit holds the others back: otherwise small
    /// frames of one inlet would keep a large one of another out for as long as there is load.
    fn admit_market(&mut self, mut waiting: Inlets, now: Nanos, ports: &mut Ports) {
        if let Some(index) = self.owed.take()
            && !self.admit_frame(index, now, ports)
        {
            return;
        }
        self.turn = if self.turn + 1 < self.classes.len() { self.turn + 1 } else { 0 };
        let whose_turn = Inlets::MAX << self.turn;
        for round in 1..=FRAMES_PER_CYCLE {
            let mut any = false;
            for mut part in [waiting & whose_turn, waiting & !whose_turn] {
                while part != 0 {
                    let index = part.trailing_zeros() as usize;
                    part &= part - 1;
                    any |= self.admit_frame(index, now, ports);
                    if self.owed.is_some() {
                        return;
                    }
                    if ports.inlets[index].inlet.peek().is_none() {
                        waiting &= !bit(index);
                    }
                }
            }
            if waiting == 0 || !any {
                return;
            }
            if round.is_multiple_of(ROUNDS_PER_LOOK) {
                waiting = self::waiting(ports) & self.market;
            }
        }
    }

    /// Deadlines that have come, as far as there is credit.
    fn admit_timers(&mut self, now: Nanos, ports: &mut Ports) {
        while self.started
            && let Some(message) = self.timers.due(now)
            && self.door.admits(InputClass::Timer, 1)
            && let Some(timer) = message.body::<Timer>()
        {
            self.timers.fired(timer);
            self.door.admit(&message, now, ports);
        }
    }

    /// True where there is no input and it is not yet time to look for a deadline.
    #[inline]
    fn nothing_to_do(&mut self, waiting: Inlets) -> bool {
        if self.door.stopped() {
            return true;
        }
        if waiting != 0 {
            self.idle_passes = 0;
            return false;
        }
        self.idle_passes = self.idle_passes.wrapping_add(1);
        if self.idle_passes == PASSES_PER_LOOK {
            self.count();
        }
        (self.timers.is_empty() && self.refusals.is_empty())
            || !self.idle_passes.is_multiple_of(PASSES_PER_LOOK)
    }

    /// True where the end of a frame, the head of its inlet, is a mark.
    #[inline]
    fn marks(&mut self, end: Header, inlet: &Inlet) -> bool {
        let Some(frames) = self.frames_without_mark.get_mut(usize::from(end.instrument)) else {
            return false;
        };
        *frames += 1;
        let marks = *frames >= FRAMES_WITHOUT_MARK_MAX || !inlet.has_more();
        if marks {
            *frames = 0;
            self.marks += 1;
        }
        marks
    }

    /// Says what was counted.
    fn count(&self) {
        self.meters.inputs.set(self.admitted);
        self.meters.marks.set(self.marks);
        self.meters.market_time.set(self.door.time().unsigned_abs());
        self.meters.stopped.set(u64::from(self.door.stopped()));
    }
}

/// An inlet among [`Inlets`].
#[inline]
fn bit(index: usize) -> Inlets {
    1 << index
}

/// Where something waits. Most are empty most of the time.
#[inline]
fn waiting(ports: &Ports) -> Inlets {
    let waits = |(index, port): (usize, &PortInlet)| Inlets::from(port.inlet.peek().is_some()) << index;
    ports.inlets.iter().enumerate().fold(0, |all, port| all | waits(port))
}

impl Agent for Sequencer {
    fn duty_cycle(&mut self, ports: &mut Ports) -> Work {
        let waiting = waiting(ports);
        if self.nothing_to_do(waiting) {
            return Work::Idle;
        }
        let now = self.clock.now();
        let before = self.door.seq();
        self.admit_refusals(now, ports);
        // Everything above market data first; then market inlets in turn, so that none starves another.
        if waiting & !self.market != 0 {
            for at in 0..self.urgent.len() {
                let index = self.urgent[at];
                while waiting & bit(index) != 0 && self.admit_frame(index, now, ports) {}
            }
        }
        self.admit_timers(now, ports);
        self.admit_market(waiting & self.market, now, ports);
        let admitted = self.door.seq() - before;
        if admitted == 0 {
            if self.idle_passes > 0 {
                return Work::Idle;
            }
            self.count(); // nobody knows for how long
            return Work::Blocked;
        }
        self.idle_passes = 0; // a deadline that came while every inlet was empty is counted in time, too
        self.admitted += admitted;
        self.cycles = self.cycles.wrapping_add(1);
        self.meters.seq.set(self.door.seq());
        if self.door.stopped() || self.cycles.is_multiple_of(CYCLES_PER_COUNT) {
            self.count();
        }
        Work::Done
    }

    fn stop(&mut self, _ports: &mut Ports) {
        self.count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::{Command, CommandCode, FrameRef, Header, InstrumentId, Started, Ticker};
    use kimera_runtime::Frontier;
    use kimera_runtime::ring::ring;
    use kimera_runtime::seat::{PortInlet, PortOutlet};
    use kimera_runtime::{Outlet, Port};
    use std::sync::Arc;

    struct Rig {
        sequencer: Sequencer,
        ports: Ports,
        inputs: Vec<Outlet>,
        line: Inlet,
        sink: Arc<Frontier>,
    }

    /// Inlet 0: commands; 1 and 2: market.
    fn rig() -> Rig {
        let classes = vec![InputClass::Command, InputClass::Market, InputClass::Market];
        let sink = Frontier::new();
        let (mut inputs, mut inlets) = (Vec::new(), Vec::new());
        for _ in &classes {
            let (outlet, inlet) = ring(2_048);
            inputs.push(outlet);
            inlets.push(PortInlet { from: String::new(), port: Port::Input, inlet, writer: Frontier::new() });
        }
        let (outlet, line) = ring(2_048);
        let ports = Ports {
            name: "sequencer".into(),
            seat: 0,
            inlets,
            outlets: vec![PortOutlet { port: Port::Line, per_input: 1, outlet }],
            frontier: Frontier::new(),
        };
        let clock = MarketClock { origin: 1_000, start: u64::MAX, speed: 1 };
        let sequencer =
            Sequencer::new(Door::new(vec![sink.clone()]), clock, classes, 2, &Counters::detached());
        Rig { sequencer, ports, inputs, line, sink }
    }

    fn ticker(number: u32) -> Message {
        let mut header = Header::unsequenced(Kind::Ticker, InstrumentId(0));
        header.flags = Flags::FRAME_END;
        Message::new(header, Ticker { frame: FrameRef { epoch: 1, number }, ..Ticker::default() })
    }

    fn started() -> Message {
        Message::new(Header::default(), Started::default())
    }

    impl Rig {
        fn run(&mut self) -> Vec<Message> {
            while self.sequencer.duty_cycle(&mut self.ports) == Work::Done {}
            std::iter::from_fn(|| self.line.pop()).collect()
        }
    }

    #[test]
    fn nothing_precedes_the_record_of_who_runs() {
        let mut rig = rig();
        assert!(rig.inputs[1].push(&ticker(1)));
        assert!(rig.run().is_empty());
        assert!(rig.inputs[0].push(&started()));
        let seen = rig.run();
        assert_eq!(
            seen.iter().map(|m| (m.header.seq, m.header.time)).collect::<Vec<_>>(),
            [(1, 1_000), (2, 1_001)]
        );
        assert_eq!(seen[0].kind(), Some(Kind::Started));
    }

    #[test]
    fn marks_come_when_the_inlet_is_drained_or_after_sixty_four_frames() {
        let mut rig = rig();
        assert!(rig.inputs[0].push(&started()));
        for n in 0..100 {
            assert!(rig.inputs[1].push(&ticker(n)));
        }
        let marks: Vec<_> = rig.run().iter().skip(1).map(Message::is_mark).collect();
        let at: Vec<_> = (0..100).filter(|&i| marks[i]).collect();
        assert_eq!(at, [63, 99]);
    }

    #[test]
    fn market_waits_for_credit_and_commands_do_not() {
        let mut rig = rig();
        assert!(rig.inputs[0].push(&started()));
        for n in 0..1_000 {
            assert!(rig.inputs[1].push(&ticker(n)) && rig.inputs[2].push(&ticker(n)));
        }
        assert_eq!(rig.run().len(), 768);
        let command = Command { code: CommandCode::Stop as u64, ..Command::default() };
        let mut stop = Message::new(Header::default(), command);
        stop.header.flags = Flags::STOP;
        assert!(rig.inputs[0].push(&stop));
        let seen = rig.run();
        assert_eq!(seen.iter().map(Message::kind).collect::<Vec<_>>(), [Some(Kind::Command)]);
        rig.sink.advance(769);
        assert!(rig.run().is_empty(), "nothing follows the end");
        assert!(rig.sequencer.door.stopped() && rig.sequencer.door.drained());
    }

    #[test]
    fn a_large_frame_is_not_starved_by_small_ones() {
        let mut rig = rig();
        assert!(rig.inputs[0].push(&started()));
        for n in 0..1_000 {
            assert!(rig.inputs[1].push(&ticker(n)));
        }
        let mut frame =
            vec![Message::new(Header::default(), DepthBegin { messages: 700, ..DepthBegin::default() })];
        frame.resize(700, Message::new(Header::default(), kimera_protocol::Levels::default()));
        assert!(rig.inputs[2].push_all(&frame));
        let mut seen = rig.run();
        // The sink moves by little each time: small frames alone would always take what there is.
        for step in 1..200 {
            rig.sink.advance(step * 8);
            seen.extend(rig.run());
        }
        assert!(seen.iter().any(|m| m.header.source == 2), "the large frame never entered");
    }

    #[test]
    fn a_requested_deadline_becomes_an_input_and_refusals_come_before_market() {
        let mut rig = rig();
        assert!(rig.inputs[0].push(&started()));
        // The market clock stands at its origin, 1,000.
        let request = |deadline| {
            let body = TimerRequest { owner: 1, id: 7, deadline, ..TimerRequest::default() };
            Message::new(Header::default(), body)
        };
        assert!(rig.inputs[0].push(&request(2_000)) && rig.inputs[1].push(&ticker(1)));
        assert_eq!(rig.run().len(), 2, "it is not time yet, and the request itself is no input");
        assert!(rig.inputs[0].push(&request(900)) && rig.inputs[1].push(&ticker(2)));
        let kinds: Vec<_> = rig.run().iter().map(Message::kind).collect();
        assert_eq!(kinds, [Some(Kind::Timer), Some(Kind::Ticker)]);
        assert!(rig.sequencer.timers.is_empty());
    }

    #[test]
    fn inlets_take_turns() {
        let mut rig = rig();
        assert!(rig.inputs[0].push(&started()));
        for n in 0..10 {
            assert!(rig.inputs[1].push(&ticker(n)) && rig.inputs[2].push(&ticker(n)));
        }
        let sources: Vec<_> = rig.run().iter().skip(1).map(|m| m.header.source).collect();
        assert!(sources.windows(2).all(|w| w[0] != w[1]), "{sources:?}");
    }
}
