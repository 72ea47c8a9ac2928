//! 3.7 Emergent patterns: for each stretch of a series the nearest other one of its shape (Yeh et al. 2016; Zhu et al. 2016). The nearest
//! pair is the motif, the stretch furthest from all others the discord.

/// A stretch and what is nearest to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nearest {
    /// Where the stretch begins, in values since the start of the series.
    pub at: u64,
    /// Where the nearest one begins.
    pub other: u64,
    /// √(2m(1 − ρ)) of both z-normalised: 0 for an affine copy, at most 2√m.
    pub distance: f64,
}

/// The left profile of a series' newest `window` values: each new stretch is compared with all before it.
#[derive(Clone, Debug)]
pub struct MatrixProfile {
    m: usize,
    window: usize,
    /// The newest values, oldest first.
    values: Vec<f64>,
    /// Mean and deviation of each stretch of `values`.
    moments: Vec<(f64, f64)>,
    /// Products of the newest stretch with each before it.
    products: Vec<f64>,
    /// The nearest of each stretch: distance, and where it begins.
    nearest: Vec<Option<(f64, u64)>>,
    /// Values before the oldest one kept.
    first: u64,
}

impl MatrixProfile {
    /// Stretches of `m` values among the newest `window`; `None` where m is under 4, or more than a quarter of the window.
    #[must_use]
    pub fn new(m: usize, window: usize) -> Option<Self> {
        (m >= 4 && m <= window / 4).then(|| Self {
            m,
            window,
            values: Vec::with_capacity(2 * window),
            moments: Vec::with_capacity(2 * window),
            products: Vec::with_capacity(2 * window),
            nearest: Vec::with_capacity(2 * window),
            first: 0,
        })
    }

    /// Takes a value and says what is nearest to the stretch that it ends; one that is not finite is left out. Work grows with the window.
    pub fn add(&mut self, x: f64) -> Option<Nearest> {
        if !x.is_finite() {
            return None;
        }
        if self.values.len() >= 2 * self.window {
            self.forget_oldest();
        }
        self.values.push(x);
        let m = self.m;
        let at = self.values.len().checked_sub(m)?;
        self.moments.push(moments(&self.values[at..]));
        self.follow(at);
        // Who lies in half of the other is its shadow: a quarter of a stretch is left out on either side.
        let apart = m / 4 + 1;
        let oldest = at.saturating_sub(self.window - m);
        let mut best: Option<(f64, usize)> = None;
        for other in oldest..(at + 1).saturating_sub(apart) {
            let distance = self.distance(at, other);
            if best.is_none_or(|(least, _)| distance < least) {
                best = Some((distance, other));
            }
            let is_nearer = self.nearest[other].is_none_or(|(least, _)| distance < least);
            if is_nearer {
                self.nearest[other] = Some((distance, self.first + at as u64));
            }
        }
        self.nearest.push(best.map(|(distance, other)| (distance, self.first + other as u64)));
        best.map(|(distance, other)| Nearest {
            at: self.first + at as u64,
            other: self.first + other as u64,
            distance,
        })
    }

    /// Products of the newest stretch: those of the one before, less the values that left, plus those that came.
    fn follow(&mut self, at: usize) {
        let (m, v) = (self.m, &self.values);
        let whole = |other: usize| (0..m).fold(0.0, |sum, i| sum + v[at + i] * v[other + i]);
        if at == 0 {
            self.products.push(whole(0));
            return;
        }
        let (leaves, comes) = (v[at - 1], v[at + m - 1]);
        self.products.push(0.0);
        for other in (1..=at).rev() {
            self.products[other] =
                self.products[other - 1] - leaves * v[other - 1] + comes * v[other + m - 1];
        }
        self.products[0] = whole(0);
    }

    fn distance(&self, a: usize, b: usize) -> f64 {
        let m = self.m as f64;
        let ((mean_a, dev_a), (mean_b, dev_b)) = (self.moments[a], self.moments[b]);
        if dev_a <= 0.0 || dev_b <= 0.0 {
            return (2.0 * m).sqrt();
        }
        let rho = (self.products[b] / m - mean_a * mean_b) / (dev_a * dev_b);
        (2.0 * m * (1.0 - rho.clamp(-1.0, 1.0))).sqrt()
    }

    /// The older half goes at once, and products begin anew, so that no error grows.
    fn forget_oldest(&mut self) {
        let gone = self.values.len() - self.window;
        self.values.drain(..gone);
        self.moments.drain(..gone);
        self.nearest.drain(..gone);
        self.first += gone as u64;
        let (m, v) = (self.m, &self.values);
        let at = v.len() - m;
        self.products.clear();
        self.products.extend((0..=at).map(|other| (0..m).fold(0.0, |sum, i| sum + v[at + i] * v[other + i])));
    }

