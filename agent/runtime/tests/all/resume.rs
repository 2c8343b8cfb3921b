//! The node has lost what was under way with its worker: spaces are told so, and it is told how they are.

use crate::bench::{Bench, MEMORY, SLEEP, key, module};
use std::time::Duration;
use zhost_base::{Batch, Generation, Pid, ZhostId};
use zhost_exchange::{Changes, Exit, Presence, Sender, WorkerCommand, WorkerEvent};

/// Sends two messages along its path, then calls along it; ends with how many of which nobody knows what became of, if the call
/// timed out.
const CALLER: &str = r#"(import "net" "emit_to" (func $emit (param i32 i32 i32 i32) (result i32)))
    (import "net" "call" (func $call (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "net" "undelivered" (func $undelivered (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "out")
    (func (export "on_process") (result i32)
        (if (call $emit (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 1)) (then (return (i32.const 0))))
        (drop (call $emit (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 1)))
        (if (i32.ne (call $call (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 60000) (i32.const 64) (i32.const 64))
                    (i32.const -6))
            (then (return (i32.const 99))))
        (drop (call $undelivered (i32.const 64) (i32.const 64)))
        (i32.load (i32.const 68)))"#;

/// A caller that waits for its answer.
fn calling() -> Bench {
    let mut bench = Bench::new();
    bench.start("caller", &[], CALLER);
    bench.run_for(Duration::from_millis(5));
    bench.worker.handle_command(bench.now, WorkerCommand::Target { key: key("caller"), path: 0, up: true });
    bench.run_for(Duration::from_millis(1000));
    bench
}

fn resume(bench: &mut Bench, space: &str, number: u32) -> Vec<WorkerEvent> {
    let seen = bench.events.len();
    bench.worker.handle_command(bench.now, WorkerCommand::Resume { key: key(space), number });
    bench.run_for(Duration::from_millis(5));
    bench.events[seen..].to_vec()
}

#[test]
fn who_waits_is_told_that_nobody_knows_and_so_is_who_has_sent_something() {
    let mut bench = calling();
    let events = resume(&mut bench, "caller", 1);
    assert_eq!(events[0], WorkerEvent::Resumed(key("caller"), 1, Presence::Running(0), Some(1)));
    assert_eq!(bench.exit_of("caller"), Some(&Exit::Ended(2)), "two messages of unknown fate");
    // How it ended is told again.
    let exited = WorkerEvent::Exited(key("caller"), 1, Exit::Ended(2));
    assert_eq!(
        resume(&mut bench, "caller", 1),
        [exited, WorkerEvent::Resumed(key("caller"), 1, Presence::Gone, None)]
    );
}

#[test]
fn what_was_credited_or_told_is_not_told_again() {
    let mut bench = calling();
    let credit = WorkerCommand::Credit { key: key("caller"), path: 0, messages: 1, bytes: 1 };
    bench.worker.handle_command(bench.now, credit);
    resume(&mut bench, "caller", 1);
    assert_eq!(bench.exit_of("caller"), Some(&Exit::Ended(1)));
}

#[test]
fn a_mailbox_is_counted_and_another_start_is_not_there() {
    let mut bench = Bench::new();
    let idle = r#"(func (export "on_process") (result i32) (call $sleep (i32.const 100000)) (i32.const 0))"#;
    bench.start("idler", &[], &format!("{SLEEP} {MEMORY} {idle}"));
    bench.run_for(Duration::from_millis(5));
    let pid = Pid { zhost: ZhostId(2), generation: Generation(1), number: 9 };
    let payloads = Batch::from_iter([b"a".as_slice(), b"bc"]);
    let (sender, from, path) = (Sender { pid, window: 1 }, "partner".parse().unwrap(), "in".parse().unwrap());
    let deliver = WorkerCommand::Deliver { key: key("idler"), from, sender, path, payloads };
    bench.worker.handle_command(bench.now, deliver);
    let resumed = |number, presence| [WorkerEvent::Resumed(key("idler"), number, presence, None)];
    assert_eq!(resume(&mut bench, "idler", 1), resumed(1, Presence::Running(2)));
    assert_eq!(resume(&mut bench, "idler", 2), resumed(2, Presence::Gone));
}

#[test]
fn a_write_that_waits_for_replicas_is_told_again_without_what_was_written() {
    let mut bench = Bench::new();
    let writer = r#"(import "data" "put" (func $put (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "on_process") (result i32)
            (drop (call $put (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 2))) (i32.const 0))"#;
    let wasm = module(writer);
    bench.kind = "DATA";
    bench.start_with("writer", &["data.write"], ", replicas: 1", &wasm);
    bench.run_for(Duration::from_millis(5));
    let wrote =
        |event: &WorkerEvent| matches!(event, WorkerEvent::Wrote(_, 1, 1, changes) if changes.len() == 1);
    assert!(bench.events.iter().any(wrote));
    bench.events.clear();
    for number in [2, 1] {
        bench.worker.handle_command(bench.now, WorkerCommand::TellWrite { key: key("writer"), number });
    }
    bench.run_for(Duration::from_millis(5));
    assert_eq!(bench.events, [WorkerEvent::Wrote(key("writer"), 1, 1, Changes::default())]);
}
