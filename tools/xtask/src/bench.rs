//! `cargo xtask bench …`: zhost and other systems, measured alike in one run.

use crate::{Outcome, artifacts, setup, steps};
use clap::Subcommand;
use std::{fs, path::Path, time::Duration};
use zhost_cluster::{Cluster, cast, watch};

/// The Python environment of what comes from PyPI.
const ENVIRONMENT: &str = "target/bench-venv";
const PATIENCE: Duration = Duration::from_secs(60);
/// A message to a space on the same zhost, amortised over a stream.
const LOCAL_MESSAGE_MAX_US: f64 = 5.0;
/// A thousand small spaces run after so long, and take so much memory.
const SWARM_MAX_US: f64 = 2e6;
const SWARM_MAX_KB: u64 = 100_000;

/// While all of them sleep, they take no more of a processor than this.
const IDLE_MAX_SHARE: f64 = 0.01;
const IDLE_LOOK: Duration = Duration::from_secs(10);
/// In which the kernel tells times of processes.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Subcommand)]
pub enum BenchCommand {
    /// CoreMark and six kernels beside wasmtime and native code; starts, host calls, messages; a thousand spaces. Fails
    /// over its targets.
    Spaces,
    /// Real: kill-to-all-known, idle bytes, round trips and messages a second, beside other systems. Simulated:
    /// detection, idle cost and large clusters.
    Mesh {
        /// Measure only this system, and raw TCP.
        #[arg(long)]
        only: Option<String>,
        /// Leave the simulated figures out.
        #[arg(long)]
        no_simulation: bool,
        /// Do not install the other systems; those that are missing are said to be.
        #[arg(long)]
        no_setup: bool,
    },
}

/// `cargo xtask bench …`.
pub fn run(command: &BenchCommand) -> Outcome {
    setup::run(setup::GuestRoute::Auto)?;
    match command {
        BenchCommand::Spaces => spaces(),
        BenchCommand::Mesh { only, no_simulation, no_setup } => {
            mesh(only.as_deref(), *no_simulation, *no_setup)
        }
    }
}

fn spaces() -> Outcome {
    let python = steps::root().join(ENVIRONMENT).join("bin/python");
    if !python.exists() {
        steps::run(&mut steps::command("python3", &["-m", "venv", ENVIRONMENT]))?;
    }
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "wasmtime"];
    steps::run(&mut steps::command(&python.display().to_string(), &pip))?;
    let kernels = artifacts::build_kernels()?;
    let mut bench =
        steps::command("cargo", &["bench", "--quiet", "--package", "zhost-runtime", "--bench", "spaces"]);
    // As `.cargo/config.toml` has it for the agent.
    bench.env("RUSTFLAGS", "-Cllvm-args=-align-all-functions=5");
    steps::run(bench.env("KERNELS_WASM", kernels).env("WASMTIME_PYTHON", python))?;
    let artifacts = artifacts::build()?;
    let dir = steps::root().join(format!("target/bench-{}", std::process::id()));
    let mut cluster = Cluster::create(&dir, &artifacts.programs, cast(1))?;
    cluster.start(0)?;
    let outcome = local_messages(&cluster, &artifacts.duel).and_then(|()| swarm(&cluster, &artifacts.swarm));
    cluster.end()?;
    fs::remove_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    outcome
}

/// Two spaces of one zhost talk to each other.
fn local_messages(cluster: &Cluster, duel: &Path) -> Outcome {
    let here = cluster.dir.join("duel");
    let text = |file: &Path| fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()));
    copy_dir(duel, &here)?;
    let topology = text(&duel.join("topology.yaml"))?.replace("region: shed", "region: house");
    fs::write(here.join("topology.yaml"), topology).map_err(|e| e.to_string())?;
    submit(cluster, &here, "duel")?;
    let counted = watch(PATIENCE, || said(cluster, "far", "counted"))?;
    let taken = watch(PATIENCE, || said(cluster, "near", "round-trip"))?;
    let per_message = number(&counted, "elapsed_us")? / number(&counted, "messages")?;
    println!("message to a space of the same zhost, amortised: {per_message:.2} µs; {taken}");
    cluster.zctl(&["topo", "delete", "duel"])?;
    if per_message > LOCAL_MESSAGE_MAX_US {
        return Err(format!("a local message took more than {LOCAL_MESSAGE_MAX_US} µs"));
    }
    Ok(())
}

