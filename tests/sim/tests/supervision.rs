//! Spaces that crash, and spaces whose device goes.

use std::time::Duration;
use zhost_sim::supervision::{crash_loop, unplugged};

const SEEDS: u64 = 10;

#[test]
fn who_crashes_again_and_again_is_held_until_an_operator_says_otherwise() {
    let mut pauses_seen = Vec::new();
    for seed in 0..SEEDS {
        let seen = crash_loop(seed);
        assert_eq!(seen.starts, [5, 10], "seed {seed}: {seen:?}");
        assert_eq!(seen.held, 2, "seed {seed}: {seen:?}");
        for (pause, backoff_ms) in seen.pauses.iter().zip([200, 400, 800, 1600]) {
            let backoff = Duration::from_millis(backoff_ms);
            let within = backoff..backoff * 5 / 4 + Duration::from_millis(50);
            assert!(within.contains(pause), "seed {seed}: {seen:?}");
        }
        pauses_seen.push(seen.pauses);
    }
    pauses_seen.dedup();
    assert!(pauses_seen.len() > 1, "the pauses have no jitter: {pauses_seen:?}");
}

#[test]
fn a_space_follows_its_camera() {
    for seed in 0..SEEDS {
        let [first, second, third, fourth] = unplugged(seed);
        let [home] = first[..] else { panic!("seed {seed}: at first on {first:?}") };
        assert!(home == 2 || home == 3, "seed {seed}: z{home} has no camera");
        assert_eq!(second, [5 - home], "seed {seed}: where the other camera is");
        assert_eq!(third, [0; 0], "seed {seed}: no camera is left");
        assert_eq!(fourth, [home], "seed {seed}: a camera is back");
    }
}
