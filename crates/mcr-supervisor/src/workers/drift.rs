//! Whether a worker holds what it should, and what to do where it does not. Pure.

use std::fmt;
use std::time::Duration;

use mcr_core::route::Position;

use crate::limits;

/// The knowledge of a worker at a tick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) desired: Position,
    /// The desired generation a tick ago.
    pub(crate) desired_before: u64,
    /// The position in its ledger.
    pub(crate) ledger: Position,
    /// The generation that it said a tick ago.
    pub(crate) ledger_before: u64,
    /// How long the loop could have turned, and did not.
    pub(crate) stood_still: Duration,
    /// Whether it has had next to nothing of its core since the last tick.
    pub(crate) is_starving: bool,
    pub(crate) sync: SyncProgress,
    /// Synchronisations that did not help, one after the other.
    pub(crate) failures: u32,
    /// Whether a command did not fit its socket.
    pub(crate) command_lost: bool,
}

/// How far a worker's synchronisation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncProgress {
    /// There is none.
    None,
    /// It is under way, and for so many ticks the socket has taken no message of it.
    Streaming {
        /// Ticks.
        stuck: u32,
    },
    /// All of it has been sent, so many ticks ago.
    Committed {
        /// Ticks.
        ticks: u32,
    },
}

/// The step to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is as it should be, or on its way there.
    Nothing,
    /// Send it the full set.
    Synchronise,
    /// Kill it and start another, for this reason.
    Replace(Why),
}

/// Why a worker is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    StoodStill,
    TookNoCommands,
    NotRepaired,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StoodStill => "its loop stood still",
            Self::TookNoCommands => "it took no commands",
            Self::NotRepaired => "it did not take over the rule set",
        })
    }
}

/// Decides.
pub(crate) fn decide(look: &Look) -> Decision {
    if look.stood_still > limits::HEARTBEAT_STALL {
        return Decision::Replace(Why::StoodStill);
    }
    if look.is_starving {
        // What it has not taken in yet is no fault of its own, and nothing that more of it mends.
        return Decision::Nothing;
    }
    match look.sync {
        SyncProgress::Streaming { stuck } if stuck >= limits::STUCK_TICKS => {
            Decision::Replace(Why::TookNoCommands)
        }
        SyncProgress::Committed { ticks } => after_sync(look, ticks),
        SyncProgress::None if is_adrift(look) => again(look.failures),
        SyncProgress::Streaming { .. } | SyncProgress::None => Decision::Nothing,
    }
}

fn after_sync(look: &Look, ticks: u32) -> Decision {
    if look.ledger == look.desired || ticks < limits::SETTLE_TICKS {
        return Decision::Nothing;
    }
    // Commands that came after the synchronisation may be on their way still.
    if look.ledger.generation > look.ledger_before && !look.command_lost {
        return Decision::Nothing;
    }
    again(look.failures + 1)
}

fn again(failures: u32) -> Decision {
    if failures >= limits::SYNC_FAILURES {
        Decision::Replace(Why::NotRepaired)
    } else {
        Decision::Synchronise
    }
}

fn is_adrift(look: &Look) -> bool {
    let (ledger, desired) = (look.ledger.generation, look.desired.generation);
    if ledger == desired {
        // The hash is read after the generation, so it cannot be an older one.
        return look.ledger.hash != look.desired.hash;
    }
    // After a lost command the generation stands still for ever. One that moves is merely behind.
    let stands_still = ledger < look.desired_before && ledger == look.ledger_before;
    stands_still || ledger > desired || look.command_lost
}

#[cfg(test)]
mod tests {
    use mcr_core::route::StateHash;

    use super::*;

    fn at(generation: u64) -> Position {
        Position { generation, hash: StateHash(generation * 7) }
    }

    fn healthy() -> Look {
        Look {
            desired: at(10),
            desired_before: 10,
            ledger: at(10),
            ledger_before: 10,
            stood_still: Duration::from_millis(3),
            is_starving: false,
            sync: SyncProgress::None,
            failures: 0,
            command_lost: false,
        }
    }

    #[test]
    fn who_holds_what_is_desired_is_left_alone() {
        assert_eq!(decide(&healthy()), Decision::Nothing);
    }

    #[test]
    fn another_hash_is_healed_at_once() {
        let ledger = Position { hash: StateHash(1), ..at(10) };
        assert_eq!(decide(&Look { ledger, ..healthy() }), Decision::Synchronise);
    }

    #[test]
    fn behind_is_healed_after_a_tick_without_progress() {
        let fresh = Look { ledger: at(9), ledger_before: 9, desired_before: 9, ..healthy() };
        assert_eq!(decide(&fresh), Decision::Nothing, "the command is a moment old");
        let moving = Look { ledger: at(8), ledger_before: 5, ..healthy() };
        assert_eq!(decide(&moving), Decision::Nothing);
        let standing = Look { ledger: at(8), ledger_before: 8, ..healthy() };
        assert_eq!(decide(&standing), Decision::Synchronise);
        let lost = Look { command_lost: true, ..fresh };
        assert_eq!(decide(&lost), Decision::Synchronise);
        let ahead = Look { ledger: at(11), ..healthy() };
        assert_eq!(decide(&ahead), Decision::Synchronise);
    }

    #[test]
    fn a_synchronisation_is_given_time_and_then_up() {
        let behind = Look { ledger: at(4), ledger_before: 4, ..healthy() };
        let under_way = |sync| decide(&Look { sync, ..behind });
        let streaming = |stuck| under_way(SyncProgress::Streaming { stuck });
        assert_eq!(streaming(limits::STUCK_TICKS - 1), Decision::Nothing);
        assert!(matches!(streaming(limits::STUCK_TICKS), Decision::Replace(_)));
        let committed = |ticks| under_way(SyncProgress::Committed { ticks });
        assert_eq!(committed(limits::SETTLE_TICKS - 1), Decision::Nothing);
        assert_eq!(committed(limits::SETTLE_TICKS), Decision::Synchronise);
    }

    #[test]
    fn the_third_failure_is_the_last() {
        let sync = SyncProgress::Committed { ticks: limits::SETTLE_TICKS };
        let failed = |failures| {
            decide(&Look { ledger: at(4), ledger_before: 4, sync, failures, ..healthy() })
        };
        assert_eq!(failed(0), Decision::Synchronise);
        assert_eq!(failed(1), Decision::Synchronise);
        assert!(matches!(failed(2), Decision::Replace(_)));
    }

    #[test]
    fn a_silent_worker_is_replaced_whatever_it_holds() {
        let stood_still = limits::HEARTBEAT_STALL + Duration::from_millis(1);
        let silent = decide(&Look { stood_still, is_starving: true, ..healthy() });
        assert!(matches!(silent, Decision::Replace(_)));
    }

    #[test]
    fn who_has_not_had_its_core_is_neither_repaired_nor_replaced() {
        let behind = Look { ledger: at(4), ledger_before: 4, is_starving: true, ..healthy() };
        let committed = SyncProgress::Committed { ticks: limits::SETTLE_TICKS };
        for sync in [SyncProgress::None, committed] {
            assert_eq!(decide(&Look { sync, ..behind }), Decision::Nothing);
        }
    }
}
