//! Every seat on one thread, in an order a seed permutes: what the order changes is a bug.

use crate::actor::Work;
use crate::seat::Cell;

/// Polls all cells on the calling thread.
pub struct DeterministicExecutor {
    cells: Vec<Box<dyn Cell>>,
    order: Vec<usize>,
    random: u64,
    shuffle: bool,
}

impl DeterministicExecutor {
    /// Seed 0 keeps the topology's order; any other permutes it anew every round.
    #[must_use]
    pub fn new(cells: Vec<Box<dyn Cell>>, seed: u64) -> Self {
        let order = (0..cells.len()).collect();
        Self { cells, order, random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, shuffle: seed != 0 }
    }

    fn next_random(&mut self) -> u64 {
        // xorshift64*: the order of polls is all it decides.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// One round; true where any cell had work.
    pub fn round(&mut self) -> bool {
        if self.shuffle {
            for i in (1..self.order.len()).rev() {
                let j = (self.next_random() % (i as u64 + 1)) as usize;
                self.order.swap(i, j);
            }
        }
        let mut worked = false;
        for &cell in &self.order {
            worked |= self.cells[cell].poll() == Work::Done;
        }
        worked
    }

    /// Runs until as many rounds as there are cells find no work: progress alone, which is no work, may let the next one hear something.
    pub fn run_until_idle(&mut self) {
        let mut idle = 0;
        while idle <= self.cells.len() {
            idle = if self.round() { 0 } else { idle + 1 };
        }
    }

    /// Stops every cell and gives them back.
    #[must_use]
    pub fn finish(mut self) -> Vec<Box<dyn Cell>> {
        for cell in &mut self.cells {
            cell.stop();
        }
        self.cells
    }
}
