//! What operators order real spaces to do.

use std::{env, fs, time::Duration};
use zhost_cluster::{Cluster, Programs, cast, watch};

const PATIENCE: Duration = Duration::from_secs(20);

/// Counts its starts in its data, and says the count.
const COUNTER: &str = r#"(module
  (import "data" "get" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "data" "put" (func $put (param i32 i32 i32 i32) (result i32)))
  (import "sys" "log" (func $log (param i32 i32 i32)))
  (import "sys" "sleep" (func $sleep (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "n") (data (i32.const 16) "start 0")
  (func (export "on_init") (result i32)
    (drop (call $get (i32.const 0) (i32.const 1) (i32.const 22) (i32.const 1)))
    (i32.store8 (i32.const 22) (i32.add (i32.const 1) (i32.load8_u (i32.const 22))))
    (drop (call $put (i32.const 0) (i32.const 1) (i32.const 22) (i32.const 1)))
    (call $log (i32.const 1) (i32.const 16) (i32.const 7))
    (i32.const 0))
  (func (export "on_process") (result i32) (call $sleep (i32.const 60000)) (i32.const 0)))"#;

/// Ends in order at once.
const SHORT: &str =
    r#"(module (memory (export "memory") 1) (func (export "on_process") (result i32) (i32.const 1)))"#;
/// Fails at once.
const FAILING: &str =
    r#"(module (memory (export "memory") 1) (func (export "on_process") (result i32) unreachable))"#;

const TOPOLOGY: &str = "apiVersion: samoza/v1
kind: Topology
metadata: {name: orders}
spaces:
  - {name: counter, type: DATA, capabilities: [data.read, data.write, sys.log], replicas: 1}
  - {name: again, type: IO, restart: always}
  - {name: once, type: IO, restart: never}
";

fn package(cluster: &Cluster) -> String {
    let guest =
        |space: &str, body: &str| (format!("spaces/{space}/core.wasm"), wat::parse_str(body).unwrap());
    let files = [guest("counter", COUNTER), guest("again", SHORT), guest("once", FAILING)];
    cluster.pack("orders", TOPOLOGY, &["counter", "again", "once"], &files).unwrap()
}

/// Waits until the counter has said so many things, and gives them.
fn said(cluster: &Cluster, count: usize) -> Vec<String> {
    let look = || {
        let texts = cluster.said("counter")?;
        Ok((texts.len() >= count).then_some(texts))
    };
    watch(PATIENCE, look).unwrap_or_else(|reason| panic!("the counter did not speak {count} times: {reason}"))
}

fn state(cluster: &Cluster, space: &str) -> Result<(String, u64), String> {
    let status = cluster.ask(&["spaces", "status", space])?;
    Ok((status["state"].as_str().unwrap_or("-").to_owned(), status["restarts"].as_u64().unwrap_or(0)))
}

fn has_a_replica(cluster: &Cluster) -> Result<Option<()>, String> {
    let status = cluster.ask(&["spaces", "status", "counter"])?;
    let replicas = status["replicas"].as_array().cloned().unwrap_or_default();
    let full = |replica: &serde_json::Value| replica.as_str().is_some_and(|r| r.ends_with("has everything"));
    Ok(replicas.iter().any(full).then_some(()))
}

#[test]
fn spaces_restart_forget_and_are_compared_when_told_to() {
    let dir = env::temp_dir().join(format!("zhost-orders-{}", std::process::id()));
    let mut cluster = Cluster::create(&dir, &Programs::beside_tests().unwrap(), cast(3)).unwrap();
    (0..3).for_each(|index| cluster.start(index).unwrap());
    let mex = package(&cluster);
    watch(PATIENCE, || cluster.ask(&["topo", "submit", &mex]).map(Some)).unwrap();
    assert_eq!(said(&cluster, 1), ["start 1"]);

    // One that ends in order runs again, one that fails does not.
    watch(PATIENCE, || Ok((state(&cluster, "again")?.1 >= 2).then_some(()))).unwrap();
    watch(PATIENCE, || Ok((state(&cluster, "once")? == ("held".into(), 0)).then_some(()))).unwrap();

    watch(PATIENCE, || has_a_replica(&cluster)).unwrap();
    let answer = cluster.ask(&["spaces", "restart", "orders/counter"]).unwrap();
    assert_eq!(answer["result"], "space counter: it starts again");
    assert_eq!(said(&cluster, 2)[1], "start 2");
    watch(PATIENCE, || has_a_replica(&cluster)).unwrap();
    cluster.ask(&["spaces", "repair", "counter"]).unwrap();
    watch(PATIENCE, || has_a_replica(&cluster)).unwrap();

    cluster.ask(&["spaces", "drop-data", "counter", "--yes"]).unwrap();
    assert_eq!(said(&cluster, 3)[2], "start 1");
    assert!(cluster.zctl(&["spaces", "drop-data", "counter"]).is_err(), "without --yes");
    assert!(cluster.ask(&["spaces", "drop-data", "once", "--yes"]).unwrap_err().contains("it keeps nothing"));
    assert!(cluster.ask(&["spaces", "repair", "once"]).unwrap_err().contains("no replicas"));

    cluster.ask(&["topo", "restart", "orders"]).unwrap();
    assert_eq!(said(&cluster, 4)[3], "start 2");

    // What is deleted is forgotten on every zhost, wherever the same topology starts next.
    cluster.ask(&["topo", "delete", "orders"]).unwrap();
    watch(PATIENCE, || {
        Ok(cluster.ask(&["mesh", "spaces"])?.as_array().is_some_and(Vec::is_empty).then_some(()))
    })
    .unwrap();
    watch(PATIENCE, || cluster.ask(&["topo", "submit", &mex]).map(Some)).unwrap();
    assert_eq!(said(&cluster, 1).last().map(String::as_str), Some("start 1"));
    cluster.end().unwrap();
    fs::remove_dir_all(&dir).unwrap();
}
