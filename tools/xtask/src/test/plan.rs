//! The steps of all stages.

use super::{
    Stage::{self, Boards, Quick, Soak, System},
    deny, links, style,
};
use crate::{Outcome, bench, cross, demo, fuzz, qemu, setup, simulate, size, steps, templates};

/// The name of the step that every stage begins with.
pub const SETUP: &str = "setup";
/// Modules that the everyday tests make up and run, and a soak.
const MODULES: [u32; 2] = [1000, 5000];
/// How often the power is taken from a board that writes.
const POWER_CUTS: [u32; 2] = [1, 25];
/// How long parsers are fuzzed: each of them, and all of them.
const FUZZ_SECONDS: u32 = 5;
const SOAK_FUZZ_SECONDS: u32 = 3600;
/// The targets whose own tests run every day under emulation: the one that is least like this computer.
const EMULATED: &str = "arm-unknown-linux-musleabihf";
/// About how long a whole soak takes.
const SOAK_MINUTES: u32 = 120;
/// Crates that need no operating system.
pub const PURE_CRATES: [&str; 8] = [
    "zhost-base",
    "zhost-gossip",
    "zhost-mex",
    "zhost-link",
    "zhost-exchange",
    "zhost-control",
    "zhost-web",
    "zhost-node",
];
/// Those whose own tests run under emulation on every commit: all but the node, whose tests take the emulator longer than all
/// of theirs.
const EMULATED_CRATES: &[&str] = PURE_CRATES.split_at(PURE_CRATES.len() - 1).0;
/// Workspaces apart from the main one, whose formatting is checked too.
const OTHER_WORKSPACES: [&str; 3] =
    ["tests/spaces/Cargo.toml", "tests/fuzz/Cargo.toml", "tools/zspace/Cargo.toml"];

/// Something that is done and passes or fails.
pub struct Step {
    pub stage: Stage,
    /// What it is called on the command line and in the table.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
    /// Does it.
    pub run: fn(&Effort) -> Outcome,
}

impl Step {
    /// The command that does it alone.
    pub fn again(&self) -> String {
        format!("cargo xtask test --only {}", self.name)
    }
}

/// How much of a soak is done: all, or less to try it.
pub struct Effort {
    part: f64,
}

impl Effort {
    /// What fits into so many minutes; without a number all.
    pub fn new(minutes: Option<u32>) -> Self {
        Self { part: minutes.map_or(1.0, |minutes| (f64::from(minutes) / f64::from(SOAK_MINUTES)).min(1.0)) }
    }

    /// So much of this, but at least one.
    pub fn of(&self, count: u32) -> u32 {
        (f64::from(count) * self.part).ceil().max(1.0) as u32
    }
}

/// All of them; a stage's stand together. Boards come before whole systems: the demo takes one of the four agents, which
/// take less long when they are built side by side.
pub const STEPS: [Step; 36] = [
    step(Quick, SETUP, "installing what is missing", |_| setup::for_tests()),
    step(Quick, "format", "formatting", |_| formatting()),
    step(Quick, "style", "the rules of the house", |_| style::run()),
    step(Quick, "links", "links in the documents", |_| links::run()),
    step(Quick, "deny", "licences and sources of what others wrote", |_| deny::run()),
    step(Quick, "lints", "lints of all code", |_| lints()),
    step(Quick, "purity", "the pure crates build where there is no operating system", |_| purity()),
    step(Quick, "build", "building programs and tests", |_| build()),
    step(Quick, "unit", "unit, property and transcript tests", |_| unit()),
    step(Quick, "sdk", "the SDK's own tests", |_| templates::test_sdk()),
    step(Quick, "docs", "documentation of all code", |_| docs()),
    step(Boards, "agents", "agents for boards: built, static, and two of each a cluster", |_| {
        emulated(|| cross::run("all", false))
    }),
    step(Boards, "size", "their sizes on flash and in memory", |_| size::run()),
    step(Boards, "emulated", "tests of the pure crates but the node on a small board's processor", |_| {
        emulated(|| cross::test(EMULATED, EMULATED_CRATES))
    }),
    step(Boards, "hal", "hardware backends on a real Arm kernel", |_| boards(&qemu::QemuCommand::Hal)),
    step(Boards, "pi", "a Raspberry Pi from its image", |_| boards(&qemu::QemuCommand::Pi)),
    step(Boards, "site", "two boards from their images, and a power cut", |_| {
        boards(&qemu::QemuCommand::Site { power_cuts: POWER_CUTS[0] })
    }),
    step(System, "sim", "simulated clusters, and all seeds that ever failed", |_| simulate::known()),
    step(System, "sim-fresh", "simulated clusters of this commit's own seeds", |_| simulate::fresh()),
    step(System, "hunt", "planted bugs, which the simulator has to find; rare ones in a soak", |_| {
        simulate::hunt("common", simulate::HUNT)
    }),
    step(System, "modules", "modules that a machine made up", |_| simulate::modules(MODULES[0])),
    step(System, "fuzz", "fuzzing the parsers of foreign bytes, briefly", |_| fuzz::run(None, FUZZ_SECONDS)),
    step(System, "processes", "clusters of real processes", |_| processes()),
    step(System, "templates", "what zctl space new makes", |_| templates::run(&templates::programs()?)),
    step(System, "demo", "the demo: a cluster on this computer loses zhosts, and heals", |_| {
        demo::run(false)
    }),
    step(Soak, "soak-sim", "seeds nobody has run, of all sizes and scenarios", simulate::soak),
    step(Soak, "soak-vault", "1,000 seeds of replicated data", simulate::soak_vault),
    step(
        Soak,
        "soak-hunt",
        "planted bugs, found from several beginnings, and the rare ones",
        simulate::soak_hunt,
    ),
    step(Soak, "soak-modules", "5,000 modules that a machine made up", |effort| {
        simulate::modules(effort.of(MODULES[1]))
    }),
    step(Soak, "soak-fuzz", "an hour of fuzzing, of all parsers together", |effort| {
        fuzz::share(effort.of(SOAK_FUZZ_SECONDS))
    }),
    step(Soak, "soak-again", "agents, the same when built again", |_| emulated(|| cross::run("all", true))),
    step(Soak, "soak-emulated", "tests of the pure crates on every board's processor", |_| {
        emulated(|| cross::test("all", &PURE_CRATES))
    }),
    step(Soak, "soak-site", "25 power cuts of a board that writes", |effort| {
        boards(&qemu::QemuCommand::Site { power_cuts: effort.of(POWER_CUTS[1]) })
    }),
    step(Soak, "soak-log", "a zhost whose log nobody reads, for a minute", |_| unread_log()),
    step(Soak, "soak-recordings", "a hundred recordings of zhosts that are killed, told again", |_| {
        recordings()
    }),
    step(Soak, "soak-mesh", "figures of a mesh of twenty in network namespaces", |_| mesh()),
];

