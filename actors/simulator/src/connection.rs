//! One client: HTTP/1.1 requests, and after an upgrade WebSocket frames. Bounded in everything it keeps.

use std::io::{ErrorKind, Read, Write};

use kimera_runtime::net::stream::Stream;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, Utf8Bytes, WebSocket};

use crate::market::Answer;

/// Most bytes of a request.
const REQUEST_BYTES_MAX: usize = 64 << 10;
/// Most bytes a slow client may be behind before it is dropped.
const BEHIND_BYTES_MAX: usize = 32 << 20;

/// A request of a client.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Query without the question mark.
    pub query: String,
    /// Body.
    pub body: Vec<u8>,
    /// `Sec-WebSocket-Key` where the client asks for an upgrade.
    pub upgrade_key: Option<String>,
    /// `X-MBX-APIKEY`.
    pub api_key: Option<String>,
    /// The client wants the connection closed after the answer.
    pub close: bool,
}

enum Protocol {
    Http { stream: Stream, input: Vec<u8>, output: Vec<u8>, sent: usize, closing: bool },
    Ws(Box<WebSocket<Stream>>),
    Gone,
}

/// A client of a market.
pub struct Connection {
    protocol: Protocol,
    /// Index of the market whose port it came to.
    pub market: usize,
    /// Streams it is subscribed to.
    pub streams: Vec<usize>,
    /// True where it wants bare events, not combined frames.
    pub raw: bool,
    /// A depth request waits for the recorded snapshot.
    pub waits_for_snapshot: bool,
    /// What the WebSocket is for.
    pub channel: Channel,
}

/// What a WebSocket is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channel {
    /// Public market data.
    #[default]
    Streams,
    /// Requests about orders.
    Orders,
    /// What becomes of our orders.
    Private,
}

impl Connection {
    /// A fresh client, on a stream that never waits.
    #[must_use]
    pub fn new(stream: Stream, market: usize) -> Self {
        let protocol =
            Protocol::Http { stream, input: Vec::new(), output: Vec::new(), sent: 0, closing: false };
        Self {
            protocol,
            market,
            streams: Vec::new(),
            raw: false,
            waits_for_snapshot: false,
            channel: Channel::default(),
        }
    }

