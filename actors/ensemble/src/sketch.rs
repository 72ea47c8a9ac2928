//! What members find, put on a grid, and the votes that are read out of it. A vote is defined on the grid: equal sketches are equal votes, bit for bit,
//! whenever they are read (model book 3.16). The widths of the grid are part of the policy; they are named with [`Form`].
//!
//! What has a sign lies on a grid of octaves: eight steps from each power of two to the next, so that what is small keeps its direction and what is large
//! is as exact in its own measure. It is a number's exponent and the first three bits of its fraction.

use kimera_numerics::tanh;
use kimera_protocol::{Form, Sketch};

use crate::members::policy;
use crate::pool::{Forecast, simplex};

/// Steps of one, of a probability.
const ODDS: f64 = 1_024.0;
/// Largest argument of a direction: beyond it a direction is certain to a thousandth.
const ARGUMENT_MAX: f64 = 4.0;
/// Steps of one, of a doubt or a temperature.
const SHARE: f64 = 64.0;
/// Bits of a float below those that a step keeps.
const DROPPED: u32 = 20;
/// The first step is 2⁻¹⁰: what is nearer to 0 is 0.
const FIRST: f32 = 1.0 / 1_024.0;

/// The nearest step; none of what is no number. Halves go away from 0, so that up and down are treated alike.
fn step(x: f64, per_unit: f64) -> Option<i16> {
    x.is_finite().then(|| (x * per_unit).round() as i16)
}

/// The nearest step of octaves; none of what is no number.
fn octaves(x: f64, most: f64) -> Option<i16> {
    let size = x.abs().min(most) as f32;
    // Half of what is dropped is added: to the nearest.
    let nearest = (size.to_bits() + (1 << (DROPPED - 1))) >> DROPPED;
    let steps = nearest as i32 - (FIRST.to_bits() >> DROPPED) as i32 + 1;
    (!x.is_nan()).then_some(if x < 0.0 { -steps.max(0) } else { steps.max(0) } as i16)
}

/// The value of a step of octaves.
fn of_octaves(steps: i16) -> f64 {
    if steps == 0 {
        return 0.0;
    }
    let bits = (u32::from(steps.unsigned_abs()) - 1 + (FIRST.to_bits() >> DROPPED)) << DROPPED;
    f64::from(f32::from_bits(bits)) * f64::from(steps.signum())
}

/// Probabilities of down, flat and up; none where they are no distribution.
#[must_use]
pub fn odds(p: Forecast) -> Option<Sketch> {
    let p = simplex(p)?;
    let (mut down, mut up) = (step(p[0], ODDS)?, step(p[2], ODDS)?);
    if down + up > ODDS as i16 {
        // Both were rounded up: the larger one gives way.
        *(if down > up { &mut down } else { &mut up }) -= 1;
    }
    Some(Sketch::new(Form::Odds, down, up))
}

/// A direction by the argument of its hyperbolic tangent, and how much it is doubted, 0 to 1: the vote leans by (1 − doubt) · tanh(argument) / 3.
#[must_use]
pub fn tilt(argument: f64, doubt: f64) -> Option<Sketch> {
    let argument = octaves(argument, ARGUMENT_MAX)?;
    Some(Sketch::new(Form::Tilt, argument, step(doubt.clamp(0.0, 1.0), SHARE)?))
}

/// A drift against its noise, −1 to 1, and a temperature, 0 to 1: the vote is the policy that free energy prefers (model book 3.4) where a side costs
/// what drifts against it, at ½ + temperature of the noise.
#[must_use]
pub fn free_energy(drift: f64, temperature: f64) -> Option<Sketch> {
    let drift = octaves(drift, 1.0)?;
    Some(Sketch::new(Form::FreeEnergy, drift, step(temperature.clamp(0.0, 1.0), SHARE)?))
}

/// True if a vote can be read out of it: its form is known and its numbers are within what the form allows.
#[inline]
#[must_use]
pub fn is_readable(sketch: Sketch) -> bool {
    let (first, second) = sketch.steps();
    // Powers of two: a whole number of octaves from the first step.
    const ARGUMENT: u16 = 1 + 8 * 12;
    const DRIFT: u16 = 1 + 8 * 10;
    let within = |x: i16, most: u16| x.unsigned_abs() <= most;
    match sketch.form() {
        Some(Form::Odds) => first >= 0 && second >= 0 && i32::from(first) + i32::from(second) <= ODDS as i32,
        Some(Form::Tilt) => second >= 0 && within(first, ARGUMENT) && within(second, SHARE as u16),
        Some(Form::FreeEnergy) => second >= 0 && within(first, DRIFT) && within(second, SHARE as u16),
        None => false,
    }
}

