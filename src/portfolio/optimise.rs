//! Weights from expected returns and a covariance (model book 5.2, 5.3): a quadratic programme for everything that is one, solved by an interior-point
//! method and checked here against the conditions of Karush, Kuhn and Tucker; risk parity by its descent.

use clarabel::algebra::CscMatrix;
use clarabel::solver::{DefaultSettings, DefaultSolver, IPSolver, SolverStatus, SupportedConeT};
use kimera_numerics::Matrix;
use kimera_numerics::portfolio::risk_parity;

/// Largest violation of a condition, against the size of what is compared.
const RESIDUAL_MAX: f64 = 1e-8;
/// Steps of the method.
const STEPS_MAX: u32 = 200;

/// What is wanted of a portfolio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Objective {
    /// Most of return − risk aversion / 2 · variance (Markowitz 1952).
    MeanVariance {
        /// λ, above 0.
        risk_aversion: f64,
    },
    /// Least variance.
    MinimumVariance,
    /// Least variance among those that are expected to return so much at least.
    TargetReturn(f64),
    /// Most expected return for its deviation (Sharpe 1966).
    Tangency,
    /// Equal shares of the risk (Maillard, Roncalli and Teïletche 2010).
    RiskParity,
}

/// Within which bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    /// Most of one asset.
    pub cap: f64,
    /// Most that is bought and sold, as a share of everything; none for no limit.
    pub turnover: Option<f64>,
    /// What is held now, an asset each; what is missing to 1 is cash.
    pub now: Vec<f64>,
    /// Cash may be held. It may wherever caps leave no other way.
    pub cash: bool,
}

/// Weights, and what they are expected to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Portfolio {
    /// An asset each.
    pub weights: Vec<f64>,
    /// Held in none.
    pub cash: f64,
    /// Expected return and deviation, in the units of what came in.
    pub expected: f64,
    /// Deviation.
    pub deviation: f64,
    /// Largest violation of an optimality condition, relative; none where there is no programme.
    pub residual: Option<f64>,
    /// The limit of turnover bound: it is only part of the way to what is wanted.
    pub partial: bool,
}

/// Why there are no weights.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OptimiseError {
    /// Shapes that do not fit, or numbers that are none.
    #[error("{0}")]
    Input(String),
    /// No weights are within all bounds.
    #[error("no weights are within these bounds: what is held stays as it is ({0})")]
    Infeasible(String),
    /// The method ended without an answer that passes its own check.
    #[error("the optimisation ended without an answer to trust: {0}")]
    Unsolved(String),
}

/// min ½xᵀPx + qᵀx where Ax = b in the first `equalities` rows and Ax ≤ b in the others.
struct Programme {
    p: Matrix,
    q: Vec<f64>,
    rows: Vec<(Vec<(usize, f64)>, f64)>,
    equalities: usize,
}

impl Programme {
    fn new(n: usize) -> Self {
        Self { p: Matrix::zeros(n, n), q: vec![0.0; n], rows: Vec::new(), equalities: 0 }
    }

    /// Σ = b; equalities come before everything else.
    fn equal(&mut self, row: Vec<(usize, f64)>, b: f64) {
        self.rows.insert(self.equalities, (row, b));
        self.equalities += 1;
    }

    fn at_most(&mut self, row: Vec<(usize, f64)>, b: f64) {
        self.rows.push((row, b));
    }

