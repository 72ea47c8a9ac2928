//! A ring to somebody who only looks on: what finds no room is shed and counted, and nobody ever waits for its reader.

use kimera_protocol::Message;

use crate::counters::Counter;
use crate::ring::{Inlet, Outlet, ring};

/// The writing end.
pub struct Observer {
    outlet: Outlet,
    shed: Counter,
}

/// A ring of `capacity` messages to an observer; `shed` counts what it did not get.
#[must_use]
pub fn observer(capacity: usize, shed: Counter) -> (Observer, Inlet) {
    let (outlet, inlet) = ring(capacity);
    (Observer { outlet, shed }, inlet)
}

impl Observer {
    /// Shows it a message, where there is room.
    #[inline]
    pub fn show(&mut self, message: &Message) {
        if !self.outlet.push(message) {
            self.shed.add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Counters;
    use kimera_protocol::{Command, Header};

    #[test]
    fn what_finds_no_room_is_counted_and_the_oldest_stay() {
        let path = std::env::temp_dir().join(format!("kimera-observer-{}", std::process::id()));
        let shed = Counters::create(&path, 1).unwrap().counter("shed");
        std::fs::remove_file(&path).unwrap();
        let (mut observer, mut inlet) = observer(4, shed.clone());
        for code in 0..7 {
            let body = Command { code, ..Command::default() };
            observer.show(&Message::new(Header::default(), body));
        }
        let seen: Vec<_> =
            std::iter::from_fn(|| inlet.pop()).filter_map(|m| m.body::<Command>().map(|c| c.code)).collect();
        assert_eq!((seen, shed.get()), (vec![0, 1, 2, 3], 3));
    }
}
