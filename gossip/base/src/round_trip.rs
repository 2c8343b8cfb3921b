//! Round trips, measured so that what depends on them rests while the network rests.
//!
//! Shown is the median of the last few samples: a start under load is soon forgotten. Announced is a power of two of it,
//! and neighbours are compared, only by what most samples agree on: jitter, and segments that were sent again, move the
//! median of a few, but not three quarters of them.

use core::time::Duration;

/// Samples that count.
const WINDOW: usize = 12;
/// Samples before anything is announced.
const SETTLED_MIN: u8 = 6;

/// The round trip to one other zhost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundTrip {
    samples_us: [u32; WINDOW],
    /// How many samples count.
    count: u8,
    /// Where the next one goes.
    next: u8,
    band: u8,
}

impl RoundTrip {
    /// Takes in a sample; whether [`Self::band`] changed.
    pub fn measure(&mut self, sample: Duration) -> bool {
        let sample_us = u32::try_from(sample.as_micros()).unwrap_or(u32::MAX).max(1);
        self.samples_us[usize::from(self.next)] = sample_us;
        self.next = (self.next + 1) % WINDOW as u8;
        self.count = (self.count + 1).min(WINDOW as u8);
        let before = self.band;
        if before == 0 && self.count >= SETTLED_MIN {
            self.band = band(self.median_us().unwrap_or(0));
        } else if let Some((low_us, high_us)) = self.quartiles_us()
            && (band(low_us) >= before + 2 || band(high_us) + 2 <= before)
        {
            self.band = band(self.median_us().unwrap_or(0));
        }
        self.band != before
    }

    /// The sample below which that many quarters of all are.
    fn quarter_us(&self, quarters: usize) -> Option<u64> {
        let mut sorted = self.samples_us;
        let samples = sorted.get_mut(..usize::from(self.count))?;
        samples.sort_unstable();
        samples.get(samples.len() * quarters / 4).map(|us| u64::from(*us))
    }

    /// The median, microseconds, once there is a sample.
    pub fn median_us(&self) -> Option<u64> {
        self.quarter_us(2)
    }

    /// Three quarters of the samples are at least the first and at most the second, microseconds, once there are enough to
    /// choose by them.
    pub fn quartiles_us(&self) -> Option<(u64, u64)> {
        let is_full = usize::from(self.count) == WINDOW;
        self.quarter_us(1).zip(self.quarter_us(3)).filter(|_| is_full)
    }

    /// The power of two of microseconds to announce; 0 until it is settled.
    pub fn band(&self) -> u8 {
        self.band
    }
}

/// A round trip as the exponent of a power of two of microseconds, at least 1.
pub fn band(rtt_us: u64) -> u8 {
    rtt_us.max(2).ilog2() as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn it_is_known_at_once_announced_after_a_few_and_chosen_by_after_more() {
        let mut rtt = RoundTrip::default();
        assert_eq!((rtt.median_us(), rtt.quartiles_us(), rtt.band()), (None, None, 0));
        assert!(!rtt.measure(ms(3)));
        assert_eq!((rtt.median_us(), rtt.band()), (Some(3000), 0));
        (0..4).for_each(|_| assert!(!rtt.measure(ms(3))));
        assert!(rtt.measure(ms(3)), "the sixth sample is announced");
        assert_eq!((rtt.quartiles_us(), rtt.band()), (None, band(3000)));
        (0..6).for_each(|_| assert!(!rtt.measure(ms(4))));
        assert_eq!(rtt.quartiles_us(), Some((3000, 4000)));
    }

    #[test]
    fn a_start_under_load_is_forgotten_after_a_few_samples() {
        let mut rtt = RoundTrip::default();
        [213, 150, 90, 213].into_iter().for_each(|sample| {
            rtt.measure(ms(sample));
        });
        (0..5).for_each(|_| {
            rtt.measure(ms(1));
        });
        assert_eq!(rtt.median_us(), Some(1000));
        (0..6).for_each(|_| {
            rtt.measure(ms(1));
        });
        assert_eq!(rtt.band(), band(1000));
    }

    #[test]
    fn jitter_of_fifty_milliseconds_each_way_and_lost_segments_announce_nothing_new_in_a_day() {
        let mut rng = Rng::from_number(7);
        for _ in 0..20 {
            let mut rtt = RoundTrip::default();
            let mut changes = 0;
            // One sample every twenty seconds.
            for _ in 0..4320 {
                let again = if rng.chance(100) { 200_000 } else { 0 };
                let sample = Duration::from_micros(600 + again + rng.below(50_000) + rng.below(50_000));
                changes += u32::from(rtt.measure(sample));
            }
            assert!(changes <= 2, "{changes} changes");
        }
    }

    #[test]
    fn a_way_that_became_much_longer_is_noticed() {
        let mut rtt = RoundTrip::default();
        (0..12).for_each(|_| {
            rtt.measure(ms(1));
        });
        let noticed = (0..12).position(|_| rtt.measure(ms(40)));
        assert_eq!(noticed, Some(8));
        assert_eq!(rtt.band(), band(40_000));
    }
}
