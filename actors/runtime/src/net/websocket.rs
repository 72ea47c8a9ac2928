//! A WebSocket client (RFC 6455) in a poll loop: frames are parsed in the receive buffer, without a copy.
//!
//! Text frames come out as they arrived; ping is answered here; a message in fragments is put together in a second
//! buffer. Extensions are not negotiated, so a reserved bit is an error.

use std::io;

use sha1::{Digest, Sha1};

use crate::clock::monotonic_ns;
use crate::net::stream::Stream;
use crate::net::tcp::{read_some, write_some};
use crate::world;

/// Largest message taken from a venue.
pub const MESSAGE_MAX: usize = 4 << 20;
const HEADERS_MAX: usize = 64;
/// Most bytes that may wait to be written: a server that asks and never reads is given up.
const OUTPUT_MAX: usize = 256 << 10;

/// Why a connection is given up.
#[derive(Debug, thiserror::Error)]
pub enum WsError {
    /// The connection failed or ended.
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    /// The server did not upgrade.
    #[error("server refused the upgrade: {0}")]
    Refused(String),
    /// The server broke the protocol.
    #[error("protocol violation by the server: {0}")]
    Protocol(&'static str),
    /// A message larger than allowed.
    #[error("message of {0} bytes is larger than {MESSAGE_MAX}")]
    TooLarge(u64),
    /// The server closed.
    #[error("closed by the server with code {0}")]
    Closed(u16),
}

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A client connection after the TCP connection is made.
pub struct WsClient {
    stream: Stream,
    expected_accept: Option<String>,
    input: Vec<u8>,
    start: usize,
    end: usize,
    fragments: Vec<u8>,
    fragmented: bool,
    output: Vec<u8>,
    sent: usize,
    mask: u64,
}

/// The `Sec-WebSocket-Accept` for a key (RFC 6455, 4.2.2).
fn accept_of(key: &str) -> String {
    let mut sha = Sha1::new();
    sha.update(key.as_bytes());
    sha.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    data_encoding::BASE64.encode(&sha.finalize())
}

impl WsClient {
    /// Sends the upgrade request for `path` on a connected stream.
    #[must_use]
    pub fn upgrade(stream: Stream, host: &str, path: &str) -> Self {
        // The key and the masks only have to be unpredictable to intermediaries (RFC 6455, 10.3), not secret.
        let process = if world::active() { 0 } else { u64::from(std::process::id()) };
        let seed = monotonic_ns() ^ (process << 32);
        let words = [
            seed.wrapping_mul(0x9E37_79B9_7F4A_7C15),
            seed.rotate_left(29).wrapping_mul(0xD1B5_4A32_D192_ED03),
        ];
        let mut nonce = [0u8; 16];
        nonce[..8].copy_from_slice(&words[0].to_le_bytes());
        nonce[8..].copy_from_slice(&words[1].to_le_bytes());
        let key = data_encoding::BASE64.encode(&nonce);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        Self {
            stream,
            expected_accept: Some(accept_of(&key)),
            input: vec![0; 512 * 1024],
            start: 0,
            end: 0,
            fragments: Vec::with_capacity(256 * 1024),
            fragmented: false,
            output: request.into_bytes(),
            sent: 0,
            mask: words[0] | 1,
        }
    }

    /// True once the server has agreed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.expected_accept.is_none()
    }

    /// Writes what waits and reads once; true where bytes arrived.
    ///
    /// # Errors
    /// [`WsError`]; the connection is over then.
    pub fn pump(&mut self) -> Result<bool, WsError> {
        if !self.output.is_empty() && write_some(&mut self.stream, &self.output, &mut self.sent)? {
            self.output.clear();
            self.sent = 0;
        }
        if self.output.len() > OUTPUT_MAX {
            return Err(WsError::Protocol("it asks and does not read"));
        }
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.input.len() {
            if self.input.len() >= MESSAGE_MAX + 16 {
                return Err(WsError::TooLarge(self.input.len() as u64));
            }
            // One message larger than the buffer: rare, and the only place this grows.
            self.input.resize((self.input.len() * 2).min(MESSAGE_MAX + 16), 0);
        }
        match read_some(&mut self.stream, &mut self.input[self.end..])? {
            Some(n) => self.end += n,
            None => return Ok(false),
        }
        if self.expected_accept.is_some() {
            self.finish_upgrade()?;
        }
        Ok(true)
    }

