//! The pause between two attempts at something that the kernel refuses.

use crate::limits;

/// Counted in ticks; doubles with each refusal up to a bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pause {
    length: u32,
    left: u32,
}

impl Default for Pause {
    fn default() -> Self {
        Self { length: 1, left: 1 }
    }
}

impl Pause {
    /// One that has ended.
    pub(crate) fn over() -> Self {
        Self { length: 1, left: 0 }
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(self) -> bool {
        self.left == 0
    }

    /// At each tick. Returns whether to try again now.
    pub(crate) fn is_over(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left == 0
    }

    /// Refused again.
    pub(crate) fn lengthen(&mut self) {
        self.length = (self.length * 2).min(limits::RETRY_TICKS_LONGEST);
        self.left = self.length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_its_bound() {
        let mut pause = Pause::default();
        let mut attempts = Vec::new();
        for tick in 1..=200_u32 {
            if pause.is_over() {
                attempts.push(tick);
                pause.lengthen();
            }
        }
        assert_eq!(attempts, [1, 3, 7, 15, 31, 63, 103, 143, 183]);
    }
}
