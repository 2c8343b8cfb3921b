//! A space with replicated data under constant writes, whose zhost is killed again and again, with SIGKILL.

use std::{collections::BTreeMap, env, fs, path::PathBuf, time::Duration};
use zhost_cluster::{Cluster, Programs, cast, watch};

const KILLS: u32 = 10;
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

fn programs() -> Programs {
    let mut dir = env::current_exe().unwrap();
    dir.pop();
    dir.pop();
    Programs { zhost: dir.join("zhost"), zctl: dir.join("zctl") }
}

/// Writes the package's sources; gives their directory.
fn sources(cluster: &Cluster) -> PathBuf {
    let dir = cluster.dir.join("vault");
    let head =
        |name: &str| format!("apiVersion: samoza/v1\nkind: Space\nmetadata: {{name: {name}}}\n").into_bytes();
    let manifest = "apiVersion: samoza/v1\nkind: MEX\nmetadata: {name: vault, version: 0.0.1, publisher: test}\nspec: {topology: topology.yaml, spaces: [writer, vault]}\n";
    let files = BTreeMap::from([
        ("manifest.yaml", manifest.into()),
        ("topology.yaml", TOPOLOGY.into()),
        ("spaces/writer/space.yaml", head("writer")),
        ("spaces/writer/core.wasm", wat::parse_str(zhost_sim::vault::WRITER).unwrap()),
        ("spaces/vault/space.yaml", head("vault")),
        ("spaces/vault/core.wasm", wat::parse_str(VAULT).unwrap()),
    ]);
    for (name, content) in files {
        let file = dir.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }
    dir
}

/// Where the vault runs, and how often it has found everything right there.
fn vault(cluster: &Cluster) -> Result<(String, usize), String> {
    let status = cluster.ask(&["spaces", "status", "vault"])?;
    let logs = cluster.ask(&["spaces", "logs", "vault"])?;
    let said =
        |what: &str| logs.as_array().map_or(0, |lines| lines.iter().filter(|l| l["text"] == what).count());
    assert_eq!(said("wrong"), 0, "an acknowledged write is lost, or a deleted key is back");
    Ok((status["zhost"].as_str().unwrap_or("-").to_owned(), said("right")))
}

#[test]
fn ten_kills_lose_nothing_that_was_acknowledged() {
    let dir = env::temp_dir().join(format!("zhost-vault-{}", std::process::id()));
    let mut cluster = Cluster::create(&dir, &programs(), cast(5)).unwrap();
    (0..5).for_each(|index| cluster.start(index).unwrap());
    let sources = sources(&cluster).display().to_string();
    let (mex, key) =
        (dir.join("vault.mex").display().to_string(), dir.join("publisher.key").display().to_string());
    cluster.zctl(&["mex", "build", &sources, "--output", &mex, "--key", &key]).unwrap();
    watch(PATIENCE, || cluster.zctl(&["topo", "submit", &mex]).map(Some)).unwrap();
    let mut home = watch(PATIENCE, || Ok(Some(vault(&cluster)?).filter(|(_, right)| *right > 1))).unwrap().0;
    for kill in 1..=KILLS {
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
        let heir = watch(PATIENCE, || {
            Ok(Some(vault(&cluster)?).filter(|(zhost, right)| *zhost != home && *right > 1))
        });
        home = heir.unwrap_or_else(|e| panic!("after kill {kill}: {e}")).0;
        cluster.start(index).unwrap();
    }
    cluster.end().unwrap();
    fs::remove_dir_all(&dir).unwrap();
}