    /// Solved in units in which the largest coefficient of the objective is 1, so that what counts as nothing does not depend on the units of returns.
    fn solve(mut self) -> Result<(Vec<f64>, f64), OptimiseError> {
        let n = self.q.len();
        let cells = (0..n).flat_map(|i| (0..n).map(move |j| (i, j)));
        let largest = cells.clone().fold(0.0, |most: f64, (i, j)| most.max(self.p.at(i, j).abs()));
        let unit = self.q.iter().fold(largest, |most, q| most.max(q.abs()));
        if unit > 0.0 {
            cells.for_each(|(i, j)| self.p.set(i, j, self.p.at(i, j) / unit));
            self.q.iter_mut().for_each(|q| *q /= unit);
        }
        let (mut rows, mut columns, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..n {
            for j in (i..n).filter(|j| self.p.at(i, *j) != 0.0) {
                rows.push(i);
                columns.push(j);
                values.push(self.p.at(i, j));
            }
        }
        let p = CscMatrix::new_from_triplets(n, n, rows, columns, values);
        let (mut rows, mut columns, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (i, (row, _)) in self.rows.iter().enumerate() {
            for (j, value) in row {
                rows.push(i);
                columns.push(*j);
                values.push(*value);
            }
        }
        let a = CscMatrix::new_from_triplets(self.rows.len(), n, rows, columns, values);
        let b: Vec<f64> = self.rows.iter().map(|(_, b)| *b).collect();
        let cones = [
            SupportedConeT::ZeroConeT(self.equalities),
            SupportedConeT::NonnegativeConeT(self.rows.len() - self.equalities),
        ];
        let settings = DefaultSettings {
            verbose: false,
            max_iter: STEPS_MAX,
            tol_gap_abs: 1e-12,
            tol_gap_rel: 1e-12,
            tol_feas: 1e-12,
            ..DefaultSettings::default()
        };
        let failed = |e: &dyn std::fmt::Debug| OptimiseError::Unsolved(format!("{e:?}"));
        let mut solver = DefaultSolver::new(&p, &self.q, &a, &b, &cones, settings).map_err(|e| failed(&e))?;
        solver.solve();
        let of = &solver.solution;
        match of.status {
            SolverStatus::PrimalInfeasible | SolverStatus::AlmostPrimalInfeasible => {
                Err(OptimiseError::Infeasible("caps, turnover and target exclude each other".into()))
            }
            status => {
                // Whatever it calls its end, what counts is whether the conditions hold.
                let residual = self.residual(&of.x, &of.z);
                if residual < RESIDUAL_MAX {
                    Ok((of.x.clone(), residual))
                } else {
                    Err(OptimiseError::Unsolved(format!("{status:?}, residual {residual:.1e}")))
                }
            }
        }
    }

    /// Largest violation of stationarity, feasibility and complementarity, in these units.
    fn residual(&self, x: &[f64], z: &[f64]) -> f64 {
        let n = x.len();
        let mut gradient = self.q.clone();
        for (i, g) in gradient.iter_mut().enumerate() {
            *g += (0..n).map(|j| self.p.at(i.min(j), i.max(j)) * x[j]).sum::<f64>();
        }
        let mut worst: f64 = 0.0;
        for (i, (row, b)) in self.rows.iter().enumerate() {
            let slack = b - row.iter().map(|(j, value)| value * x[*j]).sum::<f64>();
            row.iter().for_each(|(j, value)| gradient[*j] += value * z[i]);
            let broken = if i < self.equalities { slack.abs() } else { (-slack).max(-z[i]).max(0.0) };
            let complementary = if i < self.equalities { 0.0 } else { (slack * z[i]).abs() };
            worst = worst.max(broken).max(complementary);
        }
        let stationary = gradient.iter().fold(0.0, |most: f64, g| most.max(g.abs()));
        if stationary.is_nan() || worst.is_nan() { f64::INFINITY } else { worst.max(stationary) }
    }
}

/// Weights for an objective within bounds.
///
/// # Errors
/// Shapes that do not fit, bounds that exclude each other, an answer that does not pass its check.
pub fn optimise(
    returns: &[f64],
    covariance: &Matrix,
    objective: Objective,
    bounds: &Bounds,
) -> Result<Portfolio, OptimiseError> {
    check(returns, covariance, objective, bounds)?;
    let n = returns.len();
    let held = bounds.now.iter().sum::<f64>();
    // What there is no way to invest stays cash.
    let is_slow = bounds.turnover.is_some_and(|limit| limit < 1.0 - held);
    let has_cash = bounds.cash || n as f64 * bounds.cap < 1.0 || is_slow;
    let (wanted, residual, partial) = match objective {
        Objective::RiskParity => {
            let budgets = vec![1.0 / n as f64; n];
            let weights = risk_parity(covariance, &budgets)
                .ok_or_else(|| OptimiseError::Unsolved("the covariance has no risk parity".into()))?;
            if let Some(over) = weights.iter().find(|w| **w > bounds.cap + 1e-12) {
                let cap = bounds.cap;
                return Err(OptimiseError::Infeasible(format!(
                    "equal risk asks for {over:.3} of one asset, the cap is {cap:.3}"
                )));
            }
            let (weights, partial) = part_of_the_way(weights, bounds)?;
            (weights, None, partial)
        }
        Objective::Tangency => {
            let (weights, residual) = tangency(returns, covariance, bounds)?;
            let (weights, partial) = part_of_the_way(weights, bounds)?;
            (weights, Some(residual), partial)
        }
        _ => {
            let (weights, residual) = programme(returns, covariance, objective, bounds, has_cash).solve()?;
            let traded = distance(&weights[..n], &bounds.now);
            let partial = bounds.turnover.is_some_and(|limit| traded > limit - 1e-6);
            (weights[..n].to_vec(), Some(residual), partial)
        }
    };
    // The method's last digits: nothing is below 0, above a cap, or so small that it is none.
    let last = |w: &f64| if *w < 1e-9 { 0.0 } else { w.min(bounds.cap) };
    let weights: Vec<f64> = wanted.iter().map(last).collect();
    let variance = quadratic(covariance, &weights);
    let expected = weights.iter().zip(returns).map(|(w, r)| w * r).sum();
    let cash = (1.0 - weights.iter().sum::<f64>()).max(0.0);
    let cash = if cash < 1e-9 { 0.0 } else { cash };
    Ok(Portfolio { weights, cash, expected, deviation: variance.max(0.0).sqrt(), residual, partial })
}

fn check(
    returns: &[f64],
    covariance: &Matrix,
    objective: Objective,
    bounds: &Bounds,
) -> Result<(), OptimiseError> {
    let n = returns.len();
    let wrong = |what: &str| Err(OptimiseError::Input(what.to_owned()));
    if n == 0 || covariance.rows() != n || bounds.now.len() != n {
        return wrong("returns, covariance and what is held have to be of the same assets, one at least");
    }
    let cells = (0..n).flat_map(|i| (0..n).map(move |j| (i, j)));
    if !returns.iter().all(|r| r.is_finite()) || !cells.clone().all(|(i, j)| covariance.at(i, j).is_finite())
    {
        return wrong("expected returns and covariances have to be numbers");
    }
    let largest = (0..n).fold(0.0, |most: f64, i| most.max(covariance.at(i, i)));
    if cells.clone().any(|(i, j)| (covariance.at(i, j) - covariance.at(j, i)).abs() > 1e-9 * largest) {
        return wrong("the covariance is not symmetric");
    }
    let held = bounds.now.iter().sum::<f64>();
    if !bounds.now.iter().all(|w| (0.0..=1.0).contains(w)) || held > 1.0 + 1e-9 {
        return wrong("what is held has to be shares from 0 to 1 that sum to 1 at most");
    }
    if !(bounds.cap > 0.0 && bounds.cap <= 1.0) {
        return wrong("the cap has to be above 0, and 1 at most");
    }
    if bounds.turnover.is_some_and(|limit| !(0.0..=2.0).contains(&limit)) {
        return wrong("the turnover has to be from 0 to 2: everything sold and bought anew is 2");
    }
    if bounds.cash && matches!(objective, Objective::Tangency | Objective::RiskParity) {
        return wrong("tangency and risk parity say how to hold what is risky: they hold no cash");
    }
    match objective {
        Objective::MeanVariance { risk_aversion } if !(risk_aversion > 0.0 && risk_aversion.is_finite()) => {
            wrong("the risk aversion has to be above 0")
        }
        Objective::TargetReturn(target) if !target.is_finite() => {
            wrong("the target return has to be a number")
        }
        _ => Ok(()),
    }
}

/// Assets, then cash where it may be held, then what is traded of each asset where that is limited.
fn programme(
    returns: &[f64],
    covariance: &Matrix,
    objective: Objective,
    bounds: &Bounds,
    has_cash: bool,
) -> Programme {
    let n = returns.len();
    let assets = n + usize::from(has_cash);
    let mut of = Programme::new(assets + if bounds.turnover.is_some() { n } else { 0 });
    let (scale, reward) = match objective {
        Objective::MeanVariance { risk_aversion } => (risk_aversion, 1.0),
        _ => (1.0, 0.0),
    };
    for (i, expected) in returns.iter().enumerate() {
        of.q[i] = -reward * expected;
        (0..n).for_each(|j| of.p.set(i, j, scale * covariance.at(i, j)));
        of.at_most(vec![(i, -1.0)], 0.0);
        of.at_most(vec![(i, 1.0)], bounds.cap);
    }
    of.equal((0..assets).map(|i| (i, 1.0)).collect(), 1.0);
    if has_cash {
        of.at_most(vec![(n, -1.0)], 0.0);
    }
    if has_cash && !bounds.cash {
        // Nobody asked for it: it costs more than anything else could gain, so only what there is no way to invest is left in it.
        let largest = (0..n).fold(0.0, |most: f64, i| most.max(of.p.at(i, i)).max(of.q[i].abs()));
        of.q[n] = 4.0 * largest;
    }
    if let Objective::TargetReturn(target) = objective {
        let unit = returns.iter().fold(target.abs(), |most, r| most.max(r.abs())).max(f64::MIN_POSITIVE);
        of.at_most((0..n).map(|i| (i, -returns[i] / unit)).collect(), -target / unit);
    }
    if let Some(limit) = bounds.turnover {
        for (i, now) in bounds.now.iter().enumerate() {
            of.at_most(vec![(i, 1.0), (assets + i, -1.0)], *now);
            of.at_most(vec![(i, -1.0), (assets + i, -1.0)], -now);
        }
        of.at_most((0..n).map(|i| (assets + i, 1.0)).collect(), limit);
    }
    of
}

/// The least variance at an expected return of 1 whatever it takes, brought to sum 1 (Cornuejols and Tütüncü 2006, section 8.2).
fn tangency(returns: &[f64], covariance: &Matrix, bounds: &Bounds) -> Result<(Vec<f64>, f64), OptimiseError> {
    let n = returns.len();
    let best = returns.iter().fold(f64::NEG_INFINITY, |most, r| most.max(*r));
    if best <= 0.0 {
        return Err(OptimiseError::Infeasible("nothing is expected to gain: there is no tangency".into()));
    }
    if n as f64 * bounds.cap < 1.0 {
        return Err(OptimiseError::Infeasible(
            "caps leave cash over, which has no risk to compare with".into(),
        ));
    }
    let (mut of, mut in_all) = (Programme::new(n), Vec::with_capacity(n));
    // In units of the best return and its variance, so that the numbers are near 1.
    let unit = (0..n).fold(0.0, |most: f64, i| most.max(covariance.at(i, i))).max(f64::MIN_POSITIVE);
    for (i, expected) in returns.iter().enumerate() {
        (0..n).for_each(|j| of.p.set(i, j, covariance.at(i, j) / unit));
        of.at_most(vec![(i, -1.0)], 0.0);
        of.at_most((0..n).map(|j| (j, if i == j { 1.0 - bounds.cap } else { -bounds.cap })).collect(), 0.0);
        in_all.push((i, expected / best));
    }
    of.equal(in_all, 1.0);
    let (y, residual) = of.solve().map_err(|e| match e {
        OptimiseError::Infeasible(_) => OptimiseError::Infeasible(
            "within the caps nothing is expected to gain: there is no tangency".into(),
        ),
        other => other,
    })?;
    let sum: f64 = y.iter().sum();
    Ok((y.iter().map(|w| w / sum).collect(), residual))
}

/// As far towards `wanted` as turnover allows. What is held above a cap may not come down fast enough: then there is no way.
fn part_of_the_way(wanted: Vec<f64>, bounds: &Bounds) -> Result<(Vec<f64>, bool), OptimiseError> {
    let far = distance(&wanted, &bounds.now);
    match bounds.turnover {
        Some(limit) if far > limit => {
            let part = limit / far;
            let on_the_way: Vec<f64> =
                wanted.iter().zip(&bounds.now).map(|(to, now)| now + part * (to - now)).collect();
            if on_the_way.iter().any(|w| *w > bounds.cap + 1e-9) {
                return Err(OptimiseError::Infeasible(
                    "more is held than the cap allows, and turnover is too small to sell it".into(),
                ));
            }
            Ok((on_the_way, true))
        }
        _ => Ok((wanted, false)),
    }
}

/// What is bought and sold on the way from one to the other.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum()
}

/// wᵀΣw.
pub fn quadratic(covariance: &Matrix, w: &[f64]) -> f64 {
    let n = w.len();
    (0..n).map(|i| w[i] * (0..n).map(|j| covariance.at(i, j) * w[j]).sum::<f64>()).sum()
}

/// Weights within a band around what is wanted, and as near to what is held as that allows: the least that has to be traded (Donohue and Yip 2003). What is
/// inside its band stays, as far as the sum lets it.
#[must_use]
pub fn within_band(now: &[f64], wanted: &[f64], band: f64, cap: f64) -> Vec<f64> {
    let band = band.max(0.0);
    let edge = |i: usize| ((wanted[i] - band).max(0.0), (wanted[i] + band).min(cap.max(wanted[i])));
    let mut weights: Vec<f64> = (0..wanted.len()).map(|i| now[i].clamp(edge(i).0, edge(i).1)).collect();
    // Cash has a band of its own, and takes what it can; the others share what is left, by the room they have.
    let cash = (1.0 - wanted.iter().sum::<f64>()).max(0.0);
    let total: f64 = weights.iter().sum();
    let (least, most) = (1.0 - cash - band.min(cash), 1.0 - (cash - band).max(0.0));
    let over = if total > most { total - most } else { (total - least).min(0.0) };
    let rooms: Vec<f64> = (0..wanted.len())
        .map(|i| if over > 0.0 { weights[i] - edge(i).0 } else { edge(i).1 - weights[i] }.max(0.0))
        .collect();
    let room: f64 = rooms.iter().sum();
    if room > 0.0 {
        weights.iter_mut().zip(rooms).for_each(|(w, r)| *w -= over * r / room);
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 2e-6, "{value} is not {expected}");
    }

