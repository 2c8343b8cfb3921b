//! Data with replicas survives whatever happens to the board it is on.

use zhost_sim::vault;

#[test]
fn nothing_acknowledged_is_lost_and_nothing_deleted_rises() {
    let mut kills = 0;
    for seed in 0..25 {
        let vault = vault::run(seed, vault::MISHAPS, false);
        assert!(vault.report.flaws.is_empty(), "seed {seed}: {:?}", vault.report.flaws);
        assert!(vault.acknowledged >= 160, "seed {seed}: {} acknowledged", vault.acknowledged);
        kills += vault.kills;
    }
    assert!(kills >= 100, "the board of the vault was killed only {kills} times");
}

#[test]
fn a_space_whose_data_is_lost_for_good_begins_anew() {
    let outcomes: Vec<[u32; 3]> = (0..20).filter_map(|seed| vault::forsaken(seed).unwrap()).collect();
    assert!(outcomes.len() >= 4, "only {} seeds kept the data off the head", outcomes.len());
    for [before, without, after] in outcomes {
        assert!(without <= before + 1, "somebody acknowledged writes without the data");
        assert!(after > without + 20, "it does not begin anew: {before}, {without}, {after}");
    }
}

#[test]
fn dropped_data_stays_away_whoever_was_away() {
    let outcome = |seed| vault::dropped(seed).unwrap_or_else(|flaw| panic!("seed {seed}: {flaw}"));
    let outcomes: Vec<[u32; 2]> = (0..20).filter_map(outcome).collect();
    assert!(outcomes.len() >= 10, "only {} seeds had a board to be away", outcomes.len());
    assert!(outcomes.iter().all(|[before, after]| *after >= before + 20));
}

#[test]
fn a_topology_that_is_deleted_and_submitted_again_at_once_has_a_second_life() {
    for seed in 0..20 {
        let n = vault::resubmitted(seed).unwrap_or_else(|flaw| panic!("seed {seed}: {flaw}"));
        assert!(n >= 20, "seed {seed}: only {n} calls in its second life");
    }
}

#[test]
fn a_deleted_topology_leaves_no_data_behind() {
    for seed in 0..20 {
        vault::deleted(seed).unwrap_or_else(|flaw| panic!("seed {seed}: {flaw}"));
    }
}

#[test]
fn data_of_a_forgotten_topology_is_none_of_a_new_one() {
    for seed in 0..10 {
        vault::exhumed(seed).unwrap_or_else(|flaw| panic!("seed {seed}: {flaw}"));
    }
}

#[test]
fn a_board_whose_store_is_emptied_passes_nothing_for_everything() {
    for seed in 0..25 {
        let vault = vault::run_wiping(seed, vault::MISHAPS, false, vault::Wipe::Emptied);
        assert!(vault.report.flaws.is_empty(), "seed {seed}: {:?}", vault.report.flaws);
        assert!(vault.acknowledged >= 160, "seed {seed}: {} acknowledged", vault.acknowledged);
    }
    let careless = |seed: &u64| {
        let vault = vault::run_wiping(*seed, vault::MISHAPS, false, vault::Wipe::Unnoticed);
        vault.report.flaws.iter().any(|flaw| flaw.text.contains("lost"))
    };
    assert!(
        (0..25).any(|seed| careless(&seed)),
        "a board that does not know costs nothing: this test is blind"
    );
}
