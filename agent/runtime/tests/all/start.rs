//! Start sections, and what modules of other compilers are told when they cannot run.

use crate::bench::{Bench, IDLE, LOG, MEMORY, SLEEP, module, spec};
use std::time::Duration;
use zhost_exchange::Exit;
use zhost_runtime::{
    Interpreter, Wasmi,
    budget::{INIT_FUEL_MAX, SLICE_FUEL},
};

/// A guest whose start function has this body.
fn starting(body: &str, rest: &str) -> String {
    format!("{LOG} {SLEEP} {MEMORY} (func $start {body}) (start $start) {rest}")
}

/// A loop that burns so much fuel, more or less.
fn burn(fuel: u64) -> String {
    // Eight instructions a turn.
    let turns = fuel / 8;
    format!(
        "(local $n i32) (loop $l (local.set $n (i32.add (local.get $n) (i32.const 1))) \
         (br_if $l (i32.lt_u (local.get $n) (i32.const {turns}))))"
    )
}

fn exit_of(body: &str) -> Option<Exit> {
    let mut bench = Bench::new();
    bench.start("guest", &["sys.log"], body);
    bench.run_for(Duration::from_secs(3600));
    bench.exit_of("guest").cloned()
}

#[test]
fn the_start_function_runs_before_all_others() {
    let mut bench = Bench::new();
    let say = |at: u32| format!("(call $log (i32.const 1) (i32.const {at}) (i32.const 4))");
    let rest = format!(
        r#"(data (i32.const 0) "mainlibsinitwork") (func (export "_initialize") {})
        (func (export "on_init") (result i32) {} (i32.const 0))
        (func (export "on_process") (result i32) {} (i32.const 1))"#,
        say(4),
        say(8),
        say(12)
    );
    bench.start("guest", &["sys.log"], &starting(&say(0), &rest));
    bench.run_for(Duration::from_millis(10));
    assert_eq!(bench.logs(), ["main", "libs", "init", "work"]);
    assert_eq!(bench.exit_of("guest"), Some(&Exit::Ended(1)));
}

#[test]
fn a_start_function_is_suspended_and_goes_on_where_it_was() {
    let mut bench = Bench::new();
    // Much more than one slice, with a wait in the midst.
    let burn = burn(SLICE_FUEL * 3);
    let sync = r#"(import "data" "sync" (func $sync (result i32)))"#;
    let body = format!("{burn} (drop (call $sync)) (global.set $g (i32.const 7))");
    let rest =
        r#"(global $g (mut i32) (i32.const 0)) (func (export "on_process") (result i32) (global.get $g))"#;
    bench.start("guest", &["sys.log", "data.write"], &format!("{sync} {}", starting(&body, rest)));
    bench.run_for(Duration::from_secs(1));
    assert_eq!(bench.exit_of("guest"), Some(&Exit::Ended(7)));
}

#[test]
fn a_start_function_that_never_ends_is_ended_by_the_watchdog() {
    let exit = exit_of(&starting("(loop $l (br $l))", IDLE));
    assert_eq!(
        exit,
        Some(Exit::Crashed("its start section did not end within its fuel; the watchdog ended it".into()))
    );
}

#[test]
fn all_that_comes_before_the_work_shares_one_budget() {
    let most = burn(INIT_FUEL_MAX * 2 / 3);
    let init = format!(r#"(func (export "on_init") (result i32) {most} (i32.const 0)) {IDLE}"#);
    assert_eq!(exit_of(&starting(&most, IDLE)), None);
    let both = exit_of(&starting(&most, &init));
    assert_eq!(
        both,
        Some(Exit::Crashed("on_init did not end within its fuel; the watchdog ended it".into()))
    );
}

#[test]
fn a_start_function_that_traps_is_a_crash() {
    let exit = exit_of(&starting("(unreachable)", IDLE));
    assert!(matches!(&exit, Some(Exit::Crashed(reason)) if reason.contains("unreachable")), "{exit:?}");
}

#[test]
fn what_is_no_start_section_is_none() {
    let mut bench = Bench::new();
    let hook = r#"(func (export "zhost:start") (unreachable)) (func (export "on_process") (result i32) (i32.const 3))"#;
    bench.start("guest", &[], &format!("{MEMORY} {hook}"));
    bench.run_for(Duration::from_millis(10));
    assert_eq!(bench.exit_of("guest"), Some(&Exit::Ended(3)));
    let typed = r#"(func $s (param i32)) (start $s)"#;
    let unsound = wat::parse_str(format!("(module {MEMORY} {IDLE} {typed})")).unwrap();
    assert!(Wasmi.check(&unsound, &spec(&[]), false).is_err(), "a start function takes nothing");
}

#[test]
fn what_no_zhost_has_is_refused_with_what_to_do() {
    let guest = |more: &str| format!("{MEMORY} {IDLE} {more}");
    let shared = format!(r#"(memory (export "memory") 1 1 shared) {IDLE}"#);
    let wide = format!(r#"(memory (export "memory") i64 1) {IDLE}"#);
    let imported = format!(r#"(import "env" "memory" (memory 1)) (export "memory" (memory 0)) {IDLE}"#);
    let abort = format!(r#"(import "env" "abort" (func (param i32 i32 i32 i32))) {MEMORY} {IDLE}"#);
    let seed = format!(r#"(import "env" "seed" (func (result f64))) {MEMORY} {IDLE}"#);
    let table = format!(r#"(import "env" "t" (table 1 funcref)) {MEMORY} {IDLE}"#);
    let cases = [
        (shared, "without -pthread"),
        (guest("(func (drop (i32.atomic.load (i32.const 0))))"), "without -pthread"),
        (wide, "wasm32"),
        (imported, "--import-memory"),
        (table, "--import-table"),
        (abort, "--use abort="),
        (seed, "--use seed="),
        (guest("(tag $t) (func (throw $t))"), "exceptions"),
        (guest("(tag $t) (func (block $b (try_table (catch_all $b))))"), "exceptions"),
        (guest("(type $a (array i32)) (func (drop (array.new_default $a (i32.const 1))))"), "references"),
        (guest("(type $s (struct (field i32))) (func (drop (struct.new_default $s)))"), "references"),
        (guest("(type $f (func)) (func (param (ref $f)) (call_ref $f (local.get 0)))"), "references"),
        (guest("(func $f (return_call $f))"), "tail calls"),
        (guest("(func (drop (v128.const i64x2 0 0)))"), "SIMD"),
        (guest("(memory $second 1)"), "several memories"),
        (guest("(table 10001 funcref)"), "more than 10,000 entries"),
    ];
    for (body, advice) in cases {
        let said = Wasmi.check(&module(&body), &spec(&["sys.log"]), false).unwrap_err().to_string();
        assert!(said.contains(advice), "{body}: {said}");
    }
    let component = wat::parse_str("(component)").unwrap();
    let said = Wasmi.check(&component, &spec(&[]), false).unwrap_err().to_string();
    assert!(said.contains("component"), "{said}");
}
