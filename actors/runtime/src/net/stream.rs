//! A connection and a listener, of the machine or of a world.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::world;
use crate::world::network::EndId;

/// An end of a connection in a world.
#[derive(Debug)]
pub struct WorldStream(pub(super) EndId);

impl Drop for WorldStream {
    fn drop(&mut self) {
        world::with_network(|network, now, _| network.close(self.0, now));
    }
}

/// A connection that never waits.
#[derive(Debug)]
pub enum Stream {
    /// Of the machine.
    Tcp(TcpStream),
    /// Of the world this thread has entered.
    World(WorldStream),
}

fn left() -> io::Error {
    io::Error::new(ErrorKind::NotConnected, "the connection's world has been left")
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::World(s) => {
                world::with_network(|network, now, _| network.read(s.0, buffer, now)).ok_or_else(left)?
            }
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::World(s) => {
                world::with_network(|network, now, _| network.write(s.0, bytes, now)).ok_or_else(left)?
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes calls, and never waits for one.
#[derive(Debug)]
pub enum Listener {
    /// Of the machine.
    Tcp(TcpListener),
    /// Of the world this thread has entered.
    World(SocketAddr),
}

impl Listener {
    /// Listens; port 0 lets the system choose.
    ///
    /// # Errors
    /// Where the address cannot be had.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        if let Some(bound) = world::with_network(|network, _, process| network.listen(address, process)) {
            return bound.map(Self::World);
        }
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self::Tcp(listener))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            Self::World(address) => Ok(*address),
        }
    }

    /// The next call, if one waits.
    #[must_use]
    pub fn accept(&self) -> Option<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().ok()?;
                stream.set_nonblocking(true).ok()?;
                stream.set_nodelay(true).ok()?;
                Some(Stream::Tcp(stream))
            }
            Self::World(address) => {
                let end = world::with_network(|network, now, _| network.accept(address, now)).flatten()?;
                Some(Stream::World(WorldStream(end)))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::World(address) = self {
            world::with_network(|network, _, _| network.stop_listening(address));
        }
    }
}
