//! The table of `agent/node/ACTORS.md`, case by case: who is told what, and exactly once.

use zhost_sim::{
    actors::{contest, family, impatience, refused},
    bonds::{
        Bond::{self, Call, Demonitored, Link, Monitor, MonitorZhost, Name, TrappingLink, Unlinked},
        Fate::{self, Closed, Crashes, CutOff, Ends, Gone, Killed, Lives, Restarted, Unregisters},
        crowd, popular, told,
    },
};

/// Each case is tried with so many seeds.
const SEEDS: u64 = 10;

const TRAP: &str = "trapped: wasm `unreachable` instruction executed";

/// The watcher goes on, and is told this and nothing else.
fn check(bond: Bond, fate: Fate, same_board: bool, expected: &[&str]) {
    for seed in 0..SEEDS {
        let watcher = told(seed, bond, fate, same_board).watcher;
        assert_eq!(
            watcher,
            [&["up", "bound"], expected].concat(),
            "seed {seed}: {bond:?}, {fate:?}, same board: {same_board}"
        );
    }
}

/// Each bond ends the watcher once: it starts anew, binds itself anew, and so on.
fn check_ends_too(fate: Fate, same_board: bool) {
    for seed in 0..SEEDS {
        let watcher = told(seed, Link, fate, same_board).watcher;
        let alternates = watcher.iter().zip(["up", "bound"].iter().cycle()).all(|(line, word)| line == word);
        assert!(
            watcher.len() >= 3 && alternates,
            "seed {seed}: {fate:?}, same board: {same_board}: {watcher:?}"
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
        check_ends_too(Crashes, same_board);
    }
}

#[test]
fn a_space_that_is_closed_is_told_of_once() {
    for same_board in [true, false] {
        check(Monitor, Closed, same_board, &["5 closed"]);
        check(TrappingLink, Closed, same_board, &["4 closed"]);
        check_ends_too(Closed, same_board);
    }
}

#[test]
fn the_loss_of_a_zhost_is_told_once() {
    for fate in [Killed, Restarted, CutOff] {
        check(Monitor, fate, false, &["5 noconnection"]);
        check(TrappingLink, fate, false, &["4 noconnection"]);
        check(MonitorZhost, fate, false, &["6 z1"]);
        check_ends_too(fate, false);
    }
}

#[test]
fn both_sides_of_a_partition_are_told_once() {
    for seed in 0..SEEDS {
        let target = told(seed, TrappingLink, CutOff, false).target;
        // Afterwards it may be placed anew, and start again.
        assert_eq!(target[..2], ["target", "4 noconnection"], "seed {seed}");
        assert!(target[2..].iter().all(|line| line == "target"), "seed {seed}: {target:?}");
        let told = told(seed, Link, CutOff, false);
        assert_eq!(told.target_ended_too, 1, "seed {seed}: {told:?}");
    }
}

#[test]
fn a_bond_with_who_is_gone_is_told_of_once() {
    for same_board in [true, false] {
        check(Monitor, Gone, same_board, &["5 noproc"]);
        check(TrappingLink, Gone, same_board, &["4 noproc"]);
        check(MonitorZhost, Gone, same_board, &["6 z9"]);
        check_ends_too(Gone, same_board);
    }
}

#[test]
fn what_is_undone_is_not_told() {
    for same_board in [true, false] {
        for fate in [Crashes, Closed] {
            check(Unlinked, fate, same_board, &[]);
            check(Demonitored, fate, same_board, &[]);
        }
    }
    for fate in [Killed, CutOff] {
        check(Unlinked, fate, false, &[]);
        check(Demonitored, fate, false, &[]);
    }
}

#[test]
fn who_monitors_too_many_is_told_of_each_once() {
    for seed in 0..SEEDS {
        assert_eq!(crowd(seed), ["1024 0076"], "seed {seed}");
    }
}

#[test]
fn a_space_with_too_many_links_takes_no_further_one() {
    for seed in 0..SEEDS {
        for (bond, kind) in [(Monitor, 5), (TrappingLink, 4)] {
            let told = popular(seed, bond);
            let refused = format!("{kind} too many links and monitors");
            assert_eq!(told.watcher, ["up", "bound", &refused], "seed {seed}: {bond:?}");
            assert_eq!(told.target, ["target"], "seed {seed}: {bond:?}");
        }
        let told = popular(seed, Link);
        let alternates =
            told.watcher.iter().zip(["up", "bound"].iter().cycle()).all(|(line, word)| line == word);
        assert!(told.watcher.len() >= 3 && alternates, "seed {seed}: {:?}", told.watcher);
        assert_eq!(told.target, ["target"], "seed {seed}");
    }
}

#[test]
fn a_call_has_one_end() {
    for same_board in [true, false] {
        check(Call, Lives, same_board, &["child"]);
        for fate in [Ends, Crashes, Closed] {
            check(Call, fate, same_board, &["-5"]);
        }
        check(Call, Gone, same_board, &["-1"]);
    }
    for fate in [Killed, Restarted, CutOff] {
        check(Call, fate, false, &["-6"]);
    }
}

#[test]
fn a_name_is_free_when_its_holder_is_gone_or_gives_it_back() {
    for same_board in [true, false] {
        for fate in [Ends, Crashes, Closed, Unregisters] {
            check(Name, fate, same_board, &["free"]);
        }
        check(Name, Lives, same_board, &[]);
    }
    for fate in [Killed, Restarted, CutOff] {
        check(Name, fate, false, &["free"]);
    }
}

#[test]
fn children_answer_wherever_they_are_and_each_loss_is_told_once() {
    for seed in 0..SEEDS {
        let (greetings, told, lost) = family(seed);
        assert_eq!(greetings, 12, "seed {seed}");
        assert!(lost > 0, "seed {seed}: nothing was spawned on the board that is killed");
        let expected = [&["4 closed"][..], &vec!["4 noconnection"; lost]].concat();
        assert_eq!(told, expected, "seed {seed}");
    }
}

#[test]
fn a_name_taken_on_both_sides_of_a_partition_has_one_holder_after_it() {
    let (mut contested, mut losses_told) = (0, 0);
    for seed in 0..SEEDS {
        let (taken, found_out, holders, told) = contest(seed);
        assert_eq!(holders, 1, "seed {seed}");
        // Nobody has to find out if the one space ended before the two sides heard of each other.
        assert!(
            taken >= 2 || found_out == 0,
            "seed {seed}: taken {taken} times, found out {found_out} times"
        );
        assert!(told <= found_out, "seed {seed}: the loss is told {told} times");
        contested += u64::from(found_out >= 1);
        losses_told += told;
    }
    assert!(contested > SEEDS / 2, "only in {contested} seeds it is found out that both sides took it");
    assert!(losses_told > 0, "no space that lost its name was there to be told");
}

#[test]
fn calls_that_nobody_takes_are_bounded_and_then_to_be_tried_again() {
    for seed in 0..SEEDS {
        let (waiting, said) = impatience(seed);
        assert_eq!((waiting, said), (256, vec!["refused".to_owned()]), "seed {seed}");
    }
}

#[test]
fn what_a_space_cannot_have_is_refused_for_its_reason() {
    for seed in 0..SEEDS {
        let answers = refused(seed);
        let expected = ["-4", "-4", "-5", "-1", "-1", "-8", "free", "-2", "-1", "-7", "-8", "free"];
        assert_eq!(answers, expected, "seed {seed}");
    }
}
