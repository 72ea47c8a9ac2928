//! The duty cycle, the same every time: kill word, order ring to its end, cancels, new orders one by one with the word
//! read before each, then what the venue says.
//!
//! One that takes the place of another takes what comes out of the line from its first cycle on. It cancels once it has been
//! told of the orders of those before it, and places new ones once the venue has explained each of those.

mod dead_man;
mod http;
mod instead;
mod meters;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use kimera_protocol::{
    CancelAll, CancelOrder, Header, Instrument, InstrumentId, Kind, Message, NewOrder, OrderEvent, OrderId,
    OrderRecord, OrderUpdate, TradingState, VenueStatus,
};
use kimera_runtime::clock::monotonic_ns;
use kimera_runtime::durability::SilenceWatch;
use kimera_runtime::failpoint;
use kimera_runtime::net::http::Exchange;
use kimera_runtime::{AbsenceGate, Agent, Durability, KillWord, MarketClock, Port, Ports, Tsc, Word, Work};
use kimera_venues::binance::definition::is_about_rules;
use kimera_venues::binance::orders::{Asked, OrderWriter, RECEIVE_WINDOW_MS, read_response};
use kimera_venues::binance::signing::Signer;
use kimera_venues::binance::user_data::{UserEvent, read_user_event};

use crate::desk::{Desk, Unsent};
use crate::link::{Link, Turn};
use crate::takeover::Takeover;
use dead_man::DeadMan;
use instead::Meanwhile;

pub use dead_man::DeadManSwitch;
pub use meters::Meters;

/// Orders that may wait for the socket.
const WAITING_MAX: usize = 1_024;
/// Reports that may wait for the sequencer before the private stream is not read any more.
const STAGED_MAX: usize = 2_048;
/// Reports are still staged from answers above that.
const STAGED_CAPACITY: usize = 2 * STAGED_MAX;
/// Messages read from one socket in one cycle.
const MESSAGES_PER_CYCLE: usize = 64;
/// Under a halt, between two times that what still stands is asked for, ns.
const CANCEL_AGAIN: u64 = 500_000_000;
/// An order connection that does not answer for this long is given up, ns.
const SILENCE_MAX: u64 = 3_000_000_000;
/// Cycles between two looks for silence.
const CYCLES_PER_TICK: u32 = 64;

/// Where a gateway connects and for whom.
#[derive(Clone)]
pub struct GatewayConfig {
    /// Name of its seat.
    pub name: String,
    /// Venue's number, in orders and reports.
    pub venue: u8,
    /// Instrument it trades.
    pub instrument: Instrument,
    /// Order API, private stream and HTTP.
    pub address: SocketAddr,
    /// Credentials.
    pub signer: Signer,
    /// The clock the venue shares.
    pub clock: MarketClock,
    /// Orders caused by what is not durable yet wait.
    pub gate: Arc<AbsenceGate>,
    /// Holds back orders that would be too far ahead of the journal.
    pub durability: Arc<Durability>,
    /// After an earlier start: every order it sent, as its journal knows it. The venue is asked before anything is sent.
    /// The second value is the newest ended order that is not among them any more.
    pub recovered: Option<(Vec<(InstrumentId, OrderRecord)>, OrderId)>,
    /// The venue's own way of taking everything back.
    pub dead_man: DeadManSwitch,
    /// How another one gets to know the orders of one that has fallen.
    pub takeover: Arc<Takeover>,
    /// What may leave.
    pub word: Arc<KillWord>,
    /// The time-stamp counter.
    pub tsc: Tsc,
}

/// How far the venue has been asked about an earlier start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reconciling {
    /// All orders are to be listed.
    Wanted,
    /// Listed; what is not explained is asked about one by one.
    Explaining,
    /// Nothing is open, or there was no earlier start.
    Done,
}

