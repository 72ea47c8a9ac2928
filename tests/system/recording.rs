//! The shipped recording as sequenced inputs, without a socket; and what its book must look like.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kimera::config::Config;
use kimera::line;
use kimera_feed::backlog::Backlog;
use kimera_feed::book_feed::{BookFeed, Exit};
use kimera_market::{Book, Market, Top};
use kimera_protocol::{
    Command, CommandCode, FrameRef, Header, InstrumentId, Message, Price, Side, Started, Status, VenueStatus,
};
use kimera_runtime::AgentSeat;
use kimera_runtime::ring::ring;
use kimera_runtime::seat::{Cell, PortInlet, PortOutlet, Ports};
use kimera_runtime::{Counters, Frontier, Inlet, MarketClock, Outlet, Port, Work};
use kimera_sequencer::{Door, Sequencer};
use kimera_simulator::Tape;
use kimera_venues::FrameBuffer;
use kimera_venues::binance::MarketDecoder;

pub fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/binance-20240808")
}

pub fn config() -> Config {
    Config::parse(include_str!("../../config/profiles/paper.toml")).unwrap()
}

/// One recorded market on its way to a ring.
struct Source {
    decoder: MarketDecoder,
    book: BookFeed,
    backlog: Backlog,
    outlet: Outlet,
    buffer: FrameBuffer,
    number: u32,
}

impl Source {
    fn new(config: &Config, index: usize, outlet: Outlet) -> Self {
        let instrument = config.instruments().unwrap().remove(index);
        let decoder = MarketDecoder::new(config.instruments[index].market.dialect(), instrument);
        let book = BookFeed::new(InstrumentId(index as u16), decoder.market().chain_rule());
        Self { decoder, book, backlog: Backlog::new(), outlet, buffer: FrameBuffer::new(), number: 0 }
    }

    /// A recorded line: a frame, or the snapshot.
    fn take(&mut self, text: &str, is_snapshot: bool) {
        self.number += 1;
        let at = FrameRef { epoch: 1, number: self.number };
        let mut exit = Exit { backlog: &mut self.backlog, outlet: &mut self.outlet };
        if is_snapshot {
            self.decoder.decode_snapshot(text.as_bytes(), at, &mut self.buffer).unwrap();
            assert!(self.book.snapshot(&self.buffer, &mut exit));
        } else {
            self.buffer.begin(at, 1);
            self.decoder.decode(text.as_bytes(), &mut self.buffer).unwrap();
            self.book.frame(&mut self.buffer, &mut exit);
        }
        self.backlog.flush(&mut self.outlet);
    }
}

fn ports(inlets: Vec<Inlet>, outlets: Vec<(Port, Outlet)>) -> Ports {
    let inlets = inlets
        .into_iter()
        .map(|inlet| PortInlet { from: String::new(), port: Port::Input, inlet, writer: Frontier::new() })
        .collect();
    let outlets =
        outlets.into_iter().map(|(port, outlet)| PortOutlet { port, per_input: 1, outlet }).collect();
    Ports { name: "sequencer".into(), seat: 0, inlets, outlets, frontier: Frontier::new() }
}

/// The first `count` inputs a live run of the shipped profile would have, or all of them.
pub fn inputs(count: usize) -> Arc<[Message]> {
    let config = config();
    let tape = Tape::load(&data()).unwrap();
    let classes = line::input_classes(&config, &line::topology(&config));
    let (mut control, control_inlet) = ring(64);
    let (mut sources, mut inlets) = (Vec::new(), vec![control_inlet]);
    for index in 0..config.instruments.len() {
        let (outlet, inlet) = ring(4_096);
        sources.push(Source::new(&config, index, outlet));
        inlets.push(inlet);
    }
    // The gateway's inlet, and those of what stages tell back.
    let mut gateway = None;
    while inlets.len() < classes.len() {
        let (outlet, inlet) = ring(64);
        gateway.get_or_insert(outlet);
        inlets.push(inlet);
    }
    let (line_outlet, mut out) = ring(4_096);
    let sink = Frontier::new();
    // A clock that stands still: time is max(previous + 1, clock), so the inputs are the same every time.
    let clock = MarketClock { origin: tape.start, start: u64::MAX, speed: 1 };
    let door = Door::new(vec![sink.clone()]);
    let sequencer = Sequencer::new(door, clock, classes, config.instruments.len(), &Counters::detached());
    let mut cell = AgentSeat::new(sequencer, ports(inlets, vec![(Port::Line, line_outlet)]), false);
    assert!(control.push(&Message::new(Header::default(), Started { incarnation: 1, ..Started::default() })));
    // Trading begins at once, with a venue that takes orders and never says what became of them.
    let resume = Command { code: CommandCode::Resume as u64, epoch: 1, ..Command::default() };
    assert!(control.push(&Message::new(Header::default(), resume)));
    let ready = VenueStatus { venue: 1, ready: 1, ..VenueStatus::default() };
    assert!(gateway.unwrap().push(&Message::new(Header::default(), ready)));
    let mut frames: Vec<(i64, usize, usize)> = Vec::new();
    for (market, recording) in tape.recordings.iter().enumerate() {
        frames.extend(recording.frames.iter().enumerate().map(|(i, f)| (f.time, market, i)));
    }
    frames.sort_unstable();
    let mut inputs = Vec::new();
    for (time, market, index) in frames {
        let frame = &tape.recordings[market].frames[index];
        sources[market].take(frame.text.as_str(), frame.stream.is_none());
        while cell.poll() == Work::Done {}
        while let Some(mut message) = out.pop() {
            // The time of the recording, kept strictly rising as the sequencer would.
            let last = inputs.last().map_or(0, |m: &Message| m.header.time);
            message.header.time = time.max(last + 1);
            sink.advance(message.header.seq);
            inputs.push(message);
        }
        if inputs.len() >= count {
            break;
        }
    }
    inputs.truncate(count);
    inputs.into()
}

