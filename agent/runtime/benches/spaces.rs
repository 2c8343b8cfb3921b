//! What it costs to run spaces, beside wasmtime and the same code natively: `cargo xtask bench spaces`.
//!
//! Everything runs in a worker as it is in the agent: metered, in slices, through the guest ABI. Times are wall time,
//! the best of several rounds; the columns of a row were taken one right after the other.

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
use zhost_base::{Generation, Instant, Name, Pid, Rng, SpaceKey, ZhostId, limits::BLOB_CHUNK_SIZE_BYTES};
use zhost_mex::PublisherKey;
use zhost_runtime::{
    Exit, Launch, MemoryStore, NoDevices, Slice, Store, Wasmi, Worker, WorkerCommand, WorkerEvent, Write,
    blob_key, table,
};

/// How much each kernel does: some ten to a hundred milliseconds natively.
const AMOUNTS: [u32; 7] = [600, 30, 4_000_000, 160, 400_000, 8_000_000, 150_000];
const ROUNDS: usize = 3;
/// Host calls that one guest makes.
const HOST_CALLS: u32 = 2_000_000;
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
        let head = |kind: &str| format!("apiVersion: samoza/v1\nkind: {kind}\nmetadata:\n  name: guest\n");
        let manifest = head("MEX")
            + "  version: v1\n  publisher: bench\nspec: {topology: topology.yaml, spaces: [guest]}\n";
        let space = format!(
            "- {{name: guest, type: IO, capabilities: [sys.log], resources: {{memoryKiB: 65536}}, config: {{{config}}}}}\n"
        );
        let files = BTreeMap::from([
            ("manifest.yaml".into(), manifest.into_bytes()),
            ("topology.yaml".into(), (head("Topology") + "spaces:\n" + &space).into_bytes()),
            ("spaces/guest/space.yaml".into(), head("Space").into_bytes()),
            ("spaces/guest/core.wasm".into(), wasm.to_vec()),
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
        let mut result = 0;
        let native = best(|| {
            let begin = Wall::now();
            result = black_box(run(black_box(amount)));
            begin.elapsed()
        });
        let config = format!("kernel: {index}, amount: {amount}");
        let guest = best(|| {
            let run = Bench::new().run(&wasm, &config);
            assert_eq!(run.said, result.to_string(), "{kernel}: not the same work");
            run.ran
        });
        let ratio = ms(guest) / ms(native);
        if kernel == "coremark" {
            coremark = ratio;
        }
        let other = compared.as_ref().and_then(|compared| compared.get(index));
        if let Some((_, theirs)) = other {
            assert_eq!(*theirs, result, "{kernel}: not the same work");
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

    let cold = best(|| Bench::new().run(&wasm, "kernel: 99").started);
    println!(
        "\ncold start of a guest of {} kB: {:.2} ms (its package read, checked, compiled)",
        wasm.len() / 1000,
        ms(cold)
    );
    let caller = wat::parse_str(CALLER.replace("HOST_CALLS", &HOST_CALLS.to_string())).expect("a module");
    let calls = best(|| Bench::new().run(&caller, "").ran);
    println!("host call: {:.3} µs", calls.as_secs_f64() * 1e6 / f64::from(HOST_CALLS));
    assert!(
        coremark <= COREMARK_MAX,
        "CoreMark took {coremark:.1} times as long as natively, more than {COREMARK_MAX}"
    );
}
