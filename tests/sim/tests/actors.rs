//! The table of `agent/node/ACTORS.md`, case by case: who is told what, and exactly once.

use zhost_sim::actors::{
    Bond::{self, Link, Monitor, MonitorZhost, TrappingLink},
    Fate::{self, Closed, Crashes, CutOff, Ends, Killed, Restarted},
    contest, family, impatience, told,
};

/// Each case is tried with so many seeds.
const SEEDS: u64 = 10;

const TRAP: &str = "trapped: wasm `unreachable` instruction executed";

fn check(bond: Bond, fate: Fate, same_board: bool, expected: &[&str]) {
    for seed in 0..SEEDS {
        assert_eq!(
            told(seed, bond, fate, same_board),
            expected,
            "seed {seed}: {bond:?}, {fate:?}, same board: {same_board}"
        );
    }
}

#[test]
fn the_end_of_a_space_is_told_once() {
    for same_board in [true, false] {
        check(Monitor, Ends, same_board, &["5 asked to be stopped with code 5"]);
        check(TrappingLink, Ends, same_board, &["4 asked to be stopped with code 5"]);
        check(Link, Ends, same_board, &[]);
    }
}

#[test]
fn the_crash_of_a_space_is_told_once() {
    for same_board in [true, false] {
        check(Monitor, Crashes, same_board, &[&format!("5 {TRAP}")]);
        check(TrappingLink, Crashes, same_board, &[&format!("4 {TRAP}")]);
    }
}

#[test]
fn the_loss_of_a_zhost_is_told_once() {
    for fate in [Killed, Restarted, CutOff] {
        check(Monitor, fate, false, &["5 noconnection"]);
        check(TrappingLink, fate, false, &["4 noconnection"]);
        check(MonitorZhost, fate, false, &["6 z1"]);
    }
}

#[test]
fn who_is_closed_with_its_watcher_tells_nobody_twice() {
    for seed in 0..SEEDS {
        for same_board in [true, false] {
            let told = told(seed, Monitor, Closed, same_board);
            assert!(told.is_empty() || told == ["5 closed"], "seed {seed}: {told:?}");
        }
    }
}

#[test]
fn children_answer_wherever_they_are_and_each_loss_is_told_once() {
    for seed in 0..SEEDS {
        let (greetings, told, lost) = family(seed);
        assert_eq!(greetings, 12, "seed {seed}");
        assert!(lost > 0, "seed {seed}: nothing was spawned on the board that is killed");
        assert_eq!(told, vec!["4 noconnection"; lost], "seed {seed}");
    }
}

#[test]
fn a_name_taken_on_both_sides_of_a_partition_has_one_holder_after_it() {
    let mut contested = 0;
    for seed in 0..SEEDS {
        let (taken, found_out, holders) = contest(seed);
        assert_eq!(holders, 1, "seed {seed}");
        assert_eq!(
            taken >= 2,
            found_out >= 1,
            "seed {seed}: taken {taken} times, found out {found_out} times"
        );
        contested += u64::from(taken >= 2);
    }
    assert!(contested > SEEDS / 2, "only {contested} seeds let both sides take it");
}

#[test]
fn calls_that_nobody_takes_are_bounded_and_then_to_be_tried_again() {
    for seed in 0..SEEDS {
        let (waiting, said) = impatience(seed);
        assert_eq!((waiting, said), (256, vec!["refused".to_owned()]), "seed {seed}");
    }
}