    /// True once it is over.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self.protocol, Protocol::Gone)
    }

    /// True after the upgrade.
    #[must_use]
    pub fn is_websocket(&self) -> bool {
        matches!(self.protocol, Protocol::Ws(_))
    }

    /// The next whole request, if one has arrived. A malformed one is answered and ends the connection.
    pub fn next_request(&mut self) -> Option<Request> {
        let Protocol::Http { stream, input, closing, .. } = &mut self.protocol else { return None };
        if *closing || self.waits_for_snapshot {
            return None;
        }
        let mut chunk = [0u8; 16 << 10];
        let mut ended = false;
        loop {
            match stream.read(&mut chunk) {
                Ok(0) => ended = true,
                Ok(n) if input.len() + n <= REQUEST_BYTES_MAX => {
                    input.extend_from_slice(&chunk[..n]);
                    continue;
                }
                Ok(_) => {
                    self.refuse(413, "request too large");
                    return None;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => ended = true,
            }
            break;
        }
        match parse_request(input) {
            Ok(Some((request, used))) => {
                input.drain(..used);
                Some(request)
            }
            Ok(None) => {
                if ended {
                    self.protocol = Protocol::Gone;
                }
                None
            }
            Err(reason) => {
                self.refuse(400, reason);
                None
            }
        }
    }

    fn refuse(&mut self, status: u16, reason: &str) {
        self.answer(&Answer::error(status, -1, reason), true);
    }

    /// Queues an answer.
    pub fn answer(&mut self, answer: &Answer, close: bool) {
        let Protocol::Http { output, closing, .. } = &mut self.protocol else { return };
        let reason = match answer.status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            413 => "Content Too Large",
            _ => "Error",
        };
        let connection = if close { "close" } else { "keep-alive" };
        let head = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: application/json;charset=UTF-8\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
            answer.status,
            answer.body.len()
        );
        output.extend_from_slice(head.as_bytes());
        output.extend_from_slice(answer.body.as_bytes());
        *closing |= close;
    }

    /// Becomes a WebSocket.
    pub fn upgrade(&mut self, key: &str) {
        let Protocol::Http { mut stream, .. } = std::mem::replace(&mut self.protocol, Protocol::Gone) else {
            return;
        };
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            derive_accept_key(key.as_bytes())
        );
        // The first bytes on a fresh connection always fit the socket's buffer.
        if stream.write_all(head.as_bytes()).is_err() {
            return;
        }
        let config = WebSocketConfig::default()
            .max_message_size(Some(REQUEST_BYTES_MAX))
            .max_frame_size(Some(REQUEST_BYTES_MAX))
            // Cleared before every look at the socket: as small as requests are.
            .read_buffer_size(2 << 10)
            .write_buffer_size(0)
            .max_write_buffer_size(BEHIND_BYTES_MAX);
        self.protocol =
            Protocol::Ws(Box::new(WebSocket::from_raw_socket(stream, Role::Server, Some(config))));
    }

    /// Queues a text frame; a client that is too far behind is dropped, as venues do.
    pub fn send(&mut self, text: Utf8Bytes) {
        let Protocol::Ws(ws) = &mut self.protocol else { return };
        match ws.write(Message::Text(text)) {
            Ok(()) => {}
            Err(tungstenite::Error::Io(e)) if e.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.protocol = Protocol::Gone,
        }
    }

    /// The next text message of a WebSocket client.
    pub fn next_text(&mut self) -> Option<Utf8Bytes> {
        let Protocol::Ws(ws) = &mut self.protocol else { return None };
        loop {
            match ws.read() {
                Ok(Message::Text(text)) => return Some(text),
                Ok(_) => {}
                Err(tungstenite::Error::Io(e)) if e.kind() == ErrorKind::WouldBlock => return None,
                Err(_) => {
                    self.protocol = Protocol::Gone;
                    return None;
                }
            }
        }
    }

    /// Writes what waits.
    pub fn flush(&mut self) {
        match &mut self.protocol {
            Protocol::Ws(ws) => match ws.flush() {
                Ok(()) => {}
                Err(tungstenite::Error::Io(e)) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.protocol = Protocol::Gone,
            },
            Protocol::Http { stream, output, sent, closing, .. } => {
                while *sent < output.len() {
                    match stream.write(&output[*sent..]) {
                        Ok(n) if n > 0 => *sent += n,
                        Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                        Err(e) if e.kind() == ErrorKind::Interrupted => {}
                        _ => {
                            self.protocol = Protocol::Gone;
                            return;
                        }
                    }
                }
                output.clear();
                *sent = 0;
                if *closing {
                    self.protocol = Protocol::Gone;
                }
            }
            Protocol::Gone => {}
        }
    }
}

/// A whole request at the start of `bytes` and its length.
fn parse_request(bytes: &[u8]) -> Result<Option<(Request, usize)>, &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut headers);
    let start = match head.parse(bytes) {
        Ok(httparse::Status::Complete(n)) => n,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err("malformed request"),
    };
    let header = |name: &str| {
        head.headers
            .iter()
            .find(|h| h.name.eq_ignore_ascii_case(name))
            .and_then(|h| std::str::from_utf8(h.value).ok())
    };
    let length = match header("content-length") {
        Some(text) => text.trim().parse::<usize>().map_err(|_| "malformed content-length")?,
        None => 0,
    };
    if header("transfer-encoding").is_some() || length > REQUEST_BYTES_MAX {
        return Err("body not accepted");
    }
    let Some(body) = bytes.get(start..start + length) else { return Ok(None) };
    let target = head.path.unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let upgrades = header("upgrade").is_some_and(|u| u.eq_ignore_ascii_case("websocket"));
    let request = Request {
        method: head.method.unwrap_or_default().to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        body: body.to_owned(),
        upgrade_key: header("sec-websocket-key").filter(|_| upgrades).map(str::to_owned),
        api_key: header("x-mbx-apikey").map(str::to_owned),
        close: header("connection").is_some_and(|c| c.eq_ignore_ascii_case("close")),
    };
    Ok(Some((request, start + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        let text =
            b"GET /fapi/v1/depth?symbol=BTCUSDT&limit=5 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nrest";
        let (request, used) = parse_request(text).unwrap().unwrap();
        assert_eq!(
            (request.path.as_str(), request.query.as_str()),
            ("/fapi/v1/depth", "symbol=BTCUSDT&limit=5")
        );
        assert_eq!((used, request.close, request.upgrade_key), (text.len() - 4, true, None));
        assert_eq!(parse_request(&text[..40]), Ok(None));
        assert!(parse_request(b"\x00\x01\x02\r\n\r\n").is_err());
        assert!(parse_request(b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n").is_err());
        assert_eq!(parse_request(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab"), Ok(None));
    }
}
