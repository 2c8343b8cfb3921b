//! What it costs to run spaces, beside wasmtime and the same code natively: `cargo xtask bench spaces`.
//!
//! Everything runs in a worker as it is in the agent: metered, in slices, through the guest ABI. Times are wall time,
//! the best of several rounds, native code and guest in turn.

#![expect(clippy::disallowed_methods, reason = "time is what is measured here")]

use std::{
    collections::BTreeMap,
    env, fs,
    hint::black_box,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant as Wall},
};
use zhost_base::{
    Batch, Generation, Instant, Name, Pid, Rng, SpaceKey, ZhostId, limits::BLOB_CHUNK_SIZE_BYTES,
};
use zhost_exchange::{
    Exit, Launch, NoDevices, Sender, Store, WorkerCommand, WorkerEvent, Write, blob_key, table,
};
use zhost_mex::PublisherKey;
use zhost_runtime::{MemoryStore, Slice, Wasmi, Worker};

/// How much each kernel does: some ten to a hundred milliseconds natively.
const AMOUNTS: [u32; 7] = [1500, 30, 4_000_000, 160, 400_000, 8_000_000, 150_000];
const ROUNDS: usize = 5;
/// Host calls that one guest makes.
const HOST_CALLS: u32 = 2_000_000;
/// From a message to the first thing that a sleeping guest does.
const WAKE_MAX: Duration = Duration::from_micros(50);
/// CoreMark with metering, as a multiple of native time.
const COREMARK_MAX: f64 = 18.0;

/// Asks for the time again and again.
const CALLER: &str = r#"(module
  (import "sys" "now_us" (func $now (result i64)))
  (memory (export "memory") 1)
  (func (export "on_process") (result i32) (local $left i32)
    (local.set $left (i32.const HOST_CALLS))
    (loop $again
      (drop (call $now))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $again (local.get $left)))
    (i32.const 1)))"#;

/// Waits for mail, and answers the first thing it does.
const SLEEPER: &str = r#"(module
  (import "sys" "sleep" (func $sleep (param i32)))
  (import "net" "recv_next" (func $recv (param i32 i32) (result i32)))
  (import "net" "emit_to" (func $emit (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "out")
  (func (export "on_process") (result i32)
    (if (i32.ge_s (call $recv (i32.const 64) (i32.const 64)) (i32.const 0))
      (then (drop (call $emit (i32.const 0) (i32.const 3) (i32.const 64) (i32.const 1)))))
    (call $sleep (i32.const -1))
    (i32.const 0)))"#;
/// Stands at the other end of paths, and is never started.
const PARTNER: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "on_process") (result i32) (i32.const 0)))"#;
/// Sleepers in the worker in which one is woken, and how often.
const SLEEPERS: u32 = 1000;
const WAKES: usize = 2000;

/// Functions of the large guest: each some 160 bytes of code.
const FUNCTIONS: usize = 940;

