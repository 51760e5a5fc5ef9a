//! Wake-ups that bring nothing. A descriptor that says for ever that it can be read, and cannot,
//! would take a core.

use crate::limits;

/// Counts them.
#[derive(Debug, Default)]
pub(crate) struct InVain {
    /// Since the last tick, or since something came.
    wake_ups: u32,
    /// Ticks in a row with too many.
    ticks: u32,
}

impl InVain {
    /// A wait ended.
    pub(crate) fn woken(&mut self) {
        self.wake_ups += 1;
    }

    /// Something was there.
    pub(crate) fn something_came(&mut self) {
        *self = Self::default();
    }

    /// Whether whatever ended the last wait is to be waited for no more.
    pub(crate) fn tick(&mut self) -> bool {
        let many = std::mem::take(&mut self.wake_ups) >= limits::WAKE_UPS_IN_VAIN;
        self.ticks = if many { self.ticks + 1 } else { 0 };
        self.ticks >= limits::TICKS_IN_VAIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks_of(in_vain: &mut InVain, wake_ups: &[u32]) -> Vec<bool> {
        let tick = |&wake_ups: &u32| {
            (0..wake_ups).for_each(|_| in_vain.woken());
            in_vain.tick()
        };
        wake_ups.iter().map(tick).collect()
    }

    #[test]
    fn only_many_wake_ups_for_long_are_too_many() {
        const MANY: u32 = limits::WAKE_UPS_IN_VAIN;
        let mut in_vain = InVain::default();
        assert_eq!(ticks_of(&mut in_vain, &[MANY, MANY, 1, MANY, MANY]), [false; 5]);
        in_vain.something_came();
        assert_eq!(ticks_of(&mut in_vain, &[MANY, MANY, MANY]), [false, false, true]);
    }
}
