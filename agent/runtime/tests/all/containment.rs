//! A space that misbehaves is contained: its neighbour answers within twice the time it takes when all is quiet, counted
//! in fuel that the worker burns between a message and its answer.

use crate::bench::{Bench, LOG, MEMORY, SLEEP, key, name};
use std::time::Duration;
use zhost_base::Batch;
use zhost_exchange::{Exit, Sender, WorkerCommand, WorkerEvent};
use zhost_runtime::{STRETCH_STACK_BYTES, Slice};

/// What a microsecond of the bench is in fuel: a slice takes as long as it burns.
const FUEL_PER_US: u64 = 200;
/// Fuel that the neighbour needs for an answer, more or less.
const ANSWER_LOOPS: u32 = 20_000;

/// Works a while for each message, then answers.
fn neighbour() -> String {
    format!(
        r#"(import "net" "recv_next" (func $recv (param i32 i32) (result i32)))
        (import "net" "emit_to" (func $emit (param i32 i32 i32 i32) (result i32)))
        {SLEEP} {MEMORY} (data (i32.const 0) "out")
        (func (export "on_process") (result i32) (local $n i32)
            (if (i32.ge_s (call $recv (i32.const 64) (i32.const 64)) (i32.const 0)) (then
                (loop $work
                    (local.set $n (i32.add (local.get $n) (i32.const 1)))
                    (br_if $work (i32.lt_u (local.get $n) (i32.const {ANSWER_LOOPS}))))
                (drop (call $emit (i32.const 0) (i32.const 3) (i32.const 64) (i32.const 1)))))
            (call $sleep (i32.const -1)) (i32.const 0))"#
    )
}

/// Takes all its mail.
fn peer() -> String {
    format!(
        r#"(import "net" "recv_next" (func $recv (param i32 i32) (result i32))) {SLEEP} {MEMORY}
        (func (export "on_process") (result i32)
            (loop $more (br_if $more (i32.ge_s (call $recv (i32.const 64) (i32.const 2000)) (i32.const 0))))
            (call $sleep (i32.const -1)) (i32.const 0))"#
    )
}

fn deliver(bench: &mut Bench, to: &str, window: u32, payloads: Batch) {
    let deliver = WorkerCommand::Deliver {
        key: key(to),
        from: name("partner"),
        sender: Sender { window, ..Sender::default() },
        path: name("in"),
        payloads,
    };
    bench.worker.handle_command(bench.now, deliver);
}

/// The worst time from a message to its answer, in fuel, over many messages; and how much fuel was burnt in all. What
/// the rogue sends, its peer gets; a rogue that is started `to_be_stopped` is at once.
fn worst_latency(rogue: Option<&str>, to_be_stopped: bool) -> (u64, u64) {
    let mut bench = Bench::new();
    bench.start("neighbour", &[], &neighbour());
    bench.start("peer", &[], &peer());
    if let Some(rogue) = rogue {
        bench.start("rogue", &["sys.log", "data.write"], rogue);
    }
    let (mut worst, mut asked, mut answered): (u64, Option<u64>, u32) = (0, None, 0);
    let mut clock = 0_u64;
    let mut turns = 0;
    while answered < 50 {
        turns += 1;
        assert!(turns < 200_000, "the neighbour does not answer");
        // A message comes at any point of others' slices.
        if asked.is_none() && turns % 7 == 0 {
            asked = Some(clock);
            deliver(&mut bench, "neighbour", 0, Batch::from_iter([b"x".as_slice()]));
        }
        bench.worker.handle_timeout(bench.now);
        let before = bench.worker.fuel_burnt();
        if bench.worker.is_ready(Slice::Long) {
            bench.worker.run_slice(bench.now, Slice::Long);
        }
        let burnt = bench.worker.fuel_burnt() - before;
        clock += burnt;
        bench.now += Duration::from_micros(burnt / FUEL_PER_US + 1);
        while let Some(event) = bench.worker.poll_event() {
            match &event {
                WorkerEvent::Emitted(from, _, payloads) if *from == key("rogue") => {
                    deliver(&mut bench, "peer", 1, payloads.clone());
                }
                WorkerEvent::Consumed(by, consumed) if *by == key("peer") => {
                    let (messages, bytes) = (consumed.messages, consumed.bytes);
                    let credit = WorkerCommand::Credit { key: key("rogue"), path: 0, messages, bytes };
                    bench.worker.handle_command(bench.now, credit);
                }
                WorkerEvent::Emitted(from, ..) if *from == key("neighbour") => {
                    answered += 1;
                    worst = worst.max(clock - asked.take().expect("one answer for each message"));
                    let credit = WorkerCommand::Credit { key: from.clone(), path: 0, messages: 1, bytes: 1 };
                    bench.worker.handle_command(bench.now, credit);
                }
                WorkerEvent::Started(started, _) => {
                    let target = WorkerCommand::Target { key: started.clone(), path: 0, up: true };
                    bench.worker.handle_command(bench.now, target);
                    if to_be_stopped && *started == key("rogue") {
                        bench.worker.handle_command(bench.now, WorkerCommand::Stop(started.clone()));
                    }
                }
                // What the node would do, without any mercy.
                WorkerEvent::Exited(from, ..) if *from == key("rogue") => {
                    if let Some(rogue) = rogue {
                        bench.start("rogue", &["sys.log", "data.write"], rogue);
                    }
                }
                _ => {}
            }
        }
    }
    (worst, clock)
}

