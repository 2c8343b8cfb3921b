//! Two boards of different architectures, as somebody without a network cable would meet them: over serial lines.

use super::guest::{Boot, Guest};
use crate::{
    Outcome, artifacts,
    board::Board,
    image::{self, Identity, Image},
    setup, steps,
};
use serde_json::Value;
use std::{
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use zhost_cluster::watch;

const PATIENCE: Duration = Duration::from_secs(90);
/// The most that zhost itself may take, kernel and modules apart, until it is in step with the others: the best of all
/// returns, since these are seconds of a computer that may have other things to do.
const OWN_START_MAX: Duration = Duration::from_secs(1);
/// The most memory of the agent as the first process, idle and with the demo topology.
const IDLE_MAX_KIB: u64 = 6 * 1024;
const DEMO_MAX_KIB: u64 = 12 * 1024;
/// Spaces of the demo topology.
const GARDEN_SPACES: usize = 4;
/// What a zhost says when it is one of the cluster.
const IN_STEP: &str = "in step with the cluster";
/// What the first process says when the agent may begin.
const BOOTED: &str = "modules";

/// What boards and operator need.
struct Site {
    dir: PathBuf,
    zctl: PathBuf,
    oak: (Board, Image),
    elm: (Board, Image),
    ports: [u16; 2],
}

pub fn run(power_cuts: u32) -> Outcome {
    let artifacts = artifacts::build()?;
    let dir = steps::root().join("target/qemu/site");
    if dir.exists() {
        fs::remove_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    }
    fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let site = Site::prepare(dir, artifacts.programs.zctl)?;
    let begin = Instant::now();
    let say = |text: &str| println!("{:>7.2} s  {text}", begin.elapsed().as_secs_f64());

    let mut oak = site.start_oak()?;
    let mut elm = site.start_elm()?;
    oak.wait_for("leading term", PATIENCE)?;
    say("a 64-bit board with its place in a cluster written into its image founds the cluster");
    elm.wait_for("waiting for zctl provision", PATIENCE)?;
    site.provision(&elm)?;
    elm.wait_for(IN_STEP, PATIENCE)?;
    say("a 32-bit board is given its place over its serial line, beside the kernel's console, and joins");
    site.wait_for(&oak, &["cluster", "zhosts"], |zhosts| count(zhosts, "state", "alive") == 2)?;
    let idle = site.resident_kib(&oak)?.max(site.resident_kib(&elm)?);

    let mex = site.pack(&artifacts.garden)?;
    site.zctl(&elm, &["topo", "submit", &mex])?;
    site.wait_for(&oak, &["topo", "status", "garden"], |topology| topology["state"] == "running")?;
    say("a package submitted over that line runs on both");
    let counts = |lines: &Value| {
        let text = lines.to_string();
        text.contains("frames=") && text.contains("brightness=")
    };
    site.wait_for(&elm, &["spaces", "logs", "tally"], counts)?;
    say("pictures of the kernel's own test camera (vivid) are read");
    let demo = site.resident_kib(&oak)?.max(site.resident_kib(&elm)?);

    let (home, other) = match site.home_of(&oak, "camera")?.as_str() {
        "oak" => (oak, elm),
        _ => (elm, oak),
    };
    let lost = home.name.clone();
    home.cut_power()?;
    let here = |spaces: &Value| count(spaces, "zhost", &other.name) == GARDEN_SPACES;
    site.wait_for(&other, &["mesh", "spaces"], here)?;
    site.wait_for(&other, &["topo", "status", "garden"], |topology| topology["state"] == "running")?;
    say(&format!("{lost} lost its power: its spaces run on the other board, of another architecture"));

    let mut back = site.start(&lost)?;
    let mut own = come_back(&mut back, &say)?;
    let mut boards = [back, other];
    for cut in 1..=power_cuts {
        // Tally writes down whatever the others tell it.
        let writer = site.home_of(&boards[0], "tally")?;
        let [first, second] = boards;
        let (writing, watching) = if first.name == writer { (first, second) } else { (second, first) };
        writing.cut_power()?;
        let mut again = site.start(&writer)?;
        own = own.min(come_back(&mut again, &say)?);
        boards = [again, watching];
        site.wait_for(&boards[1], &["topo", "status", "garden"], |topology| topology["state"] == "running")?;
        if cut == power_cuts {
            say(&format!(
                "{cut} times the board that writes lost its power, and came back with its store whole"
            ));
        }
    }
    let [mut back, mut other] = boards;

    site.zctl(&back, &["board", "restart"])?;
    back.wait_for("ended", PATIENCE)?;
    back.forget_what_it_said()?;
    back.wait_for(IN_STEP, PATIENCE)?;
    site.wait_for(&other, &["cluster", "zhosts"], |zhosts| count(zhosts, "state", "alive") == 2)?;
    say("a board that is told to restart over its serial line closes its spaces, ends, and comes back");
    let (oak, elm) = if back.name == "oak" { (&mut back, &mut other) } else { (&mut other, &mut back) };
    site.update(oak, elm, &say)?;

    println!(
        "memory of the first process: idle {idle} KiB (limit {IDLE_MAX_KIB}), with the demo topology {demo} KiB (limit {DEMO_MAX_KIB})"
    );
    if own > OWN_START_MAX {
        return Err(format!(
            "zhost took {:.2} s or more until in step, and may take {} s",
            own.as_secs_f64(),
            OWN_START_MAX.as_secs()
        ));
    }
    if idle > IDLE_MAX_KIB || demo > DEMO_MAX_KIB {
        return Err("more memory than it may have".into());
    }
    Ok(())
}

impl Site {
    fn prepare(dir: PathBuf, zctl: PathBuf) -> Outcome<Self> {
        let at = |file: &str| dir.join(file);
        let make = |args: &[&str]| {
            steps::output(Command::new(&zctl).args(args).current_dir(&dir).stdin(Stdio::null()))
        };
        make(&["secret", "cluster.secret"])?;
        make(&["secret", "control.secret"])?;
        let operator = make(&["keygen", "operator.key"])?;
        let publisher = make(&["mex", "keygen", "publisher.key"])?;
        let profile = "control-secret-file: control.secret\noperator-key-file: operator.key\n";
        fs::write(at("zctl.yaml"), profile).map_err(|e| e.to_string())?;
        fs::write(at("publisher"), publisher.trim()).map_err(|e| e.to_string())?;
        let identity = Identity {
            name: Some("oak".into()),
            cluster: "wood".into(),
            secret_file: Some(at("cluster.secret")),
            control_secret_file: Some(at("control.secret")),
            operator: vec![operator.trim().into()],
            publisher: vec![publisher.trim().into()],
            join: Vec::new(),
        };
        let image = |board: &str, identity: &Identity| -> Outcome<(Board, Image)> {
            let board = Board::read(board)?;
            let image = image::build(&board, identity, &dir.join(&board.name))?;
            Ok((board, image))
        };
        let oak = image("qemu-virt", &identity)?;
        let elm = image("qemu-virt32", &Identity::default())?;
        let port = || {
            let socket = UdpSocket::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
            socket.local_addr().map(|addr| addr.port()).map_err(|e| e.to_string())
        };
        let ports = [port()?, port()?];
        Ok(Self { dir, zctl, oak, elm, ports })
    }

    fn start_oak(&self) -> Outcome<Guest> {
        self.boot("oak", &self.oak, "10.9.0.1/24", (self.ports[0], self.ports[1]))
    }

    fn start_elm(&self) -> Outcome<Guest> {
        self.boot("elm", &self.elm, "10.9.0.2/24", (self.ports[1], self.ports[0]))
    }

    fn start(&self, name: &str) -> Outcome<Guest> {
        if name == "oak" { self.start_oak() } else { self.start_elm() }
    }

    fn boot(
        &self,
        name: &str,
        (board, image): &(Board, Image),
        network: &str,
        ports: (u16, u16),
    ) -> Outcome<Guest> {
        let settings = [("network", network), ("kind", "storage")];
        let (disk, network) = (image.disk.as_path(), Some(ports));
        Guest::start(
            name,
            &Boot { board, image, disk, settings: &settings, command_line: "", more: &[], network },
        )
    }

    /// Asks a board over its serial line.
    fn zctl(&self, guest: &Guest, args: &[&str]) -> Outcome<String> {
        let mut command = Command::new(&self.zctl);
        command.args(args).arg("--serial").arg(&guest.line).args(["--profile", "zctl.yaml"]);
        let output =
            command.current_dir(&self.dir).stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(format!("zctl {} at {}: {}", args.join(" "), guest.name, String::from_utf8_lossy(&said).trim()))
    }

    fn ask(&self, guest: &Guest, args: &[&str]) -> Outcome<Value> {
        let text = self.zctl(guest, &[args, &["--json"]].concat())?;
        serde_json::from_str(&text).map_err(|e| format!("zctl {}: {e}", args.join(" ")))
    }

    fn wait_for(&self, guest: &Guest, args: &[&str], is_so: impl Fn(&Value) -> bool) -> Outcome {
        let mut last = Value::Null;
        let seen = watch(PATIENCE, || {
            last = self.ask(guest, args)?;
            Ok(is_so(&last).then_some(()))
        });
        seen.map_err(|reason| {
            format!("{reason}; last seen: {last}; {} said:\n{}", guest.name, guest.said().unwrap_or_default())
        })
    }

    fn provision(&self, guest: &Guest) -> Outcome {
        let publisher = fs::read_to_string(self.dir.join("publisher")).map_err(|e| e.to_string())?;
        self.zctl(
            guest,
            &[
                "provision",
                "elm",
                "--cluster",
                "wood",
                "--secret-file",
                "cluster.secret",
                "--publisher",
                &publisher,
            ],
        )
        .map(drop)
    }

    fn pack(&self, garden: &Path) -> Outcome<String> {
        let mex = self.dir.join("garden.mex").display().to_string();
        let mut command = Command::new(&self.zctl);
        command.args(["mex", "build"]).arg(garden).args(["--output", &mex, "--key", "publisher.key"]);
        steps::output(command.current_dir(&self.dir))?;
        Ok(mex)
    }

    /// Has the 64-bit board take up another agent, and then one that hangs, which its watchdog ends.
    fn update(&self, oak: &mut Guest, elm: &mut Guest, say: &impl Fn(&str)) -> Outcome {
        let target = self.oak.0.target;
        let agent = target.build(&steps::root().join("target/cross"))?.zhost;
        let good = self.pack_agent(&agent, "2", target.name)?;
        let bad = self.pack_agent(&self.hanging_agent()?, "3", target.name)?;
        oak.forget_what_it_said()?;
        self.zctl(elm, &["firmware", "push", &good])?;
        self.wait_for(elm, &["firmware", "status"], |status| {
            status["state"] == "done" && count(&status["zhosts"], "running", "2") == 1
        })?;
        oak.wait_for("handing over to the agent in slot a", PATIENCE)?;
        oak.wait_for("has found the cluster, and stays", PATIENCE)?;
        say("an agent pushed over the other board's serial line is taken up: written to a slot, tried, kept");
        self.zctl(elm, &["firmware", "push", &bad])?;
        oak.wait_for("handing over to the agent in slot b", PATIENCE)?;
        self.wait_for(elm, &["firmware", "status"], |status| {
            status["state"] == "halted" && count(&status["zhosts"], "running", "2") == 1
        })?;
        say("one that hangs is ended by the watchdog, and the board is back with the former one");
        Ok(())
    }

    fn pack_agent(&self, agent: &Path, release: &str, target: &str) -> Outcome<String> {
        let [agent, file] = [agent.to_owned(), self.dir.join(format!("agent-{release}.zfw"))]
            .map(|path| path.display().to_string());
        let args = ["firmware", "build", &agent, "--target", target, "--release", release];
        let mut command = Command::new(&self.zctl);
        command.args(args).args(["--key", "publisher.key", "--output", &file]);
        steps::output(command.current_dir(&self.dir))?;
        Ok(file)
    }

    /// A program that does nothing, for ever.
    fn hanging_agent(&self) -> Outcome<PathBuf> {
        let zig = setup::need_zig()?;
        let agent = self.dir.join("hang");
        let source = "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n";
        fs::write(agent.with_extension("c"), source).map_err(|e| e.to_string())?;
        let mut compile = Command::new(zig);
        compile.args(["cc", "-target", "aarch64-linux-musl", "-static", "-Os", "-o", "hang", "hang.c"]);
        steps::run(compile.current_dir(&self.dir))?;
        Ok(agent)
    }

    fn resident_kib(&self, guest: &Guest) -> Outcome<u64> {
        watch(PATIENCE, || Ok(self.ask(guest, &["status"])?["resident_kib"].as_u64().filter(|kib| *kib > 0)))
    }

    /// The name of the board a space runs on.
    fn home_of(&self, guest: &Guest, space: &str) -> Outcome<String> {
        let spaces = self.ask(guest, &["mesh", "spaces"])?;
        let mut spaces = spaces.as_array().into_iter().flatten();
        let found = spaces.find(|line| line["space"] == space).and_then(|line| line["zhost"].as_str());
        found.map(str::to_owned).ok_or_else(|| format!("{space} runs nowhere"))
    }
}

fn count(list: &Value, key: &str, value: &str) -> usize {
    list.as_array().into_iter().flatten().filter(|item| item[key] == value).count()
}

/// The text of a log line, behind time and level.
fn after_level(line: &str) -> &str {
    line.split_once("INFO").map_or(line, |(_, text)| text.trim())
}

/// Waits until a board that was started again is in step; how long zhost itself took for that.
fn come_back(board: &mut Guest, say: &dyn Fn(&str)) -> Outcome<Duration> {
    let booted = board.wait_for(BOOTED, PATIENCE)?;
    let joined = board.wait_for(IN_STEP, PATIENCE)?;
    let own = between(&booted, &joined)?;
    say(&format!(
        "{} is back: {}, then zhost {:.2} s until in step",
        board.name,
        after_level(&booted),
        own.as_secs_f64()
    ));
    Ok(own)
}

/// The time between two log lines.
fn between(first: &str, second: &str) -> Outcome<Duration> {
    let millis = |line: &str| {
        let clock = line.split_once('T')?.1.split_once('Z')?.0;
        let mut parts = clock.split([':', '.']).map(|part| part.parse::<u64>().ok());
        let mut next = || parts.next().flatten();
        Some(((next()? * 60 + next()?) * 60 + next()?) * 1000 + next()?)
    };
    let day = 24 * 3_600_000;
    match (millis(first), millis(second)) {
        (Some(first), Some(second)) => Ok(Duration::from_millis((second + day - first) % day)),
        _ => Err(format!("no times in {first:?} and {second:?}")),
    }
}
