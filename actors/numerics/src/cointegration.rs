//! 6.9 Do two prices belong together? Engle and Granger's residual (1987) with MacKinnon's point (2010), Johansen's trace (1988), and the autoregression of
//! the spread.

use crate::ln;

/// 5 % point of the residual's t for two prices and a constant, of very many observations (MacKinnon 2010).
pub const ENGLE_GRANGER_5: f64 = -3.336_13;
/// 5 % points of the trace for two prices and a constant: none of no relation, and of at most one (Johansen's tables).
pub const TRACE_5: [f64; 2] = [15.494_3, 3.841_5];
/// Fewest pairs that are looked at.
const MIN: usize = 50;

/// A straight line through pairs, and whether what is left over comes back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EngleGranger {
    /// y = alpha + beta · x + spread.
    pub alpha: f64,
    /// Hedge ratio.
    pub beta: f64,
    /// t of the spread's regression on itself: far below 0 where it comes back.
    pub t: f64,
}

impl EngleGranger {
    /// Of as many `y` as `x`, in order; none for fewer than fifty, or where nothing moves.
    #[must_use]
    pub fn fit(y: &[f64], x: &[f64]) -> Option<Self> {
        Self::fit_in(y, x, &mut vec![0.0; y.len()])
    }

    /// The same in memory that is there already: `spread` is as long as both, and holds their spread behind it.
    #[must_use]
    pub fn fit_in(y: &[f64], x: &[f64], spread: &mut [f64]) -> Option<Self> {
        let n = y.len();
        if n < MIN || x.len() != n || spread.len() != n || y.iter().chain(x).any(|v| !v.is_finite()) {
            return None;
        }
        let (my, mx) = (mean(y), mean(x));
        let sxx = x.iter().fold(0.0, |sum, x| sum + (x - mx) * (x - mx));
        let sxy = x.iter().zip(y).fold(0.0, |sum, (x, y)| sum + (x - mx) * (y - my));
        if sxx <= 0.0 {
            return None;
        }
        let beta = sxy / sxx;
        let alpha = my - beta * mx;
        for (to, (y, x)) in spread.iter_mut().zip(y.iter().zip(x)) {
            *to = y - alpha - beta * x;
        }
        Some(Self { alpha, beta, t: dickey_fuller(spread)? })
    }

    /// The spread of a pair.
    #[must_use]
    pub fn spread(&self, y: f64, x: f64) -> f64 {
        y - self.alpha - self.beta * x
    }

    /// True where the spread comes back, at 5 %.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.t < ENGLE_GRANGER_5
    }
}

fn mean(of: &[f64]) -> f64 {
    of.iter().fold(0.0, |sum, x| sum + x) / of.len().max(1) as f64
}

/// t of the change of a residual on the residual before, with one earlier change, without a constant; none where it does not move.
fn dickey_fuller(of: &[f64]) -> Option<f64> {
    let (mut a, mut b, mut c, mut ya, mut yb, mut yy) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    for w in of.windows(3) {
        let (level, before, change) = (w[1], w[1] - w[0], w[2] - w[1]);
        a += level * level;
        b += level * before;
        c += before * before;
        ya += change * level;
        yb += change * before;
        yy += change * change;
    }
    let determinant = a * c - b * b;
    if determinant <= 1e-12 * a * c || !determinant.is_finite() {
        return None;
    }
    let (slope, other) = ((c * ya - b * yb) / determinant, (a * yb - b * ya) / determinant);
    let left = (yy - slope * ya - other * yb).max(0.0) / (of.len() as f64 - 4.0);
    let error = (left * c / determinant).sqrt();
    (error > 0.0).then(|| slope / error)
}

/// An autoregression x' = μ + b(x − μ) + ε as a process that is pulled back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pull {
    /// Where it is pulled to.
    pub mean: f64,
    /// Deviation about it in the long run: σ_ε/√(1 − b²).
    pub deviation: f64,
    /// Steps until half a gap is closed: −ln 2/ln b.
    pub half_life_steps: f64,
}

