//! Connections in a world: bytes take time, come in pieces, are held up, and are lost when a connection breaks.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use super::{ProcessId, Random};

/// Bytes that may wait at one end before a writer has to.
const WINDOW: usize = 256 << 10;
/// Bytes of a connection's first words that are kept to know it by.
const LABEL_MAX: usize = 96;

/// Latency of a quiet network, ns.
const CALM: (u64, u64) = (20_000, 120_000);

#[derive(Default)]
struct End {
    inbox: VecDeque<(u64, Vec<u8>)>,
    waiting: usize,
    process: ProcessId,
    /// Nothing arrives before this time.
    held_until: u64,
    last_due: u64,
    /// When this end was let go of.
    closed_at: Option<u64>,
}

struct Connection {
    label: Vec<u8>,
    made_at: u64,
    broken: bool,
    ends: [End; 2],
}

struct Listening {
    process: ProcessId,
    waiting: VecDeque<u64>,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndId {
    connection: u64,
    /// 0 for who called, 1 for who was called.
    side: usize,
}

/// The network.
pub struct Network {
    random: Random,
    listening: BTreeMap<SocketAddr, Listening>,
    connections: BTreeMap<u64, Connection>,
    next: u64,
    next_port: u16,
    latency: (u64, u64),
    latency_until: u64,
    refusing_until: u64,
    delivered: u64,
}

fn gone(kind: ErrorKind) -> io::Error {
    io::Error::new(kind, "the connection is broken")
}

impl Network {
    pub(super) fn new(random: Random) -> Self {
        Self {
            random,
            listening: BTreeMap::new(),
            connections: BTreeMap::new(),
            next: 1,
            next_port: 40_000,
            latency: CALM,
            latency_until: 0,
            refusing_until: 0,
            delivered: 0,
        }
    }

    /// Pieces that have arrived so far.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Listens; port 0 becomes one of its own.
    ///
    /// # Errors
    /// Where somebody listens there.
    pub fn listen(&mut self, mut address: SocketAddr, process: ProcessId) -> io::Result<SocketAddr> {
        if address.port() == 0 {
            address.set_port(self.next_port);
            self.next_port += 1;
        }
        if self.listening.contains_key(&address) {
            return Err(ErrorKind::AddrInUse.into());
        }
        self.listening.insert(address, Listening { process, waiting: VecDeque::new() });
        Ok(address)
    }

    /// Stops listening.
    pub fn stop_listening(&mut self, address: &SocketAddr) {
        self.listening.remove(address);
    }

    /// Calls.
    ///
    /// # Errors
    /// Where nobody listens.
    pub fn dial(&mut self, address: SocketAddr, now: u64, process: ProcessId) -> io::Result<EndId> {
        let latency = self.latency(now);
        let refusing = now < self.refusing_until;
        let listening = self.listening.get_mut(&address).filter(|_| !refusing);
        let listening = listening.ok_or_else(|| io::Error::from(ErrorKind::ConnectionRefused))?;
        let id = self.next;
        self.next += 1;
        let end = |process| End { process, ..End::default() };
        let ends = [end(process), end(listening.process)];
        listening.waiting.push_back(id);
        let connection = Connection { label: Vec::new(), made_at: now + latency, broken: false, ends };
        self.connections.insert(id, connection);
        Ok(EndId { connection: id, side: 0 })
    }

    /// True once the call has been answered.
    ///
    /// # Errors
    /// Where it was not.
    pub fn is_made(&self, end: EndId, now: u64) -> io::Result<bool> {
        let connection = self.connections.get(&end.connection).filter(|c| !c.broken);
        let connection = connection.ok_or_else(|| gone(ErrorKind::ConnectionRefused))?;
        Ok(now >= connection.made_at)
    }

