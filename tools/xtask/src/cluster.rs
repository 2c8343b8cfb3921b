//! `cargo xtask cluster`: a cluster left running for the user to play with.

use crate::{Outcome, artifacts, setup, steps};
use clap::Subcommand;
use std::{fs, path::Path};
use zhost_cluster::{Cluster, END_WITHIN, cast, terminate, watch};

/// Most zhosts of one cluster on this computer.
const ZHOSTS_MAX: usize = 50;

#[derive(Subcommand)]
pub enum ClusterCommand {
    /// Start a cluster and leave it running.
    Up {
        /// How many zhosts.
        #[arg(default_value_t = 5)]
        zhosts: usize,
    },
    /// End it; its data stays in .zhost/ until the next `up`.
    Down,
}

/// `cargo xtask cluster …`.
pub fn run(command: &ClusterCommand) -> Outcome {
    let dir = steps::root().join(".zhost");
    match command {
        ClusterCommand::Up { zhosts } => up(&dir, *zhosts),
        ClusterCommand::Down => {
            let ended = down(&dir)?;
            println!("{ended} zhosts ended");
            Ok(())
        }
    }
}

fn up(dir: &Path, count: usize) -> Outcome {
    if !(1..=ZHOSTS_MAX).contains(&count) {
        return Err(format!("a cluster on this computer has 1 to {ZHOSTS_MAX} zhosts"));
    }
    setup::run(setup::GuestRoute::Auto)?;
    let artifacts = artifacts::build()?;
    down(dir)?;
    let mut cluster = Cluster::create(dir, &artifacts.programs, cast(count))?;
    let mex = dir.join("garden.mex");
    let (garden, key) =
        (artifacts.garden.display().to_string(), cluster.dir.join("publisher.key").display().to_string());
    cluster.zctl(&["mex", "build", &garden, "--output", &mex.display().to_string(), "--key", &key])?;
    let mut pids = String::new();
    for index in 0..count {
        cluster.start(index)?;
        if let Some(process) = &cluster.zhosts[index].process {
            pids += &format!("{}\n", process.id());
        }
    }
    fs::write(dir.join("pids"), pids).map_err(|e| e.to_string())?;
    // They are to outlive this process.
    cluster.zhosts.iter_mut().for_each(|zhost| drop(zhost.process.take()));
    println!(
        "{count} zhosts are running; try:\n  alias zctl={}\n  zctl cluster zhosts\n  zctl topo submit .zhost/garden.mex\n  \
         zctl topo status garden\n  zctl spaces open cockpit\nLogs are in .zhost/*.log; end it with: cargo xtask cluster down",
        artifacts.programs.zctl.strip_prefix(steps::root()).unwrap_or(&artifacts.programs.zctl).display()
    );
    Ok(())
}

/// Ends the zhosts of an earlier `up`: only processes that still are what was started.
fn down(dir: &Path) -> Outcome<usize> {
    let file = dir.join("pids");
    let Ok(pids) = fs::read_to_string(&file) else { return Ok(0) };
    let is_ours = |pid: &str| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(&dir.display().to_string())
    };
    let ours: Vec<&str> = pids.lines().filter(|pid| is_ours(pid)).collect();
    for pid in &ours {
        terminate(pid.parse().map_err(|_| format!("{}: {pid:?} is no process", file.display()))?)?;
    }
    let gone = || Ok((!ours.iter().any(|pid| is_ours(pid))).then_some(()));
    watch(END_WITHIN, gone).map_err(|_| "some zhosts did not end when asked to; see .zhost/pids")?;
    fs::remove_file(file).map_err(|e| e.to_string())?;
    Ok(ours.len())
}
