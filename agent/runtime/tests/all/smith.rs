//! Modules that a machine made up: whatever they are, a worker survives them within its budgets.
//!
//! `ZHOST_MODULES` says how many; a soak tries 5,000.

use crate::bench::{Bench, key};
use std::time::Duration;
use wasm_smith::{Config, Module};
use zhost_base::Rng;
use zhost_exchange::{Exit, WorkerCommand, WorkerEvent};

/// Tried by every test.
const MODULES: u64 = 300;
/// The memory that the bench gives to a guest.
const MEMORY_MAX_BYTES: u64 = 256 * 1024;
/// Randomness that one module is made of.
const SEED_BYTES: usize = 4096;

/// Modules that can be guests: they export a memory, `on_init` and `on_process`. Half of them never trap, so that they
/// run for long.
fn config(traps: bool) -> Config {
    let shape = wat::parse_str(
        r#"(module (memory (export "memory") 1)
            (func (export "on_init") (result i32) unreachable)
            (func (export "on_process") (result i32) unreachable))"#,
    );
    Config {
        exports: Some(shape.expect("a module")),
        disallow_traps: !traps,
        max_imports: 0,
        max_memories: 0,
        min_memories: 0,
        // More than they may have.
        max_memory32_bytes: 2 * MEMORY_MAX_BYTES,
        allow_start_export: true,
        threads_enabled: false,
        shared_everything_threads_enabled: false,
        gc_enabled: false,
        exceptions_enabled: false,
        memory64_enabled: false,
        tail_call_enabled: false,
        relaxed_simd_enabled: false,
        simd_enabled: false,
        wide_arithmetic_enabled: false,
        custom_page_sizes_enabled: false,
        extended_const_enabled: false,
        ..Config::default()
    }
}

fn make(seed: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; SEED_BYTES];
    Rng::from_number(seed).fill(&mut bytes);
    let module =
        Module::new(config(seed.is_multiple_of(2)), &mut arbitrary::Unstructured::new(&bytes)).ok()?;
    Some(module.to_bytes())
}

/// Whether a module begins with a start section.
fn has_start(wasm: &[u8]) -> bool {
    let mut rest = &wasm[8..];
    while let [id, body @ ..] = rest {
        let (mut size, mut shift) = (0, 0);
        let length = 1 + body.iter().take_while(|byte| **byte & 0x80 != 0).count();
        for byte in &body[..length] {
            size |= usize::from(byte & 0x7f) << shift;
            shift += 7;
        }
        if *id == 8 {
            return true;
        }
        rest = &body[length + size..];
    }
    false
}

/// Whether a guest never ran, by the reason it ended for.
fn is_refusal(reason: &str) -> bool {
    ["its WASM", "it needs", "its tables"].iter().any(|begin| reason.starts_with(begin))
}

#[test]
fn no_module_harms_its_worker() {
    let count = std::env::var("ZHOST_MODULES").ok().and_then(|count| count.parse().ok()).unwrap_or(MODULES);
    let (mut ran, mut refused, mut crashed, mut grown, mut started) = (0, 0, 0, 0, 0);
    for seed in 0..count {
        let Some(wasm) = make(seed) else { continue };
        started += u64::from(has_start(&wasm));
        let mut bench = Bench::new();
        bench.start_with("guest", &[], "", &wasm);
        bench.run_for(Duration::from_millis(20));
        let is_refused = matches!(bench.exit_of("guest"), Some(Exit::Crashed(reason)) if is_refusal(reason));
        match bench.exit_of("guest") {
            _ if is_refused => refused += 1,
            Some(Exit::Crashed(_)) => crashed += 1,
            _ => ran += 1,
        }
        bench.worker.handle_command(bench.now, WorkerCommand::Stop(key("guest")));
        bench.run_for(Duration::from_secs(6));
        let used = bench.events.iter().filter_map(|event| match event {
            WorkerEvent::Used(_, _, usage) => Some(usage.memory_bytes),
            _ => None,
        });
        let used_max = used.max();
        assert!(is_refused || used_max.is_some(), "seed {seed}: nobody knows what it used");
        grown += u64::from(used_max.is_some_and(|used| used > 0));
        assert!(used_max <= Some(MEMORY_MAX_BYTES), "seed {seed} has {used_max:?} bytes of memory");
        assert!(bench.exit_of("guest").is_some(), "seed {seed}: it cannot be ended");
        assert!(
            !bench.worker.is_ready(zhost_runtime::Slice::Long),
            "seed {seed}: the worker is not done with it"
        );
    }
    println!("of {count} modules {ran} ran, {crashed} ran and crashed, {refused} were refused");
    assert!(started >= count / 100, "only {started} of {count} modules had a start section");
    assert!(grown > count / 10, "only {grown} of {count} modules had memory");
    assert!(ran + crashed > count / 2, "only {ran} and {crashed} of {count} modules ran at all");
}
