//! What operators are told who have the wrong keys, name a zhost in another way, or have several boards of one name.

use std::{
    env, fs,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};
use zhost_cluster::{Cluster, Programs, cast, watch};

const PATIENCE: Duration = Duration::from_secs(20);

fn zctl(programs: &Programs, profile: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(&programs.zctl);
    command.args(args).arg("--profile").arg(profile).env_remove("ZCTL_ZHOST");
    command.output().expect("zctl runs")
}

fn texts(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// Ids by the names that the boards are shown under.
fn boards(cluster: &Cluster) -> Result<Vec<(String, String, String)>, String> {
    let zhosts = cluster.ask(&["cluster", "zhosts"])?;
    let text = |zhost: &serde_json::Value, key: &str| zhost[key].as_str().unwrap_or_default().to_owned();
    let line = |zhost| (text(zhost, "name"), text(zhost, "id"), text(zhost, "state"));
    Ok(zhosts.as_array().into_iter().flatten().map(line).collect())
}

#[test]
fn boards_of_one_name_are_told_apart_and_named_by_their_ids() {
    let dir = env::temp_dir().join(format!("zhost-asking-{}", std::process::id()));
    let programs = Programs::beside_tests().unwrap();
    let mut cluster = Cluster::create(&dir, &programs, cast(3)).unwrap();
    cluster.set_variable("ZHOST_NAME", "zhost");
    (0..3).for_each(|index| cluster.start(index).unwrap());
    let all_there = || {
        let boards = boards(&cluster)?;
        Ok((boards.len() == 3 && boards.iter().all(|board| board.2 == "alive")).then_some(boards))
    };
    let found = watch(PATIENCE, all_there).unwrap();
    for (name, id, _) in &found {
        assert_eq!(*name, format!("zhost ({})", &id[..8]), "the table tells it apart");
    }
    let refusal = cluster.zctl(&["mesh", "ping", "zhost"]).unwrap_err();
    assert!(found.iter().all(|(_, id, _)| refusal.contains(id)), "{refusal}");

    // The asked zhost does not ping itself; the others answer to the first digits of their ids.
    let status = cluster.ask(&["status"]).unwrap();
    let other = found.iter().find(|(_, id, _)| status["id"] != id.as_str()).unwrap();
    let pings = || cluster.ask(&["mesh", "ping", &other.1[..8]]).map(Some);
    assert_eq!(watch(PATIENCE, pings).unwrap()[0]["zhost_id"], other.1.as_str());

    // One that died: the ping fails and says so, and it can be removed by its id.
    cluster.kill(2).unwrap();
    let dead = || Ok(boards(&cluster)?.into_iter().find(|board| board.2 == "dead"));
    let (name, id, _) = watch(PATIENCE, dead).unwrap();
    let ping = zctl(&programs, &dir.join("zctl.yaml"), &["mesh", "ping", &id]);
    let said = texts(&ping);
    assert!(!ping.status.success() && said.contains("no answer in 500 ms") && said.contains(&name), "{said}");
    let removed = || cluster.zctl(&["cluster", "remove", &id[..8]]).map(Some);
    watch(PATIENCE, removed).unwrap();
    cluster.end().unwrap();
    let _ = fs::remove_dir_all(&dir);
}

#[test]
fn a_wrong_secret_a_wrong_key_and_nobody_are_told_apart_in_time() {
    let dir = env::temp_dir().join(format!("zhost-strangers-{}", std::process::id()));
    let programs = Programs::beside_tests().unwrap();
    let mut cluster = Cluster::create(&dir, &programs, cast(2)).unwrap();
    cluster.start(0).unwrap();
    watch(PATIENCE, || cluster.ask(&["status"]).map(Some)).unwrap();
    let at = |file: &str| dir.join(file).display().to_string();
    for (command, file) in [("secret", "other.secret"), ("keygen", "other.key")] {
        assert!(zctl(&programs, &dir.join("zctl.yaml"), &[command, &at(file)]).status.success());
    }
    let profile = fs::read_to_string(dir.join("zctl.yaml")).unwrap();
    // The second zhost is not running: the kernel says so.
    for (wrong, right, expected) in [
        ("other.secret", "control.secret", "another control secret"),
        ("other.key", "operator.key", "does not take your operator key"),
    ] {
        let file = dir.join(format!("{wrong}.yaml"));
        fs::write(&file, profile.replace(right, wrong)).unwrap();
        let since = Instant::now();
        let said = texts(&zctl(&programs, &file, &["status"]));
        assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
        assert!(said.contains(expected) && said.contains("nobody listens there"), "{said}");
        assert!(said.contains("zctl profile check"), "{said}");
    }
    // Whoever is there answers, without waiting for those that are not.
    let since = Instant::now();
    cluster.ask(&["cluster", "zhosts"]).unwrap();
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    let missed = cluster.zctl(&["mesh", "ping", "node-l"]).unwrap_err();
    assert!(missed.contains("did you mean node-1?"), "{missed}");
    cluster.end().unwrap();
    let _ = fs::remove_dir_all(&dir);
}
