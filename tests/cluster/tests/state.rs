//! Real processes whose settings, files or cards are not as they should be: each says so, and comes back if it can.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};
use zhost_cluster::{Cluster, Outcome, Programs, cast, watch};

const PATIENCE: Duration = Duration::from_secs(40);

/// A cluster in a directory of its own that goes with it.
struct Site {
    cluster: Cluster,
}

impl Site {
    fn new(name: &str, zhosts: usize) -> Self {
        let dir = env::temp_dir().join(format!("zhost-{name}-{}", std::process::id()));
        Self { cluster: Cluster::create(&dir, &Programs::beside_tests().unwrap(), cast(zhosts)).unwrap() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.cluster.dir.join(name)
    }

    /// How many zhosts are alive, in the eyes of the first that answers.
    fn alive(&self) -> Outcome<usize> {
        let zhosts = self.cluster.ask(&["cluster", "zhosts"])?;
        Ok(zhosts.as_array().map_or(0, |list| {
            list.iter().filter(|z| z["state"] == "alive" && z["super_node"] != "-").count()
        }))
    }

    fn wait_for_alive(&self, count: usize) {
        watch(PATIENCE, || Ok((self.alive()? == count).then_some(()))).unwrap();
    }

    fn wait_for_log(&self, index: usize, part: &str) {
        watch(PATIENCE, || Ok(self.cluster.log(index)?.contains(part).then_some(()))).unwrap();
    }

    /// Changes the settings of a zhost that is not running.
    fn rewrite(&self, index: usize, from: &str, to: &str) {
        let file = self.file(&format!("{}.yaml", self.cluster.zhosts[index].character.name));
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from}: {text}");
        fs::write(&file, text.replace(from, to)).unwrap();
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // The directory may be gone already; the processes end with the cluster.
        let _ = fs::remove_dir_all(&self.cluster.dir);
    }
}

