use proptest::prelude::*;

use super::*;

/// A batch of (rule, payload size), the payloads standing one behind the other.
fn batch(datagrams: &[(u32, u32)]) -> (Batch, Vec<Range<usize>>) {
    let mut batch = Batch::new();
    batch.begin(datagrams.len());
    let mut start = 0;
    for &(rule, bytes) in datagrams {
        let payload = start..start + bytes as usize;
        batch.push(Matched { rule: RuleSlot(rule), payload, frame: start as u32 }, 1);
        start += bytes as usize;
    }
    let mut list = vec![0..0; datagrams.len()];
    batch.arrange(|place, payload| list[place] = payload);
    (batch, list)
}

fn matched(rule: u32) -> Matched {
    Matched { rule: RuleSlot(rule), payload: 0..10, frame: 0 }
}

/// The bytes of a run's `n`th payload.
fn payload_bytes(run: &Run, n: u32) -> u32 {
    let last = n + 1 == run.count;
    let before = run.segment_bytes * (run.count - 1);
    if last { run.bytes - before } else { run.segment_bytes }
}

#[test]
fn equal_sizes_make_one_run() {
    let (batch, list) = batch(&[(1, 100), (1, 100), (1, 100)]);
    assert_eq!(batch.runs().len(), 1);
    assert_eq!(batch.runs()[0].count, 3);
    assert_eq!(list, [0..100, 100..200, 200..300]);
}

#[test]
fn a_shorter_datagram_ends_a_run_and_a_longer_one_begins_another() {
    let (batch, _) = batch(&[(1, 100), (1, 60), (1, 60), (1, 100)]);
    let counts: Vec<_> = batch.runs().iter().map(|run| run.count).collect();
    assert_eq!(counts, [2, 1, 1]);
    assert_eq!(payload_bytes(&batch.runs()[0], 1), 60);
}

#[test]
fn empty_datagrams_stay_single() {
    let (batch, _) = batch(&[(1, 0), (1, 0), (1, 5), (1, 0)]);
    assert_eq!(batch.runs().len(), 4);
}

#[test]
fn interleaved_rules_keep_their_runs() {
    let (batch, list) = batch(&[(1, 10), (2, 10), (1, 10), (2, 10)]);
    assert_eq!(batch.runs().len(), 2);
    assert_eq!(list, [0..10, 20..30, 10..20, 30..40]);
}

#[test]
fn a_run_stays_within_what_the_kernel_takes() {
    let (small, _) = batch(&[(1, 10); 65]);
    assert_eq!(small.runs().iter().map(|r| r.count).collect::<Vec<_>>(), [64, 1]);
    let (large, _) = batch(&[(1, 9_000); 8]);
    assert_eq!(large.runs().iter().map(|r| r.count).collect::<Vec<_>>(), [7, 1]);
}

#[test]
fn a_batch_has_room_for_any_one_frame_and_for_no_more_than_it_holds() {
    use mcr_core::limits::{DATAGRAMS_IN_A_FRAME, OUTPUTS_PER_RULE};
    let mut batch = Batch::new();
    batch.begin(limits::DATAGRAMS_AT_ONCE + OUTPUTS_PER_RULE);
    assert!(batch.has_room_for(DATAGRAMS_IN_A_FRAME, OUTPUTS_PER_RULE));
    batch.push(matched(0), OUTPUTS_PER_RULE);
    assert!(!batch.has_room_for(DATAGRAMS_IN_A_FRAME, OUTPUTS_PER_RULE));
    let mut pushed = 1;
    while batch.has_room_for(1, 1) {
        batch.push(matched(1), 1);
        pushed += 1;
    }
    assert_eq!(pushed, limits::DATAGRAMS_AT_ONCE);
}

#[test]
fn what_a_path_may_take_that_refuses_an_earlier_run_waits() {
    let sizes = [1_000, 1_000, 400, 900, 900, 900, 100, 100, 1_200, 1_200];
    let datagrams: Vec<_> = sizes.into_iter().map(|bytes| (1, bytes)).collect();
    let (batch, _) = batch(&datagrams);
    let counts: Vec<_> = batch.runs().iter().map(|run| run.count).collect();
    assert_eq!(counts, [3, 4, 1, 2]);
    let may_overtake = |place: usize, first| batch.may_overtake(&batch.runs()[place], first);
    assert!(may_overtake(1, 0), "shorter segments");
    assert!(!may_overtake(1, 1), "it is refused in an earlier chunk");
    assert!(may_overtake(2, 0), "a single datagram");
    assert!(!may_overtake(3, 0), "behind a single datagram");
    assert!(!may_overtake(0, 0));
}

proptest! {
    #[test]
    fn nothing_is_lost_and_each_rule_keeps_its_order(
        datagrams in prop::collection::vec(
            (0_u32..4, prop::sample::select(vec![0_u32, 60, 100, 9_000])),
            0..256,
        ),
    ) {
        let (batch, list) = batch(&datagrams);
        let mut seen = vec![Vec::new(); 4];
        for run in batch.runs() {
            prop_assert!(run.count <= limits::DATAGRAMS_IN_A_RUN);
            prop_assert!(run.bytes <= limits::BYTES_IN_A_RUN);
            for n in 0..run.count {
                let (place, bytes) = (run.payloads().start + n as usize, payload_bytes(run, n));
                prop_assert_eq!(list[place].len(), bytes as usize);
                prop_assert!(bytes == run.segment_bytes || n + 1 == run.count);
                seen[run.rule.0 as usize].push(list[place].clone());
            }
        }
        let mut start = 0;
        let mut expected = vec![Vec::new(); 4];
        for (rule, bytes) in datagrams {
            expected[rule as usize].push(start..start + bytes as usize);
            start += bytes as usize;
        }
        prop_assert_eq!(seen, expected);
    }
}
