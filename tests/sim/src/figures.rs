//! How fast, and at what cost: figures of simulated clusters, and checks that need many zhosts or much time.

use crate::{
    network::NetworkFaults,
    scenario::{QUIET_WITHIN, network},
    world::{Machines, World},
};
use std::time::Duration;
use zhost_base::Instant;

/// How often it is looked whether a death is known.
const LOOK_PERIOD: Duration = Duration::from_millis(10);
/// How long a cluster settles before something is done to it.
const SETTLE: Duration = Duration::from_secs(20);

/// How a zhost dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Its process ends; the kernel lives on and says so.
    Killed,
    /// Its power or cable goes; nobody says anything.
    Silent,
}

/// A settled cluster of that many zhosts, without spaces.
fn settled(seed: u64, zhosts: usize, faults: NetworkFaults) -> World {
    let machines = Machines { zhosts, cameras: 0, measured: true };
    let mut world = World::new(seed, machines, faults);
    for index in 0..zhosts {
        world.start(index);
        world.run_for(Duration::from_millis(20));
    }
    let end = world.now() + QUIET_WITHIN;
    world.run_until(end, World::is_agreed);
    world.run_for(SETTLE);
    world
}

/// How long until all others know of a death; nothing if that took more than a minute.
pub fn detection(seed: u64, zhosts: usize, loss_per_mille: u64, death: Death) -> Option<Duration> {
    let mut world = settled(seed, zhosts, network(loss_per_mille, 5));
    // Deaths come at any phase of the probing.
    world.run_for(Duration::from_millis(seed % 61 * 10));
    let victim = (seed as usize * 7 + 3) % zhosts;
    let id = world.id(victim)?;
    let start = world.now();
    match death {
        Death::Killed => world.kill(victim),
        Death::Silent => world.cut_power(victim),
    }
    while world.now().since(start) < Duration::from_secs(60) {
        world.run_for(LOOK_PERIOD);
        if world.live().into_iter().all(|index| !world.sees(index, id)) {
            return Some(world.now().since(start));
        }
    }
    None
}

/// How often a live zhost was declared dead by another in an hour at that loss.
pub fn false_deaths(seed: u64, zhosts: usize, loss_per_mille: u64, length: Duration) -> u64 {
    let mut world = settled(seed, zhosts, network(loss_per_mille, 5));
    let before = world.deaths_seen();
    world.run_for(length);
    world.deaths_seen() - before
}

/// A zhost is stopped for a while, as by SIGSTOP. Gives whom it took for dead after it woke up, and how many others
/// took somebody else than it for dead.
pub fn woken(seed: u64, zhosts: usize, pause: Duration) -> (u64, u64) {
    let mut world = settled(seed, zhosts, network(20, 5));
    let sleeper = seed as usize % zhosts;
    let before: Vec<u64> = (0..zhosts).map(|index| world.deaths_seen_by(index)).collect();
    world.pause(sleeper, pause);
    world.run_for(pause + Duration::from_secs(15));
    let after: Vec<u64> = (0..zhosts).map(|index| world.deaths_seen_by(index)).collect();
    let gained = |index: usize| after[index] - before[index];
    // The others may well take the sleeper itself for dead, once each.
    let others =
        (0..zhosts).filter(|index| *index != sleeper).map(|index| gained(index).saturating_sub(1)).sum();
    (gained(sleeper), others)
}

/// What a quiet cluster costs.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Bytes each zhost sends in a second, on average, headers of IP, UDP and TCP and sealing included.
    pub bytes_per_second: f64,
    /// The same of the zhost that sends most.
    pub bytes_per_second_max: f64,
    /// Bytes each zhost has written to its store in a day.
    pub flash_bytes_per_day: f64,
}

/// Measures a quiet cluster for that long.
pub fn idle(seed: u64, zhosts: usize, length: Duration) -> Idle {
    let mut world = settled(seed, zhosts, network(0, 5));
    world.run_for(Duration::from_secs(60));
    let sent = |world: &World| (0..zhosts).map(|index| world.sent_bytes(index)).collect::<Vec<u64>>();
    let flash = |world: &World| (0..zhosts).map(|index| world.flash_bytes(index)).sum::<u64>();
    let (before, flash_before) = (sent(&world), flash(&world));
    world.run_for(length);
    let rates: Vec<f64> = sent(&world)
        .iter()
        .zip(&before)
        .map(|(after, before)| (after - before) as f64 / length.as_secs_f64())
        .collect();
    let days = length.as_secs_f64() / 86_400.0;
    Idle {
        bytes_per_second: rates.iter().sum::<f64>() / zhosts as f64,
        bytes_per_second_max: rates.iter().copied().fold(0.0, f64::max),
        flash_bytes_per_day: (flash(&world) - flash_before) as f64 / days / zhosts as f64,
    }
}

/// A large cluster comes together, and loses a part of itself.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// From the last start until all agree on members, term, registry and ledger.
    pub join: Option<Duration>,
    /// Bytes each zhost sent until then, on average.
    pub join_bytes: f64,
    /// From the loss until the rest agrees again.
    pub loss: Option<Duration>,
    /// Bytes each survivor sent until then, on average.
    pub loss_bytes: f64,
}

/// That many zhosts start at once, and then that many of them lose power at once.
pub fn scale(seed: u64, zhosts: usize, lost: usize) -> Scale {
    let machines = Machines { zhosts, cameras: 0, measured: true };
    let mut world = World::new(seed, machines, network(0, 5));
    for index in 0..zhosts {
        world.start(index);
        world.run_for(Duration::from_millis(1));
    }
    let sent = |world: &World| world.live().iter().map(|index| world.sent_bytes(*index)).sum::<u64>();
    let (join, _) = agreement(&mut world);
    let join_bytes = sent(&world) as f64 / zhosts as f64;
    world.run_for(SETTLE);
    (zhosts - lost..zhosts).for_each(|index| world.cut_power(index));
    let before = sent(&world);
    let (loss, _) = agreement(&mut world);
    let loss_bytes = (sent(&world) - before) as f64 / (zhosts - lost) as f64;
    Scale { join, join_bytes, loss, loss_bytes }
}

fn agreement(world: &mut World) -> (Option<Duration>, Instant) {
    let start = world.now();
    let agreed = world.run_until(start + Duration::from_secs(300), World::is_agreed);
    (agreed.then(|| world.now().since(start)), start)
}
