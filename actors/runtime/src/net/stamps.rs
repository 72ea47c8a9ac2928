//! The kernel's own stamps of what a connection receives and sends (`SO_TIMESTAMPING`, in software): from the moment bytes came
//! out of the network to the moment an answer went into it, whatever happens between. For measurements: a stamp costs a
//! little with each packet.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// Room for what the kernel says beside bytes.
const CONTROL_WORDS: usize = 64;

/// A connection whose packets are stamped. It never waits.
pub struct StampedSocket {
    stream: TcpStream,
}

/// Bytes that have arrived, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// How many.
    pub bytes: usize,
    /// When the kernel got the last of them, ns of the wall clock; none where it does not say.
    pub stamp_ns: Option<u64>,
}

/// Bytes that have left, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departed {
    /// Place of the last of them in everything that was written, from 0, modulo 2³².
    pub last_byte: u32,
    /// When they went to the network's driver, ns of the wall clock.
    pub stamp_ns: u64,
}

impl StampedSocket {
    /// Takes a connection over, on which nothing has been written since.
    ///
    /// # Errors
    /// Where the kernel does not stamp.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let flags = libc::SOF_TIMESTAMPING_RX_SOFTWARE
            | libc::SOF_TIMESTAMPING_TX_SOFTWARE
            | libc::SOF_TIMESTAMPING_SOFTWARE
            | libc::SOF_TIMESTAMPING_OPT_ID
            | libc::SOF_TIMESTAMPING_OPT_TSONLY;
        let size = size_of_val(&flags) as libc::socklen_t;
        // SAFETY: `flags` is valid for the call and of the size given; the descriptor is open.
        let asked = unsafe {
            let value = (&raw const flags).cast();
            libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPING, value, size)
        };
        if asked != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { stream })
    }

    /// The connection, to be written to.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Reads once; none where nothing waits.
    ///
    /// # Errors
    /// Where the connection failed; an orderly end is `UnexpectedEof`.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        let mut control = [0u64; CONTROL_WORDS];
        match self.message(buffer, &mut control, 0)? {
            None => Ok(None),
            Some((0, _)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Some((bytes, said)) => Ok(Some(Received { bytes, stamp_ns: said.stamp_ns })),
        }
    }

    /// A stamp of something that was written, in the order in which it left; none where none waits.
    ///
    /// # Errors
    /// Where the connection failed.
    pub fn departed(&self) -> io::Result<Option<Departed>> {
        let mut control = [0u64; CONTROL_WORDS];
        loop {
            let Some((_, said)) = self.message(&mut [], &mut control, libc::MSG_ERRQUEUE)? else {
                return Ok(None);
            };
            if let (Some(stamp_ns), Some(last_byte)) = (said.stamp_ns, said.last_byte) {
                return Ok(Some(Departed { last_byte, stamp_ns }));
            }
        }
    }

    fn message(
        &self,
        buffer: &mut [u8],
        control: &mut [u64; CONTROL_WORDS],
        flags: i32,
    ) -> io::Result<Option<(usize, Said)>> {
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: all zeros is a valid header; its fields are set below.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(control);
        // SAFETY: the header names memory that is ours, is as large as it says, and lives beyond the call.
        let read =
            unsafe { libc::recvmsg(self.stream.as_raw_fd(), &raw mut header, flags | libc::MSG_DONTWAIT) };
        if read < 0 {
            let e = io::Error::last_os_error();
            let nothing = matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
            return if nothing { Ok(None) } else { Err(e) };
        }
        // SAFETY: the kernel has filled the header in.
        Ok(Some((read as usize, unsafe { Said::of(&header) })))
    }
}

/// What the kernel said beside bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    stamp_ns: Option<u64>,
    last_byte: Option<u32>,
}

impl Said {
    /// # Safety
    /// The header has to be one that `recvmsg` has filled in, with its memory still there.
    unsafe fn of(header: &libc::msghdr) -> Self {
        let mut said = Self::default();
        // SAFETY: as the caller promises; each record is read only as far as its own length says.
        unsafe {
            let mut record = libc::CMSG_FIRSTHDR(header);
            while let Some(head) = record.as_ref() {
                let data = libc::CMSG_DATA(record);
                let room = head.cmsg_len.saturating_sub(data.offset_from(record.cast()) as usize);
                let is_stamp =
                    (head.cmsg_level, head.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING);
                if is_stamp && room >= size_of::<libc::timespec>() {
                    let time = data.cast::<libc::timespec>().read_unaligned();
                    let ns = time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs();
                    said.stamp_ns = Some(ns).filter(|ns| *ns > 0);
                }
                let is_error = matches!(
                    (head.cmsg_level, head.cmsg_type),
                    (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR)
                );
                if is_error && room >= size_of::<libc::sock_extended_err>() {
                    let error = data.cast::<libc::sock_extended_err>().read_unaligned();
                    if error.ee_origin == libc::SO_EE_ORIGIN_TIMESTAMPING {
                        said.last_byte = Some(error.ee_data);
                    }
                }
                record = libc::CMSG_NXTHDR(header, record);
            }
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn what_comes_and_goes_is_stamped_in_order() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        let Ok(socket) = StampedSocket::new(ours) else { return }; // a kernel without stamps
        let mut buffer = [0; 64];
        assert_eq!(socket.receive(&mut buffer).unwrap(), None);
        theirs.write_all(b"ping").unwrap();
        let received = loop {
            if let Some(received) = socket.receive(&mut buffer).unwrap() {
                break received;
            }
        };
        assert_eq!((received.bytes, &buffer[..4]), (4, &b"ping"[..]));
        let mut stream = socket.stream();
        stream.write_all(b"a pong").unwrap();
        stream.write_all(b"more").unwrap();
        let mut left = Vec::new();
        // What the kernel does not stamp it does not stamp later either: loopback is done when the write is.
        while let Some(departed) = socket.departed().unwrap() {
            left.push(departed);
        }
        let Some(came) = received.stamp_ns else { return };
        let places: Vec<_> = left.iter().map(|d| d.last_byte).collect();
        assert_eq!(places, [5, 9]);
        assert!(left.iter().all(|d| d.stamp_ns > came) && left[0].stamp_ns <= left[1].stamp_ns);
        theirs.read_exact(&mut [0; 10]).unwrap();
        drop(theirs);
        let end = loop {
            match socket.receive(&mut buffer) {
                Ok(None) => {}
                other => break other,
            }
        };
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