    fn free(n: usize) -> Bounds {
        Bounds { cap: 1.0, turnover: None, now: vec![0.0; n], cash: false }
    }

    fn two() -> (Vec<f64>, Matrix) {
        (vec![0.08, 0.12], Matrix::from_rows(&[&[0.04, 0.006], &[0.006, 0.09]]))
    }

    /// Model book 5.2.
    #[test]
    fn published_values() {
        let (returns, covariance) = two();
        let of = |objective| optimise(&returns, &covariance, objective, &free(2)).unwrap();
        for (objective, first, second) in [
            (Objective::MinimumVariance, 0.711_864, 0.288_136),
            (Objective::Tangency, 0.6, 0.4),
            (Objective::MeanVariance { risk_aversion: 3.0 }, 0.598_870, 0.401_130),
        ] {
            let portfolio = of(objective);
            near(portfolio.weights[0], first);
            near(portfolio.weights[1], second);
            assert!(portfolio.residual.unwrap() < 1e-8 && portfolio.cash == 0.0, "{portfolio:?}");
        }
        let best = of(Objective::Tangency);
        near(best.expected / best.deviation, 0.539_360);
        let target = of(Objective::TargetReturn(0.1));
        near(target.expected, 0.1);
        assert!(target.deviation > of(Objective::MinimumVariance).deviation);
    }

