//! A TCP connection that is polled: connecting, reading and writing never wait.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::clock::monotonic_ns;
use crate::net::stream::{Stream, WorldStream};
use crate::world;

/// A connection being made.
pub struct Dialer {
    stream: Stream,
    deadline: u64,
}

impl Dialer {
    /// Starts to connect.
    ///
    /// # Errors
    /// Where the system refuses at once.
    pub fn start(address: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let deadline = monotonic_ns() + timeout.as_nanos() as u64;
        if let Some(end) = world::with_network(|network, now, process| network.dial(address, now, process)) {
            return Ok(Self { stream: Stream::World(WorldStream(end?)), deadline });
        }
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(e)
                if e.raw_os_error() == Some(libc::EINPROGRESS) || e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
        Ok(Self { stream: Stream::Tcp(TcpStream::from(socket)), deadline })
    }

    /// The stream once it is connected; itself again while it is not.
    ///
    /// # Errors
    /// Where the connection failed or took too long.
    pub fn poll(self) -> io::Result<Result<Stream, Self>> {
        if self.is_made()? {
            return Ok(Ok(self.stream));
        }
        if monotonic_ns() > self.deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer to the connection attempt"));
        }
        Ok(Err(self))
    }

    fn is_made(&self) -> io::Result<bool> {
        let stream = match &self.stream {
            Stream::Tcp(stream) => stream,
            Stream::World(s) => {
                let made = world::with_network(|network, now, _| network.is_made(s.0, now));
                return made.unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into()));
            }
        };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(e) => Err(e),
        }
    }
}

/// What may be asked of a socket that somebody looks at all the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SocketTuning {
    /// The kernel looks at the network card itself for so long when nothing waits (`SO_BUSY_POLL`), µs; 0 leaves it.
    pub busy_poll_us: u32,
    /// What has arrived is acknowledged at once (`TCP_QUICKACK`). The kernel forgets it again by itself.
    pub quick_ack: bool,
}

impl SocketTuning {
    /// Asks for it; false where the kernel refuses some of it.
    #[must_use]
    pub fn apply(self, stream: &TcpStream) -> bool {
        let set = |level, name, value: i32| {
            let size = size_of::<i32>() as libc::socklen_t;
            // SAFETY: `value` is valid for the call and of the size given; the descriptor is open.
            unsafe { libc::setsockopt(stream.as_raw_fd(), level, name, (&raw const value).cast(), size) == 0 }
        };
        let polled = self.busy_poll_us == 0
            || set(
                libc::SOL_SOCKET,
                libc::SO_BUSY_POLL,
                i32::try_from(self.busy_poll_us).unwrap_or(i32::MAX),
            );
        polled && (!self.quick_ack || set(libc::IPPROTO_TCP, libc::TCP_QUICKACK, 1))
    }
}

/// Reads once into `buffer`: bytes read, or `None` where nothing waits.
///
/// # Errors
/// Where the connection failed; an orderly end is `UnexpectedEof`.
pub fn read_some(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match stream.read(buffer) {
            Ok(0) if !buffer.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => return Ok(Some(n)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Writes what the socket takes of `pending` from `*sent` on; true when all of it is gone.
///
/// # Errors
/// Where the connection failed.
pub fn write_some(stream: &mut impl Write, pending: &[u8], sent: &mut usize) -> io::Result<bool> {
    while *sent < pending.len() {
        match stream.write(&pending[*sent..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => *sent += n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

/// Delay before the next attempt: doubles from `first` to `last`, back to `first` after a success.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: u64,
    last: u64,
    next: u64,
}

impl Backoff {
    /// A back-off between two delays.
    #[must_use]
    pub fn new(first: Duration, last: Duration) -> Self {
        let first = first.as_nanos() as u64;
        Self { first, last: last.as_nanos() as u64, next: first }
    }

    /// The monotonic instant of the next attempt after a failure now.
    pub fn fail(&mut self) -> u64 {
        let at = monotonic_ns() + self.next;
        self.next = (self.next * 2).min(self.last);
        at
    }

    /// Forgets the failures.
    pub fn succeed(&mut self) {
        self.next = self.first;
    }
}