/// Both books of the whole recording, as the market stage leaves them, and how often one was crossed on the way.
fn final_books(drop_held: bool) -> (Vec<Book>, usize) {
    let config = config();
    let tape = Tape::load(&data()).unwrap();
    let mut crossed = 0;
    let mut books = Vec::new();
    for (market, recording) in tape.recordings.iter().enumerate() {
        let (outlet, mut inlet) = ring(65_536);
        let mut source = Source::new(&config, market, outlet);
        let mut stage = Book::new();
        for frame in &recording.frames {
            if drop_held && frame.stream.is_none() {
                source.book =
                    BookFeed::new(InstrumentId(market as u16), source.decoder.market().chain_rule());
            }
            source.take(frame.text.as_str(), frame.stream.is_none());
            while let Some(message) = inlet.pop() {
                let depth_ended = apply(&mut stage, &message);
                crossed += usize::from(depth_ended && matches!(stage.state(), Top::Crossed { .. }));
            }
        }
        books.push(stage);
    }
    (books, crossed)
}

/// Only depth: true where a depth frame has ended.
fn apply(book: &mut Book, message: &Message) -> bool {
    use kimera_protocol::{DepthBegin, Flags, Gapped, Levels};
    if message.body::<Gapped>().is_some() {
        book.gapped();
    }
    if let Some(begin) = message.body::<DepthBegin>() {
        book.begin(begin);
    } else if let Some(levels) = message.body::<Levels>() {
        book.apply(levels, message.header.count.into(), message.header.bids.into(), |_| {});
    } else {
        return false;
    }
    message.header.flags & Flags::FRAME_END != 0
}

#[test]
fn the_book_of_the_recording_is_the_one_an_independent_reader_gets() {
    let (books, crossed) = final_books(false);
    assert_eq!(crossed, 0, "a book that is put together right is never crossed");
    let tape = Tape::load(&data()).unwrap();
    for (recording, (book, decimals)) in tape.recordings.into_iter().zip(books.iter().zip([(8, 8), (2, 3)])) {
        let tick = if decimals.0 == 8 { 1_000_000 } else { 10_000_000 };
        let mut venue = kimera_simulator::market::Market::new(recording);
        while venue.play(i64::MAX, |_, _, _| {}) {}
        let expected = venue.book().to_json(100_000, 8, 8, None);
        let side = |side: Side| {
            let mut levels: Vec<_> = book.side(side).levels().collect();
            levels.sort_by_key(|l| if side == Side::Bid { -l.price.0 } else { l.price.0 });
            let text = |l: &kimera_protocol::Level| {
                let price = kimera_protocol::fixed::format_decimal(i128::from(l.price.0 * tick), 8);
                format!("[\"{}\",\"{}\"]", price.as_str(), l.size)
            };
            levels.iter().map(text).collect::<Vec<_>>().join(",")
        };
        let id = book.update_id();
        let got = format!(
            "{{\"lastUpdateId\":{id},\"bids\":[{}],\"asks\":[{}]}}",
            side(Side::Bid),
            side(Side::Ask)
        );
        assert!(got == expected, "books differ: {} and {} bytes", got.len(), expected.len());
        assert_eq!((book.chain_breaks(), book.levels_dropped()), (0, 0));
    }
}

#[test]
fn dropping_the_deltas_that_precede_the_snapshot_breaks_the_book() {
    let (books, _) = final_books(true);
    // The first delta after the snapshot no longer bridges it: the chain rule notices and the book is not trusted.
    assert!(books.iter().any(|b| !matches!(b.state(), Top::Good { .. })), "the control must fail");
}

#[test]
fn every_input_is_evaluated_to_finite_numbers() {
    let inputs = inputs(60_000);
    let config = config();
    let mut market = Market::new(&config.market_config());
    let mut out = kimera_runtime::Outbox::new(kimera_market::actor::OUTPUTS_MAX);
    let (mut features, mut usable) = (0, 0);
    for message in inputs.iter() {
        use kimera_runtime::{Actor, Input};
        out.begin(message);
        market.handle(Input { message, joined: &[] }, &mut out);
        for (_, output) in out.staged() {
            if let Some(f) = output.body::<kimera_protocol::Features>() {
                features += 1;
                assert!(f.values().iter().all(|v| v.is_finite()), "{f:?}");
                usable += u64::from(f.status(0) == Status::Ok);
            }
            if let Some(q) = output.body::<kimera_protocol::Quote>() {
                assert!(q.usable == 0 || (q.bid.price < q.ask.price && q.bid.price > Price(0)));
            }
        }
    }
    assert!(features > 30_000 && usable * 100 > features * 98, "{features} evaluations, {usable} usable");
}
