//! Spaces that do something to each other, and what they are told when one ends or cannot be reached.

use crate::{
    guests,
    scenario::network,
    world::{Machines, World},
};
use std::time::Duration;
use zhost_control::protocol::Request;

const IMPORTS: &str = r#"
  (import "names" "register" (func $register (param i32 i32) (result i32)))
  (import "names" "whereis" (func $whereis (param i32 i32 i32) (result i32)))
  (import "proc" "link" (func $link (param i32) (result i32)))
  (import "proc" "monitor" (func $monitor (param i32) (result i32)))
  (import "proc" "monitor_zhost" (func $monitor_zhost (param i32 i32) (result i32)))
  (import "proc" "trap_exits" (func $trap (param i32)))
  (import "proc" "spawn_link" (func $spawn (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "proc" "send" (func $send (param i32 i32 i32) (result i32)))
  (import "net" "recv_next" (func $recv (param i32 i32) (result i32)))
  (import "net" "recv_kind" (func $kind (result i32)))
  (import "net" "sender" (func $sender (param i32) (result i32)))
  (import "sys" "log" (func $log (param i32 i32 i32)))
  (import "sys" "sleep" (func $sleep (param i32)))
  (import "sys" "now_us" (func $now (result i64)))
  (memory (export "memory") 1)
  (data (i32.const 0) "target")
  (data (i32.const 16) "bound")
  (data (i32.const 32) "child")
  (data (i32.const 48) "ZHOST")
  ;; Logs all mail, each behind its kind and a space.
  (func $read (param $answer i32) (local $size i32)
    (loop $more
      (local.set $size (call $recv (i32.const 514) (i32.const 200)))
      (if (i32.ge_s (local.get $size) (i32.const 0)) (then
        (i32.store8 (i32.const 512) (i32.add (call $kind) (i32.const 48)))
        (i32.store8 (i32.const 513) (i32.const 32))
        (if (i32.and (local.get $answer) (i32.eq (call $kind) (i32.const 2)))
          (then
            (drop (call $sender (i32.const 1024)))
            (drop (call $send (i32.const 1024) (i32.const 514) (local.get $size))))
          (else (call $log (i32.const 1) (i32.const 512) (i32.add (local.get $size) (i32.const 2)))))
        (br $more)))))
"#;

/// Takes the name `target`, waits, and does what is written for FATE.
const TARGET: &str = r#"
  (global $since (mut i64) (i64.const 0))
  (func (export "on_process") (result i32)
    (if (i64.eqz (global.get $since))
      (then
        (if (i32.eqz (call $register (i32.const 0) (i32.const 6)))
          (then (global.set $since (call $now))
                (call $log (i32.const 1) (i32.const 0) (i32.const 6)))))
      (else
        (if (i64.gt_u (i64.sub (call $now) (global.get $since)) (i64.const 3000000))
          (then FATE))))
    (call $read (i32.const 0))
    (call $sleep (i32.const 500))
    (i32.const 0))"#;

/// Looks for the target, binds itself to it, and logs what it is told.
const WATCHER: &str = r#"
  (global $bound (mut i32) (i32.const 0))
  (func (export "on_process") (result i32)
    (if (i32.eqz (global.get $bound)) (then
      (if (i32.eq (call $whereis (i32.const 0) (i32.const 6) (i32.const 256)) (i32.const 16)) (then
        BIND
        (global.set $bound (i32.const 1))
        (call $log (i32.const 1) (i32.const 16) (i32.const 5))))))
    (call $read (i32.const 0))
    (call $sleep (i32.const 200))
    (i32.const 0))"#;

/// Spawns twelve children wherever they like, greets each, and logs what it hears.
const PARENT: &str = r#"
  (global $children (mut i32) (i32.const 0))
  (func (export "on_init") (result i32) (call $trap (i32.const 1)) (i32.const 0))
  (func (export "on_process") (result i32)
    ;; By then every board holds the package.
    (if (i32.and (i64.gt_u (call $now) (i64.const 30000000)) (i32.lt_u (global.get $children) (i32.const 12))) (then
      (if (i32.eq (i32.const 16)
            (call $spawn (i32.const 0) (i32.const 0) (i32.const 32) (i32.const 5) (i32.const 0) (i32.const 0) (i32.const 256)))
        (then (global.set $children (i32.add (global.get $children) (i32.const 1)))
              (drop (call $send (i32.const 256) (i32.const 16) (i32.const 5)))))))
    (call $read (i32.const 0))
    (call $sleep (i32.const 100))
    (i32.const 0))"#;

/// Sends back what it gets.
const CHILD: &str = r#"
  (func (export "on_process") (result i32) (call $read (i32.const 1)) (call $sleep (i32.const -1)) (i32.const 0))"#;

const CAPABILITIES: &str =
    "sys.log, names.register, names.whereis, proc.link, proc.monitor, proc.spawn, proc.send";

fn module(body: &str) -> String {
    format!("(module {IMPORTS} {body})")
}

/// How a space binds itself to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bond {
    /// As linked spaces that trap exits.
    TrappingLink,
    /// As linked spaces.
    Link,
    /// As one that is told.
    Monitor,
    /// As one that is told when the other's zhost dies.
    MonitorZhost,
}

/// What becomes of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It asks to be stopped.
    Ends,
    /// It traps.
    Crashes,
    /// It is stopped with its topology's other spaces.
    Closed,
    /// Its zhost is killed.
    Killed,
    /// Its zhost loses power and comes back soon.
    Restarted,
    /// The two zhosts cannot reach each other for a while.
    CutOff,
}

