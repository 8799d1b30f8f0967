//! Rows: what overlaps in time lies one below the other, and no row is used that need not be.

use super::Span;

/// Gives each stretch of time the first row where nothing is in its way.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// When each row is free again.
    free_at: Vec<u64>,
}

impl Rows {
    /// The first of `height` rows, one below the other, that are free for all of `span`, whose beginnings come in order. `gap` is left
    /// free behind it.
    pub fn place(&mut self, span: Span, height: usize, gap: u64) -> usize {
        let height = height.max(1);
        let free = |rows: &[u64]| rows.iter().all(|&at| at <= span.begin);
        let first = self.free_at.windows(height).position(free).unwrap_or_else(|| {
            // The rows at the bottom that are free already count.
            let trailing = self.free_at.iter().rev().take_while(|&&at| at <= span.begin).count();
            self.free_at.len() - trailing.min(height)
        });
        if self.free_at.len() < first + height {
            self.free_at.resize(first + height, 0);
        }
        for at in self.free_at.iter_mut().skip(first).take(height) {
            *at = span.end.saturating_add(gap);
        }
        first
    }

    /// How many rows are used.
    pub fn count(&self) -> usize {
        self.free_at.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(begin: u64, end: u64) -> Span {
        Span { begin, end }
    }

    #[test]
    fn what_overlaps_lies_one_below_the_other_and_rows_are_used_again() {
        let mut rows = Rows::default();
        assert_eq!(rows.place(span(0, 10), 1, 0), 0);
        assert_eq!(rows.place(span(5, 8), 1, 0), 1);
        assert_eq!(rows.place(span(8, 20), 1, 0), 1);
        assert_eq!(rows.place(span(10, 20), 1, 0), 0);
        assert_eq!(rows.count(), 2);
    }

    #[test]
    fn a_block_of_rows_takes_neighbours() {
        let mut rows = Rows::default();
        assert_eq!(rows.place(span(0, 100), 1, 0), 0);
        assert_eq!(rows.place(span(0, 10), 2, 0), 1);
        assert_eq!(rows.place(span(20, 30), 3, 0), 1, "two that are free, and one more");
        assert_eq!(rows.count(), 4);
    }
}