/// A guest of some 150 kB that is nearly all code, no two functions of which are the same.
fn large_guest() -> Vec<u8> {
    let function = |index: usize| {
        let step = |round: usize| {
            let (number, place) = (index * 7919 + round * 104_729, (index * 8 + round * 4) % 60_000);
            format!(
                "(local.set $n (i32.add (i32.mul (local.get $n) (i32.const {number})) (i32.load (i32.const {place}))))
                 (if (i32.lt_u (local.get $n) (i32.const {place})) (then (i32.store (i32.const {place}) (local.get $n))))"
            )
        };
        let steps: String = (0..4).map(step).collect();
        format!("(func $f{index} (param $n i32) (result i32) {steps} (local.get $n))\n")
    };
    let functions: String = (0..FUNCTIONS).map(function).collect();
    let all: String = (0..FUNCTIONS).map(|index| format!("$f{index} ")).collect();
    let text = format!(
        "(module (memory (export \"memory\") 1) (table funcref (elem {all})) {functions}
         (func (export \"on_process\") (result i32) (drop (call $f0 (i32.const 1))) (i32.const 1)))"
    );
    wat::parse_str(text).expect("a module")
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// A guest's life.
struct Run {
    /// How long it took to start.
    started: Duration,
    /// How long it ran from there.
    ran: Duration,
    /// The last line it wrote.
    said: String,
}

/// A worker that runs one guest after the other.
struct Bench {
    worker: Worker,
    store: Arc<MemoryStore>,
    starts: u32,
}

impl Bench {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::default());
        let publisher = PublisherKey::from_seed([1; 32]).public();
        let devices = Arc::new(NoDevices::default());
        let worker =
            Worker::new(Box::new(Wasmi), store.clone(), devices, vec![publisher], Rng::from_number(1), 1000);
        Self { worker, store, starts: 0 }
    }

    /// Puts a package with this guest into the store.
    fn launch(&mut self, wasm: &[u8], config: &str) -> Launch {
        let head = |kind: &str, name: &str| {
            format!("apiVersion: samoza/v1\nkind: {kind}\nmetadata:\n  name: {name}\n")
        };
        let manifest = head("MEX", "guest")
            + "  version: v1\n  publisher: bench\nspec: {topology: topology.yaml, spaces: [guest, partner]}\n";
        let topology = head("Topology", "guest")
            + &format!(
                "spaces:\n- {{name: guest, type: IO, capabilities: [sys.log], resources: {{memoryKiB: 65536}}, \
                 config: {{{config}}}}}\n- {{name: partner, type: IO}}\n\
                 paths:\n- {{from: guest, to: partner, name: out}}\n- {{from: partner, to: guest, name: in}}\n"
            );
        let files = BTreeMap::from([
            ("manifest.yaml".into(), manifest.into_bytes()),
            ("topology.yaml".into(), topology.into_bytes()),
            ("spaces/guest/space.yaml".into(), head("Space", "guest").into_bytes()),
            ("spaces/guest/core.wasm".into(), wasm.to_vec()),
            ("spaces/partner/space.yaml".into(), head("Space", "partner").into_bytes()),
            ("spaces/partner/core.wasm".into(), wat::parse_str(PARTNER).expect("a module")),
        ]);
        let key = PublisherKey::from_seed([1; 32]);
        let package = zhost_mex::build(files).and_then(|package| zhost_mex::sign(&package, &key));
        let package = package.expect("a package");
        let digest = zhost_mex::digest(&package);
        let pieces = package.chunks(BLOB_CHUNK_SIZE_BYTES).zip(0..);
        let write = |(piece, index): (&[u8], u32)| Write {
            table: table::BLOBS.into(),
            key: blob_key(digest, index),
            value: Some(piece.to_vec()),
        };
        self.store.commit(&pieces.map(write).collect::<Vec<_>>()).expect("memory");
        self.starts += 1;
        Launch {
            key: SpaceKey { topology: zhost_mex::topology_id(&name("bench")), space: name("guest") },
            space: name("guest"),
            pid: Pid { zhost: ZhostId(1), generation: Generation(1), number: self.starts },
            package: digest,
            package_bytes: package.len() as u32,
            argument: Vec::new(),
        }
    }

    /// Times from a message for a sleeping guest to what it does first, with many others that sleep; in order.
    fn wakes(&mut self, wasm: &[u8]) -> Vec<Duration> {
        let launch = self.launch(wasm, "");
        for number in 0..SLEEPERS {
            let mut launch = launch.clone();
            launch.pid.number = number + 1;
            launch.key.space = name(&format!("guest{number}"));
            self.worker.handle_command(Instant::ZERO, WorkerCommand::Start(launch));
        }
        self.run_until_quiet();
        let key = SpaceKey { space: name("guest500"), ..launch.key };
        self.worker
            .handle_command(Instant::ZERO, WorkerCommand::Target { key: key.clone(), path: 0, up: true });
        self.run_until_quiet();
        let mut times: Vec<Duration> = std::iter::repeat_with(|| self.wake(&key)).take(WAKES).collect();
        times.sort_unstable();
        times
    }

    fn run_until_quiet(&mut self) {
        while self.worker.is_ready(Slice::Long) {
            self.worker.run_slice(Instant::ZERO, Slice::Long);
            while self.worker.poll_event().is_some() {}
        }
    }

    fn wake(&mut self, key: &SpaceKey) -> Duration {
        let (key, from, path) = (key.clone(), name("partner"), name("in"));
        let deliver = WorkerCommand::Deliver {
            key: key.clone(),
            from,
            sender: Sender::default(),
            path,
            payloads: Batch::from_iter([b"x".as_slice()]),
        };
        let begin = Wall::now();
        self.worker.handle_command(Instant::ZERO, deliver);
        let mut taken = None;
        while self.worker.is_ready(Slice::Long) {
            self.worker.run_slice(Instant::ZERO, Slice::Long);
            while let Some(event) = self.worker.poll_event() {
                if matches!(event, WorkerEvent::Emitted(..)) {
                    taken = Some(begin.elapsed());
                }
            }
        }
        self.worker
            .handle_command(Instant::ZERO, WorkerCommand::Credit { key, path: 0, messages: 1, bytes: 1 });
        self.run_until_quiet();
        taken.expect("it answers")
    }

    /// Starts a guest and runs it to its end.
    fn run(&mut self, wasm: &[u8], config: &str) -> Run {
        let launch = self.launch(wasm, config);
        let begin = Wall::now();
        let (mut started, mut said) = (None, String::new());
        self.worker.handle_command(Instant::ZERO, WorkerCommand::Start(launch));
        while self.worker.is_ready(Slice::Long) {
            self.worker.run_slice(Instant::ZERO, Slice::Long);
            while let Some(event) = self.worker.poll_event() {
                match event {
                    WorkerEvent::Started(..) => started = Some(begin.elapsed()),
                    WorkerEvent::Log(_, _, text) => said = text,
                    WorkerEvent::Exited(_, _, Exit::Ended(_)) => {
                        let started = started.expect("it started before it ended");
                        return Run { started, ran: begin.elapsed() - started, said };
                    }
                    WorkerEvent::Exited(_, _, exit) => panic!("the guest ended otherwise: {exit:?}"),
                    _ => {}
                }
            }
        }
        panic!("the guest waits for something");
    }
}

/// The best of several rounds of each of two, in turn.
fn best_in_turn(
    mut one: impl FnMut() -> Duration,
    mut other: impl FnMut() -> Duration,
) -> (Duration, Duration) {
    let rounds = std::iter::repeat_with(|| (one(), other())).take(ROUNDS);
    rounds.fold((Duration::MAX, Duration::MAX), |best, round| (best.0.min(round.0), best.1.min(round.1)))
}

fn best(round: impl FnMut() -> Duration) -> Duration {
    std::iter::repeat_with(round).take(ROUNDS).min().unwrap_or_default()
}

/// Milliseconds that wasmtime (from PyPI) takes for each kernel, and what each gives.
fn wasmtime(python: &Path, wasm: &Path) -> Vec<(f64, u32)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/wasmtime_kernels.py");
    let amounts = AMOUNTS.map(|amount| amount.to_string());
    let output = Command::new(python).arg(script).arg(wasm).args(amounts).output().expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let parse = |line: &str| {
        let (ms, result) = line.split_once(' ').expect("two numbers");
        (ms.parse().expect("milliseconds"), result.parse().expect("a result"))
    };
    text.lines().map(parse).collect()
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn main() {
    let file = env::var("KERNELS_WASM").expect("KERNELS_WASM: run cargo xtask bench spaces");
    let wasm = fs::read(&file).expect("the kernels");
    let compared =
        env::var_os("WASMTIME_PYTHON").map(|python| wasmtime(Path::new(&python), Path::new(&file)));

    println!(
        "{:<10} {:>11} {:>11} {:>11} {:>9} {:>11}",
        "kernel", "native ms", "zhost ms", "x native", "wasmtime", "x wasmtime"
    );
    let mut coremark = 0.0;
    for (index, ((kernel, run), amount)) in kernels::KERNELS.into_iter().zip(AMOUNTS).enumerate() {
        let result = std::cell::Cell::new(0);
        let natively = || {
            let begin = Wall::now();
            result.set(black_box(run(black_box(amount))));
            begin.elapsed()
        };
        let config = format!("kernel: {index}, amount: {amount}");
        let as_guest = || {
            let run = Bench::new().run(&wasm, &config);
            assert_eq!(run.said, result.get().to_string(), "{kernel}: not the same work");
            run.ran
        };
        let (native, guest) = best_in_turn(natively, as_guest);
        let ratio = ms(guest) / ms(native);
        if kernel == "coremark" {
            coremark = ratio;
        }
        let other = compared.as_ref().and_then(|compared| compared.get(index));
        if let Some((_, theirs)) = other {
            assert_eq!(*theirs, result.get(), "{kernel}: not the same work");
        }
        let other = other.map_or(("-".into(), "-".into()), |(other, _)| {
            (format!("{other:.1}"), format!("{:.1}", ms(guest) / other))
        });
        println!(
            "{kernel:<10} {:>11.1} {:>11.1} {ratio:>11.1} {:>9} {:>11}",
            ms(native),
            ms(guest),
            other.0,
            other.1
        );
    }

    for (what, guest, config) in
        [("std and CoreMark in it", &wasm, "kernel: 99"), ("nearly all code", &large_guest(), "")]
    {
        let cold = best(|| Bench::new().run(guest, config).started);
        println!(
            "cold start of a guest of {} kB, {what}: {:.2} ms (its package read, checked, compiled)",
            guest.len() / 1000,
            ms(cold)
        );
    }
    let sleeper = wat::parse_str(SLEEPER).expect("a module");
    let wakes = Bench::new().wakes(&sleeper);
    println!(
        "from a message to the first thing its sleeping guest does, beside {SLEEPERS} that sleep: {:.1} µs, p99 {:.1} µs",
        wakes[WAKES / 2].as_secs_f64() * 1e6,
        wakes[WAKES * 99 / 100].as_secs_f64() * 1e6
    );
    assert!(wakes[WAKES / 2] < WAKE_MAX, "a guest wakes up in no more than {WAKE_MAX:?}");
    let caller = wat::parse_str(CALLER.replace("HOST_CALLS", &HOST_CALLS.to_string())).expect("a module");
    let calls = best(|| Bench::new().run(&caller, "").ran);
    println!("host call: {:.3} µs", calls.as_secs_f64() * 1e6 / f64::from(HOST_CALLS));
    assert!(
        coremark <= COREMARK_MAX,
        "CoreMark took {coremark:.1} times as long as natively, more than {COREMARK_MAX}"
    );
}
