//! Guests behaving and misbehaving.

use crate::bench::{Bench, IDLE, LOG, MEMORY, SLEEP, key, module, name, spec};
use std::time::Duration;
use zhost_base::{Batch, ExitReason, Pid};
use zhost_exchange::{Exit, LogLevel, Sender, Signal, Store, WorkerCommand, WorkerEvent, table};
use zhost_runtime::{Interpreter, LoadError, Slice, Wasmi, budget::LOG_LINES_BURST};

fn check(capabilities: &[&str], has_path: bool, body: &str) -> Result<(), LoadError> {
    Wasmi.check(&module(body), &spec(capabilities), has_path)
}

#[test]
fn an_undeclared_import_is_refused_by_name() {
    let log = format!("{LOG} {MEMORY} {IDLE}");
    assert_eq!(check(&["sys.log"], false, &log), Ok(()));
    let error = check(&[], false, &log).unwrap_err().to_string();
    assert_eq!(error, "it imports sys.log but does not declare the capability sys.log");
    let emit =
        format!(r#"(import "net" "emit_to" (func (param i32 i32 i32 i32) (result i32))) {MEMORY} {IDLE}"#);
    assert_eq!(check(&[], true, &emit), Ok(()));
    assert!(
        matches!(check(&[], false, &emit), Err(LoadError::Undeclared { import, .. }) if import == "net.emit_to")
    );
    let foreign = format!(r#"(import "env" "system" (func (param i32))) {MEMORY} {IDLE}"#);
    assert_eq!(check(&[], false, &foreign), Err(LoadError::UnknownImport { import: "env.system".into() }));
}

#[test]
fn an_import_of_another_type_is_refused_by_name() {
    for wrong in ["func (param i32 i32)", "func (param i32 i32 i32) (result i32)", "global i32"] {
        let import = format!(r#"(import "sys" "log" ({wrong}))"#);
        let error = check(&["sys.log"], false, &format!("{import} {MEMORY} {IDLE}")).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("sys") && said.contains("log"), "{wrong}: {said}");
    }
    let outside = format!(r#"(memory (export "memory") 1) (data (i32.const 65536) "x") {IDLE}"#);
    assert!(matches!(check(&[], false, &outside), Err(LoadError::Invalid(_))), "data beyond the memory");
}

#[test]
fn a_module_without_what_it_needs_is_refused() {
    assert!(matches!(check(&[], false, IDLE), Err(LoadError::Export(_))), "no memory");
    assert!(matches!(check(&[], false, MEMORY), Err(LoadError::Export(_))), "nothing to run");
    let typed = format!(r#"{MEMORY} (func (export "on_process") (param i32) (result i32) (i32.const 0))"#);
    assert!(matches!(check(&[], false, &typed), Err(LoadError::Export(_))), "wrong type");
    let large = format!(r#"(memory (export "memory") 100) {IDLE}"#);
    assert!(matches!(check(&[], false, &large), Err(LoadError::Export(_))), "more memory than allowed");
    assert!(matches!(Wasmi.check(b"\0asm nonsense", &spec(&[]), false), Err(LoadError::Invalid(_))));
}

#[test]
fn init_process_and_close_run_in_order() {
    let mut bench = Bench::new();
    let say = |export: &str, at: u32| {
        format!(
            r#"(func (export "{export}") (result i32) (call $log (i32.const 1) (i32.const {at}) (i32.const 4)) (i32.const 0))"#
        )
    };
    let body = format!(
        r#"{LOG} {MEMORY} (data (i32.const 0) "initworkdone") {} {} {}"#,
        say("on_init", 0),
        say("on_process", 4),
        say("on_close", 8)
    );
    bench.start("guest", &["sys.log"], &body);
    bench.run_for(Duration::from_millis(1500));
    bench.worker.handle_command(bench.now, WorkerCommand::Stop(key("guest")));
    bench.run_for(Duration::from_millis(10));
    assert_eq!(bench.logs(), ["init", "work", "work", "done"]);
    assert_eq!(bench.exit_of("guest"), Some(&Exit::Closed));
}

#[test]
fn a_busy_loop_starves_nobody_and_is_ended_by_its_watchdog() {
    let mut bench = Bench::new();
    bench.start(
        "spinner",
        &[],
        &format!(r#"{MEMORY} (func (export "on_process") (result i32) (loop $l (br $l)) (i32.const 0))"#),
    );
    let counts = format!(
        r#"{SLEEP} {MEMORY} (global $turns (mut i32) (i32.const 0)) (func (export "on_process") (result i32)
            (global.set $turns (i32.add (global.get $turns) (i32.const 1)))
            (call $sleep (i32.const 5)) (i32.gt_s (global.get $turns) (i32.const 50)))"#
    );
    bench.start("neighbour", &[], &counts);
    while bench.exit_of("spinner").is_none() {
        bench.worker.run_slice(bench.now, Slice::Long);
        bench.now += Duration::from_millis(1);
        bench.worker.handle_timeout(bench.now);
        bench.events.extend(std::iter::from_fn(|| bench.worker.poll_event()));
    }
    assert!(matches!(bench.exit_of("spinner"), Some(Exit::Crashed(reason)) if reason.contains("watchdog")));
    assert_eq!(bench.exit_of("neighbour"), Some(&Exit::Ended(1)), "it had its fifty turns meanwhile");
}

#[test]
fn a_trap_is_a_crash_with_its_reason_and_a_code_is_an_end() {
    let mut bench = Bench::new();
    bench.start("trap", &[], &format!(r#"{MEMORY} (func (export "on_process") (result i32) (unreachable))"#));
    bench.start("wild", &["sys.log"], &format!(r#"{LOG} {MEMORY} (func (export "on_process") (result i32) (call $log (i32.const 1) (i32.const -5) (i32.const 50)) (i32.const 0))"#));
    bench.start(
        "quitter",
        &[],
        &format!(r#"{MEMORY} (func (export "on_process") (result i32) (i32.const 7))"#),
    );
    bench.start(
        "refuser",
        &[],
        &format!(r#"{MEMORY} {IDLE} (func (export "on_init") (result i32) (i32.const 3))"#),
    );
    bench.run_for(Duration::from_millis(10));
    let crashed = |space: &str, part: &str| matches!(bench.exit_of(space), Some(Exit::Crashed(reason)) if reason.contains(part));
    assert!(crashed("trap", "unreachable"));
    assert!(crashed("wild", "out of bounds"));
    assert!(crashed("refuser", "on_init returned 3"));
    assert_eq!(bench.exit_of("quitter"), Some(&Exit::Ended(7)));
}

#[test]
fn memory_grows_to_its_limit_and_not_beyond() {
    let mut bench = Bench::new();
    // Four pages are allowed, one is there: growing by three works, by one more does not.
    let body = format!(
        r#"{MEMORY} (func (export "on_process") (result i32)
            (if (i32.ne (memory.grow (i32.const 3)) (i32.const 1)) (then (unreachable)))
            (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then (unreachable)))
            (i32.const 9))"#
    );
    bench.start("grower", &[], &body);
    bench.run_for(Duration::from_millis(10));
    assert_eq!(bench.exit_of("grower"), Some(&Exit::Ended(9)));
}

#[test]
fn sending_stops_at_the_credit_and_goes_on_with_more() {
    let mut bench = Bench::new();
    let body = format!(
        r#"(import "net" "emit_to" (func $emit (param i32 i32 i32 i32) (result i32))) {SLEEP} {MEMORY}
        (data (i32.const 0) "out")
        (func (export "on_process") (result i32)
            (loop $more (br_if $more (i32.eqz (call $emit (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 1)))))
            (call $sleep (i32.const 10)) (i32.const 0))"#
    );
    bench.start("sender", &[], &body);
    let sent = |bench: &mut Bench| {
        bench.run_for(Duration::from_millis(30));
        let emitted = bench.events.drain(..).map(|event| match event {
            WorkerEvent::Emitted(_, _, payloads) => payloads.len(),
            _ => 0,
        });
        emitted.sum::<usize>()
    };
    assert_eq!(sent(&mut bench), 0, "its target is not running");
    bench.worker.handle_command(bench.now, WorkerCommand::Target { key: key("sender"), path: 0, up: true });
    assert_eq!(sent(&mut bench), zhost_base::limits::PATH_WINDOW_MESSAGES as usize);
    bench.worker.handle_command(
        bench.now,
        WorkerCommand::Credit { key: key("sender"), path: 0, messages: 3, bytes: 12 },
    );
    assert_eq!(sent(&mut bench), 3);
    bench.worker.handle_command(bench.now, WorkerCommand::Target { key: key("sender"), path: 0, up: false });
    assert_eq!(sent(&mut bench), 0);
}

#[test]
fn what_was_put_is_durable_after_the_call_and_a_crash_undoes_it() {
    let mut bench = Bench::new();
    let put = r#"(import "data" "put" (func $put (param i32 i32 i32 i32) (result i32)))"#;
    let body = |end: &str| {
        format!(
            r#"{put} {SLEEP} {MEMORY} (data (i32.const 0) "key") (func (export "on_process") (result i32)
            (drop (call $put (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 2))) (call $sleep (i32.const 1000)) {end})"#
        )
    };
    bench.start("keeper", &["data.write"], &body("(i32.const 0)"));
    bench.start("faller", &["data.write"], &body("(unreachable)"));
    bench.run_for(Duration::from_millis(10));
    assert_eq!(bench.store.get(&table::data(&key("keeper")), b"key").unwrap(), Some(b"ke".to_vec()));
    assert_eq!(bench.store.get(&table::data(&key("faller")), b"key").unwrap(), None);
}

#[test]
fn sensors_answer_only_to_those_who_declared_them() {
    let mut bench = Bench::new();
    let body = format!(
        r#"(import "sensors" "read" (func $read (param i32 i32 i32 i32) (result i32))) {MEMORY} (data (i32.const 0) "clock")
        (func (export "on_process") (result i32) (call $read (i32.const 0) (i32.const 5) (i32.const 16) (i32.const 64)))"#
    );
    bench.start("declared", &["sensors.clock"], &body);
    bench.start("sneaky", &["sensors.camera"], &body);
    bench.run_for(Duration::from_millis(10));
    assert!(matches!(bench.exit_of("declared"), Some(Exit::Ended(size)) if *size > 0));
    assert_eq!(bench.exit_of("sneaky"), Some(&Exit::Ended(-4)));
}

#[test]
fn a_chatterbox_is_cut_short() {
    let mut bench = Bench::new();
    let body = format!(
        r#"{LOG} {SLEEP} {MEMORY} (func (export "on_process") (result i32) (local $n i32)
            (loop $more (call $log (i32.const 0) (i32.const 0) (i32.const 60000))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $more (i32.lt_u (local.get $n) (i32.const 10000))))
            (call $sleep (i32.const 60000)) (i32.const 0))"#
    );
    bench.start("chatterbox", &["sys.log"], &body);
    bench.run_for(Duration::from_millis(10));
    assert_eq!(bench.logs().len(), LOG_LINES_BURST as usize);
    assert!(bench.logs().iter().all(|line| line.len() <= zhost_base::limits::LOG_LINE_SIZE_MAX_BYTES));
    bench.run_for(Duration::from_secs(61));
    assert_eq!(bench.logs()[LOG_LINES_BURST as usize], "9968 more lines dropped: too many");
    assert_eq!(bench.logs().len(), 2 * LOG_LINES_BURST as usize + 1);
    assert!(matches!(&bench.events[0], WorkerEvent::Started(..) | WorkerEvent::Log(_, LogLevel::Debug, _)));
}

#[test]
fn messages_arrive_in_order_and_are_reported_consumed() {
    let mut bench = Bench::new();
    let body = format!(
        r#"{LOG} (import "net" "recv_next" (func $recv (param i32 i32) (result i32))) {MEMORY}
        (func (export "on_process") (result i32) (local $size i32)
            (loop $more (local.set $size (call $recv (i32.const 0) (i32.const 8)))
                (if (i32.gt_s (local.get $size) (i32.const 0)) (then
                    (call $log (i32.const 1) (i32.const 0) (local.get $size)) (br $more))))
            (i32.const 0))"#
    );
    bench.start("reader", &["sys.log"], &body);
    bench.run_for(Duration::from_millis(10));
    for text in ["one", "two", "three"] {
        let (key, from, path) = (key("reader"), name("writer"), name("in"));
        let payloads = Batch::from_iter([text.as_ref()]);
        let command = WorkerCommand::Deliver { key, from, sender: Sender::default(), path, payloads };
        bench.worker.handle_command(bench.now, command);
    }
    bench.run_for(Duration::from_millis(10));
    assert_eq!(bench.logs(), ["one", "two", "three"]);
    let consumed = bench.events.iter().map(|event| match event {
        WorkerEvent::Consumed(_, consumed) => (consumed.messages, consumed.bytes),
        _ => (0, 0),
    });
    assert_eq!(consumed.fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1)), (3, 11));
}

#[test]
fn a_guest_whose_wait_ends_before_its_data_is_stored_goes_on() {
    let mut bench = Bench::new();
    let body = format!(
        r#"(import "data" "put" (func $put (param i32 i32 i32 i32) (result i32)))
        (import "net" "call" (func $call (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
        {MEMORY} (data (i32.const 0) "out") (func (export "on_process") (result i32)
            (drop (call $put (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 3)))
            (call $call (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 3) (i32.const 1) (i32.const 64) (i32.const 64)))"#
    );
    bench.start("guest", &["data.write"], &body);
    bench.worker.run_slice(bench.now, Slice::Long);
    // It calls, and nobody has stored what it wrote when its patience ends.
    bench.worker.run_slice(bench.now, Slice::Short);
    bench.now += Duration::from_millis(5);
    bench.worker.handle_timeout(bench.now);
    bench.run_for(Duration::from_millis(5));
    assert_eq!(bench.exit_of("guest"), Some(&Exit::Ended(-6)));
}

#[test]
fn a_space_that_is_being_loaded_ends_with_the_one_it_is_linked_with() {
    let mut bench = Bench::new();
    bench.start("child", &[], &format!("{MEMORY} {IDLE}"));
    let exit_reason = ExitReason { normal: false, reason: "gone".into() };
    let signal = Signal::Exit(Pid::default(), exit_reason);
    bench.worker.handle_command(bench.now, WorkerCommand::Signal { key: key("child"), number: 1, signal });
    bench.run_for(Duration::from_millis(5));
    assert!(matches!(bench.exit_of("child"), Some(Exit::Crashed(reason)) if reason.contains("gone")));
}

#[test]
fn who_never_takes_its_signals_ends_before_they_fill_the_memory() {
    let mut bench = Bench::new();
    bench.start("deaf", &[], &format!("{MEMORY} {IDLE}"));
    bench.run_for(Duration::from_millis(5));
    for _ in 0..=zhost_runtime::budget::SIGNALS_WAITING_MAX {
        let signal = Signal::ZhostDown(name("z"));
        bench.worker.handle_command(bench.now, WorkerCommand::Signal { key: key("deaf"), number: 1, signal });
    }
    bench.run_for(Duration::from_millis(5));
    assert!(matches!(bench.exit_of("deaf"), Some(Exit::Crashed(reason)) if reason.contains("signals")));
}

#[test]
fn who_may_use_so_much_fuel_a_second_uses_so_much_and_no_more() {
    let busy = format!(
        r#"{SLEEP} {MEMORY} (func (export "on_process") (result i32) (local $n i32)
            (loop $l
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $l (i32.lt_u (local.get $n) (i32.const 20000))))
            (call $sleep (i32.const 0)) (i32.const 0))"#
    );
    let burnt_in = |seconds, fuel_per_second| {
        let mut bench = Bench::new();
        bench.fuel_per_second = fuel_per_second;
        bench.start("busy", &[], &busy);
        bench.run_for(Duration::from_secs(seconds));
        bench.worker.fuel_burnt()
    };
    assert!(burnt_in(1, 0) > 30_000_000, "without a limit it burns what there is");
    for fuel_per_second in [1_000_000, 3_000_000] {
        let burnt = burnt_in(10, fuel_per_second);
        // Of what it may in a second, it may save up once.
        let (least, most) = (9 * u64::from(fuel_per_second), 11 * u64::from(fuel_per_second) + 200_000);
        assert!((least..=most).contains(&burnt), "{burnt} units in ten seconds, {fuel_per_second} a second");
    }
}

#[test]
fn too_much_randomness_at_once_is_a_trap() {
    let asks = |size: u32| {
        let mut bench = Bench::new();
        let body = format!(
            r#"(import "sys" "random" (func $random (param i32 i32))) {MEMORY}
            (func (export "on_process") (result i32) (call $random (i32.const 0) (i32.const {size})) (i32.const 7))"#
        );
        bench.start("gambler", &[], &body);
        bench.run_for(Duration::from_millis(10));
        bench.exit_of("gambler").cloned()
    };
    assert_eq!(asks(4096), Some(Exit::Ended(7)));
    assert!(
        matches!(asks(4097), Some(Exit::Crashed(reason)) if reason.contains("at most 4096 random bytes"))
    );
}
