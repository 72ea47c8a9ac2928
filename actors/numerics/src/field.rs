//! 3.2 Cognitive field: random Fourier features of a market's state, and how it moves (Rahimi and Recht 2007; Sutherland and Schneider
//! 2015).

use crate::seeded::SeededNormals;

/// Frequencies; each gives a cosine and a sine.
const FREQUENCIES: usize = 128;
/// Values of a field.
pub const FIELD: usize = 2 * FREQUENCIES;
/// Most values of a state.
pub const STATE_MAX: usize = 64;
/// Deviations at which a standardised value is cut.
const CUT: f64 = 5.0;

/// A point of the field: a vector of length 1.
pub type FieldPoint = [f64; FIELD];

/// The map from a standardised state x to φ(x) = 128^(−1/2) [cos Wx; sin Wx] with W ~ N(0, 1/ℓ²): ‖φ‖ = 1 exactly, and
/// φ(x)·φ(y) is exp(−‖x − y‖²/2ℓ²) in the mean over seeds.
#[derive(Clone, Debug)]
pub struct FieldMap {
    /// A row a frequency.
    frequencies: Box<[f64]>,
    values: usize,
}

impl FieldMap {
    /// Of states of `values` values (64 at most), with length scale ℓ; `None` for none, too many, or a scale that is no length.
    #[must_use]
    pub fn new(values: usize, length: f64, seed: u64) -> Option<Self> {
        let fits = (1..=STATE_MAX).contains(&values) && length > 0.0 && length.is_finite();
        fits.then(|| {
            let mut normals = SeededNormals::new(seed);
            let frequencies = (0..FREQUENCIES * values).map(|_| normals.normal() / length).collect();
            Self { frequencies, values }
        })
    }

    /// Where a standardised state lies; values beyond five deviations count as five. `None` where one is no number, or there are more or
    /// fewer than it was made for.
    #[must_use]
    pub fn at(&self, state: &[f64]) -> Option<FieldPoint> {
        if state.len() != self.values || state.iter().any(|x| !x.is_finite()) {
            return None;
        }
        let mut point = [0.0; FIELD];
        let scale = (1.0 / FREQUENCIES as f64).sqrt();
        for (i, row) in self.frequencies.chunks_exact(self.values).enumerate() {
            let angle = row.iter().zip(state).fold(0.0, |sum, (w, x)| sum + w * x.clamp(-CUT, CUT));
            let (sin, cos) = libm::sincos(angle);
            (point[i], point[FREQUENCIES + i]) = (scale * cos, scale * sin);
        }
        Some(point)
    }
}

/// φ·ψ.
#[must_use]
pub fn cosine(a: &FieldPoint, b: &FieldPoint) -> f64 {
    a.iter().zip(b).fold(0.0, |sum, (x, y)| sum + x * y)
}

/// How fast the field moves: ‖φ − ψ‖ a second, 0 where no time has passed.
#[must_use]
pub fn velocity(before: &FieldPoint, after: &FieldPoint, seconds: f64) -> f64 {
    let square = before.iter().zip(after).fold(0.0, |sum, (x, y)| sum + (y - x) * (y - x));
    if seconds > 0.0 { square.sqrt() / seconds } else { 0.0 }
}

/// Tension of views: 1 − ‖Σ w φ‖², in [0, 1]; 0 where all look the same way. Weights are brought to sum 1; `None` without a view that
/// has weight.
#[must_use]
pub fn tension<'a>(views: impl Iterator<Item = (f64, &'a [f64])>) -> Option<f64> {
    let (mut mean, mut total) = ([0.0; FIELD], 0.0);
    for (weight, view) in views {
        mean.iter_mut().zip(view).for_each(|(sum, x)| *sum += weight * x);
        total += weight;
    }
    let square = mean.iter().fold(0.0, |sum, x| sum + x * x) / (total * total);
    (total > 0.0 && square.is_finite()).then(|| (1.0 - square).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exp;

    #[test]
    fn published_values() {
        let map = FieldMap::new(5, 1.0, 1).unwrap();
        let point = map.at(&[0.3, -1.0, 2.0, 0.0, 4.0]).unwrap();
        assert!((cosine(&point, &point) - 1.0).abs() < 1e-12, "length 1");
        // Two views at 60 degrees; (e1, e2, e1).
        let (e1, e2) = ([1.0, 0.0], [0.0, 1.0]);
        let turned = [0.5, 0.75f64.sqrt()];
        assert!((tension([(0.5, &e1[..]), (0.5, &turned[..])].into_iter()).unwrap() - 0.25).abs() < 1e-12);
        let three = [(1.0, &e1[..]), (1.0, &e2[..]), (1.0, &e1[..])];
        assert!((tension(three.into_iter()).unwrap() - 0.444_444).abs() < 1e-6);
    }

    #[test]
    fn over_seeds_it_is_the_kernel_with_the_published_error() {
        let (x, y) = ([0.0, 0.0], [0.6, 0.8]);
        let seeds = 4_000;
        let products: Vec<f64> = (0..seeds)
            .map(|seed| {
                let map = FieldMap::new(2, 1.0, seed * 7 + 1).unwrap();
                cosine(&map.at(&x).unwrap(), &map.at(&y).unwrap())
            })
            .collect();
        let n = seeds as f64;
        let mean = products.iter().sum::<f64>() / n;
        let sd = (products.iter().map(|p| (p - mean) * (p - mean)).sum::<f64>() / n).sqrt();
        assert!((mean - exp(-0.5)).abs() < 3.0 * 0.039_507_5 / n.sqrt(), "{mean}");
        assert!((sd / 0.039_507_5 - 1.0).abs() < 0.05, "{sd}");
    }

    #[test]
    fn degenerate_input() {
        let map = FieldMap::new(2, 1.0, 1).unwrap();
        assert!(map.at(&[0.0, f64::NAN]).is_none() && map.at(&[0.0]).is_none());
        assert_eq!(map.at(&[9.0, 0.0]), map.at(&[5.0, 0.0]), "cut at five deviations");
        assert!(FieldMap::new(0, 1.0, 1).is_none() && FieldMap::new(65, 1.0, 1).is_none());
        assert!(FieldMap::new(2, 0.0, 1).is_none() && FieldMap::new(2, f64::NAN, 1).is_none());
        assert_eq!(tension(std::iter::empty()), None);
        let (a, b) = (map.at(&[0.0, 0.0]).unwrap(), map.at(&[1.0, 0.0]).unwrap());
        assert!(velocity(&a, &b, 2.0) > 0.0 && velocity(&a, &b, 0.0) == 0.0 && velocity(&a, &a, 1.0) == 0.0);
    }
}
