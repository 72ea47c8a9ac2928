//! Admission: seq, time, credit. It exists once; a live run and a replay differ only in where inputs come from.

use std::sync::Arc;

use kimera_protocol::{Flags, Header, Message, Nanos, Seq};
use kimera_runtime::credit::{CreditWindow, Frontier, InputClass};
use kimera_runtime::seat::PortOutlet;
use kimera_runtime::{Port, Ports};

/// The state of the door.
pub struct Door {
    seq: Seq,
    time: Nanos,
    window: CreditWindow,
    stopped: bool,
}

impl Door {
    /// A door before the first input, with credit against `sinks`.
    #[must_use]
    pub fn new(sinks: Vec<Arc<Frontier>>) -> Self {
        Self { seq: 0, time: 0, window: CreditWindow::new(sinks), stopped: false }
    }

    /// A door that goes on behind an input that has been replayed.
    #[must_use]
    pub fn resume(seq: Seq, time: Nanos, sinks: Vec<Arc<Frontier>>) -> Self {
        Self { seq, time, window: CreditWindow::new(sinks), stopped: false }
    }

    /// Nothing is admitted any more.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Another start of the engine follows in the journal.
    pub fn reopen(&mut self) {
        self.stopped = false;
    }

    /// Market time of the last input.
    #[must_use]
    pub fn time(&self) -> Nanos {
        self.time
    }

    /// The last seq given.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// True after the input that ends the run.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// True where a frame of `messages` of this class may enter now.
    #[inline]
    pub fn admits(&mut self, class: InputClass, messages: usize) -> bool {
        !self.stopped && self.window.admits(class, self.seq, messages)
    }

    /// Gives a new input its place and its time, `max(previous + 1, clock)`, and sends it.
    #[inline]
    pub fn admit(&mut self, message: &Message, clock: Nanos, ports: &mut Ports) {
        self.admit_as(message.header, message, clock, &mut ports.outlets);
        ports.frontier.advance(self.seq);
    }

    /// As [`Door::admit`], under another header; the frontier is the caller's matter.
    #[inline]
    pub fn admit_as(&mut self, header: Header, message: &Message, clock: Nanos, outlets: &mut [PortOutlet]) {
        let (seq, time) = (self.seq + 1, clock.max(self.time + 1));
        self.send(Header { seq, time, ..header }, message, outlets);
    }

    /// Sends an input that has its place and time already: a replay.
    #[inline]
    pub fn readmit(&mut self, message: &Message, ports: &mut Ports) {
        self.send(message.header, message, &mut ports.outlets);
        ports.frontier.advance(self.seq);
    }

    /// Written once for each port, straight into its ring: no copy of what was written a moment ago.
    #[inline]
    fn send(&mut self, header: Header, message: &Message, outlets: &mut [PortOutlet]) {
        self.seq = header.seq;
        self.time = header.time;
        self.stopped = header.flags & Flags::STOP != 0;
        let mut sent = true;
        for out in outlets.iter_mut().filter(|o| matches!(o.port, Port::Line | Port::Record)) {
            sent &= out.outlet.push_with(|place| *place = Message::from_words(header, *message.words()));
        }
        debug_assert!(sent, "credit makes sure of room");
    }

    /// True where every sink is done with everything admitted.
    #[must_use]
    pub fn drained(&self) -> bool {
        self.window.drained(self.seq)
    }
}
