//! How large the agent is, on flash and in memory.

use crate::{Outcome, artifacts, setup, steps};
use std::{fs, thread, time::Duration};
use zhost_cluster::{Cluster, cast, watch};

const BINARY_MAX_BYTES: u64 = 4 * 1000 * 1000;
const RSS_MAX_KB: u64 = 8 * 1000;
/// How long the cluster gets to settle before its memory is measured.
const SETTLE: Duration = Duration::from_secs(5);

/// Prints the sizes; fails over budget.
pub fn run() -> Outcome {
    setup::run(setup::GuestRoute::Auto)?;
    let artifacts = artifacts::build()?;
    let binary = fs::metadata(&artifacts.programs.zhost).map_err(|e| e.to_string())?.len();
    let dir = steps::root().join(format!("target/size-{}", std::process::id()));
    let mut cluster = Cluster::create(&dir, &artifacts.programs, cast(5))?;
    (0..5).try_for_each(|index| cluster.start(index))?;
    thread::sleep(SETTLE);
    let idle = rss_kb(&cluster)?;
    let mex = dir.join("garden.mex").display().to_string();
    let key = dir.join("publisher.key").display().to_string();
    cluster.zctl(&[
        "mex",
        "build",
        &artifacts.garden.display().to_string(),
        "--output",
        &mex,
        "--key",
        &key,
    ])?;
    cluster.zctl(&["topo", "submit", &mex])?;
    watch(SETTLE * 2, || {
        Ok((cluster.ask(&["topo", "status", "garden"])?["state"] == "running").then_some(()))
    })?;
    thread::sleep(SETTLE);
    let running = rss_kb(&cluster)?;
    cluster.end()?;
    drop(cluster);
    fs::remove_dir_all(&dir).map_err(|e| e.to_string())?;
    println!("{:<44} {:>9} {:>9}", "", "measured", "budget");
    println!(
        "{:<44} {:>6} kB {:>6} kB",
        "zhost, stripped release binary",
        binary / 1000,
        BINARY_MAX_BYTES / 1000
    );
    println!("{:<44} {:>6} kB {:>6} kB", "resident memory, idle, largest of 5 zhosts", idle, RSS_MAX_KB);
    println!("{:<44} {:>6} kB {:>6} kB", "resident memory, demo topology, largest of 5", running, RSS_MAX_KB);
    if binary > BINARY_MAX_BYTES || idle > RSS_MAX_KB || running > RSS_MAX_KB {
        return Err("over budget".into());
    }
    Ok(())
}

/// The largest resident memory of the cluster's zhosts, in units of 1,000 bytes.
fn rss_kb(cluster: &Cluster) -> Outcome<u64> {
    let processes = cluster.zhosts.iter().filter_map(|zhost| zhost.process.as_ref());
    let sizes = processes.map(|process| {
        let status =
            fs::read_to_string(format!("/proc/{}/status", process.id())).map_err(|e| e.to_string())?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024 / 1000).ok_or_else(|| "the kernel tells no VmRSS".to_owned())
    });
    sizes.collect::<Outcome<Vec<u64>>>()?.into_iter().max().ok_or_else(|| "no zhost runs".into())
}
