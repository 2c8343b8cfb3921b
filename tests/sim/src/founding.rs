//! How a cluster begins where boards are told whom to join: all name the same ones, some never start, or the network is
//! in two while it happens.

use crate::{
    machine::addrs,
    promise::Promise,
    scenario::{Report, Run, network},
    world::{Machines, World},
};
use std::{collections::BTreeSet, time::Duration};
use zhost_node::Inspection;

/// What the boards are told.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// How many boards there are.
    pub zhosts: usize,
    /// How many of them, the first ones, all are told to join.
    pub named: usize,
    /// Whether they look around on their network, too.
    pub discover: bool,
}

/// A site under loss and jitter whose boards know of each other what they are told.
fn site(seed: u64, told: Told) -> Run {
    let Told { zhosts, named, discover } = told;
    let mut world = World::new(seed, Machines { zhosts, cameras: 0, measured: false }, network(50, 50));
    let join: Vec<_> = (0..named).map(|index| addrs(index).0).collect();
    (0..zhosts).for_each(|index| world.set_join(index, &join, discover));
    Run::new(world)
}

/// How often somebody founded a cluster so far.
fn foundings(run: &Run) -> usize {
    run.world.trace().filter(|line| line.contains("founding a cluster")).count()
}

/// Whether soon all are in one cluster, under one full term.
fn is_one(run: &mut Run, within: Duration, boards: usize) -> bool {
    let end = run.world.now() + within;
    run.world.run_until(end, |world| {
        let views = world.inspect();
        let leaders: BTreeSet<_> =
            views.values().map(|view| view.leadership.as_ref().map(|leadership| leadership.0)).collect();
        let knows_all = |view: &Inspection| {
            let is_led = view.leadership.as_ref().is_some_and(|(_, leadership)| leadership.full);
            view.ready && is_led && view.roster == boards && view.members.len() == boards
        };
        views.len() == boards && leaders.len() == 1 && views.values().all(knows_all)
    })
}

/// All boards start within seconds: one of them founds the cluster at once.
pub fn all_start(seed: u64, told: Told) -> Report {
    let mut run = site(seed, told);
    run.power_on();
    if !is_one(&mut run, Duration::from_secs(15), told.zhosts) {
        run.object(Promise::Agreement, "there is no cluster of all after 15 s");
    }
    if foundings(&run) != 1 {
        let count = foundings(&run);
        run.object(Promise::Agreement, format!("{count} clusters were founded"));
    }
    run.report(Some(Duration::ZERO))
}

/// One of those that are named never starts: the others found a cluster after a while; it joins when it comes after all.
pub fn one_is_missing(seed: u64, told: Told) -> Report {
    let mut run = site(seed, told);
    let missing = run.world.rng().below(told.named as u64) as usize;
    (0..told.zhosts).filter(|index| *index != missing).for_each(|index| run.world.start(index));
    run.world.run_for(Duration::from_secs(25));
    if foundings(&run) > 0 {
        run.object(Promise::Agreement, "nobody waited for the one that is missing");
    }
    if !is_one(&mut run, Duration::from_secs(20), told.zhosts - 1) {
        run.object(Promise::Agreement, "there is no cluster without the one that is missing");
    }
    let count = foundings(&run);
    if count != 1 {
        run.object(Promise::Agreement, format!("{count} clusters were founded"));
    }
    run.world.start(missing);
    if !is_one(&mut run, Duration::from_secs(15), told.zhosts) {
        run.object(Promise::Agreement, "who comes late does not join");
    }
    run.report(Some(Duration::ZERO))
}

/// The network is in two while all start. Each side founds a cluster and is given a topology; when it heals there is one
/// cluster under one full term, which runs both.
pub fn in_two(seed: u64, told: Told) -> Report {
    let mut run = site(seed, told);
    // Both sides have one that is named, or nobody there would found anything.
    let side: Vec<usize> = (0..told.zhosts).filter(|index| index % 2 == 0).collect();
    run.world.partition(&side);
    run.world.expect_clusters(2);
    run.power_on();
    let end = run.world.now() + Duration::from_secs(50);
    let founded = run.world.run_until(end, |world| world.inspect().values().all(|view| view.ready));
    if !founded || foundings(&run) != 2 {
        let count = foundings(&run);
        run.object(Promise::Agreement, format!("{count} clusters were founded in two halves"));
    }
    run.world.run_for(Duration::from_secs(5));
    run.submit_at(0, "alpha", "data.read");
    run.submit_at(1, "beta", "data.read");
    let before = run.world.now();
    run.world.heal();
    let united = run.wait_for_quiet("after the halves met");
    let quiet_after = united.then(|| run.world.now().since(before));
    for (index, view) in run.world.inspect() {
        if view.roster != told.zhosts
            || !view.leadership.as_ref().is_some_and(|(_, leadership)| leadership.full)
        {
            run.object(
                Promise::Agreement,
                format!("z{index} has a roster of {} and the term {:?}", view.roster, view.leadership),
            );
        }
    }
    run.check_flow();
    run.report(quiet_after)
}