impl Pull {
    /// From its parameters; none where b is not inside (0, 1), or nothing moves.
    #[must_use]
    pub fn new(mean: f64, b: f64, noise: f64) -> Option<Self> {
        (b > 0.0 && b < 1.0 && noise > 0.0 && noise.is_finite() && mean.is_finite()).then(|| Self {
            mean,
            deviation: noise / (1.0 - b * b).sqrt(),
            half_life_steps: -std::f64::consts::LN_2 / ln(b),
        })
    }

    /// Fitted to a series; none for fewer than fifty, or what is not pulled back.
    #[must_use]
    pub fn fit(of: &[f64]) -> Option<Self> {
        if of.len() < MIN || of.iter().any(|x| !x.is_finite()) {
            return None;
        }
        let (before, after) = (&of[..of.len() - 1], &of[1..]);
        let (mb, ma) = (mean(before), mean(after));
        let sxx = before.iter().fold(0.0, |sum, x| sum + (x - mb) * (x - mb));
        let sxy = before.iter().zip(after).fold(0.0, |sum, (x, y)| sum + (x - mb) * (y - ma));
        let b = if sxx > 0.0 { sxy / sxx } else { return None };
        let left = before.iter().zip(after).fold(0.0, |sum, (x, y)| {
            let miss = y - ma - b * (x - mb);
            sum + miss * miss
        });
        let noise = (left / (before.len() as f64 - 2.0)).sqrt();
        Self::new((ma - b * mb) / (1.0 - b), b, noise)
    }

    /// How far a value lies from the mean, in deviations.
    #[must_use]
    pub fn z(&self, x: f64) -> f64 {
        (x - self.mean) / self.deviation
    }
}

/// Johansen's traces of two prices with a constant and one earlier change: of no relation, and of at most one. A relation is found where the first is above its
/// point and the second is not. None for fewer than fifty pairs, or where nothing moves.
#[must_use]
pub fn johansen_trace(y: &[f64], x: &[f64]) -> Option<[f64; 2]> {
    let n = y.len();
    if n < MIN || x.len() != n || y.iter().chain(x).any(|v| !v.is_finite()) {
        return None;
    }
    let at = |i: usize| [y[i], x[i]];
    let change = |i: usize| [y[i] - y[i - 1], x[i] - x[i - 1]];
    // What the constant and the change before explain is taken out of changes and of levels.
    let rows: Vec<[[f64; 2]; 3]> = (2..n).map(|i| [change(i), at(i - 1), change(i - 1)]).collect();
    let t = rows.len() as f64;
    let column = |part: usize, c: usize| -> Vec<f64> {
        let values: Vec<f64> = rows.iter().map(|row| row[part][c]).collect();
        let m = mean(&values);
        values.iter().map(|v| v - m).collect()
    };
    let lagged: [Vec<f64>; 2] = std::array::from_fn(|c| column(2, c));
    let zz = moment(&lagged, &lagged, t);
    let zi = inverse(&zz)?;
    let residual = |of: [Vec<f64>; 2]| -> [Vec<f64>; 2] {
        let oz = moment(&of, &lagged, t);
        let b = times(&oz, &zi);
        std::array::from_fn(|c| {
            (0..rows.len()).map(|i| of[c][i] - b[c][0] * lagged[0][i] - b[c][1] * lagged[1][i]).collect()
        })
    };
    let changes = residual(std::array::from_fn(|c| column(0, c)));
    let levels = residual(std::array::from_fn(|c| column(1, c)));
    let (s00, s11, s01) =
        (moment(&changes, &changes, t), moment(&levels, &levels, t), moment(&changes, &levels, t));
    let s10 = [[s01[0][0], s01[1][0]], [s01[0][1], s01[1][1]]];
    let m = times(&times(&inverse(&s11)?, &s10), &times(&inverse(&s00)?, &s01));
    let (trace, determinant) = (m[0][0] + m[1][1], m[0][0] * m[1][1] - m[0][1] * m[1][0]);
    let root = (trace * trace / 4.0 - determinant).max(0.0).sqrt();
    let [first, second] = [trace / 2.0 + root, trace / 2.0 - root].map(|l| l.clamp(0.0, 1.0 - 1e-12));
    let of = |l: f64| -t * ln(1.0 - l);
    Some([of(first) + of(second), of(second)])
}