/// A site of three boards: the head, with the watcher, and one in the south and one in the north.
fn site(seed: u64) -> World {
    let mut world = World::new(seed, Machines { zhosts: 3, cameras: 0, measured: false }, network(20, 10));
    (0..3).for_each(|index| world.start(index));
    world
}

fn submit(world: &mut World, package: Vec<u8>) {
    world.run_for(Duration::from_secs(20));
    world.ask(0, &Request::TopoSubmit(package));
}

/// What a space logged, as `(kind of mail, text)`, and other lines of its log, since the world began.
fn log_of(world: &World, space: &str) -> Vec<String> {
    let prefix = format!("[{space}] info: ");
    let lines = world.trace().filter_map(|line| line.split_once(&prefix));
    lines.map(|(_, text)| text.to_owned()).collect()
}

/// What a watcher on the head is told of a target, on the same board or on the one in the south.
pub fn told(seed: u64, bond: Bond, fate: Fate, same_board: bool) -> Vec<String> {
    let mut world = site(seed);
    let region = if same_board { "head" } else { "south" };
    let topology = format!(
        "apiVersion: samoza/v1
kind: Topology
metadata: {{name: bonds}}
spaces:
  - {{name: watcher, type: IO, capabilities: [{CAPABILITIES}], placement: {{region: head}}}}
  - {{name: mark, type: IO, capabilities: [{CAPABILITIES}], placement: {{region: {region}}}}}
"
    );
    let bind = match bond {
        Bond::TrappingLink => "(call $trap (i32.const 1)) (drop (call $link (i32.const 256)))",
        Bond::Link => "(drop (call $link (i32.const 256)))",
        Bond::Monitor => "(drop (call $monitor (i32.const 256)))",
        Bond::MonitorZhost => "(drop (call $monitor_zhost (i32.const 48) (i32.const 2)))",
    };
    let act = match fate {
        Fate::Ends => "(return (i32.const 5))",
        Fate::Crashes => "(unreachable)",
        _ => "",
    };
    let watcher = module(&WATCHER.replace("BIND", bind)).replace("ZHOST", "z1");
    let spaces = [("watcher", watcher), ("mark", module(&TARGET.replace("FATE", act)))];
    submit(&mut world, guests::assemble("bonds", 1, &topology, &spaces));
    let bound = |world: &World| log_of(world, "watcher").iter().any(|line| line == "bound");
    let end = world.now() + Duration::from_secs(60);
    assert!(world.run_until(end, bound), "seed {seed}: the watcher finds no target");
    world.run_for(Duration::from_secs(2));
    match fate {
        Fate::Ends | Fate::Crashes => {}
        Fate::Closed => drop(world.ask(2, &Request::TopoStop("bonds".into()))),
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
    world.run_for(Duration::from_secs(40));
    let mut told = log_of(&world, "watcher");
    told.retain(|line| line != "bound");
    told
}

/// What a parent hears of twelve children when one of three boards is killed: their greetings, then of those that are
/// gone. Also how many children lived on that board.
pub fn family(seed: u64) -> (usize, Vec<String>, usize) {
    let mut world = site(seed);
    let topology = format!(
        "apiVersion: samoza/v1
kind: Topology
metadata: {{name: family}}
spaces:
  - {{name: parent, type: IO, capabilities: [{CAPABILITIES}], placement: {{region: head}}}}
  - {{name: child, type: CALL, start: spawned, capabilities: [{CAPABILITIES}], resources: {{memoryKiB: 64}}}}
"
    );
    let spaces = [("parent", module(PARENT)), ("child", module(CHILD))];
    submit(&mut world, guests::assemble("family", 1, &topology, &spaces));
    world.run_for(Duration::from_secs(30));
    let greetings = log_of(&world, "parent").iter().filter(|line| *line == "2 bound").count();
    let lost = world.spawned(1);
    world.kill(1);
    world.run_for(Duration::from_secs(30));
    let mut told = log_of(&world, "parent");
    told.retain(|line| line != "2 bound");
    (greetings, told, lost)
}

/// Calls a space that never looks, without waiting for replies, and logs when that is refused for the time being.
const IMPATIENT: &str = r#"(module
  (import "net" "call" (func $call (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "sys" "log" (func $log (param i32 i32 i32)))
  (import "sys" "sleep" (func $sleep (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "ask")
  (data (i32.const 16) "refused")
  (global $said (mut i32) (i32.const 0))
  (func (export "on_process") (result i32)
    (if (i32.and (i32.eq (call $call (i32.const 0) (i32.const 3) (i32.const 64) (i32.const 4096) (i32.const 20) (i32.const 64) (i32.const 64)) (i32.const -2))
                 (i32.eqz (global.get $said)))
      (then (global.set $said (i32.const 1))
            (call $log (i32.const 1) (i32.const 16) (i32.const 7))))
    (call $sleep (i32.const 1))
    (i32.const 0)))"#;
const DEAF: &str = r#"(module
  (import "sys" "sleep" (func $sleep (param i32)))
  (memory (export "memory") 1)
  (func (export "on_process") (result i32) (call $sleep (i32.const -1)) (i32.const 0)))"#;

/// A space calls another that never looks into its mailbox. Gives how many calls lie there, and what the caller logs.
pub fn impatience(seed: u64) -> (usize, Vec<String>) {
    let mut world = site(seed);
    let topology = "apiVersion: samoza/v1
kind: Topology
metadata: {name: impatience}
spaces:
  - {name: caller, type: IO, capabilities: [sys.log], placement: {region: head}}
  - {name: deaf, type: IO, placement: {region: south}}
paths:
  - {from: caller, to: deaf, name: ask}
";
    let spaces = [("caller", IMPATIENT.to_owned()), ("deaf", DEAF.to_owned())];
    submit(&mut world, guests::assemble("impatience", 1, topology, &spaces));
    world.run_for(Duration::from_secs(30));
    (world.calls_waiting(), log_of(&world, "caller"))
}

/// Two spaces take one name while they cannot reach each other. Gives how often it was taken, how often that was found
/// out, and how many hold it in the end.
pub fn contest(seed: u64) -> (usize, usize, usize) {
    let mut world = site(seed);
    let space = |name: &str, region: &str| {
        format!(
            "  - {{name: {name}, type: IO, capabilities: [{CAPABILITIES}], placement: {{region: {region}}}}}\n"
        )
    };
    let topology = "apiVersion: samoza/v1\nkind: Topology\nmetadata: {name: contest}\nspaces:\n".to_owned()
        + &space("left", "south")
        + &space("right", "north");
    let target = module(&TARGET.replace("FATE", ""));
    world.run_for(Duration::from_secs(20));
    world.ask(
        0,
        &Request::TopoSubmit(guests::assemble(
            "contest",
            1,
            &topology,
            &[("left", target.clone()), ("right", target)],
        )),
    );
    let end = world.now() + Duration::from_secs(30);
    world.run_until(end, |world| world.runs(1, "contest", "left") || world.runs(2, "contest", "right"));
    world.partition(&[1]);
    world.run_for(Duration::from_secs(60));
    world.heal();
    world.run_for(Duration::from_secs(60));
    let holders = world.live().into_iter().map(|index| world.names_held(index)).sum();
    let taken =
        ["left", "right"].map(|space| log_of(&world, space).iter().filter(|line| *line == "target").count());
    let found_out = world.trace().filter(|line| line.contains("was granted to two spaces")).count();
    (taken.iter().sum(), found_out, holders)
}
