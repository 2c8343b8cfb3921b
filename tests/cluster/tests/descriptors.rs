//! A zhost with few descriptors, and strangers who connect and say nothing: members are let in all the same.

use std::{
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    time::{Duration, Instant},
};
use zhost_cluster::{Cluster, Programs, cast, watch};

const PATIENCE: Duration = Duration::from_secs(20);
const DESCRIPTORS: usize = 48;
/// Connections to each of its ports.
const STRANGERS: usize = 80;
/// How long a new member may wait at the door.
const ADMITTED_WITHIN: Duration = Duration::from_secs(2);
/// Lines of one kind that the log may have of all that.
const LINES_MAX: usize = 60;

#[test]
fn idle_strangers_keep_no_member_out_of_a_zhost_with_few_descriptors() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("descriptors");
    let mut cluster = Cluster::create(&dir, &Programs::beside_tests().unwrap(), cast(3)).unwrap();
    cluster.start_under(0, &["prlimit", &format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}")]).unwrap();
    cluster.start(1).unwrap();
    let alive = |cluster: &Cluster, count: usize| {
        let zhosts = cluster.ask(&["cluster", "zhosts", "--zhost", &cluster.control(0)])?;
        let zhosts = zhosts.as_array().cloned().unwrap_or_default();
        Ok((zhosts.iter().filter(|zhost| zhost["state"] == "alive").count() == count).then_some(()))
    };
    watch(PATIENCE, || alive(&cluster, 2)).unwrap();
    let ports: Vec<SocketAddr> =
        [cluster.address(0), cluster.web_address(0)].map(|addr| addr.parse().unwrap()).to_vec();
    let connect = |port: &SocketAddr| TcpStream::connect_timeout(port, Duration::from_secs(1)).ok();
    let strangers: Vec<Option<TcpStream>> =
        (0..STRANGERS).flat_map(|_| ports.iter().map(connect).collect::<Vec<_>>()).collect();
    let pid = cluster.zhosts[0].process.as_ref().unwrap().id();
    let open = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert!(open() < DESCRIPTORS, "{} are open", open());
    let started = Instant::now();
    cluster.start(2).unwrap();
    watch(PATIENCE, || alive(&cluster, 3)).unwrap();
    let waited = started.elapsed();
    assert!(waited < ADMITTED_WITHIN, "admitted after {waited:?}");
    assert!(open() < DESCRIPTORS, "{} are open", open());
    let log = cluster.log(0).unwrap();
    let lines = log.lines().count();
    assert!(lines < LINES_MAX, "{lines} lines:\n{log}");
    assert!(!log.contains("Too many open files"), "{log}");
    // Strangers that are gone leave nothing behind.
    drop(strangers);
    watch(PATIENCE, || Ok((open() < DESCRIPTORS / 2 + 8).then_some(()))).unwrap();
    cluster.end().unwrap();
}
