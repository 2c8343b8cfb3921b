//! The simulator, as the tests and `cargo xtask sim` run it.

use crate::{Outcome, artifacts, steps, test::Effort};
use std::{ops::Range, path::Path, process::Command, time::SystemTime};

/// Scenarios beside the ordinary one, and the zhosts of each.
const SCENARIOS: [(&str, usize); 5] =
    [("family", 5), ("purge", 5), ("rollout", 5), ("loss", 7), ("panics", 7)];
/// Seeds of each: the same in every run, and of a soak.
const SCENARIO_SEEDS: (Range<u64>, u32) = (0..20, 700);

/// Seeds of clusters of one size.
struct Size {
    zhosts: usize,
    /// What every run simulates.
    known: Range<u64>,
    /// How many of this commit's own it simulates beside.
    fresh: u64,
    /// How many that nobody has run belong to a soak.
    soak: u32,
}

/// What is simulated, by size. At twenty and fifty a seed takes many times as long as at seven.
const SIZES: [Size; 4] = [
    Size { zhosts: 3, known: 0..60, fresh: 60, soak: 2000 },
    Size { zhosts: 7, known: 0..120, fresh: 120, soak: 2700 },
    Size { zhosts: 20, known: 0..12, fresh: 12, soak: 700 },
    Size { zhosts: 50, known: 0..1, fresh: 1, soak: 100 },
];
/// Seeds of replicated data: of this commit's own, and of a soak.
const VAULT: [u32; 2] = [60, 1000];
/// Seeds within which every planted bug that is not rare must be found.
pub const HUNT: &str = "0..400";
/// And all of them.
pub const HUNT_AT_LENGTH: &str = "0..4000";
/// In a soak those that are not rare are found from so many beginnings, within so many seeds each.
const SOAK_HUNTS: (u32, u64) = (3, 2000);

/// The same seeds in every run.
pub fn known() -> Outcome {
    for Size { zhosts, known, .. } in SIZES {
        simulate(known, zhosts)?;
    }
    for (scenario, zhosts) in SCENARIOS {
        run(scenario, &text(SCENARIO_SEEDS.0), zhosts, false)?;
    }
    failed()
}

/// Tells a zhost again what was recorded of one.
pub fn replay(file: &Path, until: Option<u64>, trace: bool) -> Outcome {
    let mut command = simulator(&["--replay"])?;
    command.arg(file);
    if let Some(until) = until {
        command.args(["--until", &until.to_string()]);
    }
    if trace {
        command.arg("--trace");
    }
    steps::run(&mut command)
}

/// All seeds that ever failed.
pub fn failed() -> Outcome {
    steps::run(&mut simulator(&["--failed"])?)
}

/// Seeds that only this commit has: other commits have others, but the same commit never fails only sometimes.
pub fn fresh() -> Outcome {
    let first = steps::commit().ok().as_deref().map_or(Ok(0), first_seed)?;
    println!("this commit's own seeds begin at {first}");
    for Size { zhosts, fresh, .. } in SIZES {
        simulate(first..first + fresh, zhosts)?;
    }
    vault(&text(first..first + u64::from(VAULT[0])), false)
}

/// The first seed of a commit's own, from its hash.
fn first_seed(commit: &str) -> Outcome<u64> {
    let head = commit.get(..8).ok_or_else(|| format!("{commit:?} is no commit's hash"))?;
    u64::from_str_radix(head, 16).map_err(|e| format!("{commit:?} is no commit's hash: {e}"))
}

/// Seeds that nobody has run, from the clock.
fn drawn() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs())
}

/// Seeds that nobody has run, of all sizes and scenarios also when some of them fail.
pub fn soak(effort: &Effort) -> Outcome {
    let first = drawn();
    let seeds = |count: u32| first..first + u64::from(effort.of(count));
    let sizes = SIZES.map(|Size { zhosts, soak, .. }| simulate(seeds(soak), zhosts));
    let scenarios =
        SCENARIOS.map(|(scenario, zhosts)| run(scenario, &text(seeds(SCENARIO_SEEDS.1)), zhosts, false));
    let failures: Vec<String> = sizes.into_iter().chain(scenarios).filter_map(Outcome::err).collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// A thousand seeds of replicated data that nobody has run.
pub fn soak_vault(effort: &Effort) -> Outcome {
    let first = drawn();
    vault(&text(first..first + u64::from(effort.of(VAULT[1]))), false)
}

/// Every planted bug is found; those that are not rare wherever one begins to look.
pub fn soak_hunt(effort: &Effort) -> Outcome {
    let (hunts, seeds) = SOAK_HUNTS;
    let first = drawn();
    (0..u64::from(effort.of(hunts))).try_for_each(|round| {
        let first = first + round * seeds;
        hunt("common", &text(first..first + seeds))
    })?;
    // Of a part of the seeds nothing could be demanded.
    if effort.of(hunts) == hunts { hunt("rare", HUNT_AT_LENGTH) } else { Ok(()) }
}

fn simulate(seeds: Range<u64>, zhosts: usize) -> Outcome {
    if seeds.is_empty() { Ok(()) } else { run("faults", &text(seeds), zhosts, false) }
}

fn text(seeds: Range<u64>) -> String {
    format!("{}..{}", seeds.start, seeds.end)
}

fn simulator(args: &[&str]) -> Outcome<Command> {
    let program = artifacts::program("zhost-sim")?;
    Ok(steps::command(&program.display().to_string(), args))
}

/// Simulates clusters to which happens what the scenario says.
pub fn run(scenario: &str, seeds: &str, zhosts: usize, trace: bool) -> Outcome {
    let zhosts = zhosts.to_string();
    let args = ["--scenario", scenario, "--seeds", seeds, "--zhosts", &zhosts];
    steps::run(simulator(&args)?.args(trace.then_some("--trace")))
}

/// Simulates replicated data.
fn vault(seeds: &str, trace: bool) -> Outcome {
    steps::run(simulator(&["--scenario", "vault", "--seeds", seeds])?.args(trace.then_some("--trace")))
}

/// Plants bugs, one after the other, and sees whether the simulator finds them.
pub fn hunt(bug: &str, seeds: &str) -> Outcome {
    steps::run(&mut simulator(&["--bug", bug, "--seeds", seeds])?)
}

/// Makes up modules and runs them, to see that none harms its worker.
pub fn modules(count: u32) -> Outcome {
    let run = ["nextest", "run", "--workspace", "--cargo-profile", "sim", "--cargo-quiet"];
    let mut command = steps::command("cargo", &run);
    command.args(["--success-output", "final", "no_module_harms_its_worker"]);
    steps::run(command.env("ZHOST_MODULES", count.to_string()))
}

#[cfg(test)]
mod tests {
    use super::{SCENARIO_SEEDS, SCENARIOS, SIZES, VAULT, first_seed};

    #[test]
    fn a_commit_has_its_own_seeds_and_always_the_same() {
        let [one, other] = ["89c244b0d1", "ea7c60ff00"].map(|commit| first_seed(commit).unwrap());
        assert_eq!(one, 0x89c2_44b0);
        assert_ne!(one, other);
        assert!(first_seed("HEAD").is_err() && first_seed("not a hash").is_err());
    }

    #[test]
    fn a_soak_has_ten_thousand_seeds_of_several_sizes_and_scenarios() {
        let sizes: u32 = SIZES.iter().map(|size| size.soak).sum();
        let scenarios = SCENARIOS.len() as u32 * SCENARIO_SEEDS.1;
        assert_eq!(sizes + scenarios + VAULT[1], 10_000);
    }
}
