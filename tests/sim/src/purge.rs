//! Topologies that come and go while boards are away: what is deleted goes everywhere, what stays has its copies.

use crate::{
    guests,
    promise::{Flaw, Promise},
    scenario::{LONG, Report, Run, network},
    world::{Machines, World},
};
use std::{collections::BTreeSet, time::Duration};
use zhost_base::limits::COPIES;

const NAMES: [&str; 3] = ["alpha", "beta", LONE];
/// The topology of one space: where spaces stand on several boards, a package lies there in any case.
const LONE: &str = "gamma";
/// How long packages may take to where they should be, and data to go.
const SETTLE: Duration = Duration::from_secs(45);

/// What an operator does in between, more often than not.
fn chore(run: &mut Run, version: &mut u32) {
    let name = NAMES[run.world.rng().below(3) as usize];
    match run.world.rng().below(6) {
        0 | 1 => {
            *version += 1;
            run.submit_named(name, *version);
        }
        2 | 3 if run.is_wanted(name) => run.delete(name),
        4 if run.is_wanted(name) => run.stop(name),
        _ => {}
    }
}

/// Join, submit, chores and mishaps, and in some runs a board that is away until everybody has forgotten.
pub fn run(seed: u64, zhosts: usize, verbose: bool) -> Report {
    let mut world = World::new(seed, Machines { zhosts, cameras: 0, measured: false }, network(20, 20));
    world.verbose = verbose;
    let mut run = Run::new(world);
    run.power_on();
    NAMES.into_iter().skip(1).for_each(|name| run.submit_named(name, 1));
    run.wait_for_quiet("after the submits");
    let mut version = 1;
    if run.flaws.is_empty() {
        run.trouble(|run| chore(run, &mut version));
    }
    let start = run.world.now();
    let mut quiet = run.wait_for_quiet("after the faults");
    let quiet_after = quiet.then(|| run.world.now().since(start));
    run.look_for_remains("after the faults");
    if quiet && run.world.rng().chance(300) {
        quiet = run.leave_one_out();
    }
    run.report(quiet_after.filter(|_| quiet))
}

impl Run {
    /// A board is away while something is deleted, and comes back when the others may have forgotten it.
    fn leave_one_out(&mut self) -> bool {
        let live = self.world.live();
        let Some(away) = self.world.rng().pick(&live).copied() else { return false };
        self.world.cut_power(away);
        self.world.run_for(Duration::from_secs(10));
        NAMES.into_iter().filter(|name| self.is_wanted(name)).collect::<Vec<_>>().into_iter().for_each(
            |name| {
                self.delete(name);
            },
        );
        self.world.run_for(LONG);
        self.world.start(away);
        let quiet = self.wait_for_quiet("after a board came back late");
        self.look_for_remains("after a board came back late");
        quiet
    }

    fn submit_named(&mut self, name: &str, version: u32) {
        if name == LONE {
            self.submit_package(name, version, 1, guests::lone(name, version));
        } else {
            self.submit(name, version, "data.read");
        }
    }

    fn is_wanted(&self, name: &str) -> bool {
        self.expected.iter().any(|expectation| expectation.name == name && expectation.last().is_some())
    }

    /// After a while: packages that are needed lie on enough boards; data and packages that are not lie nowhere.
    fn look_for_remains(&mut self, when: &str) {
        if !self.flaws.is_empty() {
            return;
        }
        let end = self.world.now() + SETTLE;
        if !self.world.run_until(end, |world| remains(world).is_empty()) {
            self.flaws.extend(remains(&self.world).into_iter().map(|flaw| flaw.at(when)));
        }
    }
}

/// Copies that are missing, and what should not be there any more.
fn remains(world: &World) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let views = world.inspect();
    let Some(model) = views.values().next() else { return flaws };
    let needed: BTreeSet<_> = model.packages.iter().copied().collect();
    for package in &needed {
        let copies = views.keys().filter(|index| world.has_blob(**index, *package)).count();
        let wanted = COPIES.min(views.len());
        if copies < wanted {
            flaws.push(
                Promise::Copies.broken(format!("{copies} boards have {package} on flash, not {wanted}")),
            );
        }
    }
    for index in views.keys() {
        for blob in world.blobs(*index).into_iter().filter(|blob| !needed.contains(blob)) {
            flaws.push(Promise::Purge.broken(format!("z{index} keeps {blob}, which nobody needs")));
        }
        let gone = NAMES.into_iter().filter(|name| !model.topologies.contains_key(*name));
        for name in gone.filter(|name| !world.stored(*index, name, "store").is_empty()) {
            flaws.push(Promise::Purge.broken(format!("z{index} has data of {name}, which is deleted")));
        }
    }
    flaws
}