const fn step(stage: Stage, name: &'static str, what: &'static str, run: fn(&Effort) -> Outcome) -> Step {
    Step { stage, name, what, run }
}

fn formatting() -> Outcome {
    steps::cargo(&["fmt", "--all", "--check"])?;
    OTHER_WORKSPACES
        .iter()
        .try_for_each(|manifest| steps::cargo(&["fmt", "--all", "--check", "--manifest-path", manifest]))
}

/// In the profile of the tests: what both take, macros and what build scripts make, is made once.
fn lints() -> Outcome {
    let what = ["clippy", "--quiet", "--profile", "sim", "--workspace", "--all-targets"];
    steps::cargo(&[&what[..], &["--", "--deny", "warnings"]].concat())
}

fn purity() -> Outcome {
    if !setup::has_rustup_target(setup::GUEST_TARGET) {
        return super::do_without(&format!("purity: rustup has no {}", setup::GUEST_TARGET));
    }
    let packages = PURE_CRATES.iter().flat_map(|name| ["--package", name]);
    let args = ["check", "--quiet", "--profile", "sim", "--target", setup::GUEST_TARGET];
    steps::cargo(&args.into_iter().chain(packages).collect::<Vec<_>>())
}

fn build() -> Outcome {
    steps::cargo(&["build", "--quiet", "--profile", "sim", "--workspace", "--bins", "--tests"])
}

/// Runs tests of the whole workspace, so that nothing is compiled again for a part of it.
fn nextest(more: &[&str]) -> Outcome {
    let all = ["nextest", "run", "--workspace", "--cargo-profile", "sim", "--cargo-quiet", "--no-fail-fast"];
    steps::cargo(&[&all[..], &["--status-level", "slow"], more].concat())
}

fn unit() -> Outcome {
    nextest(&["--profile", "quick"])
}

fn unread_log() -> Outcome {
    build()?;
    nextest(&["--run-ignored", "only", "-E", "package(zhost-cluster) & binary(quiet)"])
}

fn recordings() -> Outcome {
    build()?;
    nextest(&["--run-ignored", "only", "-E", "package(zhost-cluster) & binary(vault)"])
}

fn processes() -> Outcome {
    build()?;
    nextest(&["--filterset", "package(zhost-cluster)"])
}

/// Its targets are those of the benchmark.
fn mesh() -> Outcome {
    let only = Some("zhost".to_owned());
    bench::run(&bench::BenchCommand::Mesh { only, no_simulation: true, no_setup: true })
}

/// What runs programs of boards.
fn emulated(run: impl Fn() -> Outcome) -> Outcome {
    match setup::need_emulators() {
        Ok(()) => run(),
        Err(reason) => super::do_without(&format!("programs for boards under emulation: {reason}")),
    }
}

/// Boards that QEMU plays.
fn boards(command: &qemu::QemuCommand) -> Outcome {
    if setup::is_root() {
        return qemu::run(command);
    }
    super::do_without("boards that QEMU plays: getting Debian's kernels takes root")
}

fn docs() -> Outcome {
    let args = ["doc", "--quiet", "--profile", "sim", "--workspace", "--no-deps"];
    steps::run(steps::command("cargo", &args).env("RUSTDOCFLAGS", "--deny warnings"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, fs};

    #[test]
    fn steps_have_names_of_their_own_and_a_stage_s_stand_together() {
        let names: BTreeSet<&str> = STEPS.iter().map(|step| step.name).collect();
        assert_eq!(names.len(), STEPS.len());
        assert_eq!(STEPS[0].name, SETUP);
        let mut stages: Vec<&str> = STEPS.iter().map(|step| step.stage.name()).collect();
        stages.dedup();
        assert_eq!(stages, ["quick", "boards", "system", "soak"]);
    }

    #[test]
    fn a_soak_is_as_long_as_it_may_be_and_never_nothing() {
        assert_eq!(Effort::new(None).of(5000), 5000);
        assert_eq!(Effort::new(Some(SOAK_MINUTES * 2)).of(5000), 5000);
        assert_eq!(Effort::new(Some(SOAK_MINUTES / 10)).of(5000), 500);
        assert_eq!(Effort::new(Some(0)).of(25), 1);
    }

    #[test]
    fn ci_runs_exactly_the_command_of_the_readme() {
        let read = |file: &str| fs::read_to_string(steps::root().join(file)).unwrap();
        assert_eq!(read(".ci/run").lines().last(), Some("cargo xtask test"));
        assert!(read("README.md").lines().any(|line| line.trim_start().starts_with("cargo xtask test ")));
    }
}