/// The agent.
pub struct Gateway {
    config: GatewayConfig,
    desk: Desk,
    writer: OrderWriter,
    seen: Word,
    /// Under a halt, or while the disk says nothing, when what still stands is asked for again.
    cancel_again_at: u64,
    /// Everything is taken back because the disk says nothing.
    disk_silent: bool,
    silence: SilenceWatch,
    /// When something was asked on the order connection that nothing has been heard since.
    unanswered_since: Option<u64>,
    orders: Link,
    private: Link,
    private_path: Option<String>,
    http: Option<(http::Job, Exchange)>,
    http_not_before: u64,
    key_age: u64,
    waiting: VecDeque<Message>,
    staged: VecDeque<Message>,
    text: Vec<u8>,
    /// Fills of orders that are not ours have been seen: the position is not what we think, nothing is sent any more.
    tainted: bool,
    reconciling: Reconciling,
    /// The venue's time from which the list of orders is final, and whether it was taken since.
    list_again_ms: i64,
    listed_last: bool,
    /// Orders of earlier starts, and what the journal knows to be filled of them.
    known: BTreeMap<OrderId, (InstrumentId, OrderRecord)>,
    /// Ended orders up to this one may be missing from them.
    forgotten: OrderId,
    /// While the orders of the gateways before are still to come.
    meanwhile: Option<Meanwhile>,
    /// Gateways that have fallen here before.
    fallen: u64,
    told_ready: bool,
    dead_man: DeadMan,
    cycles: u32,
    meters: Meters,
}

impl Gateway {
    /// A gateway that connects at its first duty cycle.
    #[must_use]
    pub fn new(config: GatewayConfig, meters: Meters) -> Self {
        let reconciling = if config.recovered.is_some() { Reconciling::Wanted } else { Reconciling::Done };
        Self::beginning(config, meters, reconciling)
    }

    fn beginning(mut config: GatewayConfig, meters: Meters, reconciling: Reconciling) -> Self {
        let mut desk = Desk::default();
        let (earlier, forgotten) = config.recovered.take().unwrap_or_default();
        let known: BTreeMap<_, _> =
            earlier.into_iter().map(|(instrument, r)| (r.order.id, (instrument, r))).collect();
        for (instrument, record) in known.values().filter(|(_, r)| r.state.is_working()) {
            desk.adopt(record, *instrument, monotonic_ns());
        }
        meters.reconciled.set(u64::from(reconciling == Reconciling::Done));
        let (switch, speed) = (config.dead_man.clone(), config.clock.speed);
        Self {
            dead_man: DeadMan::new(switch, speed, meters.dead_man.clone()),
            desk,
            writer: OrderWriter::new(config.instrument.clone(), &config.signer),
            // Nothing seen yet: a halt from before this start is a halt to act on.
            seen: Word { state: TradingState::Active, epoch: 0 },
            cancel_again_at: 0,
            disk_silent: false,
            silence: SilenceWatch::default(),
            unanswered_since: None,
            orders: Link::new(config.address),
            private: Link::new(config.address),
            private_path: None,
            http: None,
            http_not_before: 0,
            key_age: 0,
            waiting: VecDeque::with_capacity(WAITING_MAX),
            staged: VecDeque::with_capacity(STAGED_CAPACITY),
            text: Vec::with_capacity(1_024),
            tainted: false,
            reconciling,
            list_again_ms: config.clock.now() / 1_000_000 + i64::from(RECEIVE_WINDOW_MS),
            listed_last: false,
            known,
            forgotten,
            meanwhile: None,
            fallen: 0,
            told_ready: false,
            cycles: 0,
            meters,
            config,
        }
    }

    fn now_ms(&self) -> i64 {
        self.config.clock.now() / 1_000_000
    }

    fn is_ready(&self) -> bool {
        self.orders.is_open()
            && self.private.is_open()
            && !self.tainted
            && self.reconciling == Reconciling::Done
    }

    /// Reads the kill word; at a halt everything that stands is wanted back, from our own table.
    fn look_at_word(&mut self) {
        let word = self.config.word.get();
        if word != self.seen {
            self.seen = word;
            if word.state == TradingState::Halted {
                self.desk.cancel_all();
                self.cancel_again_at = monotonic_ns() + CANCEL_AGAIN;
            }
        }
    }

    /// A line whose journal is not heard by the disk stands still and takes nothing back: that is done here then. Nothing new
    /// leaves meanwhile, and quotes come again by themselves.
    fn look_at_disk(&mut self) {
        let silent = self.silence.look(&self.config.durability);
        if silent && !self.disk_silent {
            self.meters.disk_silences.add(1);
            self.withdraw(|_| true);
            self.desk.cancel_all();
            self.cancel_again_at = monotonic_ns() + CANCEL_AGAIN;
        }
        self.disk_silent = silent;
    }

