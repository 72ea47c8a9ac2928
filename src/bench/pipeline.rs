//! From a frame's bytes to the bytes of a signed order, on one thread: the recorded frames through decoder, book feed, the live
//! sequencer and the whole line, to the gateway's writer. No socket, no disk; a venue that acknowledges and takes back, so
//! that orders go on. The same bytes and the same market times every time: what varies is the machine.

use std::path::Path;

use kimera_feed::backlog::Backlog;
use kimera_feed::book_feed::{BookFeed, Exit};
use kimera_protocol::{
    CancelOrder, Command, CommandCode, FrameRef, Header, InstrumentId, Kind, Message, Nanos, NewOrder,
    OrderEvent, OrderUpdate, RollingHash, Started, VenueStatus,
};
use kimera_runtime::agent_seat::AgentSeat;
use kimera_runtime::clock::Tsc;
use kimera_runtime::seat::{Cell, Ports};
use kimera_runtime::topology::{SEQUENCER, Wiring};
use kimera_runtime::{AbsenceGate, Counters, MarketClock, Port, Work};
use kimera_sequencer::{Door, Sequencer};
use kimera_simulator::Tape;
use kimera_venues::FrameBuffer;
use kimera_venues::binance::MarketDecoder;
use kimera_venues::binance::orders::OrderWriter;
use kimera_venues::binance::signing::Signer;

use crate::config::Config;
use crate::exit::Failure;
use crate::line::{self, Probes};

use super::waterfall::Observer;

/// Quotes follow every tick, and nothing holds them up: many orders in a short recording.
const BUSY: &str = "\
[execution]
requote_ticks = 1
requote_interval_ms = 1
[risk]
orders_per_second = 100000
orders_burst = 100000
duplicate_window_ms = 1
[compliance]
messages_max = 10000000
orders_free = 10000000
";

/// One market: decoder and book feed, with the ring to the door.
struct Source {
    decoder: MarketDecoder,
    book: BookFeed,
    backlog: Backlog,
    ports: Ports,
    buffer: FrameBuffer,
    number: u32,
}

impl Source {
    #[inline]
    fn take(&mut self, text: &[u8], is_snapshot: bool, ingress: u64) {
        self.number += 1;
        let at = FrameRef { epoch: 1, number: self.number };
        let Some(out) = self.ports.outlets.first_mut() else { return };
        let mut exit = Exit { backlog: &mut self.backlog, outlet: &mut out.outlet };
        if is_snapshot {
            if self.decoder.decode_snapshot(text, at, &mut self.buffer).is_ok() {
                self.book.snapshot(&self.buffer, &mut exit);
            }
        } else {
            self.buffer.begin(at, ingress);
            if self.decoder.decode(text, &mut self.buffer).is_ok() {
                self.book.frame(&mut self.buffer, &mut exit);
            }
        }
        self.backlog.flush(&mut out.outlet);
    }
}

/// What one pass over the recording measured, in ticks of the time-stamp counter.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    /// Frames that led to an order or to its replacement's cancel: bytes in to signed bytes out.
    pub frame_to_order: Vec<u64>,
    /// Frames that were evaluated: bytes in to the line at rest.
    pub frame_to_rest: Vec<u64>,
    /// Hash of every order's bytes: the same for every pass of one build.
    pub fingerprint: u64,
}

fn hash_bytes(hash: &mut RollingHash, bytes: &[u8]) {
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().for_each(|word| hash.update_word(u64::from_le_bytes(*word)));
    rest.iter().for_each(|byte| hash.update_word(u64::from(*byte)));
}

/// The recorded frames in their order: time, market, place in its recording.
pub struct Frames {
    tape: Tape,
    order: Vec<(Nanos, usize, usize)>,
}