fn process(body: &str) -> String {
    format!(r#"{LOG} {MEMORY} (func (export "on_process") (result i32) {body})"#)
}

#[test]
fn a_rogue_costs_its_neighbour_at_most_as_much_again() {
    let (quiet, _) = worst_latency(None, false);
    let rogues = [
        ("spins", process("(loop $l (br $l)) (i32.const 0)")),
        (
            "spins in its start section",
            process("(i32.const 0)") + "(func $start (loop $l (br $l))) (start $start)",
        ),
        ("traps", process("(unreachable)")),
        ("leaks", process("(loop $l (drop (memory.grow (i32.const 1))) (br $l)) (i32.const 0)")),
        (
            "floods its log",
            process(
                "(loop $l (call $log (i32.const 1) (i32.const 0) (i32.const 200)) (br $l)) (i32.const 0)",
            ),
        ),
        (
            "never returns from on_close",
            process("(i32.const 0)")
                + r#"(func (export "on_close") (result i32) (loop $l (br $l)) (i32.const 0))"#,
        ),
        (
            "floods its peer",
            format!(
                r#"(import "net" "emit_to" (func $emit (param i32 i32 i32 i32) (result i32))) {MEMORY} (data (i32.const 0) "out")
                (func (export "on_process") (result i32)
                    (loop $l (drop (call $emit (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 1000))) (br $l)) (i32.const 0))"#
            ),
        ),
    ];
    for (what, rogue) in rogues {
        let (beside, burnt) = worst_latency(Some(&rogue), what.ends_with("on_close"));
        assert!(beside <= 2 * quiet, "{what}: {beside} units of fuel beside it, {quiet} when all is quiet");
        let is_busy = what == "traps" || burnt > 100 * quiet;
        assert!(is_busy, "{what}: it burnt only {burnt} units of fuel with its neighbours");
    }
}

#[test]
fn who_never_returns_from_on_close_is_ended() {
    let mut bench = Bench::new();
    let body = format!(
        r#"{MEMORY} (func (export "on_process") (result i32) (i32.const 0))
        (func (export "on_close") (result i32) (loop $l (br $l)) (i32.const 0))"#
    );
    bench.start("clinger", &[], &body);
    bench.run_for(Duration::from_millis(10));
    bench.worker.handle_command(bench.now, WorkerCommand::Stop(key("clinger")));
    bench.run_for(Duration::from_secs(6));
    assert_eq!(bench.exit_of("clinger"), Some(&Exit::Closed));
}

#[test]
fn whatever_a_guest_does_again_and_again_the_hosts_stack_suffices() {
    let endless = [
        "(drop (memory.grow (global.get $zero)))",
        "(drop (memory.grow (i32.const 1)))",
        "(drop (memory.grow (i32.const -1)))",
        "(drop (table.grow (ref.null func) (i32.const 0)))",
        "(drop (table.grow (ref.null func) (i32.const 1)))",
        "(memory.fill (i32.const 0) (i32.const 0) (i32.const 1))",
        "(memory.copy (i32.const 0) (i32.const 1) (i32.const 1))",
        "(table.fill (i32.const 0) (ref.null func) (i32.const 1))",
        "(table.copy (i32.const 0) (i32.const 0) (i32.const 1))",
        "(drop (table.size))",
        "(drop (memory.size))",
        "(call_indirect (i32.const 0))",
        "(call $nothing)",
        "(global.set $g (i64.mul (global.get $g) (i64.const 3)))",
        "(call $log (i32.const 0) (i32.const 0) (i32.const 0))",
        "(drop (call $random (i32.const 0) (i32.const 1)))",
    ];
    let run = move || {
        for body in endless {
            let mut bench = Bench::new();
            let guest = format!(
                r#"{LOG} (import "sys" "self_emit" (func $random (param i32 i32) (result i32))) {MEMORY}
                (table 8 funcref) (elem (i32.const 0) $nothing) (global $g (mut i64) (i64.const 3)) (global $zero (mut i32) (i32.const 0)) (func $nothing)
                (func (export "on_process") (result i32) (loop $l {body} (br $l)) (i32.const 0))"#
            );
            bench.start("guest", &["sys.log"], &guest);
            for _ in 0..20 {
                bench.worker.run_slice(bench.now, Slice::Long);
            }
            assert!(bench.worker.fuel_burnt() > 500_000, "{body} was not run");
        }
    };
    let thread = std::thread::Builder::new().stack_size(STRETCH_STACK_BYTES).spawn(run);
    thread.expect("a thread").join().expect("it ends");
}

#[test]
fn straight_code_cannot_take_more_of_the_hosts_stack_than_there_is() {
    let chain = |grows: usize| {
        // Each asks for as many pages as the last one said there were.
        let flat = "memory.grow\n".repeat(grows);
        let guest = format!(
            r#"{MEMORY} (func (export "on_process") (result i32) i32.const 0 {flat} drop i32.const 7)"#
        );
        let mut bench = Bench::new();
        bench.start("chain", &[], &guest);
        bench.run_for(Duration::from_secs(1));
        bench.exit_of("chain").cloned()
    };
    let run = move || {
        assert_eq!(chain(7_000), Some(Exit::Ended(7)), "what can be paid for at once is run");
        let refused = chain(60_000);
        assert!(
            matches!(&refused, Some(Exit::Crashed(reason)) if reason.contains("too much fuel at once")),
            "{refused:?}"
        );
    };
    let thread = std::thread::Builder::new().stack_size(STRETCH_STACK_BYTES).spawn(run);
    thread.expect("a thread").join().expect("it ends");
}
