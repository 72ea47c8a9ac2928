//! From socket to socket: a process on another core sends the recorded frames over WebSocket on loopback and takes the orders;
//! the line's thread reads and writes its socket itself. Beside it the same sockets with nothing in between.

use std::io::{BufRead, BufReader, ErrorKind, Lines, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use clap::Args;
use kimera_runtime::clock::Tsc;
use kimera_runtime::net::stream::Stream;
use kimera_runtime::net::tcp::{Dialer, SocketTuning};
use kimera_runtime::net::websocket::{WsClient, encode_frame};
use kimera_runtime::plan::pin_to_core;

use super::super::pipeline::{Frames, Pipeline};
use crate::cli::print;
use crate::config::Config;
use crate::exit::{Exit, Failure};

/// The other process.
#[derive(Debug, Args)]
pub struct PeerArgs {
    /// Configuration file.
    #[arg(long)]
    config: PathBuf,
    /// Frames a second.
    #[arg(long)]
    rate: u64,
    /// First frame.
    #[arg(long)]
    first: usize,
    /// Frames to send.
    #[arg(long)]
    count: usize,
    /// Core of its own.
    #[arg(long)]
    core: Option<usize>,
}

/// What stands between the two sockets.
pub enum Between<'a> {
    /// Nothing: each frame is answered at once with so many bytes.
    Nothing(usize),
    /// The line.
    Line(&'a mut Pipeline),
}

/// What one run measured, ticks of the time-stamp counter, which all cores share.
#[derive(Clone, Debug, Default)]
pub struct Wire {
    /// From just before the frame was written to when the answer had been read.
    pub round_trips: Vec<u64>,
    /// The kernel took what was asked of the socket.
    pub tuned: bool,
    /// Bytes of an order on the wire.
    pub order_bytes: usize,
}

pub(super) const MASK: [u8; 4] = [0x5A, 0x3C, 0x96, 0xC3];
pub(super) const TEXT: u8 = 1;

pub(super) fn failed(what: &str) -> impl Fn(std::io::Error) -> Failure + '_ {
    move |e| Failure::network(format!("{what}: {e}"))
}

/// A child that is gone when this is.
pub(super) struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn connect(address: SocketAddr, tuning: SocketTuning) -> Result<(WsClient, TcpStream, bool), Failure> {
    let mut dialer = Dialer::start(address, Duration::from_secs(5)).map_err(failed("loopback"))?;
    let stream = loop {
        match dialer.poll().map_err(failed("loopback"))? {
            Ok(stream) => break stream,
            Err(again) => dialer = again,
        }
    };
    let Stream::Tcp(stream) = stream else { return Err(Failure::network("a socket of a world")) };
    let writer = stream.try_clone().map_err(failed("loopback"))?;
    let tuned = tuning.apply(&writer);
    Ok((WsClient::upgrade(Stream::Tcp(stream), "127.0.0.1", "/"), writer, tuned))
}

/// Writes all of it, whatever it takes.
fn write_whole(socket: &mut TcpStream, bytes: &[u8]) {
    let mut sent = 0;
    while sent < bytes.len() {
        match socket.write(&bytes[sent..]) {
            Ok(n) if n > 0 => sent += n,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            _ => return, // the peer is gone: the reader hears of it
        }
    }
}

/// Sends frames `first..first + count` at `rate` a second from another process through what stands between.
///
/// # Errors
/// Where the other process or a socket fails.
pub fn run(
    config: &std::path::Path,
    frames: &Frames,
    (rate, first, count): (u64, usize, usize),
    peer_core: Option<usize>,
    tuning: SocketTuning,
    mut between: Between<'_>,
) -> Result<Wire, Failure> {
    let (_peer, said, port) = start_peer(config, (rate, first, count), peer_core)?;
    let (mut ws, mut writer, tuned) = connect(SocketAddr::from(([127, 0, 0, 1], port)), tuning)?;
    let mut out = Vec::with_capacity(4_096);
    let mut payload = Vec::with_capacity(4_096);
    let mut order_bytes = 0;
    let mut leave = |index: usize, bytes: &[u8]| {
        payload.clear();
        payload.extend_from_slice(&(index as u32).to_be_bytes());
        payload.extend_from_slice(bytes);
        out.clear();
        encode_frame(TEXT, &payload, MASK, &mut out);
        order_bytes = out.len();
        write_whole(&mut writer, &out);
    };
    let canned = match &between {
        Between::Nothing(bytes) => vec![b'x'; *bytes],
        Between::Line(_) => Vec::new(),
    };
    let (mut index, end) = (first, first + count);
    if let Between::Line(pipeline) = &mut between {
        pipeline.prepare_without_text(frames, first);
    }
    while index < end {
        let arrived = ws.pump().map_err(Failure::network)?;
        if let (false, Between::Line(pipeline)) = (arrived, &mut between) {
            pipeline.pass();
        }
        while let Some(text) = ws.next_message().map_err(Failure::network)? {
            match &mut between {
                Between::Nothing(_) => leave(index, &canned),
                Between::Line(pipeline) => {
                    pipeline.send_text(frames, index, text, &mut leave, &mut ());
                    if index + 1 < end {
                        pipeline.prepare_without_text(frames, index + 1);
                    }
                }
            }
            index += 1;
        }
    }
    let round_trips = round_trips_of(said)?;
    Ok(Wire { round_trips, tuned, order_bytes })
}

/// What the other process says, line by line.
pub(super) type Said = Lines<BufReader<ChildStdout>>;

