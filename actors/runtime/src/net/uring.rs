//! A TCP connection read and written by io_uring: a receive is always with the kernel, and its completion is looked for by the
//! thread that owns the ring (`IORING_SETUP_DEFER_TASKRUN`), which never waits. Held beside busy polling in the latency
//! laboratory; not what feeds and gateways use.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;

use io_uring::{IoUring, opcode, types};

const RECEIVE: u64 = 1;
const SEND: u64 = 2;
/// Bytes that one receive can bring.
const BUFFER_BYTES: usize = 64 << 10;
/// `IORING_ENTER_GETEVENTS`: completions are posted now.
const GET_EVENTS: u32 = 1;

/// The connection.
pub struct UringSocket {
    ring: IoUring,
    stream: TcpStream,
    /// The kernel writes to it while a receive is with it: it is let go only behind that.
    buffer: Box<[u8]>,
    receiving: bool,
    /// What the receive has brought: bytes, or an error below 0.
    received: Option<i32>,
    /// The kernel reads from it while a send is with it: the same holds.
    outgoing: Vec<u8>,
    sending: bool,
    sent: Option<i32>,
}

impl UringSocket {
    /// Takes a connection over.
    ///
    /// # Errors
    /// Where the kernel has no such io_uring, or forbids it.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        // One that does not block would be answered at once that nothing is there.
        stream.set_nonblocking(false)?;
        let ring =
            IoUring::builder().setup_single_issuer().setup_defer_taskrun().setup_coop_taskrun().build(8)?;
        let buffer = vec![0; BUFFER_BYTES].into();
        Ok(Self {
            ring,
            stream,
            buffer,
            receiving: false,
            received: None,
            outgoing: Vec::new(),
            sending: false,
            sent: None,
        })
    }

    /// What has arrived, if something has; never waits.
    ///
    /// # Errors
    /// Where the connection failed; an orderly end is `UnexpectedEof`.
    pub fn receive(&mut self) -> io::Result<Option<&[u8]>> {
        if !self.receiving {
            let fd = types::Fd(self.stream.as_raw_fd());
            let entry = opcode::Recv::new(fd, self.buffer.as_mut_ptr(), BUFFER_BYTES as u32).build();
            // SAFETY: the buffer is ours and stays where it is until the completion was seen; dropping waits for it.
            unsafe { self.ring.submission().push(&entry.user_data(RECEIVE)) }.map_err(io::Error::other)?;
            self.receiving = true;
        }
        self.look()?;
        let Some(result) = self.received.take() else { return Ok(None) };
        self.receiving = false;
        match result {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n if n < 0 => Err(io::Error::from_raw_os_error(-n)),
            n => Ok(Some(&self.buffer[..n as usize])),
        }
    }

    /// Writes all of `bytes`; waits until the kernel has taken them.
    ///
    /// # Errors
    /// Where the connection failed.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.sending {
            return Err(io::ErrorKind::BrokenPipe.into()); // the one before has failed half-way
        }
        self.outgoing.clear();
        self.outgoing.extend_from_slice(bytes);
        let mut gone = 0;
        while gone < self.outgoing.len() {
            let fd = types::Fd(self.stream.as_raw_fd());
            let rest = &self.outgoing[gone..];
            let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
            let entry = opcode::Send::new(fd, rest.as_ptr(), length).build().user_data(SEND);
            // SAFETY: what is sent is ours and is not touched until the completion was seen; dropping waits for it.
            unsafe { self.ring.submission().push(&entry) }.map_err(io::Error::other)?;
            self.sending = true;
            let result = loop {
                self.look()?;
                if let Some(result) = self.sent.take() {
                    break result;
                }
            };
            self.sending = false;
            match usize::try_from(result) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => gone += n,
                Err(_) => return Err(io::Error::from_raw_os_error(-result)),
            }
        }
        Ok(())
    }

    /// Hands over what was asked and takes what is done.
    fn look(&mut self) -> io::Result<()> {
        let waiting = self.ring.submission().len() as u32;
        // SAFETY: no argument is passed; what was submitted names memory that lives until its completion.
        match unsafe { self.ring.submitter().enter::<()>(waiting, 0, GET_EVENTS, None) } {
            Ok(_) => {}
            Err(e) if matches!(e.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)) => {}
            Err(e) => return Err(e),
        }
        for completion in self.ring.completion() {
            match completion.user_data() {
                RECEIVE => self.received = Some(completion.result()),
                _ => self.sent = Some(completion.result()),
            }
        }
        Ok(())
    }
}

impl Drop for UringSocket {
    fn drop(&mut self) {
        // What is with the kernel ends when the connection does: no buffer is let go before.
        let _ = self.stream.shutdown(Shutdown::Both);
        while (self.receiving && self.received.is_none()) || (self.sending && self.sent.is_none()) {
            if self.look().is_err() {
                // Nobody can say when the kernel is done with them.
                std::mem::forget((std::mem::take(&mut self.buffer), std::mem::take(&mut self.outgoing)));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn what_is_sent_arrives_and_an_end_is_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        let Ok(mut socket) = UringSocket::new(ours) else { return }; // a container may forbid it
        assert_eq!(socket.receive().unwrap(), None);
        let sent: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
        theirs.write_all(&sent[..50_000]).unwrap();
        let mut got = Vec::new();
        while got.len() < 50_000 {
            got.extend_from_slice(socket.receive().unwrap().unwrap_or_default());
        }
        assert_eq!(got, sent[..50_000]);
        let reader = std::thread::spawn(move || {
            let mut all = vec![0; 200_000];
            theirs.read_exact(&mut all).unwrap();
            all
        });
        socket.send(&sent).unwrap();
        assert_eq!(reader.join().unwrap(), sent);
        let end = loop {
            match socket.receive() {
                Ok(None) => {}
                other => break other.map(|bytes| bytes.map(<[u8]>::to_vec)),
            }
        };
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn one_that_waits_is_dropped_in_order() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _theirs = listener.accept().unwrap();
        let Ok(mut socket) = UringSocket::new(ours) else { return };
        assert_eq!(socket.receive().unwrap(), None);
    }
}
