//! One HTTP/1.1 exchange on a connection of its own, polled to its end.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::monotonic_ns;
use crate::net::stream::Stream;
use crate::net::tcp::{Dialer, read_some, write_some};

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Body with transfer coding removed.
    pub body: Vec<u8>,
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The connection failed.
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    /// The answer is no HTTP/1.1.
    #[error("answer is not valid HTTP/1.1: {0}")]
    Malformed(&'static str),
    /// The answer is larger than allowed.
    #[error("answer is larger than {0} bytes")]
    TooLarge(usize),
    /// No answer in time.
    #[error("no complete answer in time")]
    TimedOut,
}

enum State {
    Dialing(Dialer),
    Sending(Stream, usize),
    Receiving(Stream),
    Done,
}

/// A request on its way.
pub struct Exchange {
    state: State,
    request: Vec<u8>,
    received: Vec<u8>,
    limit: usize,
    deadline: u64,
}

impl Exchange {
    /// Starts `method path` at `address`, with header lines and a body; `limit` bounds the answer.
    ///
    /// # Errors
    /// Where the connection is refused at once.
    pub fn start(
        address: SocketAddr,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        limit: usize,
        timeout: Duration,
    ) -> Result<Self, HttpError> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" || method == "PUT" {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let mut request = request.into_bytes();
        request.extend_from_slice(body);
        let deadline = monotonic_ns() + timeout.as_nanos() as u64;
        Ok(Self {
            state: State::Dialing(Dialer::start(address, timeout)?),
            request,
            received: Vec::new(),
            limit,
            deadline,
        })
    }

    /// Does what can be done without waiting; the answer when it is complete.
    ///
    /// # Errors
    /// [`HttpError`]; the exchange is over then.
    pub fn poll(&mut self) -> Result<Option<Response>, HttpError> {
        if monotonic_ns() > self.deadline {
            return Err(HttpError::TimedOut);
        }
        loop {
            match std::mem::replace(&mut self.state, State::Done) {
                State::Dialing(dialer) => match dialer.poll()? {
                    Ok(stream) => self.state = State::Sending(stream, 0),
                    Err(dialer) => {
                        self.state = State::Dialing(dialer);
                        return Ok(None);
                    }
                },
                State::Sending(mut stream, mut sent) => {
                    let all = write_some(&mut stream, &self.request, &mut sent)?;
                    self.state = if all { State::Receiving(stream) } else { State::Sending(stream, sent) };
                    if !all {
                        return Ok(None);
                    }
                }
                State::Receiving(mut stream) => {
                    let before = self.received.len();
                    let ended = self.receive(&mut stream)?;
                    // Where nothing has come what is there has been looked at already.
                    let is_news = ended || self.received.len() > before;
                    if is_news && let Some(response) = parse(&self.received, ended)? {
                        return Ok(Some(response));
                    }
                    if ended {
                        return Err(HttpError::Malformed("connection ended inside the answer"));
                    }
                    self.state = State::Receiving(stream);
                    return Ok(None);
                }
                State::Done => return Err(HttpError::Malformed("polled after the end")),
            }
        }
    }

    fn receive(&mut self, stream: &mut Stream) -> Result<bool, HttpError> {
        let mut chunk = [0u8; 16 * 1024];
        loop {
            match read_some(stream, &mut chunk) {
                Ok(Some(n)) => {
                    if self.received.len() + n > self.limit {
                        return Err(HttpError::TooLarge(self.limit));
                    }
                    self.received.extend_from_slice(&chunk[..n]);
                }
                Ok(None) => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(true),
                Err(e) => return Err(e.into()),
            }
        }
    }
}

/// The answer in `bytes`, once complete; `ended` says that no more will come.
fn parse(bytes: &[u8], ended: bool) -> Result<Option<Response>, HttpError> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let start = match head.parse(bytes) {
        Ok(httparse::Status::Complete(n)) => n,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(HttpError::Malformed("head")),
    };
    let status = head.code.ok_or(HttpError::Malformed("status"))?;
    let header = |name: &str| {
        head.headers
            .iter()
            .find(|h| h.name.eq_ignore_ascii_case(name))
            .and_then(|h| std::str::from_utf8(h.value).ok())
            .map(str::trim)
    };
    let body = &bytes[start..];
    if header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        return Ok(dechunk(body)?.map(|body| Response { status, body }));
    }
    if let Some(length) = header("content-length") {
        let length: usize = length.parse().map_err(|_| HttpError::Malformed("content-length"))?;
        return Ok((body.len() >= length).then(|| Response { status, body: body[..length].to_vec() }));
    }
    Ok(ended.then(|| Response { status, body: body.to_vec() }))
}

fn dechunk(mut rest: &[u8]) -> Result<Option<Vec<u8>>, HttpError> {
    let mut body = Vec::new();
    loop {
        let (start, size) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(HttpError::Malformed("chunk size")),
        };
        let size = usize::try_from(size).map_err(|_| HttpError::Malformed("chunk size"))?;
        let end = start.checked_add(size).ok_or(HttpError::Malformed("chunk size"))?;
        let Some(after) = end.checked_add(2).filter(|&after| after <= rest.len()) else { return Ok(None) };
        if size == 0 {
            return Ok(Some(body));
        }
        body.extend_from_slice(&rest[start..end]);
        rest = &rest[after..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn answers_by_length_by_chunks_and_by_end() {
        let by_length = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(parse(by_length, false).unwrap(), Some(Response { status: 200, body: b"hello".to_vec() }));
        assert_eq!(parse(&by_length[..by_length.len() - 1], false).unwrap(), None);
        let by_chunks =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\n";
        assert_eq!(parse(by_chunks, false).unwrap().map(|r| r.body), Some(b"Wikipedia".to_vec()));
        let by_end = b"HTTP/1.1 404 Not Found\r\n\r\ngone";
        assert_eq!(parse(by_end, false).unwrap(), None);
        assert_eq!(parse(by_end, true).unwrap(), Some(Response { status: 404, body: b"gone".to_vec() }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut lie = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            lie.extend_from_slice(&bytes);
            let _ = parse(&bytes, true);
            let _ = parse(&lie, true);
        }
    }
}