/// Starts the other process: it, what it says, and where it listens.
pub(super) fn start_peer(
    config: &std::path::Path,
    (rate, first, count): (u64, usize, usize),
    peer_core: Option<usize>,
) -> Result<(Peer, Said, u16), Failure> {
    let own = std::env::current_exe().map_err(Failure::machine)?;
    let mut command = Command::new(own);
    command.args(["bench", "latency-peer", "--config"]).arg(config);
    command.args(["--rate", &rate.to_string(), "--first", &first.to_string(), "--count", &count.to_string()]);
    if let Some(core) = peer_core {
        command.args(["--core", &core.to_string()]);
    }
    let mut peer =
        Peer(command.stdout(Stdio::piped()).spawn().map_err(failed("cannot start the other process"))?);
    let stdout = peer.0.stdout.take().ok_or_else(|| Failure::machine("a process without stdout"))?;
    let mut said = BufReader::new(stdout).lines();
    let port = said.next().and_then(Result::ok).and_then(|line| line.parse::<u16>().ok());
    let port = port.ok_or_else(|| Failure::network("the other process does not listen"))?;
    Ok((peer, said, port))
}

/// The round trips that the other process has seen.
pub(super) fn round_trips_of(said: Said) -> Result<Vec<u64>, Failure> {
    let mut round_trips = Vec::new();
    for line in said {
        let line = line.map_err(failed("the other process"))?;
        round_trips.extend(line.parse::<u64>());
    }
    Ok(round_trips)
}

/// Answers as they arrive: index and moment, first answer of each only.
struct Answers {
    first: usize,
    buffer: Vec<u8>,
    filled: usize,
    received: Vec<u64>,
}

impl Answers {
    /// Reads once; false where nothing waits.
    fn read(&mut self, socket: &mut TcpStream) -> std::io::Result<bool> {
        match socket.read(&mut self.buffer[self.filled..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => self.filled += n,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(false),
            Err(e) => return Err(e),
        }
        let now = Tsc::now();
        let mut at = 0;
        while let Some((index, length)) = Self::frame(&self.buffer[at..self.filled]) {
            let index = index.checked_sub(self.first);
            if let Some(place) = index.and_then(|i| self.received.get_mut(i)).filter(|place| **place == 0) {
                *place = now;
            }
            at += length;
        }
        self.buffer.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(true)
    }

    /// Index and length of the whole answer at the start of `bytes`.
    fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
        let short = usize::from(*bytes.get(1)? & 0x7F);
        let (head, length) = match short {
            126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
            _ => (2, short),
        };
        let (mask, payload) = (bytes.get(head..head + 4)?, bytes.get(head + 4..head + 4 + length)?);
        let mut index = [0; 4];
        index.iter_mut().zip(payload).zip(mask).for_each(|((to, from), mask)| *to = from ^ mask);
        Some((u32::from_be_bytes(index) as usize, head + 4 + length))
    }
}

/// A server's frame, without a mask.
fn server_frame(text: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.push(0x80 | TEXT);
    match text.len() {
        n @ 0..=125 => out.push(n as u8),
        n @ 126..=0xFFFF => {
            out.push(126);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            out.push(127);
            out.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

/// The other process: sends, and notes when what came back.
///
/// # Errors
/// Where the recording or a socket fails.
pub fn peer(a: &PeerArgs) -> Result<Exit, Failure> {
    let config = Config::load(&a.config)?;
    let frames = Frames::load(&config.data)?;
    if let Some(core) = a.core {
        let _ = pin_to_core(core);
    }
    let tsc = Tsc::calibrate();
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed("cannot listen"))?;
    let port = listener.local_addr().map_err(failed("cannot listen"))?.port();
    print(&port.to_string())?;
    let (stream, _) = listener.accept().map_err(failed("nobody called"))?;
    let ws = tungstenite::accept(stream).map_err(|e| Failure::network(format!("no WebSocket: {e}")))?;
    let mut socket = ws.get_ref().try_clone().map_err(failed("loopback"))?;
    socket.set_nodelay(true).map_err(failed("loopback"))?;
    socket.set_nonblocking(true).map_err(failed("loopback"))?;
    let count = a.count.min(frames.len().saturating_sub(a.first));
    let mut answers =
        Answers { first: a.first, buffer: vec![0; 1 << 20], filled: 0, received: vec![0; count] };
    let mut sent = vec![0u64; count];
    let mut out = Vec::with_capacity(1 << 20);
    let second = 1_000_000_000 * (1u128 << 40) / u128::from(tsc.to_ns(1 << 40).max(1));
    let start = Tsc::now() + (second / 20) as u64;
    let lost = failed("the line is gone");
    for (index, sent) in sent.iter_mut().enumerate() {
        server_frame(frames.text(a.first + index), &mut out);
        let due = start + (index as u128 * second / u128::from(a.rate.max(1))) as u64;
        while Tsc::now() < due {
            answers.read(&mut socket).map_err(&lost)?;
        }
        *sent = Tsc::now();
        let mut written = 0;
        while written < out.len() {
            match socket.write(&out[written..]) {
                Ok(n) => written += n,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    answers.read(&mut socket).map_err(&lost)?;
                }
                Err(e) => return Err(lost(e)),
            }
        }
    }
    let end = Tsc::now() + (second / 5) as u64;
    while Tsc::now() < end {
        answers.read(&mut socket).map_err(&lost)?;
    }
    let took = answers.received.iter().zip(&sent).filter(|(received, _)| **received > 0);
    let lines: Vec<_> = took.map(|(received, sent)| received.saturating_sub(*sent).to_string()).collect();
    print(&lines.join("\n"))?;
    Ok(Exit::Ok)
}
