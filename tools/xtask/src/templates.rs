//! What `zctl space new` makes is built as its README says, and run by a real zhost.

use crate::{Outcome, artifacts, setup, steps, test};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
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
            test::do_without(&format!("{name}: there is no zig on this computer"))?;
            continue;
        }
        build(&project, zig.as_deref())?;
        submit(&cluster, name, says)?;
        println!("{name} ({}): built and running", options.join(" "));
    }
    if let Some(python) = &zig {
        let flags = "-m ziglang cc -target wasm32-wasi -Os -Wl,-z,stack-size=65536";
        let compile = steps::command(python, &flags.split(' ').collect::<Vec<_>>());
        run_program(&cluster, "c", "program/main.c", 1024, compile)?;
    }
    match setup::need_go() {
        Ok(go) => {
            let mut compile = steps::command(&go.display().to_string(), &["build", "-ldflags=-s -w"]);
            compile.envs([("GOOS", "wasip1"), ("GOARCH", "wasm"), ("GOTOOLCHAIN", "local")]);
            compile.env("GOCACHE", steps::root().join("target/go-cache"));
            run_program(&cluster, "go", "program/main.go", 8192, compile)?;
        }
        Err(reason) => test::do_without(&format!("program-go: {reason}"))?,
    }
    match setup::need_assemblyscript() {
        Ok(compiler) => {
            let compile = steps::command(&compiler.display().to_string(), &["-O", "--use", "abort="]);
            run_program(&cluster, "assembly", "assembly/main.ts", 1024, compile)?;
        }
        Err(reason) => test::do_without(&format!("program-assembly: {reason}"))?,
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

/// A program in another language than Rust is compiled, and says all it has to say.
fn run_program(
    cluster: &Cluster,
    language: &str,
    source: &str,
    memory_kib: u32,
    mut compile: Command,
) -> Outcome {
    let name = format!("program-{language}");
    let package = cluster.dir.join(&name).join("package");
    let space = package.join("spaces").join(&name);
    fs::create_dir_all(&space).map_err(|e| format!("{}: {e}", space.display()))?;
    let head = |kind: &str| format!("apiVersion: samoza/v1\nkind: {kind}\nmetadata:\n  name: {name}\n");
    let manifest =
        format!("  version: v1\n  publisher: p\nspec: {{topology: topology.yaml, spaces: [{name}]}}\n");
    let topology = format!(
        "spaces:\n- {{name: {name}, type: IO, capabilities: [sys.log], resources: {{memoryKiB: {memory_kib}}}, \
         config: {{greeting: hello, name: {name}}}}}\n"
    );
    let files = [
        (package.join("manifest.yaml"), head("MEX") + &manifest),
        (space.join("space.yaml"), head("Space")),
        (package.join("topology.yaml"), head("Topology") + &topology),
    ];
    for (file, text) in files {
        fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    let source = steps::root().join("tests/spaces").join(source);
    steps::output(compile.arg("-o").arg(space.join("core.wasm")).arg(source))?;
    submit_package(cluster, &name)?;
    let greeting = format!("I am {name}");
    for line in [&greeting, "I am told hello", "it is 50 ms later: true", "there are no files: true"] {
        let heard = || Ok(cluster.said(&name)?.iter().any(|text| text == line).then_some(()));
        watch(PATIENCE, heard).map_err(|reason| format!("{name} does not say {line:?}: {reason}"))?;
    }
    println!("{name}: built, and said all it has to say");
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
