//! The topology the simulator deploys: a camera and a meter, each counting into one store.

use std::collections::BTreeMap;
use zhost_mex::PublisherKey;

/// Emits a counter along its path every 200 ms; keeps the count while it is refused.
const COUNTER: &str = r#"(module
  (import "sys" "sleep" (func $sleep (param i32)))
  (import "net" "emit_to" (func $emit (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "PATH")
  (global $next (mut i32) (i32.const 1))
  (func (export "on_process") (result i32)
    (i32.store (i32.const 16) (global.get $next))
    (if (i32.eqz (call $emit (i32.const 0) (i32.const 4) (i32.const 16) (i32.const 4)))
      (then (global.set $next (i32.add (global.get $next) (i32.const 1)))))
    (call $sleep (i32.const 200))
    (i32.const 0)))"#;

/// Stores the last message under the path's name.
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
          (drop (call $put (i32.const 0) (call $path (i32.const 0) (i32.const 32)) (i32.const 64) (local.get $size)))
          (br $more))))
    (i32.const 0))
  (func (export "on_close") (result i32) (i32.const 0)))"#;

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

/// The publisher whose packages the simulated clusters trust.
pub fn publisher() -> PublisherKey {
    PublisherKey::from_seed([42; 32])
}

/// A signed package of the topology `name`, whose camera space needs `capability`.
pub fn package(name: &str, version: u32, capability: &str) -> Vec<u8> {
    pack(name, version, &topology_yaml(name, capability))
}

/// The same package with a manifest that leaves out a capability its WASM needs.
pub fn package_without(name: &str, capability: &str) -> Vec<u8> {
    pack(name, 1, &topology_yaml(name, "data.read").replace(capability, "data.read"))
}

fn pack(name: &str, version: u32, topology: &str) -> Vec<u8> {
    let space =
        |name: &str| format!("apiVersion: samoza/v1\nkind: Space\nmetadata: {{name: {name}}}\n").into_bytes();
    let manifest = format!(
        "apiVersion: samoza/v1\nkind: MEX\nmetadata: {{name: {name}, version: 0.0.{version}, publisher: sim}}\nspec: {{topology: topology.yaml, spaces: [eye, meter, store]}}\n"
    );
    let wasm = |text: &str| wat::parse_str(text).expect("the simulator's guests are valid");
    let files = BTreeMap::from([
        ("manifest.yaml".into(), manifest.into_bytes()),
        ("topology.yaml".into(), topology.into()),
        ("spaces/eye/space.yaml".into(), space("eye")),
        ("spaces/eye/core.wasm".into(), wasm(&COUNTER.replace("PATH", "look"))),
        ("spaces/meter/space.yaml".into(), space("meter")),
        ("spaces/meter/core.wasm".into(), wasm(&COUNTER.replace("PATH", "tick"))),
        ("spaces/store/space.yaml".into(), space("store")),
        ("spaces/store/core.wasm".into(), wasm(STORE)),
    ]);
    let unsigned = zhost_mex::build(files).expect("the simulator's package is sound");
    zhost_mex::sign(&unsigned, &publisher()).expect("the simulator's package can be signed")
}
