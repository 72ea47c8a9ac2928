//! 3.4, the slow part that looks at flow: how evenly bars are spread over the classes of what takers did in them.

use kimera_numerics::entropy::shannon;
use kimera_numerics::{Estimate, ln};
use kimera_protocol::{MINUTE, Nanos, Topic};

use super::Thought;
use super::bars::{Bar, FLOW, TRADES};

/// Classes of buyers' volume less sellers' over both: all but sold, sold, even, bought, all but bought.
const CLASSES: usize = 5;
/// Bars with trades that are looked at, and the fewest.
const WINDOW: usize = 256;
const MIN: u64 = 5 * CLASSES as u64;

/// How long what is said may be used.
const VALID: Nanos = 2 * MINUTE;

/// The slow part.
pub struct Flow {
    window: [u8; WINDOW],
    counts: [u32; CLASSES],
    n: u64,
    /// The minute in which something was said last.
    said: i64,
}

impl Default for Flow {
    fn default() -> Self {
        Self { window: [0; WINDOW], counts: [0; CLASSES], n: 0, said: i64::MIN }
    }
}

impl Flow {
    /// The stream has a hole: what follows is not counted with what was before.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// A bar has ended; one without trades is none of any class. What is thought is said once a minute.
    pub(super) fn ended(&mut self, bar: &Bar, time: Nanos, say: &mut Vec<Thought>) {
        if bar[TRADES] > 0.0 {
            let class = ((bar[FLOW] + 1.0) / 2.0 * CLASSES as f64).clamp(0.0, CLASSES as f64 - 1.0) as u8;
            let place = (self.n % WINDOW as u64) as usize;
            if self.n >= WINDOW as u64 {
                self.counts[usize::from(self.window[place])] -= 1;
            }
            self.window[place] = class;
            self.counts[usize::from(class)] += 1;
            self.n += 1;
        }
        let minute = time.div_euclid(MINUTE);
        if std::mem::replace(&mut self.said, minute) == minute {
            return;
        }
        let held = self.n.min(WINDOW as u64);
        let entropy = if held < MIN {
            Estimate::warmup(held)
        } else {
            let shares = self.counts.map(|count| f64::from(count) / held as f64);
            Estimate::clamped(shannon(&shares) / ln(CLASSES as f64), 0.0, 1.0, held)
        };
        say.push(Thought::new(Topic::FlowEntropy, entropy).valid_for(VALID));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::Status;

    fn ended(of: &mut Flow, flow: f64, trades: f64) -> Estimate {
        let (mut bar, mut say) = (Bar::default(), Vec::new());
        (bar[FLOW], bar[TRADES]) = (flow, trades);
        of.said = i64::MIN;
        of.ended(&bar, MINUTE, &mut say);
        say[0].estimate
    }

    #[test]
    fn one_way_flow_has_none_and_even_flow_all_of_it() {
        let mut of = Flow::default();
        let first = (0..25).map(|_| ended(&mut of, 1.0, 1.0)).last().unwrap();
        assert_eq!((first.value, first.status), (0.0, Status::Ok));
        assert_eq!(ended(&mut of, -1.0, 0.0).n, 25, "a bar without trades is of no class");
        let even = (0..400).map(|i| ended(&mut of, f64::from(i % 5) * 0.5 - 1.0, 1.0)).last().unwrap();
        assert!(even.value > 0.999, "{even:?}: what is older than the window has gone");
        of.forget();
        assert_eq!(ended(&mut of, 0.5, 1.0).status, Status::Warmup);
        // Model book 3.4: (.7, .2, .1) has 1.15678 bits, 0.729847 of what three classes can have.
        let mut of = Flow::default();
        for flow in [[-1.0; 14].as_slice(), &[0.0; 4], &[1.0; 2]].concat() {
            for _ in 0..2 {
                ended(&mut of, flow, 1.0);
            }
        }
        let of = ended(&mut of, 0.0, 0.0).value * ln(5.0) / std::f64::consts::LN_2;
        assert!((of / 1.156_78 - 1.0).abs() < 1e-5, "{of}");
    }
}
