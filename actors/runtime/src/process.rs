//! Signals to processes we started, and who is at the other end of a local socket.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// Asks a process to end (`SIGTERM`); false where there is none to ask.
#[must_use]
pub fn terminate(pid: u32) -> bool {
    signal(pid, libc::SIGTERM)
}

/// Ends a process at once (`SIGKILL`); false where there is none.
#[must_use]
pub fn kill(pid: u32) -> bool {
    signal(pid, libc::SIGKILL)
}

fn signal(pid: u32, signal: i32) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return false };
    // 0 and negative numbers would reach whole groups.
    // SAFETY: a plain call; it touches no memory of ours.
    pid > 0 && unsafe { libc::kill(pid, signal) } == 0
}

fn signal_group(leader: u32, signal: i32) {
    let Some(group) = i32::try_from(leader).ok().filter(|pid| *pid > 1) else { return };
    // SAFETY: a plain call; it touches no memory of ours.
    let _ = unsafe { libc::kill(-group, signal) };
}

/// Ends every process of a group that was made for a child (`SIGKILL`).
pub fn kill_group(leader: u32) {
    signal_group(leader, libc::SIGKILL);
}

/// Stops every process of a group where it is (`SIGSTOP`).
pub fn pause_group(leader: u32) {
    signal_group(leader, libc::SIGSTOP);
}

/// Lets every process of a group go on (`SIGCONT`).
pub fn resume_group(leader: u32) {
    signal_group(leader, libc::SIGCONT);
}

/// What is written to stderr goes to `file` from now on, whoever writes it.
///
/// # Errors
/// Where the kernel refuses.
pub fn stderr_into(file: &File) -> io::Result<()> {
    // SAFETY: a plain call with two descriptors that are open: `file` is borrowed, and stderr is never closed.
    if unsafe { libc::dup2(file.as_raw_fd(), libc::STDERR_FILENO) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The calling thread, as the kernel numbers it.
#[must_use]
pub fn thread_id() -> u64 {
    // SAFETY: a plain call about the calling thread; it touches no memory of ours.
    u64::from(unsafe { libc::gettid() }.unsigned_abs())
}

/// Time that a thread of this process has spent on a processor, ns; none where the kernel does not say, and in a world.
#[must_use]
pub fn thread_cpu_ns(thread: u64) -> Option<u64> {
    if crate::world::active() {
        return None;
    }
    let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// How often the kernel has taken the core away from the calling thread; 0 where it does not say.
#[must_use]
pub fn involuntary_switches() -> u64 {
    // SAFETY: an all-zero rusage is a valid place for the answer.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is valid for the call.
    if unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) } != 0 {
        return 0;
    }
    usage.ru_nivcsw.unsigned_abs()
}

/// This process runs when nobody else wants to (nice 19).
pub fn be_nice() {
    // SAFETY: a plain call about this process; it touches no memory of ours.
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
}

/// When a process was started, in the kernel's ticks since the machine's start: with its number, that names it for good.
/// None where there is no such process or it only waits to be collected.
#[must_use]
pub fn birth(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, spaces and brackets too: the fields begin after the last bracket.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18)?.parse().ok())?
}

/// Who is at the other end of a local socket, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process.
    pub pid: i32,
    /// User.
    pub uid: u32,
}

/// The peer of a local socket (`SO_PEERCRED`).
///
/// # Errors
/// Where the kernel does not say.
pub fn peer_of(stream: &UnixStream) -> io::Result<Peer> {
    let mut found = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `found` and `length` are valid for the call and describe each other; the descriptor is open.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(Peer { pid: found.pid, uid: found.uid }) } else { Err(io::Error::last_os_error()) }
}

/// The user this process runs as.
#[must_use]
pub fn own_uid() -> u32 {
    // SAFETY: a plain call that cannot fail.
    unsafe { libc::geteuid() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_named_by_its_number_and_birth_while_it_lives() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let born = birth(child.id()).unwrap();
        assert!(born >= birth(std::process::id()).unwrap());
        assert!(kill(child.id()));
        // Dead, and a zombie until it is collected: gone for everybody who asks.
        while birth(child.id()).is_some() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!((birth(child.id()), birth(0)), (None, None));
    }

    #[test]
    fn the_kernel_says_who_is_there() {
        let (a, _b) = UnixStream::pair().unwrap();
        assert_eq!(peer_of(&a).unwrap(), Peer { pid: std::process::id() as i32, uid: own_uid() });
    }
}
