//! Whether a worker has more to do than its core can: its rings drop frames although it never
//! rests. Pure.
//!
//! Such a worker is not at fault. Another one in its place would have as much to do, and all that
//! arrives until it is ready would be lost on top.

use std::time::Duration;

use crate::limits;

/// A worker's load as it was seen.
#[derive(Debug, Default)]
pub(crate) struct Overload {
    lasts: bool,
    calm_windows: u32,
    /// At the window's begin.
    before: Option<Load>,
    window: Duration,
    dropped: u64,
}

/// A worker's load since its start, by its ledger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) busy_ns: u64,
    /// Frames that the kernel dropped for want of a ring slot.
    pub(crate) kernel_drops: u64,
}

/// The news of a worker's load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Frames dropped in the window by which it was noticed.
    Begins(u64),
    /// Frames dropped while it lasted.
    Ends(u64),
}

impl Overload {
    /// Whether there is one now.
    pub(crate) fn lasts(&self) -> bool {
        self.lasts
    }

    /// A look at a load, the last one being so long ago.
    pub(crate) fn look(&mut self, load: Load, since_last: Duration) -> Option<Change> {
        let Some(before) = self.before else {
            self.before = Some(load);
            return None;
        };
        self.window += since_last;
        if self.window < limits::LOAD_WINDOW {
            return None;
        }
        let window = std::mem::take(&mut self.window).as_nanos() as u64;
        self.before = Some(load);
        let busy_ns = load.busy_ns.saturating_sub(before.busy_ns);
        // A ring that was closed takes its drops with it.
        let dropped = load.kernel_drops.saturating_sub(before.kernel_drops);
        let is_busy = busy_ns.saturating_mul(100) >= window.saturating_mul(limits::BUSY_PER_CENT);
        self.judge(if is_busy { dropped } else { 0 })
    }

    /// So many frames were dropped in a window without rest.
    fn judge(&mut self, dropped: u64) -> Option<Change> {
        self.dropped += dropped;
        self.calm_windows = if dropped > 0 { 0 } else { self.calm_windows + 1 };
        if dropped > 0 && !self.lasts {
            self.lasts = true;
            self.dropped = dropped;
            return Some(Change::Begins(dropped));
        }
        let ends = self.lasts && self.calm_windows == limits::CALM_WINDOWS;
        ends.then(|| {
            self.lasts = false;
            Change::Ends(self.dropped)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u64 = limits::LOAD_WINDOW.as_millis() as u64;

    /// Looks at a worker, four times a window, that is busy for a part of the time.
    struct Watched {
        overload: Overload,
        load: Load,
    }

    impl Watched {
        fn new() -> Self {
            let load = Load { busy_ns: 7, kernel_drops: 40 };
            let mut overload = Overload::default();
            assert_eq!(overload.look(load, Duration::ZERO), None);
            Self { overload, load }
        }

        fn window(&mut self, busy_per_cent: u64, drops: u64) -> Option<Change> {
            let news = (0..4).map(|quarter| {
                self.load.busy_ns += WINDOW * 10_000 * busy_per_cent / 4;
                self.load.kernel_drops += if quarter == 0 { drops } else { 0 };
                self.overload.look(self.load, Duration::from_millis(WINDOW / 4))
            });
            news.fold(None, Option::or)
        }
    }

    #[test]
    fn a_worker_that_never_rests_and_drops_is_overloaded() {
        let mut watched = Watched::new();
        assert_eq!(watched.window(100, 0), None);
        assert_eq!(watched.window(50, 900), None, "a burst, and then it rests");
        assert!(!watched.overload.lasts());
        assert_eq!(watched.window(99, 5), Some(Change::Begins(5)));
        assert_eq!(watched.window(100, 7), None);
        assert!(watched.overload.lasts());
    }

    #[test]
    fn it_is_over_after_a_while_without_loss() {
        let mut watched = Watched::new();
        assert_eq!(watched.window(100, 5), Some(Change::Begins(5)));
        for _ in 1..limits::CALM_WINDOWS {
            assert_eq!(watched.window(100, 0), None);
        }
        assert_eq!(watched.window(100, 2), None, "again: the same one");
        for _ in 1..limits::CALM_WINDOWS {
            assert_eq!(watched.window(30, 1), None);
        }
        assert_eq!(watched.window(30, 0), Some(Change::Ends(7)));
        assert!(!watched.overload.lasts());
        assert_eq!(watched.window(100, 3), Some(Change::Begins(3)));
    }

    #[test]
    fn rings_that_close_are_no_drops() {
        let mut watched = Watched::new();
        watched.load.kernel_drops = 0;
        assert_eq!(watched.window(100, 0), None);
    }
}
