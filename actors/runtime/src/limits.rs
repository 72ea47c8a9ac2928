//! What the kernel lets this process have, and what it says of the clock and of disks.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A limit of this process, inherited by those it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Open files.
    OpenFiles,
    /// Bytes that may be locked in memory.
    LockedMemory,
    /// Highest real-time priority.
    RealTimePriority,
}

/// No limit.
pub const UNLIMITED: u64 = libc::RLIM_INFINITY;

impl Resource {
    fn code(self) -> libc::__rlimit_resource_t {
        match self {
            Self::OpenFiles => libc::RLIMIT_NOFILE,
            Self::LockedMemory => libc::RLIMIT_MEMLOCK,
            Self::RealTimePriority => libc::RLIMIT_RTPRIO,
        }
    }

    /// What holds, and how far this process may raise it by itself.
    ///
    /// # Errors
    /// Where the kernel does not say.
    pub fn get(self) -> io::Result<(u64, u64)> {
        let mut found = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `found` is valid for the call.
        if unsafe { libc::getrlimit(self.code(), &raw mut found) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((found.rlim_cur, found.rlim_max))
    }

    /// Raises it to `wanted`, or as far as the kernel lets it; what holds then.
    ///
    /// # Errors
    /// Where the kernel does not say what holds.
    pub fn raise(self, wanted: u64) -> io::Result<u64> {
        let (now, most) = self.get()?;
        if now >= wanted {
            return Ok(now);
        }
        for (soft, hard) in [(wanted, most.max(wanted)), (wanted.min(most), most)] {
            let asked = libc::rlimit { rlim_cur: soft, rlim_max: hard };
            // SAFETY: `asked` is valid for the call.
            if unsafe { libc::setrlimit(self.code(), &raw const asked) } == 0 {
                break;
            }
        }
        Ok(self.get()?.0)
    }
}

/// How late the kernel may wake this thread, ns; none where it does not say.
#[must_use]
pub fn timer_slack_ns() -> Option<u64> {
    // SAFETY: a plain call about the calling thread.
    u64::try_from(unsafe { libc::prctl(libc::PR_GET_TIMERSLACK) }).ok()
}

/// Sets how late the kernel may wake this thread, and those and the processes that it starts; false where it refuses.
#[must_use]
pub fn set_timer_slack_ns(ns: u64) -> bool {
    // SAFETY: a plain call about the calling thread.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, ns) == 0 }
}

/// What the kernel says of how the machine's clock is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockSync {
    /// Somebody keeps it.
    pub synchronised: bool,
    /// What is still to be corrected, ns.
    pub offset_ns: i64,
    /// Farthest it may be off, µs, as whoever keeps it says.
    pub max_error_us: i64,
}

/// How the machine's clock is kept.
///
/// # Errors
/// Where the kernel does not say.
pub fn clock_sync() -> io::Result<ClockSync> {
    // SAFETY: an all-zero timex is a valid question that changes nothing.
    let mut asked: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: `asked` is valid for the call.
    let state = unsafe { libc::adjtimex(&raw mut asked) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    let unit_ns = if asked.status & libc::STA_NANO != 0 { 1 } else { 1_000 };
    Ok(ClockSync {
        synchronised: state != libc::TIME_ERROR && asked.status & libc::STA_UNSYNC == 0,
        offset_ns: asked.offset.saturating_mul(unit_ns),
        max_error_us: asked.maxerror,
    })
}

/// Bytes that somebody without privileges may still write where `path` lies.
///
/// # Errors
/// Where there is no such place.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: an all-zero statvfs is a valid place for the answer.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero, `found` is valid for the call.
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut found) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Keeps the processors out of sleep states that take long to leave, while it is open; none where the kernel refuses.
#[must_use]
pub fn stay_awake(device: &Path) -> Option<File> {
    use std::io::Write;
    let mut file = File::options().write(true).open(device).ok()?;
    file.write_all(&0i32.to_ne_bytes()).ok()?;
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_never_lowered_and_what_holds_is_said() {
        let (now, _) = Resource::OpenFiles.get().unwrap();
        assert_eq!(Resource::OpenFiles.raise(1).unwrap(), now);
        let after = Resource::OpenFiles.raise(now + 1).unwrap();
        assert!(after == now || after == now + 1, "{now} to {after}");
    }

    #[test]
    fn the_kernel_says_how_late_it_is_and_how_much_room_there_is() {
        let thread = std::thread::spawn(|| set_timer_slack_ns(1).then(timer_slack_ns));
        assert_eq!(thread.join().unwrap(), Some(Some(1)));
        assert!(clock_sync().unwrap().max_error_us >= 0);
        assert!(free_bytes(Path::new("/")).is_ok());
        assert!(free_bytes(Path::new("/no/such/place")).is_err());
    }
}
