//! Small dense linear algebra for offline fits.

/// A square or rectangular matrix, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

/// The matrix has no inverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SingularMatrix;

impl Matrix {
    /// A matrix of zeros.
    #[must_use]
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self { rows, columns, values: vec![0.0; rows * columns] }
    }

    /// A matrix of rows of equal length.
    #[must_use]
    pub fn from_rows(rows: &[&[f64]]) -> Self {
        let columns = rows.first().map_or(0, |r| r.len());
        debug_assert!(rows.iter().all(|r| r.len() == columns));
        Self { rows: rows.len(), columns, values: rows.concat() }
    }

    /// The entry of a row and column.
    #[must_use]
    pub fn at(&self, row: usize, column: usize) -> f64 {
        self.values[row * self.columns + column]
    }

    /// Sets the entry of a row and column.
    pub fn set(&mut self, row: usize, column: usize, value: f64) {
        self.values[row * self.columns + column] = value;
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// `self · other`.
    #[must_use]
    pub fn times(&self, other: &Self) -> Self {
        debug_assert_eq!(self.columns, other.rows);
        let mut product = Self::zeros(self.rows, other.columns);
        for i in 0..self.rows {
            for j in 0..other.columns {
                let dot = (0..self.columns).fold(0.0, |sum, k| sum + self.at(i, k) * other.at(k, j));
                product.set(i, j, dot);
            }
        }
        product
    }

    /// Solves `(1 − self) · x = right`.
    ///
    /// # Errors
    /// [`SingularMatrix`] where a pivot vanishes.
    pub fn solve_one_minus(&self, right: &Self) -> Result<Self, SingularMatrix> {
        let mut left = Self::zeros(self.rows, self.columns);
        for i in 0..self.rows {
            for j in 0..self.columns {
                left.set(i, j, f64::from(u8::from(i == j)) - self.at(i, j));
            }
        }
        left.solve(right)
    }

    /// Solves `self · x = right` by Gaussian elimination with partial pivots.
    ///
    /// # Errors
    /// [`SingularMatrix`] where a pivot vanishes.
    pub fn solve(&self, right: &Self) -> Result<Self, SingularMatrix> {
        debug_assert_eq!((self.rows, self.columns), (right.rows, right.rows));
        let (n, mut left) = (self.rows, self.clone());
        let mut x = right.clone();
        for pivot in 0..n {
            let best =
                (pivot..n).max_by(|&a, &b| left.at(a, pivot).abs().total_cmp(&left.at(b, pivot).abs()));
            let best = best.unwrap_or(pivot);
            if left.at(best, pivot).abs() < 1e-12 {
                return Err(SingularMatrix);
            }
            left.swap_rows(pivot, best);
            x.swap_rows(pivot, best);
            for row in pivot + 1..n {
                let factor = left.at(row, pivot) / left.at(pivot, pivot);
                left.subtract_row(row, pivot, factor);
                x.subtract_row(row, pivot, factor);
            }
        }
        for row in (0..n).rev() {
            for column in 0..x.columns {
                let known = (row + 1..n).fold(0.0, |sum, k| sum + left.at(row, k) * x.at(k, column));
                let value = (x.at(row, column) - known) / left.at(row, row);
                x.set(row, column, value);
            }
        }
        Ok(x)
    }

    fn swap_rows(&mut self, a: usize, b: usize) {
        for column in 0..self.columns {
            self.values.swap(a * self.columns + column, b * self.columns + column);
        }
    }

    fn subtract_row(&mut self, row: usize, pivot: usize, factor: f64) {
        for column in 0..self.columns {
            let value = self.at(row, column) - factor * self.at(pivot, column);
            self.set(row, column, value);
        }
    }
}
