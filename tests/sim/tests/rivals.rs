//! One card in two boards: both are named, one stays, and every space runs once. A card that was moved is no copy.

use std::time::Duration;
use zhost_sim::rivals::Site;

/// With how many seeds at each size.
const SIZES: [(usize, u64); 3] = [(3, 6), (7, 4), (20, 2)];

fn each_site(mut visit: impl FnMut(&str, u64, Site)) {
    for (zhosts, seeds) in SIZES {
        for seed in 0..seeds {
            let what = format!("{zhosts} zhosts, seed {seed}");
            let site =
                Site::start(seed, zhosts).unwrap_or_else(|| panic!("{what}: the space does not start"));
            visit(&what, seed, site);
        }
    }
}

#[test]
fn a_copied_card_is_found_out_and_every_space_runs_once() {
    each_site(|what, seed, mut site| {
        let (home, spare) = (site.home, site.spare);
        site.copy(seed.is_multiple_of(2));
        let home_now = site.homes();
        assert!(home_now.len() == 1 && home_now[0] != spare, "{what}: {home_now:?}");
        assert_eq!(site.watch(Duration::from_secs(30)), 0, "{what}: it runs twice, or not at all");
        let witnesses = site.witnesses();
        assert_eq!(witnesses.len(), site.world.size(), "{what}: only {witnesses:?} say so");
        let (refusal, names_it) = site.ask(spare);
        let is_refused = refusal.as_ref().is_some_and(|reason| reason.contains("stands aside"));
        assert!(is_refused && names_it, "{what}: {refusal:?}, names it: {names_it}");
        let (refusal, names_it) = site.ask((home + 1) % spare);
        let is_refused = refusal.as_ref().is_some_and(|reason| reason.contains("no topology"));
        assert!(is_refused && names_it, "{what}: {refusal:?}, names it: {names_it}");
        let says_it_is_lonely =
            |line: &String| line.contains(&format!("z{spare} ")) && line.contains("nobody of");
        assert!(!site.world.trace().any(says_it_is_lonely), "{what}: its other start has answered");
        // When the one that stayed goes, the other goes on.
        site.world.kill(home);
        site.world.run_for(Duration::from_secs(60));
        assert!(
            site.world.sees((home + 1) % spare, site.world.id(spare).unwrap()),
            "{what}: it stands aside for nobody"
        );
        assert_eq!(site.homes().len(), 1, "{what}");
        assert!(site.world.inspect()[&spare].ready, "{what}");
        // And now it is the one that was there first.
        site.world.start(home);
        site.world.run_for(Duration::from_secs(20));
        assert_eq!(site.watch(Duration::from_secs(20)), 0, "{what}: after it came back");
        assert!(!site.world.inspect()[&home].ready && site.world.inspect()[&spare].ready, "{what}");
        assert_eq!(site.world.objections(), [], "{what}");
    });
}

#[test]
fn a_card_that_was_moved_to_another_board_is_no_copy() {
    each_site(|what, _, mut site| {
        let (home, spare) = (site.home, site.spare);
        site.world.kill(home);
        site.world.run_for(Duration::from_secs(1));
        site.world.copy_card(home, spare);
        site.world.start(spare);
        site.world.run_for(Duration::from_secs(30));
        assert_eq!(site.witnesses(), [0; 0], "{what}");
        let id = site.world.id(spare).unwrap();
        assert!((0..spare).filter(|index| *index != home).all(|index| site.world.sees(index, id)), "{what}");
        assert_eq!(site.homes().len(), 1, "{what}");
    });
}
