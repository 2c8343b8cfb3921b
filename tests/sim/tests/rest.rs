//! A cluster that nothing happens to is at rest: it writes no rows, and talks no more than it must.

use std::time::Duration;
use zhost_sim::scenario;

#[test]
fn on_a_bad_network_next_to_nothing_is_announced() {
    for (zhosts, minutes) in [(3, 20), (7, 20), (20, 10)] {
        let (rest, report) = scenario::rest(1, zhosts, Duration::from_secs(60 * minutes));
        assert_eq!(report.flaws, []);
        // Six of one in an hour at most, whenever they come; and of half of them none.
        let is_at_rest = rest.rows_max <= 6 && rest.rows < zhosts as u64 / 2 + 2;
        assert!(is_at_rest, "{zhosts} zhosts in {minutes} minutes: {rest}");
    }
}

/// Two of these boards once accused each other without end: the one had refuted long ago, and the other had not heard it.
#[test]
fn after_many_deaths_and_pulled_cables_it_is_as_quiet_as_ever() {
    for (seed, zhosts) in [(0, 20), (1, 7), (2, 3)] {
        let (rest, report) = scenario::battered(seed, zhosts, 20, Duration::from_secs(60));
        assert_eq!(report.flaws, []);
        assert!(rest.bytes_per_second_max <= 2.0 * rest.bytes_per_second, "{zhosts} zhosts: {rest}");
        assert!(rest.bytes_per_second <= 600.0, "{zhosts} zhosts: {rest}");
    }
}
