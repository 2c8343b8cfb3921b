//! Whoever should read the log does not: the agent goes on as if he did.

use std::{
    fs,
    net::UdpSocket,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    time::{Duration, Instant},
};
use zhost_base::{Instant as Moment, Rng};
use zhost_cluster::{Cluster, Programs, cast, watch};
use zhost_control::{Client, Pace, protocol::Request};
use zhost_link::Identity;

const PATIENCE: Duration = Duration::from_secs(20);
/// How long an answer may take, whoever reads what.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Round trips in one measurement of the short form.
const SOME: usize = 200;
/// Less than this is the scheduler's, not ours.
const NOISE: Duration = Duration::from_millis(10);

/// A pipe that nobody reads and that is full: the next who writes to it waits.
fn full_pipe() -> (OwnedFd, OwnedFd) {
    let (read, write) = rustix::pipe::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&write).unwrap();
    rustix::fs::fcntl_setfl(&write, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    while rustix::io::write(&write, &[b'.'; 4096]).is_ok() {}
    while rustix::io::write(&write, b".").is_ok() {}
    rustix::fs::fcntl_setfl(&write, flags).unwrap();
    (read, write)
}

/// An operator who asks one question after the other.
struct Operator {
    client: Client,
    socket: UdpSocket,
    start: Instant,
}

fn hex(text: &str) -> [u8; 32] {
    let byte = |index: usize| u8::from_str_radix(&text[2 * index..2 * index + 2], 16).unwrap();
    std::array::from_fn(byte)
}

impl Operator {
    fn of(cluster: &Cluster, index: usize) -> Self {
        let read = |file: &str| hex(fs::read_to_string(cluster.dir.join(file)).unwrap().trim());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(cluster.control(index)).unwrap();
        let identity = Identity::from_private(read("operator.key"));
        let key = read("control.secret");
        let rng = Rng::from_number(7);
        let client = Client::new(Moment::ZERO, Pace::NETWORK, &identity, &key, rng).unwrap();
        Self { client, socket, start: Instant::now() }
    }

    fn now(&self) -> Moment {
        Moment::from_micros(self.start.elapsed().as_micros() as u64)
    }

    /// Asks, and gives how long the answer took.
    fn ask(&mut self) -> Duration {
        let asked = Instant::now();
        self.client.request(self.now(), Request::Status.encode()).unwrap();
        let mut buffer = [0; 2048];
        loop {
            let now = self.now();
            self.client.handle_timeout(now).unwrap();
            while let Some(datagram) = self.client.poll_datagram() {
                self.socket.send(&datagram).unwrap();
            }
            if self.client.poll_reply().is_some() {
                return asked.elapsed();
            }
            assert!(asked.elapsed() < ANSWER_WITHIN, "no answer in {} s", ANSWER_WITHIN.as_secs());
            let wake = self.client.poll_timeout().0.since(now).min(ANSWER_WITHIN);
            self.socket.set_read_timeout(Some(wake.max(Duration::from_millis(1)))).unwrap();
            if let Ok(size) = self.socket.recv(&mut buffer) {
                self.client.handle_datagram(self.now(), &buffer[..size]);
            }
        }
    }

    /// Of so many round trips, or as many as there are in so long, the hundredth part takes longer.
    fn p99(&mut self, count: usize, within: Duration) -> Duration {
        let start = Instant::now();
        let mut trips: Vec<Duration> = Vec::new();
        while trips.len() < count || start.elapsed() < within {
            trips.push(self.ask());
            std::thread::sleep(Duration::from_millis(5));
        }
        trips.sort();
        trips[trips.len() * 99 / 100]
    }
}

/// Together they say in ten seconds more than the queue of the log holds.
const NOISY_SPACES: [&str; 6] = ["house-a", "house-b", "house-c", "shed-a", "shed-b", "shed-c"];
/// Logs 160 bytes ten times a second.
const NOISY: &str = r#"(module
    (import "sys" "log" (func $log (param i32 i32 i32)))
    (import "sys" "sleep" (func $sleep (param i32)))
    (memory (export "memory") 1) (data (i32.const 0) "TEXT")
    (func (export "on_process") (result i32)
        (call $log (i32.const 1) (i32.const 0) (i32.const 160))
        (call $sleep (i32.const 100)) (i32.const 0)))"#;

