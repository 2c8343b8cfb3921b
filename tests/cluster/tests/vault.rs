//! A space with replicated data under constant writes, whose zhost is killed again and again, with SIGKILL.

use std::{env, fs, time::Duration};
use zhost_cluster::{Cluster, Programs, cast, watch};

const KILLS: u32 = 10;
const KILLS_AT_LENGTH: u32 = 100;
const PATIENCE: Duration = Duration::from_secs(40);

/// Does what the simulator's vault does (`zhost_sim::vault`: put the call's number, at every fourth delete the key that
/// is eight older), and at every eighth looks whether all that was acknowledged before is there, and nothing that was
/// deleted: says `right` or `wrong`.
const VAULT: &str = r#"(module
  (import "net" "recv_next" (func $recv (param i32 i32) (result i32)))
  (import "net" "reply" (func $reply (param i32 i32) (result i32)))
  (import "data" "put" (func $put (param i32 i32 i32 i32) (result i32)))
  (import "data" "get" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "data" "delete" (func $delete (param i32 i32) (result i32)))
  (import "sys" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "rightwrong")
  (func $audit (param $n i32) (result i32) (local $k i32) (local $there i32)
    (local.set $k (i32.const 1))
    (loop $next
      (if (i32.ge_u (local.get $k) (local.get $n)) (then (return (i32.const 0))))
      (i32.store (i32.const 96) (local.get $k))
      (local.set $there (i32.eq (i32.const 4) (call $get (i32.const 96) (i32.const 4) (i32.const 100) (i32.const 4))))
      (if (i32.ne (local.get $there)
            (i32.or (i32.ne (i32.const 0) (i32.rem_u (local.get $k) (i32.const 4)))
                    (i32.ge_u (i32.add (local.get $k) (i32.const 8)) (local.get $n))))
        (then (return (local.get $k))))
      (local.set $k (i32.add (local.get $k) (i32.const 1)))
      (br $next))
    (i32.const 0))
  (func (export "on_process") (result i32) (local $n i32)
    (if (i32.eq (call $recv (i32.const 64) (i32.const 64)) (i32.const 4)) (then
      (local.set $n (i32.load (i32.const 64)))
      (if (i32.eq (i32.const 1) (i32.rem_u (local.get $n) (i32.const 8))) (then
        (if (call $audit (local.get $n))
          (then (call $log (i32.const 3) (i32.const 5) (i32.const 5)))
          (else (call $log (i32.const 1) (i32.const 0) (i32.const 5))))))
      (drop (call $put (i32.const 64) (i32.const 4) (i32.const 64) (i32.const 4)))
      (if (i32.and (i32.eqz (i32.rem_u (local.get $n) (i32.const 4))) (i32.gt_u (local.get $n) (i32.const 8)))
        (then
          (i32.store (i32.const 80) (i32.sub (local.get $n) (i32.const 8)))
          (drop (call $delete (i32.const 80) (i32.const 4)))))
      (drop (call $reply (i32.const 64) (i32.const 0)))))
    (i32.const 0)))"#;

const TOPOLOGY: &str = "apiVersion: samoza/v1
kind: Topology
metadata: {name: vault}
spaces:
  - {name: writer, type: DATA, capabilities: [data.read, data.write], placement: {kind: storage}}
  - {name: vault, type: DATA, capabilities: [data.read, data.write, sys.log], replicas: 1, placement: {region: garden}}
paths:
  - {from: writer, to: vault, name: write}
";

fn package(cluster: &Cluster) -> String {
    let guest =
        |space: &str, body: &str| (format!("spaces/{space}/core.wasm"), wat::parse_str(body).unwrap());
    let files = [guest("writer", zhost_sim::vault::WRITER), guest("vault", VAULT)];
    cluster.pack("vault", TOPOLOGY, &["writer", "vault"], &files).unwrap()
}

/// Where the vault runs, and how often it has found everything right there.
fn vault(cluster: &Cluster) -> Result<(String, usize), String> {
    let status = cluster.ask(&["spaces", "status", "vault"])?;
    let lines = cluster.said("vault")?;
    let said = |what: &str| lines.iter().filter(|line| *line == what).count();
    assert_eq!(said("wrong"), 0, "an acknowledged write is lost, or a deleted key is back");
    Ok((status["zhost"].as_str().unwrap_or("-").to_owned(), said("right")))
}

/// Tells a node again what the last start of a zhost has recorded: it does the same. Gives how many inputs that were.
fn tell_again(cluster: &Cluster, index: usize) -> u64 {
    let recording = fs::read(cluster.data_dir(index).join("recording")).unwrap();
    let told = zhost_sim::recording::replay(&recording);
    told.unwrap_or_else(|error| panic!("z{index}, {} bytes recorded: {error}", recording.len()))
}

#[test]
fn ten_kills_lose_nothing_that_was_acknowledged_and_what_was_recorded_comes_to_the_same() {
    kill_again_and_again("vault", KILLS);
}

