//! Runs of the simulator that are part of every test.

use zhost_sim::scenario;

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
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 12] {
        let (first, second) = (scenario::faults(seed, 7, false), scenario::faults(seed, 7, false));
        assert_eq!(first.trace_hash, second.trace_hash, "seed {seed}");
        assert_ne!(first.trace_hash, scenario::faults(seed + 1, 7, false).trace_hash);
    }
}