/// A thousand spaces on one zhost.
fn swarm(cluster: &Cluster, swarm: &Path) -> Outcome {
    let pid = cluster.zhosts[0].process.as_ref().ok_or("the zhost does not run")?.id();
    let before = memory_kb(pid)?;
    let alone = busy_share(pid)?;
    submit(cluster, swarm, "swarm")?;
    let spawned = watch(PATIENCE, || said(cluster, "boss", "spawned"))?;
    let (count, elapsed) = (number(&spawned, "spawned")?, number(&spawned, "elapsed_us")?);
    let after = memory_kb(pid)?;
    let each = after.saturating_sub(before) as f64 / count;
    println!(
        "{count} spaces running after {:.2} s; memory {before} kB before, {after} kB with them: {each:.1} kB each",
        elapsed / 1e6
    );
    let with_them = busy_share(pid)?;
    println!(
        "share of a processor while all sleep: {:.2} % without spaces, {:.2} % with {count}",
        alone * 100.0,
        with_them * 100.0
    );
    if with_them - alone > IDLE_MAX_SHARE {
        return Err(format!("idle spaces took more than {} % of a processor", IDLE_MAX_SHARE * 100.0));
    }
    if count < 1000.0 || elapsed > SWARM_MAX_US || after > SWARM_MAX_KB {
        return Err(format!("not a thousand spaces within {} s and {SWARM_MAX_KB} kB", SWARM_MAX_US / 1e6));
    }
    Ok(())
}

fn copy_dir(from: &Path, to: &Path) -> Outcome {
    let (from, to) = (from.display().to_string(), to.display().to_string());
    steps::run(&mut steps::command("cp", &["-r", &from, &to]))
}

fn submit(cluster: &Cluster, package: &Path, name: &str) -> Outcome {
    let mex = cluster.dir.join(format!("{name}.mex")).display().to_string();
    let key = cluster.dir.join("publisher.key").display().to_string();
    cluster.zctl(&["mex", "build", &package.display().to_string(), "--output", &mex, "--key", &key])?;
    watch(PATIENCE, || cluster.ask(&["topo", "submit", &mex]).map(Some)).map(drop)
}

/// The last line of a space's log that begins so.
fn said(cluster: &Cluster, space: &str, begin: &str) -> Outcome<Option<String>> {
    Ok(cluster.said(space)?.into_iter().rfind(|text| text.starts_with(begin)))
}

fn number(line: &str, key: &str) -> Outcome<f64> {
    let found = line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    found.and_then(|text| text.parse().ok()).ok_or_else(|| format!("{line:?} tells no {key}"))
}

/// Which share of a processor a process takes, looked at for a while.
fn busy_share(pid: u32) -> Outcome<f64> {
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|e| e.to_string())?;
        // Behind the name in parentheses, the twelfth and thirteenth: in its own code, and in the kernel.
        let (_, fields) = stat.rsplit_once(") ").ok_or("the kernel tells no times")?;
        let times = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
        Ok::<u64, String>(times.sum())
    };
    let before = ticks()?;
    std::thread::sleep(IDLE_LOOK);
    Ok((ticks()? - before) as f64 / TICKS_PER_SECOND / IDLE_LOOK.as_secs_f64())
}

/// Resident memory of a process.
fn memory_kb(pid: u32) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(|e| e.to_string())?;
    let found = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    found.and_then(|text| text.parse().ok()).ok_or_else(|| "the kernel tells no VmRSS".into())
}

fn mesh(only: Option<&str>, no_simulation: bool, no_setup: bool) -> Outcome {
    let artifacts = artifacts::build()?;
    eprintln!("building the drivers of other systems (the first time takes some minutes)");
    let bench = artifacts::program("bench")?.display().to_string();
    if !no_setup {
        steps::run(&mut steps::command(&bench, &["setup"]))?;
    }
    let mut args = vec!["peers"];
    if let Some(only) = only {
        args.extend(["--only", only]);
    }
    let mut measure = steps::command(&bench, &args);
    measure.env("ZHOST_PROGRAM", &artifacts.programs.zhost).env("ZCTL_PROGRAM", &artifacts.programs.zctl);
    steps::run(measure.env("ZHOST_DUEL", &artifacts.duel))?;
    if no_simulation {
        return Ok(());
    }
    eprintln!("building the simulator for long runs (the first time takes some minutes)");
    steps::run(&mut steps::command(&artifacts::program("figures")?.display().to_string(), &[]))
}
