//! Two zhosts cannot hear each other any more, and nobody told them; others hear both. What is shown of them is true
//! within seconds.

use std::time::Duration;
use zhost_control::protocol::{Peer, Ping, Reply, Request};
use zhost_sim::{Machines, NetworkFaults, World};

/// How long what is shown may be what was.
const TRUE_WITHIN: Duration = Duration::from_secs(15);

/// So many pings, of half a second each, find another way.
const PINGS: u32 = 8;

fn answer(world: &mut World, request: &Request) -> Reply {
    let number = world.ask(0, request);
    let end = world.now() + Duration::from_secs(10);
    world.run_until(end, |world| world.reply(number).is_some());
    world.reply(number).flatten().cloned().expect("the zhost answers its operator")
}

/// What the first board shows of the second.
fn shown(world: &mut World) -> Peer {
    let id = world.id(1).unwrap().to_string();
    match answer(world, &Request::MeshPeers) {
        Reply::Peers(peers) => peers.into_iter().find(|peer| peer.id == id).expect("it is a member"),
        other => panic!("{other:?}"),
    }
}

fn ping(world: &mut World) -> Ping {
    let id = world.id(1).unwrap().to_string();
    match answer(world, &Request::MeshPing(Some(id))) {
        Reply::Pings(pings) => pings.into_iter().next().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_neighbour_that_fell_silent_is_not_shown_as_linked_and_is_reached_another_way() {
    let jitter = Duration::from_millis(20);
    for (seed, zhosts, loss_per_mille) in [(1, 3, 0), (2, 7, 50), (3, 20, 20)] {
        let faults = NetworkFaults { loss_per_mille, jitter, ..NetworkFaults::default() };
        let mut world = World::new(seed, Machines { zhosts, cameras: 0, measured: false }, faults);
        (0..zhosts).for_each(|index| world.start(index));
        world.run_for(Duration::from_secs(60));
        ping(&mut world);
        let before = shown(&mut world);
        assert!(before.rtt_us.is_some_and(|rtt_us| rtt_us < 100_000), "{zhosts} zhosts: {before:?}");
        world.cut(0, 1);
        world.cut(1, 0);
        world.run_for(TRUE_WITHIN);
        let after = shown(&mut world);
        assert_ne!(after.state, "linked", "{zhosts} zhosts: {after:?}");
        // The first pings look for the way, at both ends.
        let answered = (0..PINGS).any(|_| ping(&mut world).hops >= 2);
        assert!(answered, "{zhosts} zhosts: {:?}", shown(&mut world));
    }
}
