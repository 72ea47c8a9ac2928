//! A value that says how far it may be trusted.

use kimera_protocol::Status;

/// What every estimator returns. `value` is finite for every status.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// The value, in the estimator's unit.
    pub value: f64,
    /// Observations behind it.
    pub n: u64,
    /// Whether it may be used.
    pub status: Status,
}

kimera_protocol::state!(Estimate { value, n, status });

impl Estimate {
    /// A usable value; one that is not finite becomes a degenerate 0.
    #[must_use]
    pub fn ok(value: f64, n: u64) -> Self {
        if value.is_finite() {
            Self { value, n, status: Status::Ok }
        } else {
            Self::degenerate(Status::ZeroVariance, n)
        }
    }

    /// No value yet.
    #[must_use]
    pub fn warmup(n: u64) -> Self {
        Self { value: 0.0, n, status: Status::Warmup }
    }

    /// No value, for a reason.
    #[must_use]
    pub fn degenerate(status: Status, n: u64) -> Self {
        Self { value: 0.0, n, status }
    }

    /// A value held inside `[low, high]`, marked where it had to be.
    #[must_use]
    pub fn clamped(value: f64, low: f64, high: f64, n: u64) -> Self {
        let held = value.max(low).min(high);
        let status = if held.to_bits() == value.to_bits() { Status::Ok } else { Status::Clamped };
        Self { status, ..Self::ok(held, n) }
    }
}