impl Frames {
    /// Reads a recording.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn load(data: &Path) -> Result<Self, Failure> {
        let tape = Tape::load(data).map_err(Failure::missing)?;
        let mut order: Vec<_> = Vec::new();
        for (market, recording) in tape.recordings.iter().enumerate() {
            order.extend(recording.frames.iter().enumerate().map(|(i, f)| (f.time, market, i)));
        }
        order.sort_unstable();
        Ok(Self { tape, order })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// True where there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// True for a book asked for over HTTP.
    #[must_use]
    pub fn is_snapshot(&self, index: usize) -> bool {
        let (_, market, at) = self.order[index];
        self.tape.recordings[market].frames[at].stream.is_none()
    }

    /// Its bytes.
    #[must_use]
    pub fn text(&self, index: usize) -> &[u8] {
        let (_, market, at) = self.order[index];
        self.tape.recordings[market].frames[at].text.as_str().as_bytes()
    }

    /// When it was received.
    #[must_use]
    pub fn received(&self, index: usize) -> Nanos {
        self.order[index].0
    }
}

/// A clock that stands still: what is sent depends on the recorded times alone.
fn standing_at(time: Nanos) -> MarketClock {
    MarketClock { origin: time, start: u64::MAX, speed: 1 }
}

/// The line with everything around it.
pub struct Pipeline {
    sources: Vec<Source>,
    door: AgentSeat<Sequencer>,
    cells: Vec<Box<dyn Cell>>,
    control: Ports,
    gateway: Ports,
    /// Where nobody writes it: what would go there is looked at and let go.
    journal: Option<Ports>,
    /// The last look at the door: something waits, and the slowest sink has to move first.
    held_up: bool,
    writer: OrderWriter,
    answers: Vec<Message>,
    bytes: Vec<u8>,
    /// The frame that comes next, where a read from a socket would have left it.
    text: Vec<u8>,
    slower: u64,
}

/// When what happened to a frame, in ticks of the time-stamp counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moments {
    /// Its first byte was looked at.
    pub begun: u64,
    /// The first order or cancel that it led to was signed.
    pub signed: Option<u64>,
    /// The line was at rest.
    pub rested: u64,
}

impl Pipeline {
    /// A line of a configuration, quoting as often as it can; it counts in `counters`.
    ///
    /// # Errors
    /// Where it cannot be built.
    pub fn new(config: &Config, counters: &Counters) -> Result<Self, Failure> {
        let config = &config.patched(BUSY).map_err(Failure::configuration)?;
        let topology = line::topology(config);
        let mut wiring = Wiring::build(&topology).map_err(Failure::configuration)?;
        let gate = AbsenceGate::new();
        let tsc = Tsc::calibrate();
        let cells = line::cells(config, &topology, &mut wiring, counters, tsc, &Probes::default(), &gate)?;
        let mut take = |name: &str| {
            wiring.take(name).ok_or_else(|| Failure::defect(format!("the topology has no seat \"{name}\"")))
        };
        let mut sources = Vec::new();
        let instruments = config.instruments().map_err(Failure::configuration)?;
        for (i, (section, instrument)) in config.instruments.iter().zip(instruments).enumerate() {
            let decoder = MarketDecoder::new(section.market.dialect(), instrument);
            let book = BookFeed::new(InstrumentId(i as u16), decoder.market().chain_rule());
            let (ports, buffer) = (take(&section.feed)?, FrameBuffer::new());
            sources.push(Source { decoder, book, backlog: Backlog::new(), ports, buffer, number: 0 });
        }
        let (sequencer, control) = (take(SEQUENCER)?, take(line::CONTROL)?);
        let (gateway, journal) = (take(&config.account.gateway)?, take(line::JOURNAL)?);
        let classes = line::input_classes(config, &topology);
        let door = Door::new(wiring.sinks());
        let door = Sequencer::new(door, standing_at(0), classes, config.instruments.len(), counters);
        let signer = Signer::new("measured", b"not-a-secret");
        let signer = signer.ok_or_else(|| Failure::defect("the signer takes no key"))?;
        let traded = config.traded().map_err(Failure::configuration)?;
        let mut pipeline = Self {
            sources,
            door: AgentSeat::new(door, sequencer, true),
            cells,
            control,
            gateway,
            journal: Some(journal),
            held_up: false,
            writer: OrderWriter::new(traded.clone(), &signer),
            answers: Vec::with_capacity(1_024),
            bytes: Vec::with_capacity(1_024),
            text: Vec::with_capacity(1 << 20),
            slower: 0,
        };
        let started = Started { incarnation: 1, ..Started::default() };
        let resume = Command { code: CommandCode::Resume as u64, epoch: 1, ..Command::default() };
        pipeline.control.send(Port::Input, &Message::new(Header::default(), started));
        pipeline.control.send(Port::Input, &Message::new(Header::default(), resume));
        let venue = u64::from(traded.venue.0);
        pipeline
            .answers
            .push(Message::new(Header::default(), VenueStatus { venue, ready: 1, ..Default::default() }));
        Ok(pipeline)
    }

