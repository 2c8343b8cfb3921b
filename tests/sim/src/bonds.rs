//! The table of `agent/node/ACTORS.md`, played: what a space is told when another, to which it has bound itself, goes.

use crate::{
    actors::{CAPABILITIES, log_of, module, site, submit},
    guests,
    world::World,
};
use std::time::Duration;
use zhost_control::protocol::Request;

/// Takes the name `target`, waits, and does what is written for FATE.
pub(crate) const TARGET: &str = r#"
  (global $since (mut i64) (i64.const 0))
  (func (export "on_init") (result i32) (call $trap (i32.const TRAP)) (i32.const 0))
  (func (export "on_process") (result i32)
    (if (i64.eqz (global.get $since))
      (then
        (if (i32.eqz (call $register (i32.const 0) (i32.const 6)))
          (then (global.set $since (call $now))
                (call $log (i32.const 1) (i32.const 0) (i32.const 6)))))
      (else
        (if (i64.gt_u (i64.sub (call $now) (global.get $since)) (i64.const 3000000))
          (then FATE))))
    (call $read (i32.const ANSWER))
    (call $sleep (i32.const 500))
    (i32.const 0))"#;

/// Looks for the target, binds itself to it, and logs what it is told.
const WATCHER: &str = r#"
  (global $found (mut i64) (i64.const 0))
  (global $bound (mut i32) (i32.const 0))
  (func (export "on_init") (result i32)
    (call $log (i32.const 1) (i32.const 64) (i32.const 2))
    (i32.const 0))
  ;; Logs what a call gave: the reply, or the refusal.
  (func $called (param $result i32)
    (if (i32.gt_s (local.get $result) (i32.const 0))
      (then (call $log (i32.const 1) (i32.const 2048) (local.get $result)))
      (else
        (i32.store8 (i32.const 2048) (i32.const 45))
        (i32.store8 (i32.const 2049) (i32.sub (i32.const 48) (local.get $result)))
        (call $log (i32.const 1) (i32.const 2048) (i32.const 2)))))
  (func $bind
    (call $log (i32.const 1) (i32.const 16) (i32.const 5))
    BIND)
  (func (export "on_process") (result i32)
    (if (i32.eqz (global.get $bound)) (then
      (if (i64.eqz (global.get $found)) (then
        (if (i32.eq (call $whereis (i32.const 0) (i32.const 6) (i32.const 256)) (i32.const 16))
          (then (global.set $found (call $now))))))
      (if (i32.and (i64.ne (global.get $found) (i64.const 0))
                   (i64.ge_u (i64.sub (call $now) (global.get $found)) (i64.const WAIT))) (then
        (global.set $bound (i32.const 1))
        (call $bind)))))
    AFTER
    (call $read (i32.const 0))
    (call $sleep (i32.const 200))
    (i32.const 0))"#;

/// Says once that the name is not the target's any more.
const WATCH_NAME: &str = r#"
    (if (i32.and (i32.eq (global.get $bound) (i32.const 1))
          (i32.or (i32.ne (call $whereis (i32.const 0) (i32.const 6) (i32.const 288)) (i32.const 16))
                  (i64.ne (i64.load (i32.const 264)) (i64.load (i32.const 296))))) (then
      (global.set $bound (i32.const 2))
      (call $log (i32.const 1) (i32.const 80) (i32.const 4))))"#;

/// How a space binds itself to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bond {
    /// As linked spaces that trap exits.
    TrappingLink,
    /// As linked spaces.
    Link,
    /// As linked spaces, and undoes it.
    Unlinked,
    /// As one that is told.
    Monitor,
    /// As one that is told, and undoes it.
    Demonitored,
    /// As one that is told when the other's zhost dies.
    MonitorZhost,
    /// By a call, for the reply to which it waits.
    Call,
    /// By nothing: it looks whether the other still has its name.
    Name,
}

/// What becomes of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on, and replies when it is called.
    Lives,
    /// It asks to be stopped.
    Ends,
    /// It traps.
    Crashes,
    /// It has trapped before anybody bound himself to it.
    Gone,
    /// It is closed and started anew.
    Closed,
    /// It gives its name back, and goes on.
    Unregisters,
    /// Its zhost is killed.
    Killed,
    /// Its zhost loses power and comes back soon.
    Restarted,
    /// The two zhosts cannot reach each other for a while.
    CutOff,
}

