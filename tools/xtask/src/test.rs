//! All tests, in the order in which they fail fastest.

use crate::{Outcome, cross, demo, fuzz, qemu, setup, size, steps, templates};
use std::{sync::OnceLock, time::Instant};

/// Runs the simulator; its options follow.
const SIMULATOR: [&str; 7] = ["run", "--quiet", "--package", "zhost-sim", "--bin", "zhost-sim", "--"];
/// Seeds of the simulator that every test runs, beside those that ever failed.
const SIM_SEEDS: &str = "0..200";
/// Seeds that ever failed: what they found is fixed, and stays so.
const FAILED_SEEDS: &str = include_str!("../../../tests/sim/failed-seeds.txt");
/// Seeds nobody has run before, in CI.
const FRESH_SEEDS: u64 = 1000;
/// Seeds within which every planted bug must be found.
const HUNT_SEEDS: &str = "0..2000";
/// Modules that CI makes up and runs.
const CI_MODULES: u32 = 5000;
/// How often CI takes the power from a board that writes.
const CI_POWER_CUTS: u32 = 3;
/// How long CI fuzzes each target.
const CI_FUZZ_SECONDS: u32 = 10;
/// Crates that need no operating system.
pub const PURE_CRATES: [&str; 6] =
    ["zhost-base", "zhost-gossip", "zhost-mex", "zhost-link", "zhost-control", "zhost-web"];
/// Workspaces apart from the main one, whose formatting is checked too.
const OTHER_WORKSPACES: [&str; 3] =
    ["tests/spaces/Cargo.toml", "tests/fuzz/Cargo.toml", "tools/zspace/Cargo.toml"];

/// Runs all tests.
pub fn run() -> Outcome {
    say("what the tests need");
    setup::run(setup::GuestRoute::Auto)?;
    setup::need_browser();
    say("formatting");
    cargo(&["fmt", "--all", "--check"])?;
    for manifest in OTHER_WORKSPACES {
        cargo(&["fmt", "--all", "--check", "--manifest-path", manifest])?;
    }
    say("lints");
    cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"])?;
    if setup::has_rustup_target(setup::GUEST_TARGET) {
        say("purity: the core builds where there is no operating system");
        let packages = PURE_CRATES.iter().flat_map(|name| ["--package", name]);
        let args: Vec<&str> =
            ["check", "--quiet", "--target", setup::GUEST_TARGET].into_iter().chain(packages).collect();
        cargo(&args)?;
    }
    say("unit, property, transcript and real-process tests");
    // The tests of real processes run these two.
    cargo(&["build", "--quiet", "--package", "zhost", "--package", "zctl"])?;
    cargo(&["nextest", "run", "--workspace", "--no-fail-fast", "--status-level", "slow", "--cargo-quiet"])?;
    say("the SDK, and what zctl space new makes");
    templates::test_sdk()?;
    templates::run(&templates::programs()?)?;
    say("simulated clusters");
    sim(&format!("{SIM_SEEDS},{}", FAILED_SEEDS.trim()), 7, false)?;
    say("documentation");
    steps::run(
        steps::command("cargo", &["doc", "--quiet", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "--deny warnings"),
    )?;
    say("a real cluster on this computer");
    demo::run(false)?;
    say("size");
    size::run()?;
    if std::env::var_os("CI").is_some() {
        say("fresh seeds, and bugs planted to be found");
        let first = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs());
        sim(&format!("{first}..{}", first + FRESH_SEEDS), 7, false)?;
        vault(&format!("{first}..{}", first + FRESH_SEEDS / 10), false)?;
        hunt("all")?;
        say("modules that a machine made up");
        modules(CI_MODULES)?;
        say("hardware backends on a real Arm kernel");
        qemu::run(&qemu::QemuCommand::Hal)?;
        say("agents for boards");
        cross::run("all", false)?;
        cross::test("all", &PURE_CRATES)?;
        say("boards in QEMU, from their images");
        qemu::run(&qemu::QemuCommand::Pi)?;
        qemu::run(&qemu::QemuCommand::Site { power_cuts: CI_POWER_CUTS })?;
        say("fuzzing, briefly");
        fuzz::run(None, CI_FUZZ_SECONDS)?;
    }
    Ok(())
}

/// Says what comes now, and how many minutes and seconds went into what came before.
fn say(what: &str) {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let seconds = FIRST.get_or_init(Instant::now).elapsed().as_secs();
    println!("== {:>2}:{:02} {what}", seconds / 60, seconds % 60);
}

fn cargo(args: &[&str]) -> Outcome {
    steps::run(&mut steps::command("cargo", args))
}

/// Makes up modules and runs them, to see that none harms its worker.
pub fn modules(count: u32) -> Outcome {
    let mut command =
        steps::command("cargo", &["nextest", "run", "--package", "zhost-runtime", "--cargo-quiet"]);
    command.args(["--success-output", "final", "no_module_harms_its_worker"]);
    steps::run(command.env("ZHOST_MODULES", count.to_string()))
}

/// Plants bugs in the simulator, one after the other, and sees whether it finds them.
pub fn hunt(bug: &str) -> Outcome {
    cargo(&[&SIMULATOR[..], &["--bug", bug, "--seeds", HUNT_SEEDS]].concat())
}

/// Runs the simulator with replicated data.
pub fn vault(seeds: &str, trace: bool) -> Outcome {
    let trace: &[&str] = if trace { &["--trace"] } else { &[] };
    cargo(&[&SIMULATOR[..], &["--vault", "--seeds", seeds], trace].concat())
}

/// Runs the simulator.
pub fn sim(seeds: &str, zhosts: usize, trace: bool) -> Outcome {
    let zhosts = zhosts.to_string();
    let trace: &[&str] = if trace { &["--trace"] } else { &[] };
    cargo(&[&SIMULATOR[..], &["--seeds", seeds, "--zhosts", &zhosts], trace].concat())
}
