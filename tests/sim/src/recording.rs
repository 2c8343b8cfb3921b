//! Boards that are recorded: what happened to their nodes is told again to others.

use crate::{
    scenario::{Run, network},
    world::{Machines, World},
};
use std::time::Duration;
use zhost_node::{Recording, Replay, ReplayError};

/// What was recorded of all boards of a cluster in which a topology is submitted, and a board ends and starts again.
pub fn recordings(seed: u64, zhosts: usize) -> Vec<Vec<u8>> {
    let world = World::new(seed, Machines { zhosts, cameras: 1, measured: false }, network(20, 20));
    let mut run = Run::new(world);
    run.world.record_all();
    run.power_on();
    run.submit("alpha", 1, "sensors.camera");
    run.wait_for_quiet("after the submit");
    run.world.kill(0);
    let end = run.world.now() + Duration::from_secs(20);
    run.world.run_until(end, |_| false);
    run.world.start(0);
    run.wait_for_quiet("after a board started again");
    (0..zhosts).map(|index| run.world.take_recording(index)).collect()
}

/// Tells a node again what was recorded of one; gives how many inputs that were.
pub fn replay(recording: &[u8]) -> Result<u64, ReplayError> {
    let mut replay = Replay::new(Recording::read(recording)?);
    let mut told = 0;
    while let Some(step) = replay.next_step()? {
        told = step.number;
        replay.tell(step);
    }
    Ok(told)
}
