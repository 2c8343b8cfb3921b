//! What a measurement says.

use serde::Serialize;

/// How long a request and its answer take between two applications on different hosts, 64 bytes each way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoundTrip {
    /// Half of them took at most this long.
    pub p50_us: f64,
    /// 99 of 100 took at most this long.
    pub p99_us: f64,
    /// How many were taken.
    pub samples: usize,
}

impl RoundTrip {
    /// Sums up round trips; none if there are none.
    pub fn of(round_trips_ns: &[u64]) -> Option<Self> {
        let mut sorted = round_trips_ns.to_vec();
        sorted.sort_unstable();
        let us = |percent| percentile(&sorted, percent).map(|ns| ns as f64 / 1000.0);
        Some(Self { p50_us: us(50)?, p99_us: us(99)?, samples: sorted.len() })
    }
}

/// The smallest value that is at least as large as `percent` of all; `sorted` ascends.
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// How long after a member died the last of the others knew.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Detection {
    /// Members before the first death.
    pub nodes: usize,
    /// One time for each death.
    pub all_known_ms: Vec<f64>,
}

impl Detection {
    /// The middle one and the longest.
    pub fn median_and_worst_ms(&self) -> Option<(f64, f64)> {
        let mut sorted = self.all_known_ms.clone();
        sorted.sort_by(f64::total_cmp);
        Some((*sorted.get(sorted.len() / 2)?, *sorted.last()?))
    }
}

/// What was measured of one peer; what it does not do, or did not manage, is missing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerResult {
    /// Which peer.
    pub name: &'static str,
    /// Its version.
    pub version: String,
    /// Whether it encrypts what it sends from host to host.
    pub encrypted: bool,
    /// What the hosts were: namespaces or loopback, and their CPUs; empty if it did not come to that.
    pub hosts: String,
    /// Request and answer.
    pub round_trip: Option<RoundTrip>,
    /// Its p50 as a multiple of raw TCP's in the same run.
    pub round_trip_ratio: Option<f64>,
    /// 64-byte messages in one direction, counted where they arrive.
    pub messages_per_second: Option<f64>,
    /// How fast the others learn that a member was killed (SIGKILL, no goodbye).
    pub detection: Option<Detection>,
    /// How fast they learn that a member's cable was pulled out.
    pub silent_detection: Option<Detection>,
    /// What a member sends while nothing happens, from the IP header on.
    pub idle_bytes_per_second_per_node: Option<f64>,
    /// How long measuring took.
    pub seconds: f64,
    /// Why something is missing.
    pub failure: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occur() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 50), Some(50));
        assert_eq!(percentile(&hundred, 99), Some(99));
        assert_eq!(percentile(&hundred, 100), Some(100));
        assert_eq!(percentile(&[7], 50), Some(7));
        assert_eq!(percentile(&[7, 9], 99), Some(9));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn round_trips_need_no_order() {
        let round_trip = RoundTrip::of(&[3000, 1000, 2000]);
        assert_eq!(round_trip, Some(RoundTrip { p50_us: 2.0, p99_us: 3.0, samples: 3 }));
        assert_eq!(RoundTrip::of(&[]), None);
    }
}