    /// A halt is not over before nothing stands, nor is a silence of the disk: what has not been taken back is asked for
    /// again.
    fn cancel_again(&mut self, now: u64) {
        let halted = self.seen.state == TradingState::Halted;
        if (halted || self.disk_silent) && now >= self.cancel_again_at {
            self.cancel_again_at = now + CANCEL_AGAIN;
            self.desk.cancel_wanted();
        }
    }

    /// Something was asked: an answer is due.
    fn asked(&mut self) {
        self.unanswered_since.get_or_insert_with(monotonic_ns);
    }

    /// Takes everything the line has sent.
    fn drain(&mut self, ports: &mut Ports) -> bool {
        let mut worked = false;
        for port in &mut ports.inlets {
            // Read before the ring: whatever the writer did up to here is then visible in it.
            let upstream = port.writer.get();
            while let Some(message) = port.inlet.pop() {
                worked = true;
                self.take(&message);
            }
            ports.frontier.advance(upstream);
        }
        worked
    }

    fn take(&mut self, message: &Message) {
        if let Some(order) = message.body::<NewOrder>() {
            if let Some(meanwhile) = &mut self.meanwhile {
                meanwhile.taken.insert(order.id);
            }
            if self.waiting.len() < WAITING_MAX {
                self.waiting.push_back(*message);
            } else {
                self.desk.unsent(order, message.instrument(), Unsent::NoRoom);
            }
        } else if let Some(cancel) = message.body::<CancelOrder>() {
            let before = self.waiting.len();
            self.withdraw(|order| order.id == cancel.id);
            match &mut self.meanwhile {
                _ if self.waiting.len() < before => {}
                Some(meanwhile) => meanwhile.cancels.push(cancel.id),
                None => self.desk.cancel(cancel.id),
            }
        } else if message.body::<CancelAll>().is_some() {
            self.withdraw(|_| true);
            self.desk.cancel_all();
            if let Some(meanwhile) = &mut self.meanwhile {
                meanwhile.cancel_all = true;
            }
        }
    }

    /// Orders that still wait here and are not wanted any more never leave.
    fn withdraw(&mut self, which: impl Fn(&NewOrder) -> bool) {
        let desk = &mut self.desk;
        self.waiting.retain(|message| match message.body::<NewOrder>() {
            Some(order) if which(order) => {
                desk.unsent(order, message.instrument(), Unsent::Cancelled);
                false
            }
            _ => true,
        });
    }

    /// Cancels first, whatever the word says.
    fn send_cancels(&mut self) -> bool {
        let mut worked = false;
        while self.orders.is_open()
            && let Some(id) = self.desk.next_cancel()
        {
            let now_ms = self.now_ms();
            self.writer.cancel(id, now_ms, &mut self.text);
            failpoint::hit("gateway.cancel");
            self.meters.cancels.add(1);
            self.desk.cancel_sent(id, monotonic_ns());
            worked = true;
            if let Some(client) = self.orders.client() {
                client.send_text(&self.text);
            }
        }
        if worked {
            self.asked();
            self.flush();
        }
        worked
    }

    /// New orders one by one; the word is read before each, so that at most the one being written leaves after it.
    fn send_orders(&mut self) -> bool {
        let mut worked = false;
        while let Some(message) = self.waiting.front().copied() {
            let Some(order) = message.body::<NewOrder>() else { break };
            // A socket that takes nothing keeps them here, where the word and their time still count.
            let blocked = self.orders.client().is_some_and(|c| c.has_unsent());
            let late = self.config.clock.now() > order.send_by;
            let ahead = self.disk_silent || self.config.durability.holds(order.stamp_seq);
            let waits = blocked || ahead || self.config.gate.holds(order.stamp_seq);
            if waits && !late && self.config.word.get().state != TradingState::Halted {
                break;
            }
            self.waiting.pop_front();
            worked = true;
            self.send_order(&message, order);
        }
        worked
    }

