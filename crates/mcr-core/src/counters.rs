//! Arithmetic of counters. They are numbers modulo 2^64: whatever a worker that was taken over
//! writes into its ledger, no sum fails, and none sticks at its greatest value, where it would hide
//! what the other workers count from then on.

/// The sum of counters.
pub fn sum(counts: impl IntoIterator<Item = u64>) -> u64 {
    counts.into_iter().fold(0, u64::wrapping_add)
}

/// Adds a counter to a sum.
pub fn add(sum: &mut u64, count: u64) {
    *sum = sum.wrapping_add(count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_goes_on_beyond_the_greatest_number() {
        let mut total = sum([u64::MAX, 3]);
        assert_eq!(total, 2);
        add(&mut total, u64::MAX);
        assert_eq!(total, 1);
    }
}