    fn finish_upgrade(&mut self) -> Result<(), WsError> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut headers);
        let used = match head.parse(&self.input[self.start..self.end]) {
            Ok(httparse::Status::Complete(n)) => n,
            Ok(httparse::Status::Partial) if self.end - self.start > 16 * 1024 => {
                return Err(WsError::Refused("upgrade answer without end".into()));
            }
            Ok(httparse::Status::Partial) => return Ok(()),
            Err(e) => return Err(WsError::Refused(format!("upgrade answer is not HTTP: {e}"))),
        };
        if head.code != Some(101) {
            return Err(WsError::Refused(format!("status {} to the upgrade", head.code.unwrap_or(0))));
        }
        let accept = head.headers.iter().find(|h| h.name.eq_ignore_ascii_case("sec-websocket-accept"));
        let expected = self.expected_accept.as_deref().unwrap_or_default().as_bytes();
        if accept.map(|h| h.value) != Some(expected) {
            return Err(WsError::Refused("wrong Sec-WebSocket-Accept".into()));
        }
        self.start += used;
        self.expected_accept = None;
        Ok(())
    }

    /// The next whole text or binary message in the buffer; control frames are answered on the way.
    ///
    /// # Errors
    /// [`WsError`]; the connection is over then.
    pub fn next_message(&mut self) -> Result<Option<&[u8]>, WsError> {
        if self.expected_accept.is_some() {
            return Ok(None);
        }
        loop {
            let Some(frame) = parse_frame(&self.input[self.start..self.end])? else { return Ok(None) };
            let payload = self.start + frame.head..self.start + frame.head + frame.length;
            self.start = payload.end;
            match frame.opcode {
                PING if self.output.len() > OUTPUT_MAX => {
                    return Err(WsError::Protocol("it asks and does not read"));
                }
                PING => {
                    let mut echo = [0u8; 125];
                    let length = payload.len();
                    echo[..length].copy_from_slice(&self.input[payload]);
                    self.queue(PONG, &echo[..length]);
                }
                PONG => {}
                CLOSE => {
                    let bytes = &self.input[payload];
                    let code = if bytes.len() >= 2 { u16::from_be_bytes([bytes[0], bytes[1]]) } else { 1005 };
                    return Err(WsError::Closed(code));
                }
                TEXT | BINARY if self.fragmented => {
                    return Err(WsError::Protocol("new message inside a fragmented one"));
                }
                TEXT | BINARY if frame.fin => return Ok(Some(&self.input[payload])),
                TEXT | BINARY => {
                    self.fragments.clear();
                    self.fragments.extend_from_slice(&self.input[payload]);
                    self.fragmented = true;
                }
                0 if !self.fragmented => return Err(WsError::Protocol("continuation without a beginning")),
                0 => {
                    if self.fragments.len() + payload.len() > MESSAGE_MAX {
                        return Err(WsError::TooLarge((self.fragments.len() + payload.len()) as u64));
                    }
                    self.fragments.extend_from_slice(&self.input[payload]);
                    if frame.fin {
                        self.fragmented = false;
                        return Ok(Some(&self.fragments));
                    }
                }
                _ => return Err(WsError::Protocol("unknown opcode")),
            }
        }
    }

    /// True while bytes wait that the socket has not taken.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        !self.output.is_empty()
    }

    /// Queues a text message; [`WsClient::pump`] writes it.
    pub fn send_text(&mut self, payload: &[u8]) {
        self.queue(TEXT, payload);
    }

    fn queue(&mut self, opcode: u8, payload: &[u8]) {
        self.mask = self.mask.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        encode_frame(opcode, payload, ((self.mask >> 32) as u32).to_be_bytes(), &mut self.output);
    }
}

