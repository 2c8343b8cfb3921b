//! Runs of the simulator that are part of every test.

use std::time::Duration;
use zhost_sim::{
    figures::{self, Death},
    scenario,
};

#[test]
fn a_calm_cluster_starts_every_space_once() {
    for seed in 0..5 {
        let report = scenario::calm(seed, 5);
        assert!(report.flaws.is_empty(), "seed {seed}: {:?}", report.flaws);
    }
}

#[test]
fn a_missing_capability_is_named_and_used_as_soon_as_it_comes() {
    for seed in 0..5 {
        let report = scenario::late_capability(seed);
        assert!(report.flaws.is_empty(), "seed {seed}: {:?}", report.flaws);
    }
}

#[test]
fn a_wedged_zhost_is_judged_by_its_super_and_loses_its_spaces() {
    for seed in 0..5 {
        let report = scenario::wedged(seed);
        assert!(report.flaws.is_empty(), "seed {seed}: {:?}", report.flaws);
    }
}

#[test]
fn a_deleted_topology_is_forgotten_and_stays_away() {
    for seed in 0..3 {
        let report = scenario::forgotten(seed);
        assert!(report.flaws.is_empty(), "seed {seed}: {:?}", report.flaws);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 12] {
        let (first, second) = (scenario::faults(seed, 7, false), scenario::faults(seed, 7, false));
        assert_eq!(first.trace_hash, second.trace_hash, "seed {seed}");
        assert_ne!(first.trace_hash, scenario::faults(seed + 1, 7, false).trace_hash);
    }
}

#[test]
fn messages_pass_two_relays_while_links_break() {
    let report = scenario::three_hops(1, 50_000, 20);
    assert!(report.flaws.is_empty(), "{:?}", report.flaws);
}

#[test]
fn who_was_stopped_accuses_nobody() {
    for seed in 0..3 {
        assert_eq!(figures::woken(seed, 20, Duration::from_secs(4)), (0, 0), "seed {seed}");
    }
}

#[test]
fn deaths_among_twenty_are_known_in_time() {
    for seed in 0..5 {
        let killed = figures::detection(seed, 20, 20, Death::Killed).unwrap();
        assert!(killed <= Duration::from_secs(1), "seed {seed}: a killed process is known after {killed:?}");
        let silent = figures::detection(seed, 20, 20, Death::Silent).unwrap();
        assert!(silent <= Duration::from_secs(5), "seed {seed}: a lost board is known after {silent:?}");
    }
}

#[test]
fn a_quiet_cluster_of_twenty_is_cheap() {
    let idle = figures::idle(1, 20, Duration::from_secs(120));
    assert!(idle.bytes_per_second <= 800.0, "{idle:?}");
    assert!(idle.flash_bytes_per_day <= 1e6, "{idle:?}");
}
