//! Parts of zhosts that panic.

use zhost_sim::panics;

/// Seeds at three, seven and twenty boards.
const SEEDS: [(usize, u64); 3] = [(3, 6), (7, 3), (20, 1)];

#[test]
fn a_part_that_panics_is_back_within_a_second_and_spaces_run_on() {
    for (zhosts, seeds) in SEEDS {
        for seed in 0..seeds {
            let report = panics::alone(seed, zhosts);
            assert!(report.flaws.is_empty(), "seed {seed} at {zhosts}: {:?}", report.flaws);
        }
    }
}
