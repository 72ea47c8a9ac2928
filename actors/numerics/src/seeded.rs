//! Normal numbers from a seed: the fixed matrices of random projections. One seed gives one matrix on every machine.

/// Normal numbers with mean 0 and variance 1, in an order that the seed alone decides (SplitMix64: Steele, Lea and Flood 2014; pairs by
/// Box and Muller 1958).
#[derive(Clone, Debug)]
pub struct SeededNormals {
    word: u64,
    spare: Option<f64>,
}

impl SeededNormals {
    /// Beginning with a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { word: seed, spare: None }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.word = self.word.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.word;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Inside (0, 1), neither end.
    pub fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// The next normal number.
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * libm::log(self.uniform())).sqrt();
        let (sin, cos) = libm::sincos(std::f64::consts::TAU * self.uniform());
        self.spare = Some(radius * sin);
        radius * cos
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_normal_and_one_seed_gives_one_row() {
        let mut of = SeededNormals::new(7);
        let row: Vec<f64> = (0..200_000).map(|_| of.normal()).collect();
        let n = row.len() as f64;
        let moment = |k: i32| row.iter().map(|x| (0..k).fold(1.0, |p, _| p * x)).sum::<f64>() / n;
        assert!(moment(1).abs() < 0.01 && (moment(2) - 1.0).abs() < 0.01, "{} {}", moment(1), moment(2));
        assert!(moment(3).abs() < 0.03 && (moment(4) - 3.0).abs() < 0.1, "{} {}", moment(3), moment(4));
        let mut again = SeededNormals::new(7);
        assert!(row.iter().all(|x| x.to_bits() == again.normal().to_bits()));
        assert_ne!(SeededNormals::new(8).normal().to_bits(), row[0].to_bits());
    }
}
