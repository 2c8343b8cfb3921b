//! What the other tasks run: the agent, zctl, and the guests in their package directory.

use crate::{
    Outcome, cross,
    setup::{self, AGENT_TARGET, GUEST_TARGET, GuestRoute, PROGRAM_TARGET},
    steps,
};
use std::{
    fs,
    path::{Path, PathBuf},
};
use zhost_cluster::Programs;

/// The guests of the demo topology.
pub const GARDEN: [&str; 3] = ["camera", "sensors", "tally"];

/// Programs and packages, ready to run.
pub struct Artifacts {
    /// The agent as it is shipped, and zctl.
    pub programs: Programs,
    /// The demo topology's package directory, with its WASM.
    pub garden: PathBuf,
    /// The package directory of the two spaces that measure each other.
    pub duel: PathBuf,
    /// That of a space that spawns a thousand others.
    pub swarm: PathBuf,
}

/// Builds everything.
pub fn build() -> Outcome<Artifacts> {
    let zhost = build_agent()?;
    eprintln!("building zctl");
    let programs = Programs { zhost, zctl: program("zctl")? };
    build_guests()?;
    let garden = assemble("garden", &GARDEN.map(|space| (space, space)))?;
    add_page(&garden, "garden/spaces/cockpit")?;
    let swarm = assemble("swarm", &[("boss", "swarm"), ("drone", "swarm")])?;
    Ok(Artifacts { programs, garden, swarm, duel: assemble("duel", &[("near", "near"), ("far", "far")])? })
}

/// Builds a program for this computer, as the tests take it. Chosen from the whole workspace, or what it needs would be
/// compiled again with other features than for the tests.
pub fn program(name: &str) -> Outcome<PathBuf> {
    steps::cargo(&["build", "--quiet", "--profile", "sim", "--workspace", "--bin", name])?;
    Ok(steps::root().join("target/sim").join(name))
}

/// Builds the agent as it is shipped: optimised, and static where this computer can.
pub fn build_agent() -> Outcome<PathBuf> {
    if setup::has_rustup_target(AGENT_TARGET) && setup::has_library_source() {
        let targets = cross::targets(AGENT_TARGET)?;
        return targets
            .first()
            .ok_or("no target")?
            .build(&steps::root().join("target/cross"))
            .map(|built| built.zhost);
    }
    eprintln!("building the agent (the first time takes some minutes)");
    steps::run(&mut steps::command("cargo", &["build", "--quiet", "--release", "--package", "zhost"]))?;
    Ok(steps::root().join("target/release/zhost"))
}

/// Builds the guests from source, the way setup found to work.
pub fn build_guests() -> Outcome {
    eprintln!("building the spaces");
    let spaces = steps::root().join("tests/spaces");
    let target_dir = steps::root().join("target/spaces");
    let target_dir = target_dir.to_string_lossy();
    let args = ["build", "--quiet", "--release", "--target", GUEST_TARGET, "--target-dir", &target_dir];
    match setup::guest_route() {
        GuestRoute::Debian => {
            let (rustc, cargo) = setup::debian_tools()?;
            let mut command = steps::command(&cargo, &args);
            command.arg("-Zbuild-std=core,alloc,panic_abort").current_dir(spaces);
            command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
            steps::run(command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-ld"))
        }
        _ => steps::run(steps::command("cargo", &args).current_dir(spaces)),
    }
}

/// Adds a UI space's files to a package directory, with the SDK's script.
fn add_page(package: &Path, page: &str) -> Outcome {
    let from = steps::root().join("tests/spaces").join(page);
    let to = package.join("spaces").join(from.file_name().unwrap_or_default());
    let copy = || {
        fs::create_dir_all(&to)?;
        for entry in fs::read_dir(&from)? {
            let entry = entry?;
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
        fs::copy(steps::root().join("tools/zspace/web/zhost.js"), to.join("zhost.js"))
    };
    copy().map(drop).map_err(|e: std::io::Error| format!("{}: {e}", from.display()))
}

/// Builds the kernels that other runtimes are compared with; the file.
pub fn build_kernels() -> Outcome<PathBuf> {
    let target_dir = steps::root().join("target/spaces");
    let args =
        ["build", "--quiet", "--release", "--package", "kernels", "--target", PROGRAM_TARGET, "--target-dir"];
    let mut command = steps::command("cargo", &args);
    steps::run(command.arg(&target_dir).current_dir(steps::root().join("tests/spaces")))?;
    Ok(target_dir.join(PROGRAM_TARGET).join("release/kernels.wasm"))
}

/// Puts a package's sources and WASM, of each space that of a module, together as a package directory.
fn assemble(package: &str, spaces: &[(&str, &str)]) -> Outcome<PathBuf> {
    let source = steps::root().join("tests/spaces").join(package);
    let built = steps::root().join("target/spaces").join(GUEST_TARGET).join("release");
    let assembled = steps::root().join("target").join(package);
    let copy = |from: PathBuf, to: PathBuf| {
        let parent = to.parent().map(fs::create_dir_all).unwrap_or(Ok(()));
        parent.and_then(|()| fs::copy(&from, &to)).map(drop).map_err(|e| format!("{}: {e}", from.display()))
    };
    for file in ["manifest.yaml", "topology.yaml"] {
        copy(source.join(file), assembled.join(file))?;
    }
    for (space, module) in spaces {
        let dir = PathBuf::from("spaces").join(space);
        copy(source.join(&dir).join("space.yaml"), assembled.join(&dir).join("space.yaml"))?;
        copy(built.join(format!("{module}.wasm")), assembled.join(&dir).join("core.wasm"))?;
    }
    Ok(assembled)
}
