//! Parts of zhosts that panic.

use zhost_node::Part;
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

#[test]
fn a_topology_that_panics_is_left_alone_and_all_else_goes_on() {
    for part in [Part::Placement, Part::Spaces] {
        for (zhosts, seeds) in SEEDS {
            for seed in 0..seeds {
                let report = panics::poisoned(seed, zhosts, part);
                assert!(report.flaws.is_empty(), "{part:?}, seed {seed} at {zhosts}: {:?}", report.flaws);
            }
        }
    }
}