    #[test]
    fn what_cannot_be_is_said() {
        let (returns, covariance) = two();
        let of = |objective, bounds: &Bounds| optimise(&returns, &covariance, objective, bounds);
        let infeasible = |r: Result<Portfolio, OptimiseError>| matches!(r, Err(OptimiseError::Infeasible(_)));
        assert!(infeasible(of(Objective::TargetReturn(0.13), &free(2))), "more than the best returns");
        let tight = Bounds { turnover: Some(0.1), now: vec![1.0, 0.0], cap: 0.5, ..free(2) };
        assert!(infeasible(of(Objective::MinimumVariance, &tight)), "0.5 has to be sold");
        assert!(infeasible(of(Objective::RiskParity, &Bounds { cap: 0.55, ..free(2) })));
        let wrong = |bounds: Bounds| matches!(of(Objective::Tangency, &bounds), Err(OptimiseError::Input(_)));
        assert!(wrong(free(3)) && wrong(Bounds { cap: 0.0, ..free(2) }));
        assert!(
            wrong(Bounds { now: vec![0.7, 0.7], ..free(2) })
                && wrong(Bounds { turnover: Some(-1.0), ..free(2) })
        );
        let losing = optimise(&[-0.1, -0.2], &covariance, Objective::Tangency, &free(2));
        assert!(infeasible(losing));
        let nan = optimise(&[f64::NAN, 0.1], &covariance, Objective::MinimumVariance, &free(2));
        assert!(matches!(nan, Err(OptimiseError::Input(_))));
    }

