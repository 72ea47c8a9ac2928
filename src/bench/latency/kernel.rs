//! What the kernel can do for a socket beside being asked all the time: io_uring, and stamps of its own for what came in from the
//! network and what went out to it.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use kimera_runtime::net::stamps::StampedSocket;
use kimera_runtime::net::uring::UringSocket;
use kimera_runtime::net::websocket::encode_frame;

use super::super::pipeline::{Frames, Pipeline};
use super::sockets::{MASK, TEXT, Wire, failed, round_trips_of, start_peer};
use crate::exit::Failure;

/// The bytes of frames that a server sends, as they come.
#[derive(Default)]
struct Incoming {
    bytes: Vec<u8>,
    at: usize,
}

impl Incoming {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The text of the next whole frame.
    fn next(&mut self) -> Option<&[u8]> {
        let bytes = &self.bytes[self.at..];
        let (head, length): (usize, usize) = match bytes.get(1)? & 0x7F {
            126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
            127 => (10, usize::try_from(u64::from_be_bytes(*bytes.get(2..10)?.first_chunk()?)).ok()?),
            short => (2, usize::from(short)),
        };
        let text = bytes.get(head..head.checked_add(length)?)?;
        self.at += head + length;
        Some(text)
    }
}

/// A connection to the other process, made a WebSocket.
fn connect(port: u16) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).map_err(failed("loopback"))?;
    stream.set_nodelay(true).map_err(failed("loopback"))?;
    let url = format!("ws://127.0.0.1:{port}/");
    let ws = tungstenite::client(url, stream).map_err(|e| Failure::network(format!("no WebSocket: {e}")))?.0;
    ws.get_ref().try_clone().map_err(failed("loopback"))
}

/// An answer to a frame: its number and the bytes, as the other process wants them.
fn answer(index: usize, bytes: &[u8], payload: &mut Vec<u8>, out: &mut Vec<u8>) {
    payload.clear();
    payload.extend_from_slice(&(index as u32).to_be_bytes());
    payload.extend_from_slice(bytes);
    out.clear();
    encode_frame(TEXT, payload, MASK, out);
}

/// Each frame is answered at once, by io_uring instead of a socket that is polled.
///
/// # Errors
/// Where the other process or a socket fails, or the kernel has no such io_uring.
pub fn run_by_uring(
    config: &std::path::Path,
    (rate, first, count): (u64, usize, usize),
    peer_core: Option<usize>,
    answer_bytes: usize,
) -> Result<Wire, Failure> {
    let (_peer, said, port) = start_peer(config, (rate, first, count), peer_core)?;
    let mut socket = UringSocket::new(connect(port)?).map_err(failed("io_uring"))?;
    let canned = vec![b'x'; answer_bytes];
    let (mut incoming, mut payload, mut out) = (Incoming::default(), Vec::new(), Vec::new());
    let (mut index, end) = (first, first + count);
    while index < end {
        let Some(bytes) = socket.receive().map_err(failed("loopback"))? else { continue };
        incoming.add(bytes);
        while incoming.next().is_some() {
            answer(index, &canned, &mut payload, &mut out);
            socket.send(&out).map_err(failed("loopback"))?;
            index += 1;
        }
    }
    let round_trips = round_trips_of(said)?;
    Ok(Wire { round_trips, tuned: true, order_bytes: out.len() })
}

/// Orders on their way to the network: what the kernel stamps, against what it has stamped before.
#[derive(Default)]
struct Departures {
    /// Place of the last byte in everything that was written, and when the frame that caused it had come.
    open: VecDeque<(u32, u64)>,
    written: u32,
    took_ns: Vec<u64>,
}

impl Departures {
    fn wrote(&mut self, bytes: usize, came_ns: Option<u64>) {
        self.written = self.written.wrapping_add(bytes as u32);
        self.open.extend(came_ns.map(|came| (self.written.wrapping_sub(1), came)));
    }

    fn look(&mut self, socket: &StampedSocket) -> std::io::Result<()> {
        while let Some(left) = socket.departed()? {
            // Those before what has left, and it itself; places go round.
            while let Some(&(place, came)) = self.open.front()
                && left.last_byte.wrapping_sub(place) < u32::MAX / 2
            {
                self.open.pop_front();
                if place == left.last_byte {
                    self.took_ns.push(left.stamp_ns.saturating_sub(came));
                }
            }
        }
        Ok(())
    }
}

/// From the kernel's stamp on a frame's last bytes to its stamp on the first order that the line made of it, ns.
///
/// # Errors
/// Where the other process or a socket fails, or the kernel does not stamp.
pub fn wire_to_wire(
    config: &std::path::Path,
    frames: &Frames,
    (rate, first, count): (u64, usize, usize),
    peer_core: Option<usize>,
    pipeline: &mut Pipeline,
) -> Result<Vec<u64>, Failure> {
    let (_peer, said, port) = start_peer(config, (rate, first, count), peer_core)?;
    let socket = StampedSocket::new(connect(port)?).map_err(failed("the kernel's stamps"))?;
    let mut buffer = vec![0; 1 << 16];
    let (mut incoming, mut payload, mut out) = (Incoming::default(), Vec::new(), Vec::new());
    let mut departures = Departures::default();
    let (mut index, end) = (first, first + count);
    pipeline.prepare_without_text(frames, first);
    while index < end {
        let Some(received) = socket.receive(&mut buffer).map_err(failed("loopback"))? else {
            pipeline.pass();
            departures.look(&socket).map_err(failed("loopback"))?;
            continue;
        };
        incoming.add(&buffer[..received.bytes]);
        while let Some(text) = incoming.next() {
            let mut came = received.stamp_ns;
            let mut leave = |_: usize, bytes: &[u8]| {
                answer(index, bytes, &mut payload, &mut out);
                let mut rest = &out[..];
                // A full buffer of loopback is as rare as it is no measurement.
                while let Ok(n) = socket.stream().write(rest).or_else(again) {
                    rest = &rest[n..];
                    if rest.is_empty() {
                        break;
                    }
                }
                departures.wrote(out.len(), came.take());
            };
            pipeline.send_text(frames, index, text, &mut leave, &mut ());
            index += 1;
            if index < end {
                pipeline.prepare_without_text(frames, index);
            }
        }
    }
    departures.look(&socket).map_err(failed("loopback"))?;
    round_trips_of(said)?;
    Ok(departures.took_ns)
}

/// Nothing was written, and it may be tried again.
fn again(e: std::io::Error) -> std::io::Result<usize> {
    let again = matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted);
    if again { Ok(0) } else { Err(e) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_out_however_they_come() {
        let text = |n: usize| vec![b'a'; n];
        let mut sent = Vec::new();
        for n in [3usize, 200, 70_000, 0] {
            match n {
                0..=125 => sent.extend_from_slice(&[0x81, n as u8]),
                126..=0xFFFF => sent.extend([&[0x81, 126][..], &(n as u16).to_be_bytes()].concat()),
                _ => sent.extend([&[0x81, 127][..], &(n as u64).to_be_bytes()].concat()),
            }
            sent.extend(text(n));
        }
        for step in [1, 7, 1_000, 100_000] {
            let (mut incoming, mut got) = (Incoming::default(), Vec::new());
            for bytes in sent.chunks(step) {
                incoming.add(bytes);
                while let Some(text) = incoming.next() {
                    got.push(text.len());
                }
            }
            assert_eq!(got, [3, 200, 70_000, 0], "{step}");
        }
        let mut lying = Incoming::default();
        lying.add(&[0x81, 127, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]);
        assert!(lying.next().is_none());
    }
}
