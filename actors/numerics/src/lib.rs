//! Deterministic mathematics shared by estimators.
//!
//! One input gives one result on every machine: transcendental functions come from a pinned pure-Rust library,
//! sums have a fixed order, nothing is contracted, and windows that slide are kept in integers so that no error
//! accumulates.

pub mod binomial;
pub mod calibration;
pub mod change_points;
pub mod cointegration;
pub mod conflict;
pub mod decayed;
pub mod entropy;
pub mod estimate;
pub mod experts;
pub mod field;
pub mod gls;
pub mod hawkes;
pub mod illiquidity;
pub mod informed;
pub mod kalman;
pub mod linear;
pub mod matrix_profile;
pub mod portfolio;
pub mod ranked;
pub mod realised;
pub mod regimes;
pub mod regression;
pub mod roll;
pub mod scoring;
pub mod seeded;
pub mod softmax;
pub mod square_root_impact;
pub mod synchronisation;
pub mod tone;
pub mod toxic_flow;
pub mod trade_costs;
pub mod variance_ratio;
pub mod volatility;
pub mod vpin;

pub use decayed::DecayedMean;
pub use entropy::PermutationEntropy;
pub use estimate::Estimate;
pub use gls::{Agreement, ErrorCovariance};
pub use linear::{Matrix, SingularMatrix};
pub use ranked::RankedWindow;
pub use realised::RealisedVariance;
pub use regression::DecayedSlope;
pub use volatility::{Volatility, VolatilityConfig};

/// The nearest float to an integer; sums that fit 64 bits, as most do, are spared the long way.
#[inline]
#[must_use]
pub fn real(x: i128) -> f64 {
    i64::try_from(x).map_or(x as f64, |x| x as f64)
}

/// Natural logarithm, the same on every machine.
#[inline]
#[must_use]
pub fn ln(x: f64) -> f64 {
    libm::log(x)
}

/// Exponential, the same on every machine.
#[inline]
#[must_use]
pub fn exp(x: f64) -> f64 {
    libm::exp(x)
}

/// Logarithm of the gamma function, the same on every machine.
#[inline]
#[must_use]
pub fn ln_gamma(x: f64) -> f64 {
    libm::lgamma(x)
}

/// The normal distribution, the same on every machine.
#[must_use]
pub fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// Hyperbolic tangent, the same on every machine.
#[inline]
#[must_use]
pub fn tanh(x: f64) -> f64 {
    libm::tanh(x)
}

/// The factor by which a weight decays over one step of a half-life of `steps`.
#[must_use]
pub fn decay_of_half_life(steps: f64) -> f64 {
    libm::exp2(-1.0 / steps)
}
