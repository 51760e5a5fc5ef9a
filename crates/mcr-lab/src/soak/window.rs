//! Outage windows: which flows may lose what was sent from when to when, because of which fault.

use std::net::IpAddr;
use std::time::Duration;

use super::flows::{Flow, Link};
use super::schedule::Kind;
use crate::limits;

/// The flows that a fault concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Concern {
    /// None: whatever is lost is lost by a defect.
    Nobody,
    /// All.
    Everybody,
    /// Those of one worker.
    Worker(usize),
    /// Those of one link.
    Link(Link),
    /// Those to one host.
    Host(IpAddr),
}

impl Concern {
    /// Whether the flow is among them.
    pub(super) fn covers(self, flow: &Flow) -> bool {
        match self {
            Self::Nobody => false,
            Self::Everybody => true,
            Self::Worker(worker) => flow.worker == worker,
            Self::Link(link) => flow.uses(link),
            Self::Host(host) => flow.destination.ip() == host,
        }
    }
}

/// One announced outage. Moments are nanoseconds of the monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    /// The fault in words.
    pub(super) fault: String,
    /// Its kind; `None` for a fault of the machine's own.
    pub(super) kind: Option<Kind>,
    /// Who may lose.
    pub(super) concern: Concern,
    /// When the fault began.
    pub(super) begin_ns: u64,
    /// When its cause was gone, and recovery began: outages are counted from here.
    pub(super) over_ns: u64,
    /// How long recovery may take from there.
    pub(super) limit: Duration,
}

impl Window {
    /// Whether the flow may lose a datagram that was sent at that moment.
    pub(super) fn excuses(&self, flow: &Flow, sent_ns: u64) -> bool {
        self.concern.covers(flow) && (self.opens_ns()..=self.closes_ns()).contains(&sent_ns)
    }

    /// What was sent a little before the fault may still have been under way in it.
    pub(super) fn opens_ns(&self) -> u64 {
        self.begin_ns.saturating_sub(limits::soak::UNDER_WAY.as_nanos() as u64)
    }

    /// Whether both are open at some moment.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.opens_ns() <= other.closes_ns() && other.opens_ns() <= self.closes_ns()
    }

    fn closes_ns(&self) -> u64 {
        self.over_ns + self.limit.as_nanos() as u64
    }
}

/// For how long the daemon holds back a worker's next start when it has replaced so many in its
/// life.
///
/// It forgives deaths before a minute of health; this does not, and so is never too short.
pub(super) fn held_back(restarts: u64) -> Duration {
    match restarts {
        0 => Duration::ZERO,
        more => limits::soak::BACKOFF_FIRST
            .saturating_mul(1_u32.checked_shl(more as u32 - 1).unwrap_or(u32::MAX))
            .min(limits::soak::BACKOFF_LONGEST),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::flows::{flows, rules};
    use super::*;

    pub(in super::super) fn window(concern: Concern, begin_ms: u64, over_ms: u64) -> Window {
        Window {
            fault: "#1 link-down out1".into(),
            kind: Some(Kind::LinkDown),
            concern,
            begin_ns: begin_ms * 1_000_000,
            over_ns: over_ms * 1_000_000,
            limit: Duration::from_secs(1),
        }
    }

    #[test]
    fn a_window_is_for_its_flows_and_its_time() {
        let flows = flows(&rules(), 2);
        let (on, off) = (&flows[0], &flows[1]);
        let window = window(Concern::Link(Link::Egress(on.egress)), 10_000, 12_000);
        let ms = |ms: u64| ms * 1_000_000;
        assert!(window.excuses(on, ms(10_000)) && window.excuses(on, ms(13_000)));
        assert!(window.excuses(on, ms(10_000) - limits::soak::UNDER_WAY.as_nanos() as u64));
        assert!(!window.excuses(on, ms(9_000)) && !window.excuses(on, ms(13_001)));
        assert!(!window.excuses(off, ms(11_000)));
    }

    #[test]
    fn concerns_are_what_they_say() {
        let flows = flows(&rules(), 2);
        let covered = |concern: Concern| flows.iter().filter(|f| concern.covers(f)).count();
        assert_eq!((covered(Concern::Nobody), covered(Concern::Everybody)), (0, flows.len()));
        let host = flows.iter().find(|flow| !flow.destination.ip().is_multicast()).unwrap();
        let to_host = covered(Concern::Host(host.destination.ip()));
        assert!((1..flows.len()).contains(&to_host), "{to_host}");
        let workers = [0, 1].map(|worker| covered(Concern::Worker(worker)));
        assert_eq!(workers.iter().sum::<usize>(), flows.len());
    }

    #[test]
    fn repeated_deaths_are_held_back_for_longer() {
        let millis = [0, 1, 2, 3, 7, 8, 60].map(|restarts| held_back(restarts).as_millis());
        assert_eq!(millis, [0, 100, 200, 400, 6_400, 10_000, 10_000]);
    }
}