    /// Spins for so many per cent more of the time that the line takes.
    #[must_use]
    pub fn slower_by(mut self, per_cent: u64) -> Self {
        self.slower = per_cent;
        self
    }

    #[cold]
    fn spin(&self, since: u64) {
        let now = Tsc::now();
        let until = now + now.saturating_sub(since) * self.slower / 100;
        while Tsc::now() < until {
            std::hint::spin_loop();
        }
    }

    /// What is not measured: the venue's answers, the journal's ring, the time.
    fn between(&mut self, time: Nanos) {
        for answer in self.answers.drain(..) {
            self.gateway.send(Port::Input, &answer);
        }
        if let Some(journal) = &mut self.journal {
            for port in &mut journal.inlets {
                while let Some(message) = port.inlet.pop() {
                    if message.kind().is_some_and(Kind::is_input) {
                        journal.frontier.advance(message.header.seq);
                    }
                }
            }
        }
        self.door.with(|door, _| door.set_clock(standing_at(time)));
        while self.poll(&mut ()) || self.held_up {}
        self.drain_orders(time, &mut |_| {});
    }

    /// The journal's ends of the rings, for somebody who writes it. From then on the line waits where he does not keep up.
    pub fn take_journal(&mut self) -> Option<Ports> {
        self.journal.take()
    }

    /// Every stage's name, in the order in which an [`Observer`] hears of them.
    #[must_use]
    pub fn stages(&self) -> Vec<String> {
        let cells = self.cells.iter().map(|cell| cell.name().to_owned());
        ["decoder and book feed", SEQUENCER]
            .map(str::to_owned)
            .into_iter()
            .chain(cells)
            .chain(["order's bytes".to_owned(), "wait for the journal".to_owned()])
            .collect()
    }

    #[inline]
    fn poll(&mut self, observer: &mut impl Observer) -> bool {
        let door = self.door.poll();
        let mut worked = door == Work::Done;
        self.held_up = door == Work::Blocked;
        observer.done(if self.held_up { self.cells.len() + 3 } else { 1 });
        for (i, cell) in self.cells.iter_mut().enumerate() {
            worked |= cell.poll() == Work::Done;
            observer.done(i + 2);
        }
        worked
    }

    /// Writes and signs what has come out; the moment at which the first of it was signed.
    #[inline]
    fn drain_orders(&mut self, time: Nanos, leave: &mut impl FnMut(&[u8])) -> Option<u64> {
        let mut signed = None;
        let port = self.gateway.inlets.first_mut()?;
        let upstream = port.writer.get();
        while let Some(message) = port.inlet.pop() {
            let answer = if let Some(order) = message.body::<NewOrder>() {
                if self.writer.place(order, time / 1_000_000, &mut self.bytes).is_ok() {
                    signed.get_or_insert_with(Tsc::now);
                }
                OrderUpdate {
                    id: order.id,
                    event: OrderEvent::Acknowledged as u8,
                    side: order.side,
                    ..Default::default()
                }
            } else if let Some(cancel) = message.body::<CancelOrder>() {
                self.writer.cancel(cancel.id, time / 1_000_000, &mut self.bytes);
                signed.get_or_insert_with(Tsc::now);
                OrderUpdate { id: cancel.id, event: OrderEvent::Canceled as u8, ..Default::default() }
            } else {
                continue;
            };
            leave(&self.bytes);
            let header = Header::unsequenced(Kind::OrderUpdate, message.instrument());
            self.answers.push(Message::new(header, answer));
        }
        self.gateway.frontier.advance(upstream);
        signed
    }