    #[test]
    fn caps_that_leave_something_over_leave_cash_and_turnover_binds() {
        let (returns, covariance) = two();
        let capped = Bounds { cap: 0.4, ..free(2) };
        let of =
            optimise(&returns, &covariance, Objective::MeanVariance { risk_aversion: 0.1 }, &capped).unwrap();
        assert!((of.cash - 0.2).abs() < 1e-8 && of.weights.iter().all(|w| (w - 0.4).abs() < 1e-8), "{of:?}");
        for objective in
            [Objective::MeanVariance { risk_aversion: 3.0 }, Objective::RiskParity, Objective::Tangency]
        {
            let slow = Bounds { turnover: Some(0.2), now: vec![1.0, 0.0], ..free(2) };
            let of = optimise(&returns, &covariance, objective, &slow).unwrap();
            assert!(of.partial && (distance(&of.weights, &slow.now) - 0.2).abs() < 1e-7, "{of:?}");
            near(of.weights[0], 0.9);
        }
    }

    /// Units are no matter: what is decided of a year's returns is decided of a second's.
    #[test]
    fn small_numbers_are_decided_as_well_as_large_ones() {
        let (returns, covariance) = two();
        let mut tiny = Matrix::zeros(2, 2);
        (0..2).for_each(|i| (0..2).for_each(|j| tiny.set(i, j, 1e-9 * covariance.at(i, j))));
        let small: Vec<f64> = returns.iter().map(|r| 1e-9 * r).collect();
        for objective in
            [Objective::MinimumVariance, Objective::MeanVariance { risk_aversion: 3.0 }, Objective::Tangency]
        {
            let [a, b] = [(&returns, &covariance), (&small, &tiny)]
                .map(|(r, c)| optimise(r, c, objective, &free(2)).unwrap());
            assert!(
                distance(&a.weights, &b.weights) < 1e-6,
                "{objective:?}: {:?} {:?}",
                a.weights,
                b.weights
            );
        }
    }