fn zhost(site: &Site, args: &[&str]) -> (Output, String) {
    let program = Programs::beside_tests().unwrap().zhost;
    let config = site.file("node-1.yaml");
    let output = Command::new(program).arg("--config").arg(config).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

#[test]
fn wrong_settings_are_all_said_at_once_and_nothing_starts() {
    let site = Site::new("settings", 1);
    let wrong = ["--heartbeat-ms=0", "--memory-mib=0", "--log=loud", "--data-dir=~/zh", "--region="];
    for check in [&[][..], &["--check"][..]] {
        let (output, said) = zhost(&site, &[&wrong[..], check].concat());
        assert!(!output.status.success(), "{said}");
        assert_eq!(said.lines().count(), wrong.len(), "{said}");
        for part in ["from 100 to", "from 1 to 4095", "error, warn, info or debug", "'~'", "no value"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    assert!(!site.file("node-1").exists() && !PathBuf::from("~").exists(), "something was made");
    let (output, said) = zhost(&site, &["--check", "--publishers=", "--watchdog=/dev/no-dog"]);
    assert!(output.status.success() && said.contains("no package runs here"), "{said}");
    assert!(said.contains("/dev/no-dog"), "{said}");
    assert!(!site.file("node-1").exists(), "a check makes a folder");
    let (output, said) = zhost(&site, &["--check", "--secret-file=/nowhere"]);
    assert!(!output.status.success() && said.contains("flag --secret-file"), "{said}");
}

#[test]
fn a_second_zhost_in_the_same_folder_says_so() {
    let mut site = Site::new("folder", 1);
    site.cluster.start(0).unwrap();
    site.wait_for_alive(1);
    let (output, said) = zhost(&site, &["--listen=127.0.0.1:0", "--control=127.0.0.1:0", "--web="]);
    assert!(!output.status.success() && said.contains("another zhost runs in this folder"), "{said}");
    site.cluster.end().unwrap();
}

#[test]
fn damaged_files_are_set_aside_and_the_zhost_rejoins_by_itself() {
    let mut site = Site::new("damage", 3);
    (0..3).for_each(|index| site.cluster.start(index).unwrap());
    site.wait_for_alive(3);
    let store = site.file("node-2/zhost.redb");
    for (round, content) in [&b"a note to myself"[..], b""].into_iter().enumerate() {
        site.cluster.kill(1).unwrap();
        site.wait_for_alive(2);
        fs::write(&store, content).unwrap();
        site.cluster.start(1).unwrap();
        site.wait_for_alive(3);
        watch(PATIENCE, || {
            Ok((site.cluster.log(1)?.matches("voting again").count() == round + 1).then_some(()))
        })
        .unwrap();
    }
    assert_eq!(fs::read(site.file("node-2/zhost.redb.damaged-1")).unwrap(), b"a note to myself");
    assert!(site.cluster.log(1).unwrap().contains("the store of this zhost is lost (set aside as"));
    // Without its identity it is another zhost, and the one that it was is dead.
    site.cluster.kill(1).unwrap();
    site.wait_for_alive(2);
    fs::write(site.file("node-2/identity.key"), "").unwrap();
    site.cluster.start(1).unwrap();
    site.wait_for_alive(3);
    assert!(site.cluster.log(1).unwrap().contains("the identity of this zhost is lost"));
    let zhosts = site.cluster.ask(&["cluster", "zhosts"]).unwrap();
    let dead = zhosts.as_array().unwrap().iter().filter(|z| z["state"] == "dead").count();
    assert_eq!((dead, zhosts.as_array().unwrap().len()), (1, 4), "{zhosts}");
    site.cluster.end().unwrap();
}

#[test]
fn a_zhost_with_another_secret_or_cluster_says_itself_what_it_tried() {
    let mut site = Site::new("alone", 3);
    let other = site.file("other.secret");
    let zctl = Programs::beside_tests().unwrap().zctl;
    assert!(Command::new(zctl).arg("secret").arg(&other).status().unwrap().success());
    site.rewrite(1, "/cluster.secret", "/other.secret");
    site.rewrite(2, "cluster: demo", "cluster: farm");
    (0..3).for_each(|index| site.cluster.start(index).unwrap());
    let asked = site.cluster.address(0);
    for index in [1, 2] {
        site.wait_for_log(index, "has answered for 10 s");
        let log = site.cluster.log(index).unwrap();
        let line = log.lines().find(|line| line.contains("has answered for")).unwrap();
        for part in [asked.as_str(), "secret-file", "cluster", "firewall"] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
    assert!(!site.cluster.log(0).unwrap().contains("has answered for"), "the first of its cluster is well");
    site.cluster.end().unwrap();
}

#[test]
fn a_copied_card_is_named_and_one_of_the_two_stands_aside() {
    let mut site = Site::new("copied", 3);
    site.cluster.start(0).unwrap();
    site.cluster.start(1).unwrap();
    site.wait_for_alive(2);
    site.cluster.kill(1).unwrap();
    // The third has the card of the second.
    fs::create_dir_all(site.file("store-1")).unwrap();
    for name in ["identity.key", "zhost.redb"] {
        fs::copy(site.file("node-2").join(name), site.file("store-1").join(name)).unwrap();
    }
    site.rewrite(2, "name: store-1", "name: node-2");
    site.cluster.start(1).unwrap();
    site.wait_for_alive(2);
    site.cluster.start(2).unwrap();
    site.wait_for_log(2, "This one stands aside");
    site.wait_for_log(1, "This one stays");
    site.wait_for_log(0, "runs twice");
    let conflict = |site: &Site| {
        let zhosts = site.cluster.ask(&["cluster", "zhosts"])?;
        let named = zhosts.as_array().into_iter().flatten().find_map(|z| z["conflict"].as_str());
        Ok(named.map(str::to_owned))
    };
    let named = watch(PATIENCE, || conflict(&site)).unwrap();
    assert!(named.contains(&site.cluster.address(2)), "{named}");
    assert!(site.cluster.zctl(&["cluster", "zhosts"]).unwrap().contains("runs also at"));
    // It goes on when the other is gone.
    site.cluster.kill(1).unwrap();
    site.wait_for_log(2, "joining again");
    site.wait_for_alive(2);
    site.cluster.end().unwrap();
}
