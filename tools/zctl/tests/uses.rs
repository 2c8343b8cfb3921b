//! Hostile, odd and impatient uses of the program itself.

use std::{
    fs,
    net::{Ipv4Addr, UdpSocket},
    path::PathBuf,
    process::{Command, Output},
    time::{Duration, Instant},
};

/// A folder of its own with a profile, a control secret and an operator's key; gone with the value.
struct Desk(PathBuf);

impl Desk {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("zctl-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a folder");
        let desk = Self(dir);
        for (command, file) in [("secret", "control.secret"), ("keygen", "operator.key")] {
            assert!(desk.zctl(&[command, file]).status.success());
        }
        desk.profile(
            "zhosts: [127.0.0.1]\ncontrol-secret-file: control.secret\noperator-key-file: operator.key\n",
        );
        desk
    }

    fn profile(&self, text: &str) {
        fs::write(self.0.join("zctl.yaml"), text).expect("a profile");
    }

    fn zctl(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zctl"));
        command.current_dir(&self.0).env("ZCTL_PROFILE", "zctl.yaml").env_remove("ZCTL_ZHOST");
        command.args(args).output().expect("it runs")
    }

    /// What it says of its failure.
    fn fails(&self, args: &[&str]) -> String {
        let output = self.zctl(args);
        assert!(!output.status.success(), "{args:?} succeeds");
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_was_typed_does_nothing_to_the_terminal() {
    let desk = Desk::new("typed");
    let noise = "x".repeat(5000);
    for typed in ["\x1b[2Jcleared", "\u{202e}gnirts", "\u{9b}31m", &noise] {
        for args in
            [&[typed][..], &["mex", "verify", typed], &["topo", typed], &["--profile", typed, "status"]]
        {
            let said = desk.fails(args);
            let acts = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
            assert!(!said.contains(acts), "{args:?}: {said:?}");
            assert!(said.len() < 4500, "{args:?}: {} bytes", said.len());
        }
    }
}

#[test]
fn silence_refusal_and_names_without_address_are_told_apart_within_three_seconds() {
    let desk = Desk::new("silence");
    // Somebody who takes datagrams and says nothing, as a zhost does to strangers; and a port where nobody is.
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let silent = silent.local_addr().expect("its address").to_string();
    let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let refusing = free.local_addr().expect("its address").to_string();
    drop(free);
    let since = Instant::now();
    let said = desk.fails(&["--zhost", &format!("{silent},{refusing}"), "status"]);
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    assert!(said.contains(&format!("{silent}: no answer")), "{said}");
    assert!(said.contains(&format!("{refusing}: nobody listens there")), "{said}");
    assert!(said.contains("zctl profile check"), "{said}");
    let since = Instant::now();
    let said = desk.fails(&["--zhost", &refusing, "status"]);
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    let said_of_file = desk.fails(&["--serial", "zctl.yaml", "status"]);
    assert!(said_of_file.contains("zctl.yaml: that is no serial port"), "{said_of_file}");
    assert!(!said.contains("profile check"), "nobody is there to have other secrets: {said}");
}

#[test]
fn the_profile_is_looked_at_piece_by_piece() {
    let desk = Desk::new("check");
    let sound = desk.zctl(&["profile", "check"]);
    let text = String::from_utf8_lossy(&sound.stdout).into_owned();
    assert!(sound.status.success(), "{text}");
    let key = Command::new("sha256sum").arg(desk.0.join("control.secret")).output().expect("coreutils");
    let digest = String::from_utf8_lossy(&key.stdout)[..16].to_owned();
    assert!(text.contains(&format!("SHA-256 {digest}")), "{text}");
    assert!(text.contains("127.0.0.1:9000") && text.contains("operators"), "{text}");
    let secret = fs::read_to_string(desk.0.join("control.secret")).expect("the secret");
    assert!(!text.contains(secret.trim()), "the secret is for no screen");

    fs::write(desk.0.join("open.secret"), &secret).expect("a file");
    desk.profile("zhosts: ['a:b:c']\ncontrol-secret-file: open.secret\noperator-key-file: gone.key\n");
    let said = desk.fails(&["profile", "check"]);
    for problem in ["chmod 600", "gone.key: there is no such file or directory", "too many colons"] {
        assert!(said.contains(problem), "{problem}: {said}");
    }
    desk.profile(
        "zhosts: [127.0.0.1]\ncontrol-secret-file: control.secret\noperator-key-file: control.secret\n",
    );
    assert!(desk.fails(&["profile", "check"]).contains("it is the control secret"));
    let data = desk.fails(&["profile", "check", "--json"]);
    let data: serde_json::Value = serde_json::from_str(&data).expect("data");
    assert_eq!(data[1]["problem"], serde_json::Value::Null);
    assert!(data[2]["problem"].is_string());
}

#[test]
fn a_board_is_only_ended_when_it_is_clear_which() {
    let desk = Desk::new("board");
    desk.profile("zhosts: [127.0.0.1, 127.0.0.2]\ncontrol-secret-file: control.secret\noperator-key-file: operator.key\n");
    let said = desk.fails(&["board", "restart"]);
    assert!(said.contains("which of 2 boards?"), "{said}");
}

#[test]
fn what_cannot_run_is_refused_on_the_laptop_with_what_to_do() {
    let desk = Desk::new("verify");
    assert!(desk.zctl(&["mex", "keygen", "publisher.key"]).status.success());
    let write = |file: &str, content: &[u8]| {
        let file = desk.0.join("package").join(file);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, content).expect("a file");
    };
    let head = |kind: &str, more: &str| {
        format!("apiVersion: samoza/v1\nkind: {kind}\nmetadata: {{name: one{more}}}\n")
    };
    let spec = "spec: {topology: topology.yaml, spaces: [one]}\n";
    write("manifest.yaml", (head("MEX", ", version: 1.0.0, publisher: me") + spec).as_bytes());
    write("topology.yaml", (head("Topology", "") + "spaces: [{name: one, type: IO}]\n").as_bytes());
    write("spaces/one/space.yaml", head("Space", "").as_bytes());
    let verify = |memory: &str| {
        let idle = r#"(func $begin) (start $begin) (func (export "on_process") (result i32) (i32.const 0))"#;
        let wasm = wat::parse_str(format!(r#"(module (memory (export "memory") {memory}) {idle})"#));
        write("spaces/one/core.wasm", &wasm.expect("a module"));
        // The package may lie among its own files, and is no part of itself.
        for _ in 0..2 {
            let built =
                desk.zctl(&["mex", "build", "package", "-o", "package/one.mex", "-k", "publisher.key"]);
            assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        }
        desk.zctl(&["mex", "verify", "package/one.mex"])
    };
    let sound = verify("1");
    assert!(sound.status.success(), "{}", String::from_utf8_lossy(&sound.stderr));
    for (memory, advice) in
        [("1 1 shared", "without -pthread"), ("i64 1", "for wasm32"), ("100", "memoryKiB")]
    {
        let refused = verify(memory);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(advice), "{said}");
        assert!(said.contains("package/one.mex: space 'one': "), "{said}");
    }
}
