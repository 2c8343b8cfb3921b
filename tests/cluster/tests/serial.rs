//! A board at the end of a bad serial cable: without a cluster first, then in one, then the way to all of it.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};
use zhost_cluster::{Cluster, Programs, cable::Cable, cast, process::Process, watch};

const PATIENCE: Duration = Duration::from_secs(60);
/// A bit is flipped so often.
const ERROR_EVERY_BYTES: u64 = 2_000;
/// Of a file that makes the package large.
const BALLAST_SIZE_BYTES: usize = 300_000;

#[test]
fn a_board_is_provisioned_and_a_package_deployed_over_a_bad_cable() {
    let programs = Programs::beside_tests().unwrap();
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("serial");
    let mut cluster = Cluster::create(&dir, &programs, cast(1)).unwrap();
    cluster.start(0).unwrap();
    let at = |file: &str| dir.join(file).display().to_string();
    let cable = Cable::lay(&dir.join("laptop-end"), &dir.join("board-end"), ERROR_EVERY_BYTES).unwrap();
    let mut board = Command::new(&programs.zhost);
    board.args(["--data-dir", &at("board"), "--serial", &at("board-end"), "--web", ""]);
    board.args(["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--discover", "false"]);
    let board = Process::start(&mut board, &dir.join("board.log")).unwrap();
    let serial = |args: &[&str]| cluster.zctl(&[args, &["--serial", &at("laptop-end")]].concat());

    let links = cluster.address(0);
    let (secret, publisher) = (at("cluster.secret"), cluster.publisher().unwrap());
    let provision = |name: &str| {
        serial(&[
            "provision",
            name,
            "--cluster",
            "demo",
            "--secret-file",
            &secret,
            "--publisher",
            &publisher,
            "--join",
            &links,
        ])
    };
    let refused = serial(&["status"]).unwrap_err();
    assert!(refused.contains("has no cluster yet"), "{refused}");
    let refused = provision("no name at all").unwrap_err();
    assert!(refused.contains("no name at all"), "{refused}");
    assert!(provision("attic").unwrap().contains("attic is in cluster demo now"));
    let refused = provision("cellar").unwrap_err();
    assert!(refused.contains("has a cluster"), "a board takes provisioning once: {refused}");

    // Through that one board the whole cluster is reached.
    let both_alive = || {
        let zhosts = cluster.ask(&["cluster", "zhosts", "--serial", &at("laptop-end")])?;
        let alive = zhosts.as_array().into_iter().flatten().filter(|zhost| zhost["state"] == "alive").count();
        Ok((alive == 2).then_some(()))
    };
    watch(PATIENCE, both_alive).unwrap_or_else(|reason| panic!("{reason}: {}", board.last_words()));

    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let ballast: Vec<u8> = (0..BALLAST_SIZE_BYTES).map(|_| noise()).collect();
    let page = ("spaces/page/index.html".to_owned(), b"<!doctype html>".to_vec());
    let files = [page, ("spaces/page/ballast.bin".to_owned(), ballast)];
    let topology = "apiVersion: samoza/v1\nkind: Topology\nmetadata: {name: ballast}\nspaces: [{name: page, type: UI}]\n";
    let mex = cluster.pack("ballast", topology, &["page"], &files).unwrap();
    let mut submit = Command::new(&programs.zctl);
    submit.args(["topo", "submit", &mex, "--serial", &at("laptop-end"), "--profile", &at("zctl.yaml")]);
    let mut submit = submit.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    for _ in 0..2 {
        std::thread::sleep(Duration::from_secs(2));
        assert!(submit.try_wait().unwrap().is_none(), "the cable is pulled while the package is under way");
        cable.pull(true);
        std::thread::sleep(Duration::from_millis(1_500));
        cable.pull(false);
    }
    assert!(submit.wait().unwrap().success(), "submitted");
    let running = || Ok((cluster.ask(&["topo", "status", "ballast"])?["state"] == "running").then_some(()));
    watch(PATIENCE, running).unwrap();
    drop(board);
    cluster.end().unwrap();
}