    #[test]
    fn no_bound_is_broken_on_a_part_of_the_way() {
        let (returns, covariance) = two();
        let of = |objective, bounds: &Bounds| optimise(&returns, &covariance, objective, bounds);
        let above = Bounds { cap: 0.65, turnover: Some(0.2), now: vec![1.0, 0.0], cash: false };
        for objective in [Objective::RiskParity, Objective::Tangency, Objective::MinimumVariance] {
            assert!(matches!(of(objective, &above), Err(OptimiseError::Infeasible(_))), "{objective:?}");
        }
        // From cash, as fast as it may be.
        let slow = Bounds { turnover: Some(0.2), ..free(2) };
        for objective in [Objective::RiskParity, Objective::Tangency, Objective::MinimumVariance] {
            let of = of(objective, &slow).unwrap();
            assert!((of.cash - 0.8).abs() < 1e-6, "{objective:?} {of:?}");
            assert!((distance(&of.weights, &slow.now) - 0.2).abs() < 1e-6, "{objective:?} {of:?}");
        }
        let cash = Bounds { cash: true, ..free(2) };
        assert!(matches!(of(Objective::RiskParity, &cash), Err(OptimiseError::Input(_))));
        let losing =
            optimise(&[0.1, -0.2], &covariance, Objective::Tangency, &Bounds { cap: 0.5, ..free(2) });
        assert!(losing.unwrap_err().to_string().contains("nothing is expected to gain"));
    }

    /// What is in cash and was not asked for is invested, as fast as that goes; nothing is sold into it.
    #[test]
    fn nothing_is_sold_into_cash_that_nobody_asked_for() {
        let (returns, covariance) = two();
        let half = Bounds { turnover: Some(0.2), now: vec![0.2, 0.2], ..free(2) };
        for objective in [Objective::MinimumVariance, Objective::MeanVariance { risk_aversion: 30.0 }] {
            let of = optimise(&returns, &covariance, objective, &half).unwrap();
            assert!((of.cash - 0.4).abs() < 1e-6, "{objective:?} {of:?}");
            let capped = Bounds { cap: 0.4, ..free(2) };
            let of = optimise(&returns, &covariance, objective, &capped).unwrap();
            assert!((of.cash - 0.2).abs() < 1e-6, "{objective:?} {of:?}");
            let asked =
                optimise(&returns, &covariance, objective, &Bounds { cash: true, ..free(2) }).unwrap();
            assert!(asked.cash > 0.5, "{objective:?} {asked:?}");
        }
    }

