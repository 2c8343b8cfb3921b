//! A DATA space with replicas, written to while boards die, lose their disks, or cannot reach each other.
//!
//! The writer, on the head, makes numbered calls, each again until it is acknowledged: the n-th puts the key n, and every
//! fourth deletes the key that is eight older. So what has to be in the store follows from the number of the last call
//! that was acknowledged.

use crate::{
    bonds::IDLER,
    guests,
    promise::Promise,
    scenario::{Report, network},
    world::{Machines, World},
};
use std::{collections::BTreeSet, time::Duration};
use zhost_base::Instant;
use zhost_control::protocol::Request;

/// Calls the vault with one number after the other, each until it is acknowledged.
pub const WRITER: &str = r#"(module
  (import "net" "call" (func $call (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "sys" "sleep" (func $sleep (param i32)))
  (import "data" "get" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "data" "put" (func $put (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "write")
  (data (i32.const 16) "n")
  ;; The number of the call survives the writer.
  (func (export "on_init") (result i32)
    (if (i32.lt_s (call $get (i32.const 16) (i32.const 1) (i32.const 32) (i32.const 4)) (i32.const 0))
      (then (i32.store (i32.const 32) (i32.const 1))))
    (i32.const 0))
  (func (export "on_process") (result i32)
    (if (i32.eqz (call $call (i32.const 0) (i32.const 5) (i32.const 32) (i32.const 4) (i32.const 3000) (i32.const 64) (i32.const 64)))
      (then
        (i32.store (i32.const 32) (i32.add (i32.load (i32.const 32)) (i32.const 1)))
        (drop (call $put (i32.const 16) (i32.const 1) (i32.const 32) (i32.const 4)))))
    (call $sleep (i32.const 20))
    (i32.const 0)))"#;

const VAULT: &str = r#"(module
  (import "net" "recv_next" (func $recv (param i32 i32) (result i32)))
  (import "net" "reply" (func $reply (param i32 i32) (result i32)))
  (import "data" "put" (func $put (param i32 i32 i32 i32) (result i32)))
  (import "data" "delete" (func $delete (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "on_process") (result i32)
    (if (i32.eq (call $recv (i32.const 64) (i32.const 64)) (i32.const 4)) (then
      (drop (call $put (i32.const 64) (i32.const 4) (i32.const 64) (i32.const 4)))
      (if (i32.and (i32.eqz (i32.rem_u (i32.load (i32.const 64)) (i32.const 4)))
                   (i32.gt_u (i32.load (i32.const 64)) (i32.const 8)))
        (then
          (i32.store (i32.const 80) (i32.sub (i32.load (i32.const 64)) (i32.const 8)))
          (drop (call $delete (i32.const 80) (i32.const 4)))))
      (drop (call $reply (i32.const 64) (i32.const 0)))))
    (i32.const 0)))"#;

/// Takes two seconds to close.
const STRAGGLER: &str = r#"(module
  (import "sys" "now_us" (func $now (result i64)))
  (import "sys" "yield" (func $yield))
  (memory (export "memory") 1)
  (func (export "on_process") (result i32) (i32.const 0))
  (func (export "on_close") (result i32) (local $end i64)
    (local.set $end (i64.add (call $now) (i64.const 2000000)))
    (loop $wait
      (call $yield)
      (br_if $wait (i64.lt_u (call $now) (local.get $end))))
    (i32.const 0)))"#;

const BOARDS: usize = 5;
/// Mishaps of an ordinary run.
pub const MISHAPS: u32 = 7;

/// How soon writes go on.
const WRITES_WITHIN: Duration = Duration::from_secs(120);
/// Keys shown of those that are lost, or should be.
const KEYS_SHOWN: usize = 10;

/// What came of a run.
#[derive(Debug)]
pub struct Vault {
    /// What was not as it should be, and the run itself.
    pub report: Report,
    /// Calls that were acknowledged.
    pub acknowledged: u32,
    /// How often the zhost of the vault was killed, with or without its disk.
    pub kills: u32,
}

fn expected(n: u32) -> BTreeSet<u32> {
    (1..=n).filter(|key| key % 4 != 0 || key + 8 > n).collect()
}

/// How many calls were acknowledged, by the writer's own store on the head.
fn acknowledged(world: &World) -> u32 {
    world.stored(0, "vault", "writer").get(b"n".as_slice()).map_or(0, |n| number(n) - 1)
}

fn number(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(u32::MAX, u32::from_le_bytes)
}

/// Where the vault runs.
fn home(world: &World) -> Option<usize> {
    world.live().into_iter().find(|index| world.runs(*index, "vault", "vault"))
}

fn site(seed: u64) -> World {
    let mut world =
        World::new(seed, Machines { zhosts: BOARDS, cameras: 0, measured: false }, network(20, 10));
    (0..BOARDS).for_each(|index| world.start(index));
    world
}

/// The vault, its writer, and two spaces without data beside it.
fn package() -> Vec<u8> {
    let topology = "apiVersion: samoza/v1
kind: Topology
metadata: {name: vault}
spaces:
  - {name: writer, type: DATA, capabilities: [data.read, data.write], placement: {region: head}}
  - {name: vault, type: DATA, capabilities: [data.write], replicas: 1}
  - {name: idler, type: IO, placement: {region: head}}
  - {name: straggler, type: IO, placement: {region: head}}
paths:
  - {from: writer, to: vault, name: write}
";
    let texts = [WRITER, VAULT, IDLER, STRAGGLER].map(str::to_owned);
    let spaces: Vec<_> = ["writer", "vault", "idler", "straggler"].into_iter().zip(texts).collect();
    guests::assemble("vault", 1, topology, &spaces)
}

fn submit(world: &mut World) {
    world.run_for(Duration::from_secs(20));
    world.ask(0, &Request::TopoSubmit(package()));
}

/// Boards that have data of the vault.
fn keepers(world: &World) -> Vec<usize> {
    (0..BOARDS).filter(|index| !world.stored(*index, "vault", "vault").is_empty()).collect()
}

/// Runs until so many more calls are acknowledged; whether they are within two minutes.
fn write_on(world: &mut World, calls: u32) -> bool {
    let goal = acknowledged(world) + calls;
    let end = world.now() + Duration::from_secs(120);
    world.run_until(end, |world| acknowledged(world) >= goal)
}

/// Both boards with the data of the vault die for good, and an operator takes them off the roster. Gives how many calls
/// were acknowledged before, until then, and after that; nothing if one of the two is the head, where the writer is.
///
/// # Errors
///
/// What is wrong with the store in the end.
pub fn forsaken(seed: u64) -> Result<Option<[u32; 3]>, String> {
    let mut world = site(seed);
    submit(&mut world);
    write_on(&mut world, 40);
    let keepers = keepers(&world);
    if keepers.len() != 2 || keepers.contains(&0) {
        return Ok(None);
    }
    keepers.iter().for_each(|index| world.cut_power(*index));
    let before = acknowledged(&world);
    world.run_for(Duration::from_secs(60));
    let without = acknowledged(&world);
    for index in keepers {
        world.ask(0, &Request::ClusterRemove(format!("z{index}")));
    }
    world.run_for(Duration::from_secs(60));
    let after = acknowledged(&world);
    let home = home(&world).ok_or("the vault runs nowhere")?;
    compare(&world, home, (without, without), after).map_or(Ok(Some([before, without, after])), Err)
}

/// An operator drops the data of the vault while a board that has some of it is without power; then boards that have some
/// die and come back, one after the other. Gives how many calls were acknowledged before and in the end; nothing if only
/// the head, where the writer is, could be the one that is away.
///
/// # Errors
///
/// What is wrong: data that was dropped is back, or what was acknowledged since is not there.
pub fn dropped(seed: u64) -> Result<Option<[u32; 2]>, String> {
    let mut world = site(seed);
    submit(&mut world);
    write_on(&mut world, 30);
    let having = keepers(&world);
    let Some(away) = having.iter().copied().filter(|index| *index != 0).nth(seed as usize % 2) else {
        return Ok(None);
    };
    world.cut_power(away);
    world.run_for(Duration::from_millis(seed * 397 % 4000));
    let before = acknowledged(&world);
    world.ask(0, &Request::SpaceDropData("vault/vault".into()));
    world.run_for(Duration::from_secs(10));
    if !write_on(&mut world, 20) {
        return Err(format!("after the drop, writes stop at {}", acknowledged(&world)));
    }
    let late = acknowledged(&world);
    world.start(away);
    world.run_for(Duration::from_secs(30));
    for victim in keepers(&world).into_iter().filter(|index| *index != 0) {
        world.kill(victim);
        world.run_for(Duration::from_secs(20));
        world.start(victim);
        if !write_on(&mut world, 20) {
            return Err(format!("without z{victim}, writes stop at {}", acknowledged(&world)));
        }
        world.run_for(Duration::from_secs(20));
    }
    let n = acknowledged(&world);
    let home = home(&world).ok_or("the vault runs nowhere")?;
    let is_old = |key: &Vec<u8>| number(key) <= before;
    let still =
        keepers(&world).into_iter().find(|index| world.stored(*index, "vault", "vault").keys().any(is_old));
    match (still, compare(&world, home, (before, late), n)) {
        (Some(index), _) => Err(format!("z{index} has data that was dropped")),
        (None, Some(flaw)) => Err(flaw),
        (None, None) => Ok(Some([before, n])),
    }
}

/// An operator deletes the topology while a board that has some of its data is without power; another dies while it
/// takes what it has off its flash. Both come back.
///
/// # Errors
///
/// Which boards still have data of the vault or of its writer in the end.
pub fn deleted(seed: u64) -> Result<(), String> {
    let mut world = site(seed);
    submit(&mut world);
    write_on(&mut world, 30);
    let others: Vec<usize> = keepers(&world).into_iter().filter(|index| *index != 0).collect();
    let (away, victim) = (others[0], others.get(1).copied().unwrap_or(0));
    world.cut_power(away);
    world.run_for(Duration::from_secs(1));
    world.ask(victim, &Request::TopoDelete("vault".into()));
    let end = world.now() + Duration::from_secs(10);
    world.run_until(end, |world| world.trace().any(|line| line.contains("wanted Deleted")));
    world.run_for(Duration::from_millis(seed * 37 % 100));
    world.kill(victim);
    world.run_for(Duration::from_secs(10));
    [away, victim].iter().for_each(|index| world.start(*index));
    world.run_for(Duration::from_secs(60));
    let has =
        |index: &usize| ["vault", "writer"].iter().any(|of| !world.stored(*index, "vault", of).is_empty());
    let still: Vec<usize> = (0..BOARDS).filter(has).collect();
    let flaw = format!("z{still:?} have data of what was deleted; z{away} was away, z{victim} died");
    still.is_empty().then_some(()).ok_or(flaw)
}

/// A board that has data of the vault is without power and off the roster while the topology is deleted and everybody
/// forgets it. The board comes back, in some runs when the topology was submitted again.
///
/// # Errors
///
/// What is back with it: the topology that was deleted, or data of its former life.
pub fn exhumed(seed: u64) -> Result<(), String> {
    let mut world = site(seed);
    submit(&mut world);
    write_on(&mut world, 30);
    let away = keepers(&world).into_iter().find(|index| *index != 0).ok_or("there is no replica")?;
    world.cut_power(away);
    world.run_for(Duration::from_secs(30));
    world.ask(0, &Request::ClusterRemove(format!("z{away}")));
    world.run_for(Duration::from_secs(5));
    world.ask(0, &Request::TopoDelete("vault".into()));
    world.run_for(Duration::from_secs(900));
    let is_anew = seed.is_multiple_of(2);
    if is_anew {
        world.ask(0, &Request::TopoSubmit(package()));
        world.run_for(Duration::from_millis(seed * 300));
    }
    world.start(away);
    world.run_for(Duration::from_secs(60));
    let flaw = match home(&world) {
        Some(home) if !is_anew => Some(format!("the vault runs on z{home}")),
        _ if !keepers(&world).contains(&away) => None,
        _ if !is_anew => Some("it has data of what was deleted".to_owned()),
        _ => compare(&world, away, (0, 0), acknowledged(&world)),
    };
    flaw.map_or(Ok(()), |flaw| Err(format!("z{away} is back: {flaw}")))
}

/// An operator deletes the topology and submits it again before everybody has ended. Gives how many calls were
/// acknowledged in its second life.
///
/// # Errors
///
/// What is wrong: data of the first life is back, or what was acknowledged in the second is not there.
pub fn resubmitted(seed: u64) -> Result<u32, String> {
    let mut world = site(seed);
    submit(&mut world);
    write_on(&mut world, 30);
    world.ask(0, &Request::TopoDelete("vault".into()));
    let end = world.now() + Duration::from_secs(10);
    world.run_until(end, |world| world.trace().any(|line| line.contains("wanted Deleted")));
    world.run_for(Duration::from_millis(seed * 31 % 200));
    world.ask(0, &Request::TopoSubmit(package()));
    world.run_for(Duration::from_secs(30));
    let n = acknowledged(&world);
    let home = home(&world).ok_or("the vault runs nowhere")?;
    compare(&world, home, (0, 0), n).map_or(Ok(n), Err)
}

/// What happens to the board of the vault that loses its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wipe {
    /// Another board takes its place.
    Replaced,
    /// It stays who it is, and knows that it has lost something.
    Emptied,
    /// It stays who it is, and takes it for its first start.
    Unnoticed,
}

/// Runs the vault through `mishaps` mishaps drawn from the seed.
pub fn run(seed: u64, mishaps: u32, verbose: bool) -> Vault {
    run_wiping(seed, mishaps, verbose, Wipe::Replaced)
}

/// The same, while parts of boards panic.
pub(crate) fn run_with_panics(seed: u64, mishaps: u32, verbose: bool) -> Vault {
    run_through(seed, mishaps, verbose, Wipe::Replaced, true)
}

/// As [`run`], with another way of losing a disk.
pub fn run_wiping(seed: u64, mishaps: u32, verbose: bool, wipe: Wipe) -> Vault {
    run_through(seed, mishaps, verbose, wipe, false)
}

fn run_through(seed: u64, mishaps: u32, verbose: bool, wipe: Wipe, panics: bool) -> Vault {
    let mut world = site(seed);
    world.verbose = verbose;
    submit(&mut world);
    if panics {
        write_on(&mut world, 20);
        world.let_panic(Some(seed));
    }
    let (mut flaws, mut kills, mut wipes) = (Vec::new(), 0, 0);
    for mishap in 0..mishaps {
        let goal = acknowledged(&world) + 20;
        let end = world.now() + WRITES_WITHIN;
        if !world.run_until(end, |world| acknowledged(world) >= goal) {
            flaws.push(
                Promise::Flow.broken(format!("mishap {mishap}: writes stop at {}", acknowledged(&world))),
            );
            break;
        }
        let Some(victim) = home(&world) else { continue };
        let pause = Duration::from_millis(world.rng().below(15_000));
        match world.rng().below(4) {
            0 => {
                // Sometimes with the writer, sometimes without.
                world.partition(&[victim]);
                world.run_for(pause);
                world.heal();
            }
            _ if victim == 0 => {
                world.kill(0);
                kills += 1;
                world.run_for(pause);
                world.start(0);
            }
            // With the only copy, everything would be lost.
            1 if wipes < 2 && world.copies(victim, "vault", "vault") > 0 => {
                wipes += 1;
                kills += 1;
                world.cut_power(victim);
                match wipe {
                    Wipe::Replaced => world.replace_board(victim),
                    Wipe::Emptied | Wipe::Unnoticed => world.empty_disk(victim),
                }
                if wipe == Wipe::Unnoticed {
                    world.forget_start(victim);
                }
                world.run_for(pause);
                world.start(victim);
            }
            _ => {
                world.kill(victim);
                kills += 1;
                world.run_for(pause);
                world.start(victim);
            }
        }
    }
    world.let_panic(None);
    let goal = acknowledged(&world) + 20;
    let end = world.now() + WRITES_WITHIN;
    if !world.run_until(end, |world| acknowledged(world) >= goal) {
        flaws.push(Promise::Flow.broken(format!("in the end, writes stop at {}", acknowledged(&world))));
    }
    // Long enough for whoever ran it before to have heard that it runs elsewhere.
    world.run_for(Duration::from_secs(15));
    let n = acknowledged(&world);
    if let Some(home) = home(&world) {
        let flaw = compare(&world, home, (0, 0), n);
        flaws.extend(flaw.map(|flaw| Promise::Kept.broken(flaw)));
    } else {
        flaws.push(Promise::Running.broken("the vault runs nowhere"));
    }
    flaws.extend(world.objections().iter().cloned());
    let report = Report {
        flaws,
        trace_hash: world.trace_hash(),
        simulated: world.now().since(Instant::ZERO),
        quiet_after: None,
        trace: world.trace().cloned().collect(),
    };
    Vault { report, acknowledged: n, kills }
}

/// What is wrong with the store of the vault after `n` calls were acknowledged, of which those up to the first number are
/// forgotten, and those behind the second are not; those between them may be.
fn compare(world: &World, home: usize, (forgotten, kept): (u32, u32), n: u32) -> Option<String> {
    let stored: BTreeSet<u32> = world.stored(home, "vault", "vault").keys().map(|key| number(key)).collect();
    let behind =
        |keys: &BTreeSet<u32>| -> BTreeSet<u32> { keys.iter().copied().filter(|key| *key > kept).collect() };
    let (known, wanted) = (behind(&stored), behind(&expected(n)));
    let is_clean = stored.first().is_none_or(|first| *first > forgotten);
    // The call after the last acknowledged one may have been carried out.
    if is_clean && (known == wanted || known == behind(&expected(n + 1))) {
        return None;
    }
    let lost: Vec<&u32> = wanted.difference(&known).take(KEYS_SHOWN).collect();
    let risen: Vec<&u32> =
        stored.iter().filter(|key| **key <= forgotten || !wanted.contains(key)).take(KEYS_SHOWN).collect();
    Some(format!("of {n} acknowledged, lost: {lost:?}; there, but should not be: {risen:?}"))
}
