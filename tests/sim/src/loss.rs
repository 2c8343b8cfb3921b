//! A zhost of which little or nothing gets through in one direction, for a minute or two: the case in which other
//! protocols let members come and go (Suresh and others, "Stable and Consistent Membership at Scale with Rapid", 2018).
//! It may be taken for dead, once; nobody else may, and afterwards all agree.

use crate::{
    promise::Promise,
    scenario::{Report, Run, network},
    world::{Machines, World},
};
use std::{collections::BTreeMap, time::Duration};
use zhost_base::ZhostId;

/// How long it lasts: at least, and at most so much longer.
const LENGTH_S: (u64, u64) = (60, 60);
/// How often it is looked who sees whom.
const LOOK_PERIOD: Duration = Duration::from_millis(100);
/// How often a zhost may take the one that is not heard, or does not hear, for dead.
const DEATHS_MAX: u32 = 1;

/// Join, submit, loss, and quiet.
pub fn run(seed: u64, zhosts: usize, verbose: bool) -> Report {
    let mut world = World::new(seed, Machines { zhosts, cameras: 1, measured: false }, network(10, 10));
    world.verbose = verbose;
    let mut run = Run::new(world);
    run.power_on();
    run.submit("alpha", 1, "data.read");
    if run.wait_for_quiet("after the submit") {
        run.lose();
    }
    let start = run.world.now();
    let quiet = run.wait_for_quiet("after the loss");
    let quiet_after = quiet.then(|| run.world.now().since(start));
    run.report(quiet_after)
}

impl Run {
    fn lose(&mut self) {
        let ids: Vec<ZhostId> =
            self.world.live().into_iter().filter_map(|index| self.world.id(index)).collect();
        let victim = self.world.rng().below(ids.len() as u64) as usize;
        self.spoil_ways_of(victim);
        let end = self.world.now() + Duration::from_secs(LENGTH_S.0 + self.world.rng().below(LENGTH_S.1));
        let mut seen: BTreeMap<(usize, usize), (bool, u32)> = BTreeMap::new();
        while self.world.now() < end {
            self.world.run_for(LOOK_PERIOD);
            for (observer, subject) in pairs(ids.len()) {
                let is_up = self.world.sees(observer, ids[subject]);
                let (was_up, deaths) = seen.entry((observer, subject)).or_insert((true, 0));
                *deaths += u32::from(*was_up && !is_up);
                *was_up = is_up;
            }
        }
        self.world.heal();
        for ((observer, subject), (_, deaths)) in seen {
            let is_concerned = observer == victim || subject == victim;
            if deaths > if is_concerned { DEATHS_MAX } else { 0 } {
                let text = format!(
                    "z{observer} takes z{subject} for dead {deaths} times while z{victim} alone has bad ways"
                );
                self.object(Promise::Stability, text);
            }
        }
    }
}

fn pairs(size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..size).flat_map(move |a| (0..size).map(move |b| (a, b))).filter(|(a, b)| a != b)
}
