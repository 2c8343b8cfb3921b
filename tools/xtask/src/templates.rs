//! What `zctl space new` makes is built as its README says, and run by a real zhost.

use crate::{Outcome, artifacts, setup, steps};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use zhost_cluster::{Cluster, cast, watch};

const PATIENCE: Duration = Duration::from_secs(20);
/// Each template: the space's name, what `zctl space new` is told, and how its log begins.
const TEMPLATES: [(&str, &[&str], Option<&str>); 5] = [
    ("meter", &["--type", "IO"], Some("hello")),
    ("counter", &["--type", "DATA"], Some("hello, for the 1. time")),
    ("parrot", &["--type", "CALL"], Some("hello")),
    ("meter-c", &["--type", "IO", "--language", "c"], Some("hello from C")),
    ("window", &["--type", "UI"], None),
];

/// Makes, builds and runs each.
pub fn run(programs: &zhost_cluster::Programs) -> Outcome {
    let dir = steps::root().join(format!("target/templates-{}", std::process::id()));
    let mut cluster = Cluster::create(&dir, programs, cast(1))?;
    cluster.start(0)?;
    let zig = zig();
    for (name, options, says) in TEMPLATES {
        let project = dir.join(name);
        let path = project.display().to_string();
        cluster.zctl(&[&["space", "new", &path], options].concat())?;
        if project.join("space.c").exists() && zig.is_none() {
            if std::env::var_os("CI").is_some() {
                return Err(format!("no zig on this computer, for {name}; CI builds guests in C"));
            }
            println!("no zig on this computer: {name} is not built");
            continue;
        }
        build(&project, zig.as_deref())?;
        submit(&cluster, name, says)?;
        println!("{name} ({}): built and running", options.join(" "));
    }
    if let Some(python) = &zig {
        program_in_c(&cluster, python)?;
    }
    cluster.end()?;
    fs::remove_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))
}

/// Python's zig, if there is one.
fn zig() -> Option<String> {
    let python = steps::root().join("target/bench-venv/bin/python").display().to_string();
    let candidates = [python, "python3".to_owned()];
    candidates.into_iter().find(|python| steps::succeeds(python, &["-m", "ziglang", "version"]))
}

/// Does what the README says, but for signing and submitting: the indented lines before those.
fn build(project: &Path, zig: Option<&str>) -> Outcome {
    let readme = project.join("README.md");
    let text = fs::read_to_string(&readme).map_err(|e| format!("{}: {e}", readme.display()))?;
    let commands = text
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .take_while(|line| !line.starts_with("zctl"));
    // The targets are there, and the projects share what they build.
    for command in commands.filter(|command| !command.starts_with("rustup")) {
        let command = command.replace("zig cc", &format!("{} -m ziglang cc", zig.unwrap_or("zig")));
        let mut shell = steps::command("sh", &["-ec", &command]);
        steps::output(shell.current_dir(project).env("CARGO_TERM_QUIET", "true"))
            .map_err(|reason| format!("{}: {command}: {reason}", project.display()))?;
    }
    Ok(())
}

/// An ordinary program in C, with a standard library that knows nothing of zhost, runs to its end.
fn program_in_c(cluster: &Cluster, python: &str) -> Outcome {
    let package = cluster.dir.join("program/package");
    let space = package.join("spaces/program");
    fs::create_dir_all(&space).map_err(|e| format!("{}: {e}", space.display()))?;
    let head = |kind: &str| format!("apiVersion: samoza/v1\nkind: {kind}\nmetadata:\n  name: program\n");
    let files = [
        (
            "manifest.yaml",
            head("MEX")
                + "  version: v1\n  publisher: p\nspec: {topology: topology.yaml, spaces: [program]}\n",
        ),
        ("spaces/program/space.yaml", head("Space")),
        (
            "topology.yaml",
            head("Topology")
                + "spaces:\n- {name: program, type: IO, capabilities: [sys.log], resources: {memoryKiB: 1024}, \
                   config: {greeting: hello}}\n",
        ),
    ];
    for (file, text) in files {
        fs::write(package.join(file), text).map_err(|e| format!("{file}: {e}"))?;
    }
    let mut compile = steps::command(
        python,
        &["-m", "ziglang", "cc", "-target", "wasm32-wasi", "-Os", "-Wl,-z,stack-size=65536", "-o"],
    );
    compile.arg(space.join("core.wasm")).arg(steps::root().join("tests/spaces/program/main.c"));
    steps::output(&mut compile)?;
    submit_package(cluster, "program")?;
    for line in ["I am program", "I am told hello", "it is 50 ms later: true", "there are no files: true"] {
        let heard = || Ok(cluster.said("program")?.iter().any(|text| text == line).then_some(()));
        watch(PATIENCE, heard)
            .map_err(|reason| format!("the program in C does not say {line:?}: {reason}"))?;
    }
    println!("program (in C, for WASI): built and run to its end");
    Ok(())
}

fn submit_package(cluster: &Cluster, name: &str) -> Outcome {
    let at = |file: &str| -> String { cluster.dir.join(file).display().to_string() };
    let (package, mex) = (at(&format!("{name}/package")), at(&format!("{name}.mex")));
    cluster.zctl(&["mex", "build", &package, "--output", &mex, "--key", &at("publisher.key")])?;
    watch(PATIENCE, || cluster.ask(&["topo", "submit", &mex]).map(Some)).map(drop)
}

fn submit(cluster: &Cluster, name: &str, says: Option<&str>) -> Outcome {
    submit_package(cluster, name)?;
    watch(PATIENCE, || Ok((cluster.ask(&["topo", "status", name])?["state"] == "running").then_some(())))?;
    let Some(says) = says else { return Ok(()) };
    let heard = || Ok(cluster.said(name)?.iter().any(|text| text.starts_with(says)).then_some(()));
    watch(PATIENCE, heard).map_err(|reason| format!("{name} does not say {says:?}: {reason}"))
}

/// The programs, built, and what the templates need.
pub fn programs() -> Outcome<zhost_cluster::Programs> {
    if let Err(reason) = setup::need_zig() {
        eprintln!("setup: guests in C are not tried: {reason}");
    }
    Ok(artifacts::build()?.programs)
}

/// Runs the SDK's own tests, on this computer.
pub fn test_sdk() -> Outcome {
    let sdk: PathBuf = steps::root().join("tools/zspace");
    let args = ["test", "--quiet", "--all-features", "--target-dir", "../../target/zspace"];
    steps::run(steps::command("cargo", &args).current_dir(sdk))
}
