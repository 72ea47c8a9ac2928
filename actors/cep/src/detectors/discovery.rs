//! Many alarms at once: which of them to believe (Benjamini and Hochberg, Journal of the Royal Statistical Society B 57, 1995).

/// The q value of each probability, in their order: the share of false ones among all that are at least as small.
#[must_use]
pub fn q_values(probabilities: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]));
    let m = probabilities.len() as f64;
    let mut q = vec![1.0; probabilities.len()];
    let mut least = 1.0f64;
    for (rank, &i) in order.iter().enumerate().rev() {
        least = least.min(probabilities[i] * m / (rank + 1) as f64);
        q[i] = least;
    }
    q
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_values() {
        let p = [0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205];
        let q = q_values(&p);
        assert_eq!(q.iter().filter(|q| **q <= 0.05).count(), 2);
        assert!((q[0] - 0.008).abs() < 1e-12 && (q[1] - 0.032).abs() < 1e-12);
        assert!(q.is_sorted() && q_values(&[]).is_empty());
        let backwards: Vec<_> = p.iter().rev().copied().collect();
        assert_eq!(q_values(&backwards), q.iter().rev().copied().collect::<Vec<_>>(), "whatever their order");
    }
}
