//! The topology the simulator deploys: a camera and a meter, each counting into one store.
//!
//! A message says which start of its sender it is from (eight random bytes), its number, and how many messages the
//! sender was told did not arrive (four bytes each). So the referee can tell whether any was lost without a notice,
//! came twice, or out of order.

use std::collections::BTreeMap;
use zhost_mex::PublisherKey;

/// Sends its count along its path, then again PAUSE later, or as soon as it may if that is 0.
const COUNTER: &str = r#"(module
  (import "sys" "sleep" (func $sleep (param i32)))
  (import "sys" "random" (func $random (param i32 i32)))
  (import "net" "emit_to" (func $emit (param i32 i32 i32 i32) (result i32)))
  (import "net" "undelivered" (func $undelivered (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "PATH")
  (global $next (mut i32) (i32.const 1))
  (func (export "on_init") (result i32)
    (call $random (i32.const 16) (i32.const 8))
    (i32.const 0))
  (func (export "on_process") (result i32)
    (loop $notices
      (if (i32.gt_s (call $undelivered (i32.const 64) (i32.const 64)) (i32.const 0))
        (then
          (i32.store (i32.const 28) (i32.add (i32.load (i32.const 28))
            (i32.add (i32.load (i32.const 64)) (i32.load (i32.const 68)))))
          (br $notices))))
    (loop $more
      (i32.store (i32.const 24) (global.get $next))
      (if (i32.eqz (call $emit (i32.const 0) (i32.const 4) (i32.const 16) (i32.const 16)))
        (then
          (global.set $next (i32.add (global.get $next) (i32.const 1)))
          (br_if $more (i32.eqz (i32.const PAUSE))))))
    (call $sleep (i32.const SLEEP))
    (i32.const 0)))"#;

/// Stores the last number under the path's name.
const STORE: &str = r#"(module
  (import "net" "recv_next" (func $recv (param i32 i32) (result i32)))
  (import "data" "put" (func $put (param i32 i32 i32 i32) (result i32)))
  (import "net" "recv_path" (func $path (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "on_process") (result i32)
    (local $size i32)
    (loop $more
      (local.set $size (call $recv (i32.const 64) (i32.const 1024)))
      (if (i32.gt_s (local.get $size) (i32.const 0))
        (then
          (local.set $size (call $path (i32.const 0) (i32.const 32)))
          (drop (call $put (i32.const 0) (local.get $size) (i32.const 72) (i32.const 4)))
          (br $more))))
    (i32.const 0))
  (func (export "on_close") (result i32) (i32.const 0)))"#;

/// How often the counters of ordinary topologies send, milliseconds.
const PAUSE_MS: u32 = 200;

/// The topology `name`; its camera space needs `capability`.
fn topology_yaml(name: &str, capability: &str) -> String {
    format!(
        "apiVersion: samoza/v1
kind: Topology
metadata: {{name: {name}}}
spaces:
  - {{name: eye, type: IO, capabilities: [{capability}], resources: {{memoryKiB: 128}}}}
  - {{name: meter, type: IO, resources: {{memoryKiB: 128}}}}
  - {{name: store, type: DATA, capabilities: [data.write], resources: {{memoryKiB: 128}}}}
paths:
  - {{from: eye, to: store, name: look}}
  - {{from: meter, to: store, name: tick}}
"
    )
}

/// Of one space alone, which stands on one board.
const LONE_TOPOLOGY: &str = "apiVersion: samoza/v1
kind: Topology
metadata: {name: NAME}
spaces:
  - {name: store, type: DATA, capabilities: [data.write], resources: {memoryKiB: 128}}
";

/// The publisher whose packages the simulated clusters trust.
pub fn publisher() -> PublisherKey {
    PublisherKey::from_seed([42; 32])
}

/// A signed package of the topology `name`, whose camera space needs `capability`.
pub fn package(name: &str, version: u32, capability: &str) -> Vec<u8> {
    pack(name, version, &topology_yaml(name, capability), PAUSE_MS)
}

/// A signed package whose counters send as fast as they may, from the region `head` to a board with a camera.
pub fn flood(name: &str) -> Vec<u8> {
    let from_head = "type: IO, placement: {region: head},";
    let topology = topology_yaml(name, "data.read").replace("type: IO,", from_head).replace(
        "type: DATA, capabilities: [data.write]",
        "type: DATA, capabilities: [data.write, sensors.camera]",
    );
    pack(name, 1, &topology, 0)
}

/// A signed package of the topology `name` that has one space: whoever else holds it keeps a copy for the others.
pub fn lone(name: &str, version: u32) -> Vec<u8> {
    assemble(name, version, &LONE_TOPOLOGY.replace("NAME", name), &[("store", STORE.to_owned())])
}

/// The same package with a manifest that leaves out a capability its WASM needs.
pub fn package_without(name: &str, capability: &str) -> Vec<u8> {
    pack(name, 1, &topology_yaml(name, "data.read").replace(capability, "data.read"), PAUSE_MS)
}

fn pack(name: &str, version: u32, topology: &str, pause_ms: u32) -> Vec<u8> {
    let counter = |path: &str| {
        // One that sends as fast as it may is woken when it may send more.
        let sleep = if pause_ms == 0 { 1000 } else { pause_ms };
        let text = COUNTER.replace("PATH", path).replace("PAUSE", &pause_ms.to_string());
        text.replace("SLEEP", &sleep.to_string())
    };
    let spaces = [("eye", counter("look")), ("meter", counter("tick")), ("store", STORE.to_owned())];
    assemble(name, version, topology, &spaces)
}

/// A signed package of these spaces, with their modules as text.
pub fn assemble(name: &str, version: u32, topology: &str, spaces: &[(&str, String)]) -> Vec<u8> {
    let names: Vec<&str> = spaces.iter().map(|(space, _)| *space).collect();
    let manifest = format!(
        "apiVersion: samoza/v1\nkind: MEX\nmetadata: {{name: {name}, version: 0.0.{version}, publisher: sim}}\nspec: {{topology: topology.yaml, spaces: [{}]}}\n",
        names.join(", ")
    );
    let mut files = BTreeMap::from([
        ("manifest.yaml".to_owned(), manifest.into_bytes()),
        ("topology.yaml".to_owned(), topology.into()),
    ]);
    for (space, text) in spaces {
        let head = format!("apiVersion: samoza/v1\nkind: Space\nmetadata: {{name: {space}}}\n");
        let wasm = wat::parse_str(text).expect("the simulator's guests are valid");
        files.insert(format!("spaces/{space}/space.yaml"), head.into_bytes());
        files.insert(format!("spaces/{space}/core.wasm"), wasm);
    }
    let unsigned = zhost_mex::build(files).expect("the simulator's package is sound");
    zhost_mex::sign(&unsigned, &publisher()).expect("the simulator's package can be signed")
}