/// How the agent answers while nobody reads its log, beside how it answers while somebody does.
fn compare(name: &str, within: Duration) {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut cluster = Cluster::create(&dir, &Programs::beside_tests().unwrap(), cast(2)).unwrap();
    let (reader, full) = full_pipe();
    cluster.start_with_log(0, full.as_fd().try_clone_to_owned().unwrap().into()).unwrap();
    drop(full);
    cluster.start(1).unwrap();
    let alive = |cluster: &Cluster| {
        let zhosts = cluster.ask(&["cluster", "zhosts"])?;
        let zhosts = zhosts.as_array().cloned().unwrap_or_default();
        Ok((zhosts.iter().filter(|zhost| zhost["state"] == "alive").count() == 2).then_some(()))
    };
    watch(PATIENCE, || alive(&cluster)).unwrap();
    // Guests on each, that have much to say.
    for name in NOISY_SPACES {
        let region = if name.starts_with("house") { "house" } else { "shed" };
        let topology = format!(
            "apiVersion: samoza/v1\nkind: Topology\nmetadata: {{name: {name}}}\nspaces:\n\
             - {{name: {name}, type: IO, capabilities: [sys.log], placement: {{region: {region}}}}}\n"
        );
        let wasm = wat::parse_str(NOISY.replace("TEXT", &"a line of a space ".repeat(9))).unwrap();
        let file = (format!("spaces/{name}/core.wasm"), wasm);
        let mex = cluster.pack(name, &topology, &[name], &[file]).unwrap();
        cluster.zctl(&["topo", "submit", &mex]).unwrap();
    }
    for name in NOISY_SPACES {
        watch(PATIENCE, || Ok((cluster.said(name)?.len() >= 100).then_some(()))).unwrap();
    }
    let quiet = Operator::of(&cluster, 1).p99(SOME, within);
    let stalled = Operator::of(&cluster, 0).p99(SOME, within);
    assert!(
        stalled <= 2 * quiet.max(NOISE),
        "p99 {stalled:?} while nobody reads, {quiet:?} while somebody does"
    );
    eprintln!("p99 {stalled:?} while nobody reads, {quiet:?} while somebody does");
    // Operators see that the log is not read.
    let shown = |cluster: &Cluster| {
        let status = cluster.ask(&["status", "--zhost", &cluster.control(0)])?;
        let log =
            status["services"].as_array().and_then(|all| all.iter().find(|s| s["name"] == "log")).cloned();
        Ok(log.is_some_and(|log| log["state"] != "ok").then_some(()))
    };
    watch(PATIENCE, || shown(&cluster)).unwrap();
    alive(&cluster).unwrap().expect("nobody was taken for dead");
    // At last somebody reads: what was lost is counted.
    let read = std::thread::spawn(move || {
        let mut text = Vec::new();
        let mut buffer = [0; 4096];
        let file = fs::File::from(reader);
        while !String::from_utf8_lossy(&text).contains("lines lost") {
            match rustix::io::read(&file, &mut buffer) {
                Ok(size) if size > 0 => text.extend_from_slice(&buffer[..size]),
                _ => break,
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    let text = read.join().unwrap();
    assert!(text.contains("lines lost: they were not read in time"), "{}", text.len());
    cluster.end().unwrap();
}

#[test]
fn a_log_that_nobody_reads_costs_nothing() {
    compare("quiet", Duration::ZERO);
}

/// The same for a minute on each side (`cargo xtask test --only soak-log`).
#[test]
#[ignore = "takes two minutes"]
fn a_log_that_nobody_reads_costs_nothing_for_a_minute() {
    compare("quiet-minute", Duration::from_secs(60));
}