    #[test]
    fn a_band_asks_for_the_least_that_brings_all_inside() {
        assert_eq!(within_band(&[0.52, 0.48], &[0.5, 0.5], 0.05, 1.0), vec![0.52, 0.48]);
        let moved = within_band(&[0.7, 0.3], &[0.5, 0.5], 0.05, 1.0);
        assert!((moved[0] - 0.55).abs() < 1e-12 && (moved[1] - 0.45).abs() < 1e-12, "{moved:?}");
        let from_cash = within_band(&[0.0, 0.0], &[0.5, 0.3], 0.05, 1.0);
        assert!((from_cash.iter().sum::<f64>() - 0.75).abs() < 1e-12, "cash may be 0.25: {from_cash:?}");
    }

    proptest! {
        /// Nothing that is allowed is better, and bounds hold.
        #[test]
        fn nothing_within_the_bounds_is_better(
            raw in proptest::collection::vec(-1.0f64..1.0, 20),
            returns in proptest::collection::vec(-0.2f64..0.3, 4),
            others in proptest::collection::vec(proptest::collection::vec(0.001f64..1.0, 4), 20),
            risk_aversion in 0.5f64..10.0, cap in 0.3f64..1.0,
        ) {
            // GGᵀ and a little: positive definite.
            let mut covariance = Matrix::zeros(4, 4);
            for i in 0..4 {
                for j in 0..4 {
                    let dot: f64 = (0..5).map(|k| raw[5 * i + k] * raw[5 * j + k]).sum();
                    covariance.set(i, j, 0.1 * dot + if i == j { 0.01 } else { 0.0 });
                }
            }
            let bounds = Bounds { cap, turnover: Some(1.2), now: vec![0.25; 4], cash: false };
            let of = optimise(&returns, &covariance, Objective::MeanVariance { risk_aversion }, &bounds).unwrap();
            prop_assert!((of.weights.iter().sum::<f64>() + of.cash - 1.0).abs() < 1e-7);
            prop_assert!(of.weights.iter().all(|w| (0.0..=cap).contains(w)));
            prop_assert!(distance(&of.weights, &bounds.now) <= 1.2 + 1e-6);
            let worth = |w: &[f64]| w.iter().zip(&returns).map(|(w, r)| w * r).sum::<f64>() - 0.5 * risk_aversion * quadratic(&covariance, w);
            for other in others {
                let sum: f64 = other.iter().sum();
                let other: Vec<f64> = other.iter().map(|w| w / sum).collect();
                if other.iter().all(|w| *w <= cap) && distance(&other, &bounds.now) <= 1.2 {
                    prop_assert!(worth(&other) <= worth(&of.weights) + 1e-6);
                }
            }
        }

        /// Inside the band, summing to what they should, and never more traded than going all the way.
        #[test]
        fn bands_hold(raw in proptest::collection::vec((0.01f64..1.0, 0.01f64..1.0), 1..6), band in 0.0f64..0.3, invested in 0.3f64..1.0) {
            let sum = |f: fn(&(f64, f64)) -> f64| raw.iter().map(f).sum::<f64>();
            let now: Vec<f64> = raw.iter().map(|r| r.0 / sum(|r| r.0)).collect();
            let wanted: Vec<f64> = raw.iter().map(|r| invested * r.1 / sum(|r| r.1)).collect();
            let moved = within_band(&now, &wanted, band, 1.0);
            prop_assert!(moved.iter().zip(&wanted).all(|(m, w)| (m - w).abs() <= band + 1e-9 && *m >= -1e-12));
            let cash = 1.0 - moved.iter().sum::<f64>();
            prop_assert!((cash - (1.0 - invested)).abs() <= band + 1e-9 && cash >= -1e-9, "{}", cash);
            prop_assert!(distance(&moved, &now) <= distance(&wanted, &now) + 1e-9);
        }
    }
}