struct FrameHead {
    opcode: u8,
    fin: bool,
    head: usize,
    length: usize,
}

/// The frame at the start of `bytes`, once it is there whole.
fn parse_frame(bytes: &[u8]) -> Result<Option<FrameHead>, WsError> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(WsError::Protocol("reserved bit set"));
    }
    if second & 0x80 != 0 {
        return Err(WsError::Protocol("masked frame from a server"));
    }
    let (opcode, fin) = (first & 0x0F, first & 0x80 != 0);
    let (head, length) = match second & 0x7F {
        126 => match bytes.get(2..4) {
            Some(b) => (4, u64::from(u16::from_be_bytes([b[0], b[1]]))),
            None => return Ok(None),
        },
        127 => match bytes.get(2..10).and_then(|b| b.first_chunk::<8>()) {
            Some(b) => (10, u64::from_be_bytes(*b)),
            None => return Ok(None),
        },
        short => (2, u64::from(short)),
    };
    if opcode >= 8 && (!fin || length > 125) {
        return Err(WsError::Protocol("control frame fragmented or too long"));
    }
    if length > MESSAGE_MAX as u64 {
        return Err(WsError::TooLarge(length));
    }
    let length = length as usize;
    Ok((bytes.len() >= head + length).then_some(FrameHead { opcode, fin, head, length }))
}

/// Appends a final client frame with its mask.
pub fn encode_frame(opcode: u8, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match payload.len() {
        n @ 0..=125 => out.push(0x80 | n as u8),
        n @ 126..=0xFFFF => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::TcpListener;
    use std::net::TcpStream;

    #[test]
    fn published_vectors() {
        // RFC 6455, 1.3 and 5.7.
        assert_eq!(accept_of("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let mut masked = Vec::new();
        encode_frame(TEXT, b"Hello", [0x37, 0xfa, 0x21, 0x3d], &mut masked);
        assert_eq!(masked, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        let hello = parse_frame(&[0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]).unwrap().unwrap();
        assert_eq!((hello.opcode, hello.fin, hello.head, hello.length), (TEXT, true, 2, 5));
        let long = parse_frame(&[&[0x82, 0x7E, 0x01, 0x00][..], &[0; 256]].concat()).unwrap().unwrap();
        assert_eq!((long.head, long.length), (4, 256));
        assert!(parse_frame(&masked).is_err(), "a server must not mask");
    }

    /// A foreign server says what the client must understand, and checks what the client says.
    #[test]
    fn speaks_with_a_foreign_server() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut ws = tungstenite::accept(stream).unwrap();
            ws.send(tungstenite::Message::Ping(vec![1, 2, 3].into())).unwrap();
            ws.send(tungstenite::Message::text("x".repeat(300_000))).unwrap();
            ws.send(tungstenite::Message::text("end")).unwrap();
            let mut heard = Vec::new();
            while heard.len() < 2 {
                match ws.read().unwrap() {
                    tungstenite::Message::Pong(p) => heard.push(format!("pong {:?}", p.as_ref())),
                    tungstenite::Message::Text(t) => heard.push(t.to_string()),
                    other => panic!("{other:?}"),
                }
            }
            heard.sort();
            heard
        });
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut client = WsClient::upgrade(Stream::Tcp(stream), "127.0.0.1", "/ws");
        let mut seen = Vec::new();
        while seen.len() < 2 {
            client.pump().unwrap();
            while let Some(message) = client.next_message().unwrap() {
                seen.push(message.len());
            }
        }
        assert_eq!(seen, [300_000, 3]);
        client.send_text(b"thanks");
        while !client.output.is_empty() {
            let _ = client.pump();
        }
        assert_eq!(server.join().unwrap(), ["pong [1, 2, 3]", "thanks"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_frames_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse_frame(&bytes);
        }
    }
}