fn bind(bond: Bond) -> &'static str {
    match bond {
        Bond::TrappingLink => "(call $trap (i32.const 1)) (drop (call $link (i32.const 256)))",
        Bond::Link => "(drop (call $link (i32.const 256)))",
        Bond::Unlinked => "(drop (call $link (i32.const 256))) (drop (call $unlink (i32.const 256)))",
        Bond::Monitor => "(drop (call $monitor (i32.const 256)))",
        Bond::Demonitored => {
            "(drop (call $monitor (i32.const 256))) (drop (call $demonitor (i32.const 256)))"
        }
        Bond::MonitorZhost => "(drop (call $monitor_zhost (i32.const 48) (i32.const 2)))",
        Bond::Call => {
            "(call $called (call $call_pid (i32.const 256) (i32.const 32) (i32.const 5) (i32.const 90000) \
             (i32.const 2048) (i32.const 64)))"
        }
        Bond::Name => "",
    }
}

fn spaces(bond: Bond, fate: Fate) -> [(&'static str, String); 2] {
    let act = match fate {
        Fate::Ends => "(return (i32.const 5))",
        Fate::Crashes | Fate::Gone => "(unreachable)",
        Fate::Unregisters => "(drop (call $unregister (i32.const 0) (i32.const 6)))",
        _ => "",
    };
    let answers = if fate == Fate::Lives { "1" } else { "0" };
    let traps = if bond == Bond::TrappingLink { "1" } else { "0" };
    let mark = TARGET.replace("FATE", act).replace("ANSWER", answers).replace("TRAP", traps);
    let wait_us = if fate == Fate::Gone { "6000000" } else { "0" };
    let after = if bond == Bond::Name { WATCH_NAME } else { "" };
    let watcher = WATCHER.replace("BIND", bind(bond)).replace("WAIT", wait_us).replace("AFTER", after);
    let zhost = if fate == Fate::Gone { "z9" } else { "z1" };
    [("watcher", module(&watcher).replace("ZHOST", zhost)), ("mark", module(&mark))]
}

/// A watcher on the head, and its target in a region.
fn topology(name: &str, region: &str) -> String {
    format!(
        "apiVersion: samoza/v1
kind: Topology
metadata: {{name: {name}}}
spaces:
  - {{name: watcher, type: IO, capabilities: [{CAPABILITIES}], placement: {{region: head}}}}
  - {{name: mark, type: IO, capabilities: [{CAPABILITIES}], placement: {{region: {region}}}}}
"
    )
}

fn befall(world: &mut World, fate: Fate) {
    match fate {
        Fate::Lives | Fate::Ends | Fate::Crashes | Fate::Gone | Fate::Unregisters => {}
        Fate::Closed => drop(world.ask(2, &Request::SpaceRestart("bonds/mark".into()))),
        Fate::Killed => world.kill(1),
        Fate::Restarted => {
            world.cut_power(1);
            world.run_for(Duration::from_millis(300));
            world.start(1);
        }
        Fate::CutOff => {
            world.partition(&[1]);
            world.run_for(Duration::from_secs(30));
            world.heal();
        }
    }
}

/// What two spaces logged.
#[derive(Debug)]
pub struct Told {
    /// `up` when the watcher starts, `bound` when it binds itself, then what it is told.
    pub watcher: Vec<String>,
    /// `target` when the target has its name, then what it is told.
    pub target: Vec<String>,
    /// How often the target ended because one with which it is linked did.
    pub target_ended_too: usize,
}

/// What a watcher on the head and a target, on the same board or on the one in the south, are told.
pub fn told(seed: u64, bond: Bond, fate: Fate, same_board: bool) -> Told {
    let mut world = site(seed);
    let region = if same_board { "head" } else { "south" };
    submit(&mut world, guests::assemble("bonds", 1, &topology("bonds", region), &spaces(bond, fate)));
    let bound = |world: &World| log_of(world, "watcher").iter().any(|line| line == "bound");
    let end = world.now() + Duration::from_secs(60);
    assert!(world.run_until(end, bound), "seed {seed}: the watcher finds no target");
    world.run_for(Duration::from_secs(2));
    befall(&mut world, fate);
    world.run_for(Duration::from_secs(40));
    let ended_too = |line: &&String| line.contains("space mark") && line.contains("with which it is linked");
    Told {
        watcher: log_of(&world, "watcher"),
        target: log_of(&world, "mark"),
        target_ended_too: world.trace().filter(ended_too).count(),
    }
}

/// Spawns linked children until it can be linked to no further one (−8); then takes the name `target`, and tells whether it
/// was after as many as anybody may have.
const POPULAR: &str = r#"
  (global $children (mut i32) (i32.const 0))
  (global $full (mut i32) (i32.const 0))
  (func (export "on_init") (result i32) (call $trap (i32.const 1)) (i32.const 0))
  (func (export "on_process") (result i32) (local $spawned i32)
    (loop $more
      (if (i32.eqz (global.get $full)) (then
        (local.set $spawned (call $spawn (i32.const 0) (i32.const 0) (i32.const 32) (i32.const 5) (i32.const 0) (i32.const 0) (i32.const 256)))
        (if (i32.ge_s (local.get $spawned) (i32.const 0)) (then
          (global.set $children (i32.add (global.get $children) (i32.const 1)))
          (br $more)))
        (if (i32.eq (local.get $spawned) (i32.const -8)) (then
          (global.set $full (i32.const 1))
          (if (i32.and (i32.eq (global.get $children) (i32.const 1024))
                       (i32.eqz (call $register (i32.const 0) (i32.const 6))))
            (then (call $log (i32.const 1) (i32.const 0) (i32.const 6)))))))))
    (call $sleep (i32.const 200))
    (i32.const 0))"#;

/// Sleeps.
pub(crate) const IDLER: &str = r#"(module
  (import "sys" "sleep" (func $sleep (param i32)))
  (memory (export "memory") 1)
  (func (export "on_process") (result i32) (call $sleep (i32.const 100000)) (i32.const 0)))"#;

