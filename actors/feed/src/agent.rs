//! The connection of one feed and its duty cycle: connect, subscribe, read, decode, pass on; reconnect when lost.

use std::net::SocketAddr;
use std::time::Duration;

use kimera_protocol::{FeedState, FrameRef, GapReason};
use kimera_runtime::clock::monotonic_ns;
use kimera_runtime::net::http::Exchange;
use kimera_runtime::net::tcp::{Backoff, Dialer};
use kimera_runtime::net::websocket::WsClient;
use kimera_runtime::{Agent, Counter, Counters, Outlet, Ports, Tsc, Work};
use kimera_venues::FrameBuffer;
use kimera_venues::binance::MarketDecoder;

use crate::backlog::Backlog;
use crate::book_feed::{BookFeed, Exit, Outcome};
use crate::definitions::{Definitions, Look, Rejections};

/// Frames decoded in one duty cycle.
const FRAMES_PER_CYCLE: usize = 32;
/// Largest answer to a snapshot request.
const SNAPSHOT_BYTES_MAX: usize = 4 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that has accepted the connection must agree to the upgrade in this time, ns.
const UPGRADE_TIMEOUT: u64 = 5_000_000_000;
/// A stream without a byte for this long is dead, whatever TCP says, ns.
const SILENCE_MAX: u64 = 30_000_000_000;
/// Snapshots are asked for no more often than this, ns: venues ban clients that do.
const SNAPSHOT_INTERVAL: u64 = 1_000_000_000;
/// Frames after which a connection counts as good and failures before it are forgotten.
const FRAMES_TO_TRUST: u32 = 256;
/// Empty reads between two looks at the clock.
const READS_PER_LOOK: u32 = 1_024;
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a feed connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedConfig {
    /// Name of its seat.
    pub name: String,
    /// Stream server.
    pub stream: SocketAddr,
    /// Snapshot server.
    pub rest: SocketAddr,
    /// Levels a side of a snapshot.
    pub snapshot_levels: u32,
    /// How often the venue is asked what it demands of orders.
    pub definition_interval: Duration,
    /// The gateway that trades the instrument, if one does.
    pub gateway: Option<String>,
}

struct Meters {
    frames: Counter,
    slow_frames: Counter,
    undecodable: Counter,
    conflated: Counter,
    gaps: Counter,
    connections: Counter,
    snapshots: Counter,
    snapshot_failures: Counter,
    held: Counter,
    definitions: Counter,
    definition_failures: Counter,
}

impl Meters {
    fn new(feed: &str, counter: impl Fn(&str) -> Counter) -> Self {
        let counter = |what: &str| counter(&format!("{feed}.{what}"));
        Self {
            frames: counter("frames"),
            slow_frames: counter("slow_path_frames"),
            undecodable: counter("undecodable_frames"),
            conflated: counter("conflated_tickers"),
            gaps: counter("gaps"),
            connections: counter("connections"),
            snapshots: counter("snapshots"),
            snapshot_failures: counter("snapshot_failures"),
            held: counter("held_deltas"),
            definitions: counter("definition_answers"),
            definition_failures: counter("definition_failures"),
        }
    }
}

enum Link {
    /// Not before this monotonic instant.
    Down(u64),
    Dialing(Dialer),
    Up(Box<WsClient>),
}

/// The agent.
pub struct Feed {
    config: FeedConfig,
    decoder: MarketDecoder,
    book: BookFeed,
    backlog: Backlog,
    buffer: FrameBuffer,
    snapshot_buffer: FrameBuffer,
    link: Link,
    backoff: Backoff,
    snapshot: Option<Exchange>,
    snapshot_not_before: u64,
    snapshot_backoff: Backoff,
    definitions: Definitions,
    frame: FrameRef,
    /// Monotonic ns of the last look at the clock at which something had arrived.
    heard: u64,
    empty_reads: u32,
    state_to_tell: Option<FeedState>,
    /// What was there before has fallen, and the line has not been told that the stream is lost.
    lost: bool,
    meters: Meters,
}

impl Feed {
    /// A feed that connects at its first duty cycle.
    #[must_use]
    pub fn new(config: FeedConfig, decoder: MarketDecoder, counters: &Counters) -> Self {
        let meters = Meters::new(&config.name, |name| counters.counter(name));
        Self::with_meters(config, decoder, meters, counters)
    }

    fn with_meters(config: FeedConfig, decoder: MarketDecoder, meters: Meters, counters: &Counters) -> Self {
        let book = BookFeed::new(decoder.instrument().id, decoder.market().chain_rule());
        let rejections = config.gateway.as_deref().map(|gateway| Rejections::of(gateway, counters));
        let definitions = Definitions::new(config.definition_interval, rejections);
        Self {
            config,
            decoder,
            book,
            backlog: Backlog::new(),
            buffer: FrameBuffer::new(),
            snapshot_buffer: FrameBuffer::new(),
            link: Link::Down(0),
            backoff: Backoff::new(Duration::from_millis(50), Duration::from_secs(5)),
            snapshot: None,
            snapshot_not_before: 0,
            snapshot_backoff: Backoff::new(Duration::from_millis(50), Duration::from_secs(5)),
            definitions,
            frame: FrameRef::default(),
            heard: 0,
            empty_reads: 0,
            state_to_tell: None,
            lost: false,
            meters,
        }
    }

