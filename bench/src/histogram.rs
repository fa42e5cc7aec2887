//! Latencies in logarithmic buckets: constant memory, 1.6 % wide.

use std::time::Duration;

/// Sub-buckets of one power of two, as a power of two.
const FINENESS: u32 = 6;
const LINEAR: u64 = 1 << FINENESS;

#[derive(Clone)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    shortest: Duration,
    longest: Duration,
}

impl Histogram {
    pub fn new() -> Histogram {
        Histogram {
            buckets: vec![0; bucket_of(u64::MAX) + 1],
            count: 0,
            shortest: Duration::MAX,
            longest: Duration::ZERO,
        }
    }

    pub fn record(&mut self, value: Duration) {
        let nanoseconds = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(nanoseconds)] += 1;
        self.count += 1;
        self.shortest = self.shortest.min(value);
        self.longest = self.longest.max(value);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// The shortest value, or zero where there is none.
    pub fn shortest(&self) -> Duration {
        if self.count == 0 {
            Duration::ZERO
        } else {
            self.shortest
        }
    }

    /// The value that `share` (0 to 1) of all values do not exceed; zero where there is none.
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = ((share * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (index, &n) in self.buckets.iter().enumerate() {
            seen += n;
            if seen >= rank {
                return Duration::from_nanos(upper_bound(index)).min(self.longest);
            }
        }
        self.longest
    }
}

fn bucket_of(value: u64) -> usize {
    if value < LINEAR {
        return usize::try_from(value).unwrap_or(usize::MAX);
    }
    let octave = value.ilog2() - FINENESS;
    let within = (value >> octave) - LINEAR;
    let index = (u64::from(octave) + 1) * LINEAR + within;
    usize::try_from(index).unwrap_or(usize::MAX)
}

fn upper_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < LINEAR {
        return bucket;
    }
    let octave = bucket / LINEAR - 1;
    let lower = (LINEAR + bucket % LINEAR) << octave;
    lower + ((1 << octave) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_it_claims_to() {
        for value in [
            0,
            1,
            63,
            64,
            65,
            127,
            128,
            1_000,
            123_456_789,
            u64::MAX / 2,
            u64::MAX,
        ] {
            let upper = upper_bound(bucket_of(value));
            assert!(
                upper >= value,
                "{value} is above its bucket's bound {upper}"
            );
            assert!(
                upper - value <= value / 64 + 1,
                "{value} is far below its bucket's bound {upper}"
            );
            assert_eq!(bucket_of(upper), bucket_of(value));
        }
    }

    #[test]
    fn quantiles_of_a_thousand_known_values_are_within_a_bucket() {
        let mut histogram = Histogram::new();
        for micros in 1..=1_000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (share, micros) in [(0.0, 1.0), (0.5, 500.0), (0.99, 990.0), (1.0, 1_000.0)] {
            let found = histogram.quantile(share).as_secs_f64() * 1e6;
            assert!(
                (found - micros).abs() <= micros / 60.0,
                "{share}: {found} is not {micros}"
            );
        }
        assert_eq!(histogram.shortest(), Duration::from_micros(1));
    }

    #[test]
    fn nothing_recorded_is_zero() {
        assert_eq!(Histogram::new().quantile(0.99), Duration::ZERO);
        assert_eq!(Histogram::new().shortest(), Duration::ZERO);
    }
}
