//! Which bytes of a message have come, or are reported to have.

/// A set of bytes, counted from zero: ranges that are sorted and do not touch, from and up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pieces(Vec<(u64, u64)>);

impl Pieces {
    /// Adds the bytes from `from` up to, and without, `to`.
    pub(super) fn add(&mut self, mut from: u64, mut to: u64) {
        if from >= to {
            return;
        }
        self.0.retain(|(other_from, other_to)| {
            let touches = *other_from <= to && from <= *other_to;
            if touches {
                from = from.min(*other_from);
                to = to.max(*other_to);
            }
            !touches
        });
        let place = self.0.partition_point(|(other, _)| *other < from);
        self.0.insert(place, (from, to));
    }

    /// True when the first `length` bytes are all there.
    pub(super) fn covers(&self, length: u64) -> bool {
        length == 0 || self.0.first().is_some_and(|(from, to)| *from == 0 && *to >= length)
    }

    /// How many ranges apart from each other there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_become_one() {
        let mut pieces = Pieces::default();
        assert!(pieces.covers(0) && !pieces.covers(1));
        pieces.add(4, 6);
        pieces.add(0, 2);
        pieces.add(8, 9);
        pieces.add(3, 3);
        assert_eq!(pieces.count(), 3);
        pieces.add(2, 5);
        assert_eq!(pieces, Pieces(vec![(0, 6), (8, 9)]));
        assert!(pieces.covers(6) && !pieces.covers(7));
    }
}
