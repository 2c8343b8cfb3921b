//! What an operator sends is examined beside everything else, within bounds.

use std::time::Duration;
use zhost_control::protocol::{Reply, Request};
use zhost_sim::{Machines, NetworkFaults, World, package};

/// Far more than any answer takes, and far less than an examination here.
const PROMPTLY: Duration = Duration::from_secs(2);

fn cluster() -> World {
    let shape = Machines { zhosts: 3, cameras: 1, measured: false };
    let mut world = World::new(1, shape, NetworkFaults::default());
    (0..world.size()).for_each(|index| world.start(index));
    world.run_for(Duration::from_secs(30));
    world
}

fn submit(name: &str) -> Request {
    Request::TopoSubmit(package(name, 1, "sensors.camera"))
}

/// Makes z0 take this long over a package of the simulator.
fn takes(world: &mut World, duration: Duration) {
    let kib = package("demo", 1, "sensors.camera").len().div_ceil(1024) as u32;
    world.slow_processor(0, duration / kib);
}

fn is_refused(world: &World, number: usize, reason: &str) -> bool {
    matches!(world.reply(number), Some(Some(Reply::Refused(why))) if why.contains(reason))
}

#[test]
fn others_are_answered_while_a_package_is_examined() {
    let mut world = cluster();
    takes(&mut world, Duration::from_secs(10));
    let submitted = world.ask(0, &submit("demo"));
    world.run_for(PROMPTLY);
    let listed = world.ask(0, &Request::TopoList);
    world.run_for(PROMPTLY);
    assert!(matches!(world.reply(listed), Some(Some(Reply::Topologies(list))) if list.is_empty()));
    assert!(world.reply(submitted).is_none(), "{:?}", world.reply(submitted));
    world.run_for(Duration::from_secs(15));
    assert!(
        matches!(world.reply(submitted), Some(Some(Reply::Submitted(_)))),
        "{:?}",
        world.reply(submitted)
    );
}

#[test]
fn a_fifth_package_at_once_is_refused() {
    let mut world = cluster();
    takes(&mut world, Duration::from_secs(10));
    let first = ["a", "b", "c", "d"].map(|name| world.ask(0, &submit(name)));
    world.run_for(PROMPTLY);
    let fifth = world.ask(0, &submit("e"));
    world.run_for(PROMPTLY);
    assert!(is_refused(&world, fifth, "being examined"), "{:?}", world.reply(fifth));
    world.run_for(Duration::from_secs(15));
    for number in first {
        assert!(matches!(world.reply(number), Some(Some(Reply::Submitted(_)))), "{:?}", world.reply(number));
    }
}

#[test]
fn an_examination_that_takes_too_long_changes_nothing_and_keeps_its_place_until_it_ends() {
    let mut world = cluster();
    takes(&mut world, Duration::from_secs(60));
    let slow = ["a", "b", "c", "d"].map(|name| world.ask(0, &submit(name)));
    world.run_for(Duration::from_secs(30));
    for number in slow {
        assert!(is_refused(&world, number, "takes too long"), "{:?}", world.reply(number));
    }
    let early = world.ask(0, &submit("e"));
    world.run_for(PROMPTLY);
    assert!(is_refused(&world, early, "being examined"), "{:?}", world.reply(early));
    world.run_for(Duration::from_secs(40));
    assert!(world.inspect().values().all(|view| view.topology_documents == 0));
    takes(&mut world, Duration::from_secs(1));
    let late = world.ask(0, &submit("e"));
    world.run_for(Duration::from_secs(10));
    assert!(matches!(world.reply(late), Some(Some(Reply::Submitted(_)))), "{:?}", world.reply(late));
}
