//! 3.2 Cognitive field, the slow part: each instrument's state as a point of a random Fourier map, how fast it moves, and how far the markets'
//! points lie apart.

use std::collections::VecDeque;

use kimera_numerics::field::{FieldMap, FieldPoint, tension, velocity};
use kimera_numerics::{Estimate, decay_of_half_life};
use kimera_protocol::{Nanos, Topic};

use super::Thought;
use super::bars::{Bar, CHANNELS};

/// Half-life, in bars, of a channel's mean and variance.
const HALF_LIFE: f64 = 600.0;
/// Bars before a state is standardised.
const BARS_MIN: u64 = 60;
/// States of which the median distance is the map's length scale, and bars between two such looks: a week of seconds.
const LENGTH: (usize, u64) = (64, 604_800);
/// Seed of the map: part of what an opinion was computed with.
pub(super) const SEED: u64 = 0x0F1E_1D00;

/// One instrument's channels, standardised.
#[derive(Default)]
struct View {
    mean: Bar,
    variance: Bar,
    n: u64,
    /// Its newest point, of the present map, and its time.
    point: Option<(FieldPoint, Nanos)>,
}

impl View {
    fn standardised(&mut self, bar: &Bar) -> Option<Bar> {
        self.n += 1;
        let step = (1.0 - decay_of_half_life(HALF_LIFE)).max(1.0 / self.n as f64);
        let mut state = [0.0; CHANNELS];
        for (c, x) in bar.iter().enumerate() {
            let away = x - self.mean[c];
            // What is constant says nothing.
            state[c] = if self.variance[c] > 0.0 { away / self.variance[c].sqrt() } else { 0.0 };
            self.mean[c] += step * away;
            self.variance[c] += step * (away * (x - self.mean[c]) - self.variance[c]);
        }
        (self.n > BARS_MIN).then_some(state)
    }
}

/// The slow part.
pub struct Fields {
    views: Box<[View]>,
    map: Option<FieldMap>,
    /// The traded instrument's newest states.
    states: VecDeque<Bar>,
    /// Bars until the next look at the length scale.
    wait: u64,
}

impl Fields {
    pub(super) fn new(instruments: usize) -> Self {
        let views = (0..instruments).map(|_| View::default()).collect();
        Self { views, map: None, states: VecDeque::with_capacity(LENGTH.0), wait: 0 }
    }

    /// The stream has a hole: the next point has none before it.
    pub(super) fn forget(&mut self, instrument: usize) {
        if let Some(view) = self.views.get_mut(instrument) {
            view.point = None;
        }
    }

    /// A bar of an instrument has ended; what is thought of it. Tension is told of the traded one, which comes last.
    pub(super) fn ended(
        &mut self,
        instrument: usize,
        traded: bool,
        bar: &Bar,
        time: Nanos,
        say: &mut Vec<Thought>,
    ) {
        let Some(state) = self.views.get_mut(instrument).and_then(|view| view.standardised(bar)) else {
            return;
        };
        if traded {
            self.measure(state);
        }
        let Some(point) = self.map.as_ref().and_then(|map| map.at(&state)) else { return };
        let view = &mut self.views[instrument];
        let before = view.point.replace((point, time));
        if let Some((before, at)) = before.filter(|(_, at)| *at < time) {
            let seconds = time.saturating_sub(at) as f64 * 1e-9;
            let speed = Estimate::ok(velocity(&before, &point, seconds), view.n);
            say.push(Thought::new(Topic::FieldVelocity, speed));
        }
        if traded {
            let alive =
                || self.views.iter().filter_map(|view| view.point.as_ref()).filter(|(_, at)| *at == time);
            if alive().count() >= 2
                && let Some(value) = tension(alive().map(|(point, _)| (1.0, &point[..])))
            {
                say.push(Thought::new(Topic::FieldTension, Estimate::ok(value, alive().count() as u64)));
            }
        }
    }

    /// Once a week of bars the length scale becomes the median distance of the newest states; every point begins anew with the map.
    fn measure(&mut self, state: Bar) {
        if self.states.len() == LENGTH.0 {
            self.states.pop_front();
        }
        self.states.push_back(state);
        if self.wait > 0 {
            self.wait -= 1;
            return;
        }
        if self.states.len() < LENGTH.0 {
            return;
        }
        let mut distances = Vec::with_capacity(LENGTH.0 * (LENGTH.0 - 1) / 2);
        for (i, a) in self.states.iter().enumerate() {
            for b in self.states.iter().skip(i + 1) {
                distances.push(a.iter().zip(b).fold(0.0, |sum, (x, y)| sum + (x - y) * (x - y)).sqrt());
            }
        }
        distances.sort_unstable_by(f64::total_cmp);
        if let Some(map) = FieldMap::new(CHANNELS, distances[distances.len() / 2], SEED) {
            self.map = Some(map);
            self.wait = LENGTH.1;
            self.views.iter_mut().for_each(|view| view.point = None);
        }
    }
}