/// The vote; none where it cannot be read.
#[must_use]
pub fn read(sketch: Sketch) -> Option<Forecast> {
    if !is_readable(sketch) {
        return None;
    }
    let (first, second) = sketch.steps();
    let share = f64::from(second) / SHARE;
    match sketch.form()? {
        Form::Odds => {
            let (down, up) = (f64::from(first), f64::from(second));
            Some([down / ODDS, (ODDS - down - up) / ODDS, up / ODDS])
        }
        Form::Tilt => {
            let lean = (1.0 - share) * tanh(of_octaves(first)) / 3.0;
            Some([1.0 / 3.0 - lean, 1.0 / 3.0, 1.0 / 3.0 + lean])
        }
        Form::FreeEnergy => {
            let drift = of_octaves(first);
            simplex(policy([drift, 0.0, -drift], 0.5 + share).0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_sketch_is_no_vote() {
        let readable = |form, first, second| read(Sketch::new(form, first, second)).is_some();
        assert!(
            readable(Form::Odds, 512, 512) && !readable(Form::Odds, 512, 513) && !readable(Form::Odds, -1, 5)
        );
        assert!(
            readable(Form::Tilt, -97, 64) && !readable(Form::Tilt, 98, 0) && !readable(Form::Tilt, 0, -1)
        );
        assert!(readable(Form::FreeEnergy, 81, 0) && !readable(Form::FreeEnergy, 82, 0));
        assert!(!readable(Form::FreeEnergy, i16::MIN, i16::MIN) && read(Sketch::NONE).is_none());
        for word in [7u64, 1 | 1 << 48, u64::MAX] {
            assert_eq!(read(Sketch::from_word(word)), None, "{word:#x}");
        }
        for bad in [f64::NAN, f64::INFINITY] {
            assert!(odds([bad, 0.5, 0.5]).is_none() && (bad.is_infinite() || tilt(bad, 0.0).is_none()));
            assert!(bad.is_infinite() || free_energy(0.0, bad).is_none());
        }
        assert_eq!(odds([0.2, 0.3, 0.6]), None, "no distribution");
    }

    #[test]
    fn octaves_end_where_they_should() {
        for (x, steps, value) in [
            (0.0, 0, 0.0),
            (1.0 / 1_024.0, 1, 1.0 / 1_024.0),
            (1.0 / 2_200.0, 0, 0.0),
            (1.0, 81, 1.0),
            (-1.0, -81, -1.0),
            (9.0, 97, 4.0),
            (f64::INFINITY, 97, 4.0),
            (1.13, 82, 1.125),
            (-0.3, -67, -0.3125),
        ] {
            assert_eq!(octaves(x, ARGUMENT_MAX), Some(steps), "{x}");
            assert!((of_octaves(steps) - value).abs() < 1e-12, "{x} {}", of_octaves(steps));
        }
        assert_eq!(octaves(f64::NAN, 1.0), None);
        // What can be made can be read.
        assert!(is_readable(tilt(-1e9, 1.0).unwrap()) && is_readable(free_energy(1e9, 1.0).unwrap()));
    }

    proptest! {
        /// A vote is near what was found, always a distribution, and turned round where the finding is.
        #[test]
        fn a_vote_is_what_was_found_to_within_the_grid(a in 0.0f64..1.0, b in 0.0f64..1.0, x in -6.0f64..6.0, share in 0.0f64..1.0) {
            let (low, high) = (a.min(b), a.max(b));
            let p = [low, high - low, 1.0 - high];
            let said = read(odds(p).unwrap()).unwrap();
            prop_assert!(said.iter().zip(p).all(|(s, p)| (s - p).abs() < 1.6 / ODDS), "{said:?} {p:?}");
            let lean = |x| { let p = read(tilt(x, share).unwrap()).unwrap(); p[2] - p[0] };
            prop_assert!((lean(x) - (1.0 - share) * tanh(x) * 2.0 / 3.0).abs() < 0.03);
            let drift = |x| { let p = read(free_energy(x, share).unwrap()).unwrap(); p[2] - p[0] };
            for (found, turned) in [(lean(x), lean(-x)), (drift(x), drift(-x))] {
                prop_assert!((found + turned).abs() < 1e-12);
            }
            for sketch in [odds(p), tilt(x, share), free_energy(x, share)] {
                let p = read(sketch.unwrap()).unwrap();
                prop_assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12 && p.iter().all(|x| *x >= 0.0));
            }
        }
    }
}
