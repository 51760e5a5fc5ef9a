//! The client's choices, each with its reason.

use std::time::Duration;

/// Rates of the past that `top` keeps of each flow, core and ring: two minutes at its usual
/// interval, and more than a terminal has columns for.
pub(crate) const HISTORY: usize = 2 * 60;

/// The shortest interval at which the daemon is asked again and again: it samples its counters
/// twice a second, so a tenth of one shows nothing that is newer.
pub(crate) const INTERVAL_SHORTEST: Duration = Duration::from_millis(100);

/// The longest: an hour.
pub(crate) const INTERVAL_LONGEST: Duration = Duration::from_hours(1);

/// How long `top` waits before it looks for a daemon that is gone again, at most.
pub(crate) const RECONNECT: Duration = Duration::from_secs(1);

/// How often `top` asks what keeps rules from relaying, unless their number or states change:
/// that answer is as long as the statistics and is seldom another one.
pub(crate) const PROBLEMS_AGE: Duration = Duration::from_secs(5);

/// How long beyond its interval `top` takes a daemon without an answer for busy, and then for
/// silent: statistics of 10,000 rules take a daemon's debug build about a second.
pub(crate) const SILENCE: Duration = Duration::from_secs(3);

/// Events that wait for `top`'s screen to be drawn: the picture, a signal and a few keys. Whoever
/// has more waits, so that a slow line makes pictures rarer and not older.
pub(crate) const EVENTS: usize = 8;