    /// One that takes the place of a feed that has fallen: the line hears that the stream was lost, and the connections go
    /// on counting.
    #[must_use]
    pub fn instead(config: FeedConfig, decoder: MarketDecoder, counters: &Counters) -> Self {
        let meters = Meters::new(&config.name, |name| counters.counter_of(name));
        let mut feed = Self::with_meters(config, decoder, meters, counters);
        let connections = u32::try_from(feed.meters.connections.get()).unwrap_or(u32::MAX);
        feed.frame = FrameRef { epoch: feed.frame.epoch.max(connections), number: 0 };
        feed.book.was_synchronised();
        feed.state_to_tell = Some(FeedState::Disconnected);
        feed.lost = true;
        feed
    }

    /// The connection is gone: tell the line, try again later.
    #[cold]
    fn disconnect(&mut self, outlet: &mut Outlet) {
        if matches!(self.link, Link::Up(_)) {
            self.state_to_tell = Some(FeedState::Disconnected);
        }
        self.snapshot = None;
        let mut exit = Exit { backlog: &mut self.backlog, outlet };
        self.book.lose(GapReason::Disconnected, self.frame, &mut exit);
        self.link = Link::Down(self.backoff.fail());
    }

    /// Makes progress with the connection; true where something moved.
    fn connect(&mut self, outlet: &mut Outlet) -> bool {
        match std::mem::replace(&mut self.link, Link::Down(0)) {
            Link::Down(until) if monotonic_ns() < until => {
                self.link = Link::Down(until);
                false
            }
            Link::Down(_) => {
                match Dialer::start(self.config.stream, CONNECT_TIMEOUT) {
                    Ok(dialer) => self.link = Link::Dialing(dialer),
                    Err(_) => self.disconnect(outlet),
                }
                true
            }
            Link::Dialing(dialer) => match dialer.poll() {
                Ok(Ok(stream)) => {
                    let path = self.decoder.market().stream_path(&self.decoder.instrument().symbol);
                    let host = self.config.stream.to_string();
                    self.link = Link::Up(Box::new(WsClient::upgrade(stream, &host, &path)));
                    self.heard = monotonic_ns();
                    true
                }
                Ok(Err(dialer)) => {
                    self.link = Link::Dialing(dialer);
                    false
                }
                Err(_) => {
                    self.disconnect(outlet);
                    true
                }
            },
            up @ Link::Up(_) => {
                self.link = up;
                false
            }
        }
    }

    /// Reads and passes on a bounded number of frames.
    fn read(&mut self, outlet: &mut Outlet) -> bool {
        // With a backlog that could not take the largest frame nothing more is read: the venue has to wait.
        if !self.backlog.has_room(1) {
            return false;
        }
        let Link::Up(client) = &mut self.link else { return false };
        let was_open = client.is_open();
        let arrived = match client.pump() {
            Ok(arrived) => arrived,
            Err(_) => {
                self.disconnect(outlet);
                return true;
            }
        };
        let open = client.is_open();
        if !arrived && self.is_silent(open) {
            self.disconnect(outlet);
            return true;
        }
        if !was_open && open {
            self.meters.connections.add(1);
            self.frame = FrameRef { epoch: self.frame.epoch + 1, number: 0 };
            self.state_to_tell = Some(FeedState::Connected);
        }
        if arrived {
            self.empty_reads = 0;
        }
        let ingress = Tsc::now();
        let mut frames = 0;
        while frames < FRAMES_PER_CYCLE && self.backlog.has_room(1) {
            let Link::Up(client) = &mut self.link else { break };
            match client.next_message() {
                Ok(Some(message)) => {
                    frames += 1;
                    self.frame.number = self.frame.number.wrapping_add(1);
                    if self.frame.number == FRAMES_TO_TRUST {
                        self.backoff.succeed();
                    }
                    self.buffer.begin(self.frame, ingress);
                    let decoded = self.decoder.decode(message, &mut self.buffer);
                    let failed = decoded.is_err();
                    self.take(failed, outlet);
                }
                Ok(None) => break,
                Err(_) => {
                    self.disconnect(outlet);
                    break;
                }
            }
        }
        if frames > 0 {
            self.meters.frames.add(frames as u64);
            self.meters.slow_frames.set(self.decoder.slow_frames());
        }
        arrived || frames > 0
    }

