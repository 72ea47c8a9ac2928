//! Signals to processes we started.

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