type Two = [[f64; 2]; 2];

fn moment(a: &[Vec<f64>; 2], b: &[Vec<f64>; 2], t: f64) -> Two {
    std::array::from_fn(|i| {
        std::array::from_fn(|j| a[i].iter().zip(&b[j]).fold(0.0, |sum, (x, y)| sum + x * y) / t)
    })
}

fn inverse(m: &Two) -> Option<Two> {
    let determinant = m[0][0] * m[1][1] - m[0][1] * m[1][0];
    (determinant.abs() > 1e-12 * (m[0][0] * m[1][1]).abs()).then(|| {
        [[m[1][1] / determinant, -m[0][1] / determinant], [-m[1][0] / determinant, m[0][0] / determinant]]
    })
}

fn times(a: &Two, b: &Two) -> Two {
    std::array::from_fn(|i| std::array::from_fn(|j| a[i][0] * b[0][j] + a[i][1] * b[1][j]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::SeededNormals;

    #[test]
    fn published_values() {
        let pull = Pull::new(1.0, 0.95, 0.01).unwrap();
        for (value, expected) in
            [(pull.half_life_steps, 13.5134), (pull.deviation, 0.032_025_6), (pull.z(1.08), 2.498)]
        {
            assert!((value / expected - 1.0).abs() < 1e-4, "{value} is not {expected}");
        }
        assert!((ENGLE_GRANGER_5 + 3.33613).abs() < 1e-9 && (TRACE_5[0] - 15.4943).abs() < 1e-9);
    }

    /// Two prices: the second a walk, the first it, or a walk of its own.
    fn pair(seed: u64, n: usize, is_bound: bool) -> (Vec<f64>, Vec<f64>) {
        let mut normals = SeededNormals::new(seed);
        let (mut walk, mut own, mut gap) = (100.0, 100.0, 0.0);
        let mut all = (Vec::new(), Vec::new());
        for _ in 0..n {
            walk += normals.normal();
            own += normals.normal();
            gap = 0.8 * gap + normals.normal();
            all.0.push(if is_bound { 5.0 + 1.5 * walk + gap } else { own });
            all.1.push(walk);
        }
        all
    }

    #[test]
    fn what_belongs_together_is_found_and_walks_are_not_more_often_than_they_may() {
        let (mut residual, mut traces) = (0, 0);
        for seed in 1..=200 {
            let (y, x) = pair(seed, 400, true);
            let fit = EngleGranger::fit(&y, &x).unwrap();
            assert!(fit.holds() && (fit.beta - 1.5).abs() < 0.4, "{seed}: {fit:?}");
            assert!(johansen_trace(&y, &x).unwrap()[0] > TRACE_5[0]);
            let (y, x) = pair(seed + 1_000, 400, false);
            residual += u32::from(EngleGranger::fit(&y, &x).unwrap().holds());
            traces += u32::from(johansen_trace(&y, &x).unwrap()[0] > TRACE_5[0]);
        }
        // 5 % of 200, and three deviations.
        assert!(residual <= 20 && traces <= 24, "{residual} {traces}");
        let (y, x) = pair(7, 2_000, true);
        let fit = EngleGranger::fit(&y, &x).unwrap();
        let spread: Vec<f64> = y.iter().zip(&x).map(|(y, x)| fit.spread(*y, *x)).collect();
        let pull = Pull::fit(&spread).unwrap();
        assert!((pull.half_life_steps - 3.1).abs() < 0.6 && pull.mean.abs() < 0.3, "{pull:?}");
    }

    #[test]
    fn degenerate_input() {
        assert!(Pull::new(0.0, 1.0, 0.1).is_none() && Pull::new(0.0, 0.5, 0.0).is_none());
        assert!(Pull::fit(&[1.0; 100]).is_none() && Pull::fit(&[1.0; 10]).is_none());
        assert!(EngleGranger::fit(&[1.0; 100], &[1.0; 100]).is_none());
        assert!(EngleGranger::fit(&[f64::NAN; 100], &[1.0; 100]).is_none());
        assert!(johansen_trace(&[1.0; 100], &[1.0; 100]).is_none());
    }
}
