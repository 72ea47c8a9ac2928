//! Durable writes that are submitted and polled: the caller's thread never waits for the disk.
//!
//! With io_uring a write is linked to its data sync. Where the kernel or a container forbids io_uring the same calls
//! are made in place, which blocks the calling thread (a journal thread, never a hot one) and is reported.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use io_uring::{IoUring, opcode, squeue, types};

use crate::files::File;
use crate::world;

const WRITE: u64 = 1;
const SYNC: u64 = 2;

enum Backend {
    Uring(Box<IoUring>),
    InPlace,
    /// Of a world: the block in flight is durable at this time.
    World(u64),
}

struct InFlight {
    bytes: Vec<u8>,
    file: Arc<File>,
    offset: u64,
    written: Option<i32>,
    synced: Option<i32>,
}

/// Writes one block at a time, in order: a later block is never durable before an earlier one.
pub struct BlockWriter {
    backend: Backend,
    in_flight: Option<InFlight>,
}

impl BlockWriter {
    /// A writer, with the reason where it has to work in place.
    #[must_use]
    pub fn new() -> (Self, Option<String>) {
        if world::active() {
            return (Self { backend: Backend::World(0), in_flight: None }, None);
        }
        match IoUring::new(8) {
            Ok(ring) => (Self { backend: Backend::Uring(Box::new(ring)), in_flight: None }, None),
            Err(e) => (
                Self { backend: Backend::InPlace, in_flight: None },
                Some(format!(
                    "io_uring is not to be had ({e}): the journal's thread waits for the disk itself"
                )),
            ),
        }
    }

    /// A writer that works in place.
    #[must_use]
    pub fn in_place() -> Self {
        Self { backend: Backend::InPlace, in_flight: None }
    }

    /// True where a block can be submitted.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_none()
    }

    /// Writes `bytes` at `offset` and syncs them; [`BlockWriter::poll`] gives the buffer back when they are durable.
    ///
    /// # Errors
    /// Where the system refuses; the bytes may or may not be written then.
    pub fn submit(&mut self, bytes: Vec<u8>, file: Arc<File>, offset: u64) -> io::Result<()> {
        debug_assert!(self.is_idle());
        let mut block = InFlight { bytes, file, offset, written: None, synced: None };
        match &mut self.backend {
            Backend::InPlace => {
                block.file.write_all_at(&block.bytes, offset)?;
                block.file.sync_data()?;
                block.written = Some(block.bytes.len() as i32);
                block.synced = Some(0);
            }
            Backend::Uring(ring) => push(ring, &block)?,
            Backend::World(due) => *due = world::with_disk(|disk, now, _| disk.submit(now)).unwrap_or(0),
        }
        self.in_flight = Some(block);
        Ok(())
    }

    /// The buffer of a block that has become durable.
    ///
    /// # Errors
    /// Where the write or the sync failed; the journal must not go on then.
    pub fn poll(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(block) = &mut self.in_flight else { return Ok(None) };
        if let Backend::Uring(ring) = &mut self.backend {
            for completion in ring.completion() {
                match completion.user_data() {
                    WRITE => block.written = Some(completion.result()),
                    _ => block.synced = Some(completion.result()),
                }
            }
        }
        if let Backend::World(due) = &self.backend {
            if world::now().is_none_or(|now| now < *due) {
                return Ok(None);
            }
            block.file.write_all_at(&block.bytes, block.offset)?;
            block.file.sync_data()?;
            return Ok(self.in_flight.take().map(|block| block.bytes));
        }
        let (Some(written), Some(synced)) = (block.written, block.synced) else { return Ok(None) };
        if written < 0 {
            return Err(io::Error::from_raw_os_error(-written));
        }
        if written as usize != block.bytes.len() {
            // A short write breaks the link to the sync: finish it in place.
            let rest = &block.bytes[written as usize..];
            block.file.write_all_at(rest, block.offset + written as u64)?;
            block.file.sync_data()?;
        } else if synced < 0 {
            return Err(io::Error::from_raw_os_error(-synced));
        }
        Ok(self.in_flight.take().map(|block| block.bytes))
    }
}

/// Queues the write linked to its sync and tells the kernel.
fn push(ring: &mut IoUring, block: &InFlight) -> io::Result<()> {
    let File::Real(file) = &*block.file else { return Err(io::ErrorKind::InvalidInput.into()) };
    let fd = types::Fd(file.as_raw_fd());
    let length =
        u32::try_from(block.bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let write = opcode::Write::new(fd, block.bytes.as_ptr(), length)
        .offset(block.offset)
        .build()
        .flags(squeue::Flags::IO_LINK)
        .user_data(WRITE);
    let sync = opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build().user_data(SYNC);
    // SAFETY: buffer and file move into `in_flight` right after and stay there, at the same heap address, until both
    // completions are in; `Drop` waits for them.
    unsafe {
        let mut queue = ring.submission();
        queue.push_multiple(&[write, sync]).map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))?;
    }
    ring.submit()?;
    Ok(())
}

impl Drop for BlockWriter {
    fn drop(&mut self) {
        if let (Some(block), Backend::World(_)) = (&self.in_flight, &self.backend)
            && let Some(inode) = block.file.inode()
        {
            world::with_disk(|disk, _, _| disk.abandon(inode, block.offset as usize, &block.bytes));
        }
        // The kernel may still read the buffer: wait for it before the memory goes.
        while let (Some(block), Backend::Uring(ring)) = (&self.in_flight, &mut self.backend) {
            if block.written.is_some() && block.synced.is_some() {
                break;
            }
            if ring.submit_and_wait(1).is_err() || self.poll().is_err() {
                break;
            }
        }
    }
}

/// Takes the exclusive lock of a file for as long as the file is open; false where another process holds it.
///
/// # Errors
/// Where locking is not possible at all.
pub fn lock_exclusively(file: &std::fs::File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(std::fs::TryLockError::WouldBlock) => Ok(false),
        Err(std::fs::TryLockError::Error(e)) => Err(e),
    }
}

/// Reserves `bytes` of disk for a new file, so that later writes neither extend it nor find the disk full.
///
/// # Errors
/// Where the disk is full or the file system cannot reserve.
pub fn reserve(file: &std::fs::File, bytes: u64) -> io::Result<()> {
    let length = i64::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: a plain call on an open descriptor.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(mut writer: BlockWriter, name: &str) {
        let path = std::env::temp_dir().join(format!("kimera-storage-{name}-{}", std::process::id()));
        let file = Arc::new(File::create_new(&path).unwrap());
        file.reserve(8_192).unwrap();
        for block in 0..4u8 {
            assert!(writer.is_idle());
            writer.submit(vec![block + 1; 2_048], file.clone(), u64::from(block) * 2_048).unwrap();
            let buffer = loop {
                if let Some(buffer) = writer.poll().unwrap() {
                    break buffer;
                }
                std::thread::yield_now();
            };
            assert_eq!(buffer.len(), 2_048);
        }
        let content = std::fs::read(&path).unwrap();
        assert!(content.chunks(2_048).zip(1u8..).all(|(chunk, value)| chunk.iter().all(|&b| b == value)));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn blocks_arrive_in_order() {
        let (writer, degraded) = BlockWriter::new();
        eprintln!("{degraded:?}");
        writes(writer, "ring");
        writes(BlockWriter::in_place(), "place");
    }
}