    /// The next call that waits.
    pub fn accept(&mut self, address: &SocketAddr, now: u64) -> Option<EndId> {
        let waiting = &mut self.listening.get_mut(address)?.waiting;
        let at = waiting.iter().position(|id| self.connections.get(id).is_none_or(|c| c.made_at <= now))?;
        let id = waiting.remove(at)?;
        self.connections.get(&id).map(|_| EndId { connection: id, side: 1 })
    }

    fn latency(&mut self, now: u64) -> u64 {
        let (low, high) = if now < self.latency_until { self.latency } else { CALM };
        self.random.within(low, high)
    }

    /// What has arrived at an end.
    ///
    /// # Errors
    /// `WouldBlock` where nothing has; a broken connection.
    pub fn read(&mut self, end: EndId, buffer: &mut [u8], now: u64) -> io::Result<usize> {
        let broken = || gone(ErrorKind::ConnectionReset);
        let connection = self.connections.get_mut(&end.connection).ok_or_else(broken)?;
        if connection.broken {
            return Err(broken());
        }
        let peer_closed = connection.ends[1 - end.side].closed_at;
        let own = &mut connection.ends[end.side];
        let arrived = now >= own.held_until && own.inbox.front().is_some_and(|(due, _)| *due <= now);
        if !arrived {
            let ended = own.inbox.is_empty() && peer_closed.is_some_and(|at| now >= at.max(own.held_until));
            return if ended { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        let Some((_, piece)) = own.inbox.front_mut() else { return Err(ErrorKind::WouldBlock.into()) };
        let taken = piece.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&piece[..taken]);
        own.waiting -= taken;
        if taken == piece.len() {
            own.inbox.pop_front();
            self.delivered += 1;
        } else {
            piece.drain(..taken);
        }
        Ok(taken)
    }

    /// Sends; as much as the other end has room for.
    ///
    /// # Errors
    /// `WouldBlock` where it has none; a broken connection.
    pub fn write(&mut self, end: EndId, bytes: &[u8], now: u64) -> io::Result<usize> {
        let latency = self.latency(now);
        let (split, second) = (self.random.chance(1, 8), self.random.within(10_000, 400_000));
        let cut = self.random.below(bytes.len() as u64) as usize;
        let broken = || gone(ErrorKind::BrokenPipe);
        let connection = self.connections.get_mut(&end.connection).ok_or_else(broken)?;
        if connection.broken || connection.ends[1 - end.side].closed_at.is_some() {
            return Err(broken());
        }
        if end.side == 0 && connection.label.len() < LABEL_MAX {
            let room = LABEL_MAX - connection.label.len();
            connection.label.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        let peer = &mut connection.ends[1 - end.side];
        let taken = bytes.len().min(WINDOW.saturating_sub(peer.waiting));
        if taken == 0 && !bytes.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        peer.waiting += taken;
        let first = if split { cut.min(taken) } else { taken };
        let due = peer.last_due.max(now + latency);
        peer.last_due = due;
        peer.inbox.push_back((due, bytes[..first].to_vec()));
        if first < taken {
            peer.last_due = due + second;
            peer.inbox.push_back((due + second, bytes[first..taken].to_vec()));
        }
        if first == 0 {
            peer.inbox.retain(|(_, piece)| !piece.is_empty());
        }
        Ok(taken)
    }

    /// An end is let go of.
    pub fn close(&mut self, end: EndId, now: u64) {
        let latency = self.latency(now);
        let Some(connection) = self.connections.get_mut(&end.connection) else { return };
        let last = connection.ends[1 - end.side].last_due;
        connection.ends[end.side].closed_at.get_or_insert((now + latency).max(last));
        if connection.ends.iter().all(|e| e.closed_at.is_some()) {
            self.connections.remove(&end.connection);
        }
    }

    pub(super) fn end_process(&mut self, process: ProcessId, now: u64) {
        self.listening.retain(|_, l| l.process != process);
        let ends: Vec<EndId> = self
            .connections
            .iter()
            .flat_map(|(id, c)| [0, 1].map(|side| (*id, side, c.ends[side].process)))
            .filter(|(_, _, owner)| *owner == process)
            .map(|(connection, side, _)| EndId { connection, side })
            .collect();
        for end in ends {
            self.close(end, now);
        }
    }

    /// Connections that began with these words.
    fn named<'a>(&'a mut self, label: &'a str) -> impl Iterator<Item = &'a mut Connection> {
        let known = move |c: &&mut Connection| String::from_utf8_lossy(&c.label).contains(label);
        self.connections.values_mut().filter(known)
    }

    /// Breaks connections whose first words contain `label`: what is on its way is lost.
    pub fn cut(&mut self, label: &str) -> usize {
        self.named(label).map(|c| c.broken = true).count()
    }

    /// Nothing arrives on these connections until then, in either direction; nobody is told.
    pub fn stall(&mut self, label: &str, until: u64) -> usize {
        self.named(label).map(|c| c.ends.iter_mut().for_each(|e| e.held_until = until)).count()
    }

    /// Latency until then, ns.
    pub fn slow(&mut self, latency: (u64, u64), until: u64) {
        (self.latency, self.latency_until) = (latency, until);
    }

    /// Calls are refused until then.
    pub fn refuse(&mut self, until: u64) {
        self.refusing_until = until;
    }

    pub(super) fn next_due(&self, now: u64) -> Option<u64> {
        let ends = self.connections.values().filter(|c| !c.broken).flat_map(|c| &c.ends);
        ends.filter_map(|e| e.inbox.front().map(|(due, _)| (*due).max(e.held_until)))
            .filter(|d| *d > now)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(network: &mut Network) -> (EndId, EndId) {
        let address = network.listen("10.0.0.1:0".parse().unwrap(), 2).unwrap();
        assert!(network.listen(address, 2).is_err());
        let a = network.dial(address, 0, 1).unwrap();
        assert!(!network.is_made(a, 0).unwrap() && network.accept(&address, 0).is_none());
        assert!(network.is_made(a, 1_000_000).unwrap());
        (a, network.accept(&address, 1_000_000).unwrap())
    }

    #[test]
    fn bytes_arrive_in_order_after_a_while_and_the_end_after_them() {
        let mut network = Network::new(Random::new(1, 1));
        let (a, b) = pair(&mut network);
        let text: Vec<u8> = (0..=255).collect();
        let mut buffer = [0; 300];
        for _ in 0..100 {
            assert_eq!(network.write(a, &text, 2_000_000).unwrap(), 256);
        }
        assert_eq!(network.read(b, &mut buffer, 2_000_000).unwrap_err().kind(), ErrorKind::WouldBlock);
        network.close(a, 2_000_000);
        let mut seen = Vec::new();
        for now in (2_000_000..200_000_000).step_by(10_000) {
            match network.read(b, &mut buffer, now) {
                Ok(0) => break,
                Ok(n) => seen.extend_from_slice(&buffer[..n]),
                Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock),
            }
        }
        assert_eq!(seen, text.repeat(100));
        assert!(network.write(b, b"x", 300_000_000).is_err());
    }

    #[test]
    fn a_cut_loses_what_is_on_its_way_and_only_where_it_was_meant() {
        let mut network = Network::new(Random::new(1, 1));
        let (a, b) = pair(&mut network);
        let (c, d) = pair(&mut network);
        network.write(a, b"GET /orders", 2_000_000).unwrap();
        network.write(c, b"GET /private", 2_000_000).unwrap();
        assert_eq!(network.cut("/orders"), 1);
        let mut buffer = [0; 64];
        assert_eq!(network.read(b, &mut buffer, 9_000_000).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert!(network.write(a, b"x", 9_000_000).is_err());
        assert_eq!(network.stall("/private", 50_000_000), 1);
        assert!(network.read(d, &mut buffer, 49_000_000).is_err());
        assert!(network.read(d, &mut buffer, 50_000_000).is_ok());
        let _ = c;
    }
}