/// The same with a hundred (`cargo xtask test --only soak-recordings`).
#[test]
#[ignore = "takes ten minutes"]
fn a_hundred_recordings_of_zhosts_that_are_killed_come_to_the_same() {
    kill_again_and_again("vault-long", KILLS_AT_LENGTH);
}

fn kill_again_and_again(name: &str, kills: u32) {
    let dir = env::temp_dir().join(format!("zhost-{name}-{}", std::process::id()));
    let mut cluster = Cluster::create(&dir, &Programs::beside_tests().unwrap(), cast(5)).unwrap();
    cluster.set_variable("ZHOST_RECORD", "true");
    (0..5).for_each(|index| cluster.start(index).unwrap());
    let mex = package(&cluster);
    watch(PATIENCE, || cluster.zctl(&["topo", "submit", &mex]).map(Some)).unwrap();
    let mut home = watch(PATIENCE, || Ok(Some(vault(&cluster)?).filter(|(_, right)| *right > 1))).unwrap().0;
    for kill in 1..=kills {
        let replicated = || {
            let status = cluster.ask(&["spaces", "status", "vault"])?;
            let has_everything = status["replicas"].as_array().is_some_and(|replicas| {
                replicas.iter().any(|replica| replica.as_str().is_some_and(|r| r.ends_with("has everything")))
            });
            Ok(has_everything.then_some(()))
        };
        watch(PATIENCE, replicated).unwrap_or_else(|e| panic!("before kill {kill}, no replica: {e}"));
        let index = cluster.index_of(&home).unwrap();
        cluster.kill(index).unwrap();
        assert!(tell_again(&cluster, index) > 100, "kill {kill}");
        let heir = watch(PATIENCE, || {
            Ok(Some(vault(&cluster)?).filter(|(zhost, right)| *zhost != home && *right > 1))
        });
        home = heir.unwrap_or_else(|e| panic!("after kill {kill}: {e}")).0;
        cluster.start(index).unwrap();
    }
    cluster.end().unwrap();
    for index in 0..5 {
        tell_again(&cluster, index);
    }
    fs::remove_dir_all(&dir).unwrap();
}

/// How often each part of a zhost began again, by its log: the fewest of one.
fn restarts(cluster: &Cluster, index: usize) -> Result<usize, String> {
    let log = cluster.log(index)?;
    let parts = ["zmesh", "zrms", "zrun", "data", "firmware", "zbase"];
    let again = |part: &&str| log.matches(&format!("{part} has begun again")).count();
    Ok(parts.iter().map(again).min().unwrap_or(0))
}

#[test]
fn panics_in_every_part_of_every_zhost_cost_no_process_no_space_and_no_write() {
    let dir = env::temp_dir().join(format!("zhost-panics-{}", std::process::id()));
    let mut cluster = Cluster::create(&dir, &Programs::beside_tests().unwrap(), cast(5)).unwrap();
    cluster.set_variable("ZHOST_PLANTED", "1");
    cluster.set_variable("ZHOST_RECORD", "true");
    (0..5).for_each(|index| cluster.start(index).unwrap());
    let mex = package(&cluster);
    watch(PATIENCE, || cluster.zctl(&["topo", "submit", &mex]).map(Some)).unwrap();
    watch(PATIENCE, || Ok(Some(vault(&cluster)?).filter(|(_, right)| *right > 1))).unwrap();
    for index in 0..5 {
        let all = watch(PATIENCE, || Ok(Some(restarts(&cluster, index)?).filter(|fewest| *fewest >= 2)));
        all.unwrap_or_else(|e| panic!("z{index}: {e}"));
        let status = cluster.ask_at(index, &["status"]).unwrap();
        let services = status["services"].as_array().expect("services are listed");
        let detail = |name: &str| {
            let service = services.iter().find(|service| service["name"] == name);
            service.map(|service| format!("{} {}", service["state"], service["detail"])).unwrap_or_default()
        };
        for part in ["zmesh", "zrms", "zrun", "data", "firmware", "zbase"] {
            let detail = detail(part);
            assert!(
                detail.contains("began again 2 times") && detail.contains("planted in"),
                "{part}: {detail}"
            );
        }
        assert!(!cluster.log(index).unwrap().contains("ended while nobody noted how"), "z{index}");
        assert_eq!(status["generation"], 1, "z{index} started again");
    }
    // Of what a space says only so many lines are kept; the log of its zhost has all.
    let home = cluster.index_of(&vault(&cluster).unwrap().0).unwrap();
    let audits = || Ok::<_, String>(cluster.log(home)?.matches("[vault] info: right").count());
    let before = audits().unwrap();
    watch(PATIENCE, || Ok(Some(audits()?).filter(|audits| *audits > before + 1))).unwrap();
    vault(&cluster).unwrap();
    for space in ["vault", "writer"] {
        let status = cluster.ask(&["spaces", "status", space]).unwrap();
        assert_eq!(status["restarts"], 0, "{space}: {status}");
    }
    cluster.end().unwrap();
    for index in 0..5 {
        tell_again(&cluster, index);
    }
    fs::remove_dir_all(&dir).unwrap();
}