    /// Sends the whole recording through, once.
    pub fn run(&mut self, frames: &Frames) -> Pass {
        self.run_part(frames, 0, 1, &mut ())
    }

    /// A pass of the line's thread with nothing to do: that is how it waits, and what keeps its code and state near.
    #[inline]
    pub fn pass(&mut self) {
        self.poll(&mut ());
    }

    /// Everything before a frame that is not its own: the venue's answers to what was sent before, the time, the frame's
    /// bytes where a read from a socket would have left them.
    pub fn prepare(&mut self, frames: &Frames, index: usize) {
        self.prepare_without_text(frames, index);
        self.text.clear();
        self.text.extend_from_slice(frames.text(index));
    }

    /// As [`Pipeline::prepare`], where the bytes come from elsewhere.
    pub fn prepare_without_text(&mut self, frames: &Frames, index: usize) {
        self.between(frames.received(index));
    }

    /// Sends the frame that was prepared through, until the line is at rest.
    #[inline]
    pub fn send(
        &mut self,
        frames: &Frames,
        index: usize,
        hash: &mut RollingHash,
        observer: &mut impl Observer,
    ) -> Moments {
        let text = std::mem::take(&mut self.text);
        let moments = self.send_text(frames, index, &text, &mut |_, bytes| hash_bytes(hash, bytes), observer);
        self.text = text;
        moments
    }

    /// Sends a frame through whose bytes are elsewhere; `leave` is given every order's bytes, first those that were first.
    #[inline]
    pub fn send_text(
        &mut self,
        frames: &Frames,
        index: usize,
        text: &[u8],
        leave: &mut impl FnMut(usize, &[u8]),
        observer: &mut impl Observer,
    ) -> Moments {
        let (time, market, _) = frames.order[index];
        let is_snapshot = frames.is_snapshot(index);
        let begun = Tsc::now();
        observer.begin(begun);
        self.sources[market].take(text, is_snapshot, begun);
        observer.done(0);
        let (mut signed, mut since) = (None, begun);
        while self.poll(observer) || self.held_up {
            if self.slower > 0 {
                self.spin(since);
                since = Tsc::now();
            }
            let first = self.drain_orders(time, &mut |bytes| leave(index, bytes));
            observer.done(self.cells.len() + 2);
            if signed.is_none() {
                signed = first;
                observer.end(signed.is_some());
            }
        }
        Moments { begun, signed, rested: Tsc::now() }
    }

    /// Sends one of `of` equal parts of the recording through; the parts come one behind the other.
    pub fn run_part(
        &mut self,
        frames: &Frames,
        part: usize,
        of: usize,
        observer: &mut impl Observer,
    ) -> Pass {
        let mut pass = Pass::default();
        let mut hash = RollingHash::default();
        let at = |part: usize| frames.order.len() * part / of;
        for index in at(part)..at(part + 1) {
            self.prepare(frames, index);
            let moments = self.send(frames, index, &mut hash, observer);
            if frames.is_snapshot(index) {
                continue;
            }
            pass.frame_to_rest.push(moments.rested.saturating_sub(moments.begun));
            pass.frame_to_order.extend(moments.signed.map(|signed| signed.saturating_sub(moments.begun)));
        }
        pass.fingerprint = hash.value();
        pass
    }
}