    fn send_order(&mut self, message: &Message, order: &NewOrder) {
        let market_now = self.config.clock.now();
        let (word, ready) = (self.config.word.get(), self.is_ready());
        if self.desk.admit(order, message.instrument(), word, ready, market_now).is_err() {
            self.meters.unsent.add(1);
            return;
        }
        let timestamp_ms = market_now / 1_000_000;
        if self.writer.place(order, timestamp_ms, &mut self.text).is_err() {
            self.desk.unsent(order, message.instrument(), Unsent::NoWireForm);
            self.meters.unsent.add(1);
            return;
        }
        // From the frame that caused it, of the market or of the private stream.
        let timed = message.header.ingress != 0;
        let age = |tsc: &Tsc| tsc.to_ns(Tsc::now().saturating_sub(message.header.ingress));
        if timed {
            self.meters.frame_to_order.record(age(&self.config.tsc));
        }
        failpoint::hit("gateway.before_order");
        if let Some(client) = self.orders.client() {
            client.send_text(&self.text);
        }
        self.desk.placed(order.id, timestamp_ms, monotonic_ns());
        self.meters.sent.add(1);
        self.asked();
        self.flush();
        failpoint::hit("gateway.after_order");
        if timed {
            self.meters.frame_to_socket.record(age(&self.config.tsc));
        }
    }

    /// Hands the socket what waits for it.
    fn flush(&mut self) {
        if self.orders.poll(None) == Turn::Lost {
            self.desk.connection_lost(monotonic_ns());
        }
    }

    fn serve_orders(&mut self) -> bool {
        let turn = self.orders.poll(Some("/ws-fapi/v1"));
        let now = monotonic_ns();
        match turn {
            Turn::Lost => self.desk.connection_lost(now),
            Turn::Opened => {
                self.meters.connections.add(1);
                // What was asked before the connection was lost may not have arrived.
                self.unanswered_since = None;
                self.desk.cancel_wanted();
            }
            Turn::Idle | Turn::Moved => {}
        }
        // A connection that has gone quiet under a question is none, whatever TCP says.
        let mut broken = self.unanswered_since.is_some_and(|at| now.saturating_sub(at) > SILENCE_MAX);
        let mut heard = false;
        if let Some(client) = self.orders.client() {
            for _ in 0..MESSAGES_PER_CYCLE {
                match client.next_message() {
                    Ok(Some(text)) => {
                        heard = true;
                        match read_response(text) {
                            Ok(Some(response)) => {
                                if response.asked == Asked::Place {
                                    failpoint::hit("gateway.ack");
                                }
                                self.desk.response(&response, now);
                            }
                            Ok(None) => {}
                            Err(_) => self.meters.unreadable.add(1),
                        }
                    }
                    Ok(None) => break,
                    Err(_) => {
                        broken = true;
                        break;
                    }
                }
            }
        }
        if heard {
            self.unanswered_since = None;
        }
        if broken {
            self.unanswered_since = None;
        }
        if broken && self.orders.drop_connection() == Turn::Lost {
            self.desk.connection_lost(now);
        }
        turn != Turn::Idle || broken
    }

    fn serve_private(&mut self) -> bool {
        if self.meanwhile.is_some() {
            return false; // what is said of orders that are not known yet would be counted twice
        }
        if self.staged.len() > STAGED_MAX {
            return false; // the sequencer is behind: the venue has to wait, orders and cancels do not
        }
        let turn = self.private.poll(self.private_path.as_deref());
        let mut broken = false;
        match turn {
            // What was said while nobody listened has to be asked for.
            Turn::Opened => self.desk.ask_about_everything(monotonic_ns()),
            Turn::Lost => self.private_path = None,
            // A key that the venue does not take is not tried for ever.
            Turn::Moved if self.private.is_down() => self.private_path = None,
            Turn::Idle | Turn::Moved => {}
        }
        if let Some(client) = self.private.client() {
            for _ in 0..MESSAGES_PER_CYCLE {
                let event = match client.next_message() {
                    Ok(Some(text)) => read_user_event(&self.config.instrument, text),
                    Ok(None) => break,
                    Err(_) => {
                        broken = true;
                        break;
                    }
                };
                match event {
                    Ok(UserEvent::Order(update)) => {
                        if update.quantity.0 > 0 {
                            failpoint::hit("gateway.fill");
                        }
                        self.desk.user_event(self.config.instrument.id, &update);
                    }
                    Ok(UserEvent::Foreign { filled, .. }) => {
                        self.tainted |= filled != 0;
                        self.meters.foreign_fills.add(u64::from(filled != 0));
                    }
                    Ok(UserEvent::KeyExpired) => broken = true,
                    Ok(UserEvent::Other) => {}
                    Err(_) => {
                        // Something was said about an order and not understood: ask.
                        self.meters.unreadable.add(1);
                        self.desk.ask_about_everything(monotonic_ns());
                    }
                }
            }
        }
        if broken {
            self.private.drop_connection();
            self.private_path = None;
        }
        turn != Turn::Idle || broken
    }

