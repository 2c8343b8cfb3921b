//! How large the agent is, on flash and in memory.

use crate::{
    Outcome, artifacts,
    cross::{self, Built, TARGETS, Target},
    setup, steps,
};
use std::{collections::BTreeMap, fs, thread, time::Duration};
use zhost_cluster::{Cluster, cast, watch};

const RSS_MAX_KB: u64 = 8 * 1000;
/// How long the cluster gets to settle before its memory is measured.
const SETTLE: Duration = Duration::from_secs(5);

/// Crates that are listed by name; the rest is summed up.
const CRATES_SHOWN: usize = 16;

/// Prints the sizes; fails over budget.
pub fn run() -> Outcome {
    setup::run(setup::GuestRoute::Auto)?;
    let is_small = flash()?;
    let is_lean = memory()?;
    if is_small && is_lean { Ok(()) } else { Err("over budget".into()) }
}

/// Prints what the agent takes on flash, for every kind of board and by crate; whether it is within budget.
fn flash() -> Outcome<bool> {
    setup::need_library_source()?;
    let target_dir = steps::root().join("target/cross");
    let built = cross::build_all(&TARGETS.each_ref(), &target_dir)?;
    let sizes = built.iter().map(Built::size_bytes).collect::<Outcome<Vec<u64>>>()?;
    let mut crates: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (column, built) in built.iter().enumerate() {
        for (name, size) in built.by_crate()? {
            crates.entry(name).or_insert_with(|| vec![0; TARGETS.len()])[column] = size;
        }
    }
    let mut crates: Vec<(String, Vec<u64>)> = crates.into_iter().collect();
    crates.sort_by_key(|(_, sizes)| std::cmp::Reverse(sizes.iter().sum::<u64>()));
    let rest = crates.split_off(CRATES_SHOWN.min(crates.len()));
    let rest: Vec<u64> =
        (0..TARGETS.len()).map(|column| rest.iter().map(|(_, sizes)| sizes[column]).sum()).collect();
    let row = |name: &str, sizes: &[u64]| {
        let cells: String = sizes.iter().map(|size| format!("{:>12}", size.div_ceil(1000))).collect();
        println!("{name:<28}{cells}");
    };
    let architecture = |target: &Target| target.name.split('-').next().unwrap_or_default();
    let heads: String = TARGETS.iter().map(|target| format!("{:>12}", architecture(target))).collect();
    println!("{:<28}{heads}", "kB of the stripped program");
    crates.iter().for_each(|(name, sizes)| row(name, sizes));
    row("the other crates", &rest);
    row("on flash", &sizes);
    row("limit", &TARGETS.map(|target| target.max_bytes));
    let left: Vec<u64> =
        sizes.iter().zip(&TARGETS).map(|(size, target)| target.max_bytes.saturating_sub(*size)).collect();
    row("left", &left);
    Ok(sizes.iter().zip(&TARGETS).all(|(size, target)| *size <= target.max_bytes))
}

/// Prints what it takes in memory; whether it is within budget.
fn memory() -> Outcome<bool> {
    let artifacts = artifacts::build()?;
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
    println!("{:<44} {:>6} kB {:>6} kB", "resident memory, idle, largest of 5 zhosts", idle, RSS_MAX_KB);
    println!("{:<44} {:>6} kB {:>6} kB", "resident memory, demo topology, largest of 5", running, RSS_MAX_KB);
    Ok(idle <= RSS_MAX_KB && running <= RSS_MAX_KB)
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
