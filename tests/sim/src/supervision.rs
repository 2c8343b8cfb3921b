//! What becomes of spaces that crash again and again, and of those whose device goes.

use crate::{
    actors::submit,
    guests,
    scenario::network,
    world::{Machines, World},
};
use std::time::Duration;
use zhost_base::Instant;
use zhost_control::protocol::Request;

const TRAPS: &str = r#"(module (memory (export "memory") 1)
  (func (export "on_process") (result i32) (unreachable)))"#;
const IDLES: &str = r#"(module
  (import "sys" "sleep" (func $sleep (param i32)))
  (memory (export "memory") 1)
  (func (export "on_process") (result i32) (call $sleep (i32.const -1)) (i32.const 0)))"#;

/// A site with these boards, of which so many, the last ones, have a camera; and a topology of one space there.
fn site(seed: u64, zhosts: usize, cameras: usize, capabilities: &str, module: &str) -> World {
    let mut world = World::new(seed, Machines { zhosts, cameras, measured: false }, network(20, 10));
    (0..zhosts).for_each(|index| world.start(index));
    let topology = format!(
        "apiVersion: samoza/v1\nkind: Topology\nmetadata: {{name: lone}}\nspaces:\n  \
         - {{name: space, type: IO, capabilities: [{capabilities}]}}\n"
    );
    submit(&mut world, guests::assemble("lone", 1, &topology, &[("space", module.to_owned())]));
    world
}

fn starts(world: &World) -> Vec<Instant> {
    let starts = world.trace().filter(|line| line.contains("starting space space"));
    let second = |line: &String| line.split_once('s').and_then(|(seconds, _)| seconds.parse::<f64>().ok());
    starts.filter_map(second).map(|seconds| Instant::from_micros((seconds * 1e6) as u64)).collect()
}

/// What a space does that crashes as soon as it starts.
#[derive(Debug)]
pub struct CrashLoop {
    /// The pauses between its starts.
    pub pauses: Vec<Duration>,
    /// How often it was held.
    pub held: usize,
    /// How often it has started in ten minutes, and then in ten more after an operator restarted it.
    pub starts: [usize; 2],
}

/// A space crashes as soon as it starts; after ten minutes an operator restarts it.
pub fn crash_loop(seed: u64) -> CrashLoop {
    let mut world = site(seed, 3, 0, "", TRAPS);
    world.run_for(Duration::from_secs(600));
    let first = starts(&world);
    world.ask(0, &Request::SpaceRestart("lone/space".into()));
    world.run_for(Duration::from_secs(600));
    let held = world.trace().filter(|line| line.contains("; now held")).count();
    CrashLoop {
        pauses: first.windows(2).map(|pair| pair[1].since(pair[0])).collect(),
        held,
        starts: [first.len(), starts(&world).len()],
    }
}

/// A space needs a camera; of four boards the last two have one. Gives on which boards it runs at first, when its
/// board's camera is unplugged, when the other's is, too, and when the first is plugged in again.
pub fn unplugged(seed: u64) -> [Vec<usize>; 4] {
    const CAMERA: &str = "sensors.camera";
    let mut world = site(seed, 4, 2, CAMERA, IDLES);
    let settle = |world: &mut World| {
        world.run_for(Duration::from_secs(30));
        (0..4).filter(|index| world.runs(*index, "lone", "space")).collect::<Vec<usize>>()
    };
    let first = settle(&mut world);
    let [home] = first[..] else { return [first, Vec::new(), Vec::new(), Vec::new()] };
    world.set_devices(home, &[]);
    let second = settle(&mut world);
    world.set_devices(5 - home, &[]);
    let third = settle(&mut world);
    world.set_devices(home, &[CAMERA]);
    [first, second, third, settle(&mut world)]
}