    /// Once everything is explained the orders are listed a second time, when nothing that an earlier start has sent can
    /// arrive any more; if that brings nothing new, the venue has said all.
    fn conclude(&mut self) {
        let explained = self.http.is_none() && self.desk.is_explained();
        if self.reconciling != Reconciling::Explaining || !explained {
            return;
        }
        if self.listed_last {
            self.reconciling = Reconciling::Done;
            self.meters.reconciled.set(1);
        } else if self.now_ms() > self.list_again_ms {
            self.listed_last = true;
            self.reconciling = Reconciling::Wanted;
        }
    }

    /// Asks about what nobody knows.
    fn ask(&mut self) -> bool {
        let (now, now_ms) = (monotonic_ns(), self.now_ms());
        self.desk.tick(now);
        self.cancel_again(now);
        let mut worked = false;
        while self.orders.is_open()
            && let Some(id) = self.desk.next_question(now, now_ms)
        {
            self.writer.status(id, now_ms, &mut self.text);
            if let Some(client) = self.orders.client() {
                client.send_text(&self.text);
            }
            worked = true;
        }
        if worked {
            self.asked();
            self.flush();
        }
        worked
    }

    fn stage_status(&mut self) {
        let ready = u64::from(self.told_ready);
        let venue = u64::from(self.config.venue);
        let status = VenueStatus { venue, ready, fallen: self.fallen, ..VenueStatus::default() };
        let header = Header::unsequenced(Kind::VenueStatus, self.config.instrument.id);
        self.staged.push_back(Message::new(header, status));
        self.meters.ready.set(ready);
    }

    /// Reports and changes of readiness to the sequencer, in order, as far as its ring takes them.
    fn tell(&mut self, ports: &mut Ports) -> bool {
        let ingress = Tsc::now();
        let before = self.staged.len();
        while self.staged.len() < STAGED_CAPACITY
            && let Some((instrument, update)) = self.desk.next_event()
        {
            let header = Header { ingress, ..Header::unsequenced(Kind::OrderUpdate, instrument) };
            self.staged.push_back(Message::new(header, update));
        }
        if self.is_ready() != self.told_ready {
            self.told_ready = !self.told_ready;
            self.stage_status();
        }
        let mut worked = self.staged.len() > before;
        while let Some(message) = self.staged.front() {
            if !ports.send(Port::Input, message) {
                break;
            }
            let is_about_rules =
                |u: &OrderUpdate| u.event == OrderEvent::Rejected as u8 && is_about_rules(u.code.into());
            self.meters.off_rules.add(u64::from(message.body().is_some_and(is_about_rules)));
            self.staged.pop_front();
            self.meters.reports.add(1);
            worked = true;
        }
        worked
    }
}

impl Agent for Gateway {
    fn duty_cycle(&mut self, ports: &mut Ports) -> Work {
        self.look_at_word();
        let mut worked = self.drain(ports);
        worked |= self.meanwhile.is_some() && self.take_over(ports.frontier.get());
        worked |= self.send_cancels();
        worked |= self.send_orders();
        worked |= self.serve_orders();
        worked |= self.serve_private();
        self.cycles = self.cycles.wrapping_add(1);
        if worked || self.cycles.is_multiple_of(CYCLES_PER_TICK) {
            self.look_at_disk();
            worked |= self.serve_http();
            worked |= self.ask();
            self.conclude();
            // Before the orders of the gateways before are known, the last count of theirs stands.
            if self.meanwhile.is_none() {
                self.meters.working.set(self.desk.working() as u64);
                self.meters.unknown.set(self.desk.unknown() as u64);
                self.meters.unexplained.set(self.desk.unexplained());
            }
        }
        worked |= self.tell(ports);
        if worked { Work::Done } else { Work::Idle }
    }
}
