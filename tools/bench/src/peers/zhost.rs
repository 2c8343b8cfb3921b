//! Our own: two spaces in WebAssembly on two zhosts, and clusters of zhosts that lose members.
//!
//! The programs and the package are given by the environment, as `cargo xtask bench mesh` does: ZHOST_PROGRAM,
//! ZCTL_PROGRAM and ZHOST_DUEL (the package directory).

use crate::{
    Outcome,
    net::Hosts,
    process::{Scratch, watch},
    report::{Detection, PeerResult, RoundTrip},
};
use serde_json::Value;
use std::{
    env,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};
use zhost_cluster::{Cluster, Programs, cast};

/// Members of the cluster that loses some.
const MEMBERS: usize = 20;
/// How many it loses, one after the other; each comes back before the next.
const DEATHS: usize = 20;
const PATIENCE: Duration = Duration::from_secs(60);
const IDLE_SETTLE: Duration = Duration::from_secs(70);
const IDLE_PERIOD: Duration = Duration::from_secs(60);

fn from_environment(name: &str) -> Outcome<PathBuf> {
    env::var_os(name)
        .map(PathBuf::from)
        .ok_or_else(|| format!("{name} is not set; use cargo xtask bench mesh"))
}

fn programs() -> Outcome<Programs> {
    Ok(Programs { zhost: from_environment("ZHOST_PROGRAM")?, zctl: from_environment("ZCTL_PROGRAM")? })
}

/// The agent's version.
pub fn version() -> Outcome<String> {
    let said = crate::process::output(std::process::Command::new(programs()?.zhost).arg("--version"))?;
    Ok(said.trim().trim_start_matches("zhost ").to_owned())
}

/// Measures it.
pub fn run(result: &mut PeerResult) -> Outcome {
    let scratch = Scratch::create()?;
    duel(result, &scratch)?;
    lose_members(result, &scratch)
}

fn start(scratch: &Scratch, name: &str, members: usize, hosts: Hosts) -> Outcome<Cluster> {
    let mut cluster = Cluster::create_on(&scratch.file(name), &programs()?, cast(members), hosts)?;
    (0..members).try_for_each(|index| cluster.start(index))?;
    watch(PATIENCE, || Ok((alive(&cluster) == members).then_some(())))?;
    Ok(cluster)
}

fn alive(cluster: &Cluster) -> usize {
    let zhosts = cluster.ask(&["cluster", "zhosts"]).unwrap_or_default();
    let alive = |zhost: &&Value| zhost["state"] == "alive" && zhost["super_node"] != "-";
    zhosts.as_array().map_or(0, |zhosts| zhosts.iter().filter(alive).count())
}

/// Two spaces talk to each other.
fn duel(result: &mut PeerResult, scratch: &Scratch) -> Outcome {
    let hosts = Hosts::pair()?;
    result.hosts = hosts.describe();
    let mut cluster = start(scratch, "duel", 2, hosts)?;
    submit(&cluster, &from_environment("ZHOST_DUEL")?)?;
    let counted = watch(PATIENCE, || figures(&cluster, "far", "counted"))?;
    let taken = watch(PATIENCE, || figures(&cluster, "near", "round-trip"))?;
    let [messages, elapsed_us] = ["messages", "elapsed_us"].map(|key| number(&counted, key));
    let [p50_us, p99_us, samples] = ["p50_us", "p99_us", "samples"].map(|key| number(&taken, key));
    result.round_trip = Some(RoundTrip { p50_us: p50_us?, p99_us: p99_us?, samples: samples? as usize });
    result.messages_per_second = Some(messages? * 1e6 / elapsed_us?);
    cluster.end()
}

fn submit(cluster: &Cluster, package: &Path) -> Outcome {
    let mex = cluster.dir.join("duel.mex").display().to_string();
    let key = cluster.dir.join("publisher.key").display().to_string();
    cluster.zctl(&["mex", "build", &package.display().to_string(), "--output", &mex, "--key", &key])?;
    cluster.ask(&["topo", "submit", &mex]).map(drop)
}

/// The last line of a space's log that begins so.
fn figures(cluster: &Cluster, space: &str, begin: &str) -> Outcome<Option<String>> {
    // Asked too early, the zhost does not know the space yet.
    let lines = cluster.said(space).unwrap_or_default();
    Ok(lines.into_iter().rfind(|text| text.starts_with(begin)))
}

fn number(line: &str, key: &str) -> Outcome<f64> {
    let found = line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    found.and_then(|text| text.parse().ok()).ok_or_else(|| format!("{line:?} tells no {key}"))
}

/// How soon the members of a cluster know of a death, and what it sends while nothing happens.
fn lose_members(result: &mut PeerResult, scratch: &Scratch) -> Outcome {
    let mut cluster = start(scratch, "cluster", MEMBERS, Hosts::switched(MEMBERS)?)?;
    result.detection = Some(detect(&mut cluster, Cluster::kill, Cluster::start)?);
    if cluster.hosts().is_some_and(Hosts::have_cables) {
        let pull = |cluster: &mut Cluster, victim| plug(cluster, victim, false);
        let put_back = |cluster: &mut Cluster, victim| plug(cluster, victim, true);
        result.silent_detection = Some(detect(&mut cluster, pull, put_back)?);
        // Links made on demand go after a minute.
        thread::sleep(IDLE_SETTLE);
        let hosts = cluster.hosts().ok_or("the cluster has no hosts")?;
        result.idle_bytes_per_second_per_node = Some(hosts.sent_per_second(MEMBERS, IDLE_PERIOD)?);
    }
    cluster.end()
}

fn plug(cluster: &Cluster, host: usize, plugged: bool) -> Outcome {
    cluster.hosts().ok_or("the cluster has no hosts")?.plug(host, plugged)
}

/// Loses members one after the other; each comes back before the next goes.
fn detect(
    cluster: &mut Cluster,
    lose: impl Fn(&mut Cluster, usize) -> Outcome,
    bring_back: impl Fn(&mut Cluster, usize) -> Outcome,
) -> Outcome<Detection> {
    let mut all_known_ms = Vec::new();
    for death in 0..DEATHS {
        let victim = 1 + death % (MEMBERS - 1);
        let marks: Vec<usize> =
            (0..MEMBERS).map(|index| Ok(cluster.log(index)?.len())).collect::<Outcome<_>>()?;
        let begun = Instant::now();
        lose(cluster, victim)?;
        watch(PATIENCE, || is_known(cluster, victim, &marks))?;
        all_known_ms.push(begun.elapsed().as_secs_f64() * 1000.0);
        bring_back(cluster, victim)?;
        watch(PATIENCE, || Ok((alive(cluster) == MEMBERS).then_some(())))?;
    }
    Ok(Detection { nodes: MEMBERS, all_known_ms })
}

fn is_known(cluster: &Cluster, victim: usize, marks: &[usize]) -> Outcome<Option<()>> {
    let news = format!("zhost {} (", cluster.zhosts[victim].character.name);
    for index in (0..MEMBERS).filter(|index| *index != victim) {
        let log = cluster.log(index)?;
        if !log[marks[index]..].lines().any(|line| line.contains(&news) && line.ends_with("is down")) {
            return Ok(None);
        }
    }
    Ok(Some(()))
}