    /// True where the other end has been silent for too long. The clock is read once in many empty reads.
    fn is_silent(&mut self, open: bool) -> bool {
        if self.empty_reads == 0 {
            self.heard = self.heard.max(monotonic_ns());
        }
        self.empty_reads += 1;
        if !self.empty_reads.is_multiple_of(READS_PER_LOOK) {
            return false;
        }
        let limit = if open { SILENCE_MAX } else { UPGRADE_TIMEOUT };
        monotonic_ns().saturating_sub(self.heard) > limit
    }

    /// Passes on what the buffer holds.
    fn take(&mut self, failed: bool, outlet: &mut Outlet) {
        let mut exit = Exit { backlog: &mut self.backlog, outlet };
        if failed {
            // It may have been a depth frame: the chain can no longer be trusted to be whole.
            self.meters.undecodable.add(1);
            self.book.lose(GapReason::Undecodable, self.frame, &mut exit);
            return;
        }
        if self.buffer.messages().is_empty() {
            return;
        }
        match self.book.frame(&mut self.buffer, &mut exit) {
            Outcome::Sent => {}
            Outcome::Conflated => self.meters.conflated.add(1),
            Outcome::Held => self.meters.held.add(1),
            Outcome::Gap(_) => self.meters.gaps.add(1),
        }
    }

    /// Asks for a snapshot where one is wanted, and takes the answer.
    fn synchronise(&mut self, outlet: &mut Outlet) -> bool {
        if let Some(exchange) = &mut self.snapshot {
            match exchange.poll() {
                Ok(None) => return false,
                Ok(Some(response)) => {
                    self.snapshot = None;
                    let mut exit = Exit { backlog: &mut self.backlog, outlet };
                    let good = response.status == 200
                        && self
                            .decoder
                            .decode_snapshot(&response.body, self.frame, &mut self.snapshot_buffer)
                            .is_ok()
                        && self.book.snapshot(&self.snapshot_buffer, &mut exit);
                    self.settle_snapshot(good);
                }
                Err(_) => {
                    self.snapshot = None;
                    self.settle_snapshot(false);
                }
            }
            return true;
        }
        if !self.book.wants_snapshot() || monotonic_ns() < self.snapshot_not_before {
            return false;
        }
        let symbol = &self.decoder.instrument().symbol;
        let path = self.decoder.market().snapshot_path(symbol, self.config.snapshot_levels);
        match Exchange::start(self.config.rest, "GET", &path, &[], b"", SNAPSHOT_BYTES_MAX, SNAPSHOT_TIMEOUT)
        {
            Ok(exchange) => self.snapshot = Some(exchange),
            Err(_) => self.settle_snapshot(false),
        }
        true
    }

    /// Asks what the venue demands of orders, and tells the line where that is news.
    fn define(&mut self, outlet: &mut Outlet) -> bool {
        let look = self.definitions.look(self.config.rest, &self.decoder);
        match look {
            Look::Waits => {}
            Look::Heard => self.meters.definitions.add(1),
            Look::Failed => self.meters.definition_failures.add(1),
        }
        if let Some(definition) = self.definitions.news(self.frame) {
            let mut exit = Exit { backlog: &mut self.backlog, outlet };
            if self.book.define(definition, &mut exit) {
                self.definitions.told();
            }
        }
        look != Look::Waits
    }

    fn settle_snapshot(&mut self, good: bool) {
        if good {
            self.meters.snapshots.add(1);
            self.snapshot_backoff.succeed();
            self.snapshot_not_before = monotonic_ns() + SNAPSHOT_INTERVAL;
        } else {
            self.meters.snapshot_failures.add(1);
            self.snapshot_not_before = self.snapshot_backoff.fail();
        }
    }
}

impl Agent for Feed {
    fn duty_cycle(&mut self, ports: &mut Ports) -> Work {
        let Some(out) = ports.outlets.first_mut() else { return Work::Idle };
        let outlet = &mut out.outlet;
        if !self.backlog.is_empty() {
            self.backlog.flush(outlet);
        }
        if self.lost {
            self.lost = false;
            let mut exit = Exit { backlog: &mut self.backlog, outlet };
            self.book.lose(GapReason::Disconnected, self.frame, &mut exit);
        }
        let mut worked = self.connect(outlet);
        worked |= self.read(outlet);
        worked |= self.synchronise(outlet);
        worked |= self.define(outlet);
        if let Some(state) = self.state_to_tell {
            let mut exit = Exit { backlog: &mut self.backlog, outlet };
            if self.book.tell_state(state, self.frame, &mut exit) {
                self.state_to_tell = None;
            }
        }
        if worked { Work::Done } else { Work::Idle }
    }

    /// The line hears that nothing comes any more.
    fn leave(&mut self, ports: &mut Ports) {
        let Some(out) = ports.outlets.first_mut() else { return };
        self.disconnect(&mut out.outlet);
        let mut exit = Exit { backlog: &mut self.backlog, outlet: &mut out.outlet };
        let _ = self.book.tell_state(FeedState::Disconnected, self.frame, &mut exit);
        self.backlog.flush(&mut out.outlet);
    }
}
