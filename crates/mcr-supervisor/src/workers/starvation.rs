//! What of a worker's silence it waited for its core, and what it stood still. Pure.
//!
//! Where other programs, a quota or a hypervisor keep the core, a worker's loop does not turn, and
//! cannot. A new worker in its place would wait for the same core, and all that arrives until it is
//! ready would be lost on top.

use std::time::Duration;

use mcr_sys::activity::Activity;

use crate::limits;

/// The knowledge of it since the worker's last sign of life.
#[derive(Debug, Default)]
pub(crate) struct Starvation {
    waited: Duration,
    /// Whether it waited for most of the time between the last two looks.
    is_starving: bool,
    /// Its run time at the last look.
    ran_before: Duration,
    /// Until the next wait is told.
    quiet: Duration,
}

impl Starvation {
    /// A look at a worker that has been silent for so long, the last one being so long ago; returns
    /// for how much of its silence it stood still.
    ///
    /// One that cannot be looked at has not waited.
    pub(crate) fn look(
        &mut self,
        silence: Duration,
        since_last: Duration,
        activity: Option<Activity>,
    ) -> Duration {
        if silence < since_last {
            // It has shown a sign of life meanwhile.
            self.waited = Duration::ZERO;
        }
        self.quiet = self.quiet.saturating_sub(since_last);
        let silent = silence.min(since_last);
        let waited = activity.map_or(Duration::ZERO, |Activity { is_runnable, ran }| {
            let ran = ran.saturating_sub(std::mem::replace(&mut self.ran_before, ran));
            if is_runnable { silent.saturating_sub(ran) } else { Duration::ZERO }
        });
        self.is_starving = waited > since_last / 2;
        self.waited += waited;
        silence.saturating_sub(self.waited)
    }

    /// Whether it could take in next to nothing since the look before the last.
    pub(crate) fn is_starving(&self) -> bool {
        self.is_starving
    }

    /// How long it has waited, where that is longer than a stall and was not told lately.
    pub(crate) fn news(&mut self) -> Option<Duration> {
        let is_due = self.waited > limits::HEARTBEAT_STALL && self.quiet.is_zero();
        is_due.then(|| {
            self.quiet = limits::STARVATION_PAUSE;
            self.waited
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// The tick that all these looks are apart.
    const TICK: Duration = ms(250);

    fn activity(is_runnable: bool, ran: u64) -> Activity {
        Activity { is_runnable, ran: ms(ran) }
    }

    /// A look by a tick at one that can be seen.
    fn look(starvation: &mut Starvation, silence: u64, is_runnable: bool, ran: u64) -> Duration {
        starvation.look(ms(silence), TICK, Some(activity(is_runnable, ran)))
    }

    #[test]
    fn who_sleeps_or_cannot_be_seen_stands_still_for_all_of_its_silence() {
        for seen in [None, Some(activity(false, 40))] {
            let mut starvation = Starvation::default();
            for silence in [ms(3), ms(253), ms(503), ms(753)] {
                assert_eq!(starvation.look(silence, TICK, seen), silence);
                assert!(!starvation.is_starving());
                assert_eq!(starvation.news(), None);
            }
        }
    }

    #[test]
    fn who_turns_in_circles_stands_still_for_what_it_runs() {
        let mut starvation = Starvation::default();
        assert_eq!(look(&mut starvation, 100, true, 1_000), ms(100));
        assert_eq!(look(&mut starvation, 350, true, 1_250), ms(350));
        // Another program takes its half of the core.
        assert_eq!(look(&mut starvation, 600, true, 1_375), ms(475));
        assert!(!starvation.is_starving());
    }

    #[test]
    fn who_waits_for_its_core_does_not_stand_still() {
        let mut starvation = Starvation::default();
        assert_eq!(look(&mut starvation, 5, true, 900), ms(5));
        for silence in [255, 505, 755] {
            assert_eq!(look(&mut starvation, silence, true, 900), ms(5));
            assert!(starvation.is_starving());
        }
        assert_eq!(starvation.news(), None, "750 ms are not more than a stall");
        assert_eq!(look(&mut starvation, 1_005, true, 910), ms(15));
        assert_eq!(starvation.news(), Some(ms(990)));
        // Then it had its core, and stands still.
        assert_eq!(look(&mut starvation, 1_255, false, 920), ms(265));
        assert!(!starvation.is_starving());
        assert_eq!(look(&mut starvation, 1_505, false, 920), ms(515));
    }

    #[test]
    fn a_sign_of_life_ends_the_wait_and_the_next_one_is_not_told_soon() {
        let mut starvation = Starvation::default();
        let mut told = 0;
        // Four waits in a row, each a second long.
        for silence in [0, 250, 500, 750, 1_000].repeat(4) {
            _ = look(&mut starvation, silence, true, 0);
            told += u32::from(starvation.news().is_some());
        }
        assert_eq!(told, 1);
        assert_eq!(look(&mut starvation, 10, false, 20), ms(10));
        assert_eq!(look(&mut starvation, 260, false, 20), ms(260));
        assert_eq!(starvation.look(ms(3), limits::STARVATION_PAUSE, None), ms(3));
        for silence in [250, 500, 750, 1_000] {
            _ = look(&mut starvation, silence, true, 20);
        }
        assert_eq!(starvation.news(), Some(ms(1_000)));
    }

    #[test]
    fn a_look_that_comes_late_takes_all_into_account() {
        let mut starvation = Starvation::default();
        assert_eq!(look(&mut starvation, 10, true, 0), ms(0));
        // The daemon did not run either.
        let late = starvation.look(ms(2_010), ms(2_000), Some(activity(true, 30)));
        assert_eq!(late, ms(30));
    }
}
