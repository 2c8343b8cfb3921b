//! Boards whose store is emptied in the middle of elections: they come back by themselves, and no vote counts twice.

use std::time::Duration;
use zhost_control::protocol::Request;
use zhost_sim::{Machines, World, package, scenario::network};

/// Boards die, are cut off and lose their stores, a new leader being sought each time; then all is well again.
fn run(seed: u64, zhosts: usize) -> World {
    let mut world = World::new(seed, Machines { zhosts, cameras: 2, measured: false }, network(50, 50));
    (0..zhosts).for_each(|index| world.start(index));
    world.run_for(Duration::from_secs(25));
    world.ask(0, &Request::TopoSubmit(package("alpha", 1, "data.read")));
    world.run_for(Duration::from_secs(30));
    for _ in 0..3 {
        let leader = world.inspect().values().find_map(|view| Some(view.leadership.as_ref()?.0));
        let leads = (0..zhosts).find(|index| world.id(*index) == leader).unwrap_or(0);
        let victim = (leads + 1 + world.rng().below(zhosts as u64 - 1) as usize) % zhosts;
        world.kill(leads);
        let pause = world.rng().below(3000);
        world.run_for(Duration::from_millis(pause));
        world.kill(victim);
        world.empty_disk(victim);
        if world.rng().chance(500) {
            world.partition(&[victim, (victim + 1) % zhosts]);
        }
        world.start(victim);
        let pause = world.rng().below(5000);
        world.run_for(Duration::from_millis(pause));
        world.start(leads);
        world.heal();
        world.run_for(Duration::from_secs(20));
    }
    world.run_for(Duration::from_secs(60));
    // A row may just be on its way.
    let end = world.now() + Duration::from_secs(10);
    world.run_until(end, World::is_agreed);
    world
}

#[test]
fn a_board_whose_store_is_emptied_comes_back_and_no_term_has_two_leaders() {
    for (zhosts, seeds) in [(3, 12), (7, 6), (20, 2)] {
        for seed in 0..seeds {
            let what = format!("{zhosts} zhosts, seed {seed}");
            let world = run(seed, zhosts);
            assert_eq!(world.objections(), [], "{what}");
            assert!(world.is_agreed(), "{what}: they do not agree");
            for (index, view) in world.inspect() {
                assert!(view.ready, "{what}: z{index} is not ready");
                assert!(
                    view.leadership.as_ref().is_some_and(|(_, leadership)| leadership.full),
                    "{what}: {:?}",
                    view.leadership
                );
                assert_eq!(view.topologies.get("alpha").map(|t| t.1), Some("running"), "{what}: z{index}");
            }
            let informed = world.trace().filter(|line| line.contains("voting again")).count();
            assert!(informed >= 1, "{what}: nobody abstained");
        }
    }
}
