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
  (import "names" "unregister" (func $unregister (param i32 i32) (result i32)))
  (import "proc" "link" (func $link (param i32) (result i32)))
  (import "proc" "unlink" (func $unlink (param i32) (result i32)))
  (import "proc" "monitor" (func $monitor (param i32) (result i32)))
  (import "proc" "demonitor" (func $demonitor (param i32) (result i32)))
  (import "proc" "monitor_zhost" (func $monitor_zhost (param i32 i32) (result i32)))
  (import "proc" "trap_exits" (func $trap (param i32)))
  (import "proc" "spawn_link" (func $spawn (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "proc" "exit" (func $exit (param i32 i32 i32) (result i32)))
  (import "proc" "call" (func $call_pid (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "proc" "send" (func $send (param i32 i32 i32) (result i32)))
  (import "net" "recv_next" (func $recv (param i32 i32) (result i32)))
  (import "net" "reply" (func $reply (param i32 i32) (result i32)))
  (import "net" "recv_kind" (func $kind (result i32)))
  (import "net" "sender" (func $sender (param i32) (result i32)))
  (import "sys" "log" (func $log (param i32 i32 i32)))
  (import "sys" "sleep" (func $sleep (param i32)))
  (import "sys" "now_us" (func $now (result i64)))
  (import "sys" "random" (func $random (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "target")
  (data (i32.const 16) "bound")
  (data (i32.const 32) "child")
  (data (i32.const 48) "ZHOST")
  (data (i32.const 64) "up")
  (data (i32.const 80) "free")
  ;; Logs all mail, each behind its kind and a space; or answers messages and calls with themselves.
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
          (else (if (i32.and (local.get $answer) (i32.eq (call $kind) (i32.const 3)))
            (then (drop (call $reply (i32.const 514) (local.get $size))))
            (else (call $log (i32.const 1) (i32.const 512) (i32.add (local.get $size) (i32.const 2)))))))
        (br $more)))))
"#;

/// Spawns twelve children wherever they like, greets each, logs what it hears, and in the end closes the last one.
const PARENT: &str = r#"
  (global $closed (mut i32) (i32.const 0))
  (global $children (mut i32) (i32.const 0))
  (func (export "on_init") (result i32) (call $trap (i32.const 1)) (i32.const 0))
  (func (export "on_process") (result i32)
    ;; By then every board holds the package.
    (if (i32.and (i64.gt_u (call $now) (i64.const 30000000)) (i32.lt_u (global.get $children) (i32.const 12))) (then
      (if (i32.eq (i32.const 16)
            (call $spawn (i32.const 0) (i32.const 0) (i32.const 32) (i32.const 5) (i32.const 0) (i32.const 0) (i32.const 256)))
        (then (global.set $children (i32.add (global.get $children) (i32.const 1)))
              (drop (call $send (i32.const 256) (i32.const 16) (i32.const 5)))))))
    (if (i32.and (i64.gt_u (call $now) (i64.const 45000000)) (i32.eqz (global.get $closed))) (then
      (global.set $closed (i32.const 1))
      (drop (call $exit (i32.const 256) (i32.const 16) (i32.const 5)))))
    (call $read (i32.const 0))
    (call $sleep (i32.const 100))
    (i32.const 0))"#;

/// Sends back what it gets.
const CHILD: &str = r#"
  (func (export "on_process") (result i32) (call $read (i32.const 1)) (call $sleep (i32.const -1)) (i32.const 0))"#;

pub(crate) const CAPABILITIES: &str =
    "sys.log, names.register, names.whereis, proc.link, proc.monitor, proc.spawn, proc.send";

pub(crate) fn module(body: &str) -> String {
    format!("(module {IMPORTS} {body})")
}

/// A site of three boards: the head, with the watcher, and one in the south and one in the north.
pub(crate) fn site(seed: u64) -> World {
    let mut world = World::new(seed, Machines { zhosts: 3, cameras: 0, measured: false }, network(20, 10));
    (0..3).for_each(|index| world.start(index));
    world
}

pub(crate) fn submit(world: &mut World, package: Vec<u8>) {
    world.run_for(Duration::from_secs(20));
    world.ask(0, &Request::TopoSubmit(package));
}

/// What a space logged, as `(kind of mail, text)`, and other lines of its log, since the world began.
pub(crate) fn log_of(world: &World, space: &str) -> Vec<String> {
    let prefix = format!("[{space}] info: ");
    let lines = world.trace().filter_map(|line| line.split_once(&prefix));
    lines.map(|(_, text)| text.to_owned()).collect()
}

/// What a parent hears of twelve children when it closes one, and then one of three boards is killed: their greetings,
/// then of those that are gone. Also how many children lived on that board.
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
    (call $sleep (i32.const 10))
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

/// Asks for what it cannot have, one thing after the other, and logs the answers.
const PROBER: &str = r#"
  (import "net" "call" (func $call_path (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "proc" "list" (func $list (param i32 i32) (result i32)))
  IMPORTS
  (data (i32.const 100) "seer")
  (data (i32.const 110) "crasher")
  (data (i32.const 120) "nobody")
  (data (i32.const 130) "giant")
  (data (i32.const 140) "z9")
  (data (i32.const 150) "out")
  (data (i32.const 160) "n.a")
  (global $done (mut i32) (i32.const 0))
  (func $say (param $result i32)
    (if (i32.ge_s (local.get $result) (i32.const 0))
      (then (call $log (i32.const 1) (i32.const 80) (i32.const 4)))
      (else
        (i32.store8 (i32.const 2048) (i32.const 45))
        (i32.store8 (i32.const 2049) (i32.sub (i32.const 48) (local.get $result)))
        (call $log (i32.const 1) (i32.const 2048) (i32.const 2)))))
  (func $try (param $zhost i32) (param $zhost_size i32) (param $space i32) (param $size i32)
    (call $say (call $spawn (local.get $zhost) (local.get $zhost_size) (local.get $space) (local.get $size)
      (i32.const 0) (i32.const 0) (i32.const 256))))
  (func (export "on_init") (result i32) (call $trap (i32.const 1)) (i32.const 0))
  (func (export "on_process") (result i32) (local $n i32) (local $last i32)
    ;; By then every board holds the package.
    (if (i32.or (global.get $done) (i64.lt_u (call $now) (i64.const 30000000))) (then
      (call $sleep (i32.const 100))
      (return (i32.const 0))))
    (global.set $done (i32.const 1))
    (call $try (i32.const 48) (i32.const 2) (i32.const 100) (i32.const 4))
    (call $try (i32.const 0) (i32.const 0) (i32.const 100) (i32.const 4))
    (call $try (i32.const 48) (i32.const 2) (i32.const 110) (i32.const 7))
    (call $try (i32.const 0) (i32.const 0) (i32.const 120) (i32.const 6))
    (call $try (i32.const 140) (i32.const 2) (i32.const 32) (i32.const 5))
    (call $try (i32.const 48) (i32.const 2) (i32.const 130) (i32.const 5))
    (call $try (i32.const 48) (i32.const 2) (i32.const 32) (i32.const 5))
    (call $say (call $call_path (i32.const 150) (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 1000) (i32.const 1024) (i32.const 64)))
    (call $say (call $whereis (i32.const 120) (i32.const 6) (i32.const 256)))
    (call $say (call $register (i32.const 0) (i32.const 6)))
    (loop $more
      (local.set $last (call $register (i32.const 160) (i32.const 3)))
      (i32.store8 (i32.const 162) (i32.add (i32.load8_u (i32.const 162)) (i32.const 1)))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $more (i32.eqz (local.get $last))))
    (call $say (local.get $last))
    (if (i32.ne (local.get $n) (i32.const 17)) (then (unreachable)))
    (call $say (call $list (i32.const 1024) (i32.const 64)))
    (i32.const 0))"#;

/// What real zhosts answer a space that asks for what it cannot have: to spawn a space without its capability, there
/// and anywhere, one that crashes, one that there is not, one on a zhost that there is not, one for which there is no
/// room, and an ordinary one; to call a space that runs nowhere; to find a name that nobody has; to take one that
/// somebody has, and more than it may have; and to list the zhosts.
pub fn refused(seed: u64) -> Vec<String> {
    let mut world = site(seed);
    let topology = format!(
        "apiVersion: samoza/v1
kind: Topology
metadata: {{name: refused}}
spaces:
  - {{name: prober, type: IO, capabilities: [{CAPABILITIES}, proc.list], placement: {{region: head}}}}
  - {{name: mark, type: IO, capabilities: [{CAPABILITIES}], placement: {{region: south}}}}
  - {{name: away, type: IO, placement: {{region: moon}}}}
  - {{name: child, type: CALL, start: spawned, capabilities: [{CAPABILITIES}], resources: {{memoryKiB: 64}}}}
  - {{name: seer, type: CALL, start: spawned, capabilities: [sensors.camera]}}
  - {{name: crasher, type: CALL, start: spawned}}
  - {{name: giant, type: CALL, start: spawned, resources: {{memoryKiB: 65536}}}}
paths:
  - {{from: prober, to: away, name: out}}
"
    );
    let target = crate::bonds::TARGET.replace("FATE", "").replace("ANSWER", "0").replace("TRAP", "0");
    let traps = r#"(module (memory (export "memory") 1)
        (func (export "on_init") (result i32) (unreachable)) (func (export "on_process") (result i32) (i32.const 0)))"#;
    let spaces = [
        ("prober", format!("(module {})", PROBER.replace("IMPORTS", IMPORTS).replace("ZHOST", "z1"))),
        ("mark", module(&target)),
        ("away", DEAF.to_owned()),
        ("child", module(CHILD)),
        ("seer", DEAF.to_owned()),
        ("crasher", traps.to_owned()),
        ("giant", DEAF.to_owned()),
    ];
    submit(&mut world, guests::assemble("refused", 1, &topology, &spaces));
    world.run_for(Duration::from_secs(60));
    log_of(&world, "prober")
}

/// Two spaces take one name while they cannot reach each other. Gives how often it was taken, how often that was found
/// out, how many hold it in the end, and how often a space was told that it has lost it.
pub fn contest(seed: u64) -> (usize, usize, usize, usize) {
    let mut world = site(seed);
    let space = |name: &str, region: &str| {
        format!(
            "  - {{name: {name}, type: IO, capabilities: [{CAPABILITIES}], placement: {{region: {region}}}}}\n"
        )
    };
    let topology = "apiVersion: samoza/v1\nkind: Topology\nmetadata: {name: contest}\nspaces:\n".to_owned()
        + &space("left", "south")
        + &space("right", "north");
    let target =
        module(&crate::bonds::TARGET.replace("FATE", "").replace("ANSWER", "0").replace("TRAP", "0"));
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
    let found_out = world.trace().filter(|line| line.contains("was granted to two spaces")).count();
    let lines = |text: &str| {
        let of_space = |space: &&str| log_of(&world, space).iter().filter(|line| *line == text).count();
        ["left", "right"].iter().map(of_space).sum::<usize>()
    };
    (lines("target"), found_out, holders, lines("7 target"))
}
