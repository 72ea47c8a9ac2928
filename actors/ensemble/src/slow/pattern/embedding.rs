//! A window of bars as a point on a sphere (model book 3.6): 64 bars of eight channels, each channel by its mean and deviation, through a fixed
//! Gaussian projection (Johnson and Lindenstrauss 1984) to 512 values of eight bits.

use std::sync::OnceLock;

use kimera_numerics::seeded::SeededNormals;

use crate::slow::bars::{Bar, CHANNELS, RETURN};

/// Bars of a window.
pub const WINDOW: usize = 64;
/// Values of an embedding.
pub const VALUES: usize = WINDOW * CHANNELS;
/// Seed of the projection: part of what an opinion was computed with.
pub const SEED: u64 = 0x5EED_0512;
/// Sums that run side by side: one order of additions on every machine.
const LANES: usize = 16;

/// An embedding: eight bits a value, and one over its length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Embedding {
    /// Direction.
    pub values: [i8; VALUES],
    /// 1/‖values‖.
    pub scale: f32,
}

/// Rows of the projection: made once a process.
fn projection() -> &'static [f32] {
    static PROJECTION: OnceLock<Box<[f32]>> = OnceLock::new();
    PROJECTION.get_or_init(|| {
        let mut normals = SeededNormals::new(SEED);
        (0..VALUES * VALUES).map(|_| normals.normal() as f32).collect()
    })
}

/// The embedding of a window, oldest bar first; none where it is no whole window, the price did not move in it, or a value is no number.
#[must_use]
pub fn embed(window: &[Bar]) -> Option<Embedding> {
    if window.len() != WINDOW {
        return None;
    }
    let mut flat = [0.0f32; VALUES];
    for channel in 0..CHANNELS {
        let of = || window.iter().map(|bar| bar[channel]);
        let mean = of().fold(0.0, |sum, x| sum + x) / WINDOW as f64;
        let variance = of().fold(0.0, |sum, x| sum + (x - mean) * (x - mean)) / WINDOW as f64;
        let is_flat = variance <= 1e-24 * (1.0 + mean * mean);
        if !variance.is_finite() || (channel == RETURN && is_flat) {
            return None;
        }
        let scale = if is_flat { 0.0 } else { 1.0 / variance.sqrt() };
        let places = flat.iter_mut().skip(channel).step_by(CHANNELS);
        places.zip(of()).for_each(|(to, x)| *to = ((x - mean) * scale) as f32);
    }
    let mut projected = [0.0f32; VALUES];
    for (to, row) in projected.iter_mut().zip(projection().chunks_exact(VALUES)) {
        *to = product(row, &flat);
    }
    let largest = projected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    if largest <= 0.0 || !largest.is_finite() {
        return None;
    }
    let mut values = [0i8; VALUES];
    let step = 127.0 / largest;
    values.iter_mut().zip(projected).for_each(|(to, x)| *to = (x * step).round() as i8);
    let square = dot(&values, &values);
    Some(Embedding { values, scale: 1.0 / (square as f32).sqrt() })
}

fn product(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    for (a, b) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().fold(0.0, |sum, x| sum + x)
}

/// Exact product of two rows of eight bits: at most 512 · 128², so nothing wraps, and no check keeps it from eight sums side by side.
#[must_use]
pub fn dot(a: &[i8], b: &[i8]) -> i32 {
    const SUMS: usize = 8;
    let mut sums = [0i32; SUMS];
    let product = |x: i8, y: i8| i32::from(x).wrapping_mul(i32::from(y));
    for (a, b) in a.chunks_exact(2 * SUMS).zip(b.chunks_exact(2 * SUMS)) {
        for i in 0..SUMS {
            let pair = product(a[i], b[i]).wrapping_add(product(a[SUMS + i], b[SUMS + i]));
            sums[i] = sums[i].wrapping_add(pair);
        }
    }
    sums.iter().fold(0, |sum, x| sum.wrapping_add(*x))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bars that are noise from a seed.
    pub(in crate::slow::pattern) fn noise(seed: u64) -> Vec<Bar> {
        let mut normals = SeededNormals::new(seed);
        (0..WINDOW).map(|_| std::array::from_fn(|_| normals.normal())).collect()
    }

    fn cosine(a: &Embedding, b: &Embedding) -> f32 {
        dot(&a.values, &b.values) as f32 * a.scale * b.scale
    }

    #[test]
    fn scale_and_level_do_not_count_and_likeness_is_kept() {
        let window = noise(1);
        let of = embed(&window).unwrap();
        assert!((cosine(&of, &of) - 1.0).abs() < 1e-5);
        let moved: Vec<Bar> = window.iter().map(|bar| bar.map(|x| 3.0 * x + 7.0)).collect();
        assert!(cosine(&of, &embed(&moved).unwrap()) > 0.999);
        let near: Vec<Bar> =
            window.iter().zip(noise(2)).map(|(a, b)| std::array::from_fn(|c| a[c] + 0.5 * b[c])).collect();
        let (close, far) = (cosine(&of, &embed(&near).unwrap()), cosine(&of, &embed(&noise(3)).unwrap()));
        // The windows' own cosine is 1/√1.25; a projection to as many values keeps it within its deviation.
        assert!((close - 0.894).abs() < 0.06 && far.abs() < 0.2, "{close} {far}");
        let turned: Vec<Bar> = window.iter().map(|bar| bar.map(|x| -x)).collect();
        assert!(cosine(&of, &embed(&turned).unwrap()) < -0.999, "turned round");
    }

    #[test]
    fn degenerate_input() {
        assert!(embed(&noise(1)[1..]).is_none());
        let still: Vec<Bar> = noise(1)
            .into_iter()
            .map(|mut bar| {
                bar[RETURN] = 0.0;
                bar
            })
            .collect();
        assert!(embed(&still).is_none(), "the price did not move");
        let mut strange = noise(1);
        strange[5][3] = f64::NAN;
        assert!(embed(&strange).is_none());
    }
}
