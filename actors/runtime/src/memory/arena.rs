//! The locked arena: one mapping from which rings, books and pools are carved before the tree says running.
//!
//! What the machine refuses (huge pages, locking) is reported, never pretended.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the arena got.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct ArenaReport {
    /// Bytes it may use.
    pub budget_bytes: usize,
    /// Bytes in use.
    pub used_bytes: usize,
    /// Bytes that did not fit the budget and came from the ordinary heap.
    pub overflow_bytes: usize,
    /// True where the used range is locked in memory.
    pub locked: bool,
    /// True where the kernel accepted the huge-page advice, or none was needed.
    pub huge_page_advised: bool,
    /// True where it lies in huge pages that were kept for it (`vm.nr_hugepages`).
    pub huge_pages_kept: bool,
    /// What could not be had, and what to do.
    pub degraded: Vec<String>,
}

static BASE: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);
static NEXT: AtomicUsize = AtomicUsize::new(0);
static OVERFLOW: AtomicUsize = AtomicUsize::new(0);
static HUGE: AtomicUsize = AtomicUsize::new(0);
static KEPT: AtomicUsize = AtomicUsize::new(0);

const HUGE_PAGE: usize = 2 << 20;

/// Maps the arena. Once a process; further calls change nothing.
///
/// # Errors
/// Where the kernel refuses the address range.
pub fn init_arena(budget_bytes: usize) -> io::Result<()> {
    if BASE.load(Ordering::Acquire) != 0 {
        return Ok(());
    }
    let size = budget_bytes.next_multiple_of(HUGE_PAGE) + HUGE_PAGE;
    let map = |flags: libc::c_int| {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
        // SAFETY: a fresh anonymous private mapping; no existing memory is touched.
        unsafe { libc::mmap(std::ptr::null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) }
    };
    // Huge pages that are kept for us are all ours from here on, or the kernel says now that there are too few.
    let mut address = map(libc::MAP_HUGETLB);
    let kept = address != libc::MAP_FAILED;
    if !kept {
        address = map(libc::MAP_NORESERVE);
    }
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    KEPT.store(usize::from(kept), Ordering::Relaxed);
    let base = (address as usize).next_multiple_of(HUGE_PAGE);
    // SAFETY: the range lies inside the mapping made above.
    let advised = unsafe { libc::madvise(base as *mut libc::c_void, size - HUGE_PAGE, libc::MADV_HUGEPAGE) };
    HUGE.store(usize::from(advised == 0 || kept), Ordering::Relaxed);
    END.store(base + budget_bytes, Ordering::Relaxed);
    NEXT.store(base, Ordering::Relaxed);
    BASE.store(base, Ordering::Release);
    Ok(())
}

/// Carves `size` bytes; null where there is no arena or no room left.
pub(super) fn carve(size: usize, align: usize) -> *mut u8 {
    if BASE.load(Ordering::Acquire) == 0 {
        return std::ptr::null_mut();
    }
    let mut next = NEXT.load(Ordering::Relaxed);
    loop {
        let start = next.next_multiple_of(align);
        let Some(end) = start.checked_add(size) else { return std::ptr::null_mut() };
        if end > END.load(Ordering::Relaxed) {
            OVERFLOW.fetch_add(size, Ordering::Relaxed);
            return std::ptr::null_mut();
        }
        match NEXT.compare_exchange_weak(next, end, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return start as *mut u8,
            Err(current) => next = current,
        }
    }
}

/// True for memory of the arena.
#[inline]
pub(super) fn owns(pointer: *mut u8) -> bool {
    let address = pointer as usize;
    address >= BASE.load(Ordering::Relaxed) && address < END.load(Ordering::Relaxed)
}

/// Touches and locks what is in use, and says what was had.
#[must_use]
pub fn lock_arena() -> ArenaReport {
    let base = BASE.load(Ordering::Acquire);
    let used = NEXT.load(Ordering::Relaxed).saturating_sub(base);
    let mut report = ArenaReport {
        budget_bytes: END.load(Ordering::Relaxed).saturating_sub(base),
        used_bytes: used,
        overflow_bytes: OVERFLOW.load(Ordering::Relaxed),
        huge_page_advised: HUGE.load(Ordering::Relaxed) == 1,
        huge_pages_kept: KEPT.load(Ordering::Relaxed) == 1,
        ..ArenaReport::default()
    };
    if base == 0 {
        report.degraded.push("no arena: rings and books lie in ordinary memory".into());
        return report;
    }
    for offset in (0..used).step_by(4096) {
        // SAFETY: inside the used range of our own mapping; a volatile read-write of the same byte only faults it in.
        unsafe {
            let byte = (base + offset) as *mut u8;
            byte.write_volatile(byte.read_volatile());
        }
    }
    // SAFETY: the range is mapped and ours.
    report.locked = unsafe { libc::mlock(base as *const libc::c_void, used) } == 0;
    if !report.locked {
        let reason = io::Error::last_os_error();
        report.degraded.push(format!(
            "{used} bytes of rings and books are not locked in memory ({reason}); raise the memlock limit (ulimit -l)"
        ));
    }
    if !report.huge_page_advised {
        report.degraded.push("the kernel refused the huge-page advice for the arena".into());
    }
    if report.overflow_bytes > 0 {
        report.degraded.push(format!(
            "{} bytes did not fit the arena's budget of {} and are not locked",
            report.overflow_bytes, report.budget_bytes
        ));
    }
    report
}
