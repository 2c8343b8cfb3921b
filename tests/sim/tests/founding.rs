//! How clusters begin, at several sizes, under loss and jitter.

use zhost_sim::{
    founding::{self, Told},
    scenario::Report,
};

const SIZES: [usize; 3] = [3, 7, 20];

fn try_all(scenario: impl Fn(u64, Told) -> Report, told: impl Fn(usize, bool) -> Told, seeds: u64) {
    for (zhosts, discover) in SIZES.iter().flat_map(|zhosts| [(*zhosts, false), (*zhosts, true)]) {
        for seed in 0..seeds {
            let told = told(zhosts, discover);
            let report = scenario(seed, told);
            assert!(report.flaws.is_empty(), "seed {seed}, {told:?}: {:?}", report.flaws);
        }
    }
}

#[test]
fn several_that_all_name_the_same_two_found_one_cluster_at_once() {
    try_all(founding::all_start, |zhosts, discover| Told { zhosts, named: 2, discover }, 5);
}

#[test]
fn several_that_all_name_each_other_found_one_cluster_at_once() {
    try_all(founding::all_start, |zhosts, discover| Told { zhosts, named: zhosts.min(16), discover }, 5);
}

#[test]
fn who_never_starts_is_waited_for_and_then_not() {
    try_all(founding::one_is_missing, |zhosts, discover| Told { zhosts, named: 3, discover }, 3);
}

#[test]
fn halves_that_founded_a_cluster_each_become_one_and_lose_nothing() {
    try_all(founding::in_two, |zhosts, discover| Told { zhosts, named: 2, discover }, 3);
}
