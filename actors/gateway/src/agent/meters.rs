//! What a gateway counts for those who watch.

use kimera_runtime::{Counter, Counters, Histogram};

use super::dead_man::DeadManMeters;

/// What a gateway counts; another one in its place goes on counting.
#[derive(Clone)]
pub struct Meters {
    pub(super) sent: Counter,
    pub(super) cancels: Counter,
    pub(super) unsent: Counter,
    pub(super) reports: Counter,
    /// Times that everything was taken back because the disk said nothing.
    pub(super) disk_silences: Counter,
    pub(super) off_rules: Counter,
    pub(super) working: Counter,
    pub(super) unknown: Counter,
    pub(super) unexplained: Counter,
    pub(super) foreign_fills: Counter,
    pub(super) unreadable: Counter,
    pub(super) orphans: Counter,
    pub(super) fills_found: Counter,
    pub(super) reconciled: Counter,
    pub(super) connections: Counter,
    pub(super) ready: Counter,
    pub(super) frame_to_order: Histogram,
    pub(super) frame_to_socket: Histogram,
    pub(super) dead_man: DeadManMeters,
}

impl Meters {
    /// Counters and histograms `<name>.<what>`.
    #[must_use]
    pub fn new(name: &str, counters: &Counters) -> Self {
        let counter = |what: &str| counters.counter(&format!("{name}.{what}"));
        let histogram = |what: &str| counters.histogram(&format!("{name}.{what}"));
        Self {
            sent: counter("sent"),
            cancels: counter("cancels"),
            unsent: counter("unsent"),
            reports: counter("reports"),
            disk_silences: counter("disk_silences"),
            off_rules: counter("off_rules"),
            working: counter("working"),
            unknown: counter("unknown"),
            unexplained: counter("unexplained"),
            foreign_fills: counter("foreign_fills"),
            unreadable: counter("unreadable"),
            orphans: counter("orphans"),
            fills_found: counter("fills_found"),
            reconciled: counter("reconciled"),
            connections: counter("connections"),
            ready: counter("ready"),
            frame_to_order: histogram("frame_to_order_ns"),
            frame_to_socket: histogram("frame_to_socket_ns"),
            dead_man: DeadManMeters::new(name, counters),
        }
    }
}