    /// The nearest pair, and the stretch that is furthest from all others, among those kept.
    #[must_use]
    pub fn motif_and_discord(&self) -> Option<(Nearest, Nearest)> {
        let named = |(at, nearest): (usize, &Option<(f64, u64)>)| {
            nearest.map(|(distance, other)| Nearest { at: self.first + at as u64, other, distance })
        };
        let of = || self.nearest.iter().enumerate().filter_map(named);
        let motif = of().min_by(|a, b| a.distance.total_cmp(&b.distance))?;
        let discord = of().max_by(|a, b| a.distance.total_cmp(&b.distance))?;
        Some((motif, discord))
    }
}

/// Mean and deviation; a deviation of next to nothing is none.
fn moments(of: &[f64]) -> (f64, f64) {
    let n = of.len() as f64;
    let mean = of.iter().fold(0.0, |sum, x| sum + x) / n;
    let variance = of.iter().fold(0.0, |sum, x| sum + (x - mean) * (x - mean)) / n;
    let deviation = variance.sqrt();
    (mean, if deviation > 1e-12 * mean.abs() { deviation } else { 0.0 })
}

/// Distance of two stretches of the same length, from their shapes alone.
#[must_use]
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    let m = a.len().min(b.len()) as f64;
    let ((mean_a, dev_a), (mean_b, dev_b)) = (moments(a), moments(b));
    if dev_a <= 0.0 || dev_b <= 0.0 {
        return (2.0 * m).sqrt();
    }
    let product = a.iter().zip(b).fold(0.0, |sum, (x, y)| sum + x * y) / m;
    (2.0 * m * (1.0 - ((product - mean_a * mean_b) / (dev_a * dev_b)).clamp(-1.0, 1.0))).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::SeededNormals;

    #[test]
    fn published_values() {
        assert!((distance(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 2.0, 4.0]) - 1.26491).abs() < 1e-5);
        assert!(distance(&[1.0, 2.0, 3.0, 4.0], &[7.0, 9.0, 11.0, 13.0]) < 1e-6, "an affine copy");
        assert!((distance(&[1.0; 4], &[1.0, 2.0, 3.0, 4.0]) - 8f64.sqrt()).abs() < 1e-12, "by convention");
    }

    #[test]
    fn a_planted_motif_and_a_planted_discord_are_found() {
        let mut normals = SeededNormals::new(5);
        let mut series: Vec<f64> = (0..400).map(|i| f64::from(i % 20) + 2.0 * normals.normal()).collect();
        let shape: Vec<f64> = (0..32).map(|_| 10.0 * normals.normal()).collect();
        series[100..132].copy_from_slice(&shape);
        series[300..332].iter_mut().zip(&shape).for_each(|(to, x)| *to = 3.0 * x + 5.0);
        let mut of = MatrixProfile::new(32, 512).unwrap();
        for x in &series {
            of.add(*x);
        }
        let (motif, discord) = of.motif_and_discord().unwrap();
        assert_eq!((motif.at.min(motif.other), motif.at.max(motif.other)), (100, 300), "{motif:?}");
        assert!(motif.distance < 1e-3 && discord.distance > motif.distance);
    }

    #[test]
    fn step_by_step_it_is_what_brute_force_finds() {
        let mut normals = SeededNormals::new(9);
        let (m, window) = (8, 64);
        let series: Vec<f64> = (0..1_000).map(|_| 100.0 + normals.normal()).collect();
        let mut of = MatrixProfile::new(m, window).unwrap();
        for end in 1..=series.len() {
            let said = of.add(series[end - 1]);
            let Some(at) = end.checked_sub(m) else { continue };
            let others = at.saturating_sub(window - m)..(at + 1).saturating_sub(m / 4 + 1);
            let best = others.map(|o| distance(&series[at..end], &series[o..o + m])).min_by(f64::total_cmp);
            match (said, best) {
                (Some(said), Some(best)) => {
                    assert!((said.distance - best).abs() < 1e-6, "{end}: {said:?} {best}");
                    assert_eq!(said.at, at as u64);
                }
                (None, None) => {}
                other => panic!("{end}: {other:?}"),
            }
        }
    }

    #[test]
    fn degenerate_input() {
        assert!(MatrixProfile::new(3, 64).is_none() && MatrixProfile::new(17, 64).is_none());
        let mut of = MatrixProfile::new(4, 16).unwrap();
        assert_eq!(of.add(f64::NAN), None);
        let flat: Vec<_> = (0..20).filter_map(|_| of.add(1.0)).collect();
        assert!(flat.iter().all(|n| (n.distance - 8f64.sqrt()).abs() < 1e-12), "constant: by convention");
    }
}
