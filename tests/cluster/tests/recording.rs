//! An operator has a zhost recorded, and takes home what happened to it.

use std::{env, fs, os::unix::fs::MetadataExt, time::Duration};
use zhost_cluster::{Cluster, Programs, cast, watch};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn what_an_operator_has_recorded_and_pulled_is_told_again_at_home() {
    let dir = env::temp_dir().join(format!("zhost-recording-{}", std::process::id()));
    let mut cluster = Cluster::create(&dir, &Programs::beside_tests().unwrap(), cast(3)).unwrap();
    (0..3).for_each(|index| cluster.start(index).unwrap());
    let at = |cluster: &Cluster, args: &[&str]| {
        let address = cluster.control(1);
        cluster.zctl(&[&["--zhost", &address, "board"], args].concat())
    };
    let refused = watch(PATIENCE, || {
        let pulled = at(&cluster, &["record", "pull", "-o", &dir.join("none").display().to_string()]);
        Ok(pulled.err().filter(|reason| reason.contains("nothing was recorded here")))
    });
    assert!(refused.unwrap().contains("zctl board record start"));
    assert!(at(&cluster, &["record", "start"]).unwrap().contains("zctl board restart"));
    at(&cluster, &["restart"]).unwrap();
    let mut process = cluster.zhosts[1].process.take().expect("it runs");
    watch(PATIENCE, || Ok(process.try_wait().map_err(|e| e.to_string())?.map(drop))).unwrap();
    cluster.start(1).unwrap();
    let alive = |cluster: &Cluster| {
        let zhosts = cluster.ask_at(1, &["cluster", "zhosts"])?;
        let zhosts = zhosts.as_array().cloned().unwrap_or_default();
        Ok((zhosts.iter().filter(|zhost| zhost["state"] == "alive").count() == 3).then_some(()))
    };
    watch(PATIENCE, || alive(&cluster)).unwrap();
    // An operator asks for a good deal, and gets more than one piece.
    watch(PATIENCE, || {
        at(&cluster, &["record", "pull", "-o", &dir.join("some.zrec").display().to_string()])?;
        let size = fs::metadata(dir.join("some.zrec")).map_err(|e| e.to_string())?.len();
        let _ = fs::remove_file(dir.join("some.zrec"));
        Ok((size > 20_000).then_some(()))
    })
    .unwrap();
    assert!(at(&cluster, &["record", "stop"]).unwrap().contains("nothing more is recorded"));
    let file = dir.join("shed.zrec");
    let pull = ["record", "pull", "-o", &file.display().to_string()].map(str::to_owned);
    let pull = pull.each_ref().map(String::as_str);
    assert!(at(&cluster, &pull).unwrap().contains("cargo xtask replay"));
    assert!(at(&cluster, &pull).is_err(), "what is there is not written over");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    let recording = fs::read(&file).unwrap();
    assert_eq!(
        recording,
        fs::read(cluster.data_dir(1).join("recording")).unwrap(),
        "nothing came after the stop"
    );
    assert!(zhost_sim::recording::replay(&recording).unwrap() > 100);
    for secret in ["cluster.secret", "control.secret"] {
        let text = fs::read_to_string(dir.join(secret)).unwrap();
        let key: Vec<u8> =
            (0..32).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect();
        assert!(!recording.windows(32).any(|bytes| bytes == key), "{secret}");
    }
    cluster.end().unwrap();
    fs::remove_dir_all(&dir).unwrap();
}