/// What a watcher is told that binds itself to a space of another board which has as many links as it may have.
pub fn popular(seed: u64, bond: Bond) -> Told {
    let mut world = site(seed);
    let topology = topology("bonds", "south")
        + "  - {name: child, type: CALL, start: spawned, capabilities: [proc.spawn], resources: {memoryKiB: 64}}\n";
    let watcher = WATCHER.replace("BIND", bind(bond)).replace("WAIT", "0").replace("AFTER", "");
    let spaces = [("watcher", module(&watcher)), ("mark", module(POPULAR)), ("child", IDLER.to_owned())];
    submit(&mut world, guests::assemble("bonds", 1, &topology, &spaces));
    let end = world.now() + Duration::from_secs(600);
    world.run_until(end, |world| log_of(world, "watcher").iter().any(|line| line == "bound"));
    world.run_for(Duration::from_secs(20));
    Told { watcher: log_of(&world, "watcher"), target: log_of(&world, "mark"), target_ended_too: 0 }
}

/// Monitors more spaces at once than anybody may, none of which is there, and logs how many it was told of in each way.
const CROWD: &str = r#"
  (global $asked (mut i32) (i32.const 0))
  (global $gone (mut i32) (i32.const 0))
  (global $refused (mut i32) (i32.const 0))
  (func $digits (param $at i32) (param $number i32) (local $left i32)
    (local.set $left (i32.const 4))
    (loop $next
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (i32.store8 (i32.add (local.get $at) (local.get $left))
        (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
      (local.set $number (i32.div_u (local.get $number) (i32.const 10)))
      (br_if $next (local.get $left))))
  (func (export "on_process") (result i32) (local $size i32)
    (if (i32.and (i32.eqz (global.get $asked))
                 (i32.eq (call $whereis (i32.const 0) (i32.const 6) (i32.const 256)) (i32.const 16))) (then
      (loop $more
        (i32.store (i32.const 268) (i32.add (i32.const 100000) (global.get $asked)))
        (drop (call $monitor (i32.const 256)))
        (global.set $asked (i32.add (global.get $asked) (i32.const 1)))
        (br_if $more (i32.lt_u (global.get $asked) (i32.const 1100))))))
    (loop $mail
      (local.set $size (call $recv (i32.const 1024) (i32.const 200)))
      (if (i32.gt_s (local.get $size) (i32.const 0)) (then
        (if (i32.eq (local.get $size) (i32.const 6))
          (then (global.set $gone (i32.add (global.get $gone) (i32.const 1))))
          (else (global.set $refused (i32.add (global.get $refused) (i32.const 1)))))
        (if (i32.eq (i32.const 1100) (i32.add (global.get $gone) (global.get $refused))) (then
          (call $digits (i32.const 2048) (global.get $gone))
          (i32.store8 (i32.const 2052) (i32.const 32))
          (call $digits (i32.const 2053) (global.get $refused))
          (call $log (i32.const 1) (i32.const 2048) (i32.const 9))))
        (br $mail))))
    (call $sleep (i32.const 200))
    (i32.const 0))"#;

/// What a space logs that monitors 1,100 spaces of another board at once, none of which is there: of how many it was
/// told that they are not, and how many were too many.
pub fn crowd(seed: u64) -> Vec<String> {
    let mut world = site(seed);
    let mark = TARGET.replace("FATE", "").replace("ANSWER", "0").replace("TRAP", "0");
    let spaces = [("watcher", module(CROWD)), ("mark", module(&mark))];
    submit(&mut world, guests::assemble("crowd", 1, &topology("crowd", "south"), &spaces));
    world.run_for(Duration::from_secs(60));
    log_of(&world, "watcher")
}
