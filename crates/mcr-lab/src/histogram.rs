//! A histogram of bounded size and bounded relative error, for latencies.

/// Buckets per power of two: a value is known to within 1/64, better than 2 %.
const SUB_BUCKETS: u64 = 64;
const SUB_BUCKET_BITS: u32 = SUB_BUCKETS.trailing_zeros();
/// Values below `SUB_BUCKETS` have a bucket each; each higher power of two has `SUB_BUCKETS`.
const BUCKETS: usize = ((u64::BITS - SUB_BUCKET_BITS + 1) as usize) * SUB_BUCKETS as usize;

/// Counts of values on a logarithmic scale.
#[derive(Debug, Clone)]
pub struct Histogram {
    buckets: Vec<u64>,
    samples: u64,
    max: u64,
}

/// The figures of a [`Histogram`] that are reported, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latency {
    /// Values recorded.
    pub samples: u64,
    /// Half of the values are at most this.
    pub p50_ns: u64,
    /// 99 of 100 values are at most this.
    pub p99_ns: u64,
    /// The largest value, exactly.
    pub max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], samples: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.buckets[bucket(value)] += 1;
        self.samples += 1;
        self.max = self.max.max(value);
    }

    /// The value that `percent` of 100 values do not exceed, rounded up to its bucket's end;
    /// 0 without values.
    pub fn percentile(&self, percent: u64) -> u64 {
        self.per_mille(percent * 10)
    }

    /// Likewise with `per_mille` of 1,000 values.
    pub fn per_mille(&self, per_mille: u64) -> u64 {
        let rank = (self.samples * per_mille).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return highest_of(index).min(self.max);
            }
        }
        0
    }

    /// The reported figures.
    pub fn latency(&self) -> Latency {
        Latency {
            samples: self.samples,
            p50_ns: self.percentile(50),
            p99_ns: self.percentile(99),
            max_ns: self.max,
        }
    }
}

fn bucket(value: u64) -> usize {
    if value < SUB_BUCKETS {
        return value as usize;
    }
    let shift = value.ilog2() - SUB_BUCKET_BITS;
    ((u64::from(shift) + 1) * SUB_BUCKETS + ((value >> shift) - SUB_BUCKETS)) as usize
}

fn highest_of(index: usize) -> u64 {
    let index = index as u64;
    if index < SUB_BUCKETS {
        return index;
    }
    let shift = index / SUB_BUCKETS - 1;
    let low = (index % SUB_BUCKETS + SUB_BUCKETS) << shift;
    low + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_two_percent() {
        let mut histogram = Histogram::default();
        for value in 1..=100_000 {
            histogram.record(value);
        }
        for (percent, exact) in [(50, 50_000), (99, 99_000), (100, 100_000)] {
            let error = histogram.percentile(percent).abs_diff(exact);
            assert!(error * 50 <= exact, "p{percent} is off by {error}");
        }
        assert_eq!(histogram.latency().max_ns, 100_000);
    }

    #[test]
    fn every_value_has_a_bucket_that_contains_it() {
        for value in [0, 63, 64, 65, 127, 128, 1 << 40, u64::MAX - 1, u64::MAX] {
            let highest = highest_of(bucket(value));
            assert!(highest >= value && highest - value <= value / SUB_BUCKETS, "{value}");
        }
    }

    #[test]
    fn an_empty_histogram_is_all_zero() {
        assert_eq!(Histogram::default().latency(), Latency::default());
    }
}
