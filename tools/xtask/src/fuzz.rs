//! Fuzzing the parsers of foreign bytes with libFuzzer.

use crate::{Outcome, setup, steps};
use std::fs;

/// Where the targets are.
const FUZZ_DIR: &str = "tests/fuzz";

/// Fuzzes one target, or all; as many at once as there are processors.
pub fn run(target: Option<&str>, seconds: u32) -> Outcome {
    setup::need_fuzzer()?;
    let all = targets()?;
    let chosen: Vec<&String> =
        all.iter().filter(|name| target.is_none_or(|wanted| wanted == *name)).collect();
    if chosen.is_empty() {
        return Err(format!("there is no such fuzz target; there are {}", all.join(", ")));
    }
    // All by one cargo, which links them side by side.
    steps::run_quietly(&mut cargo_fuzz("build", target))?;
    steps::side_by_side(&chosen, |name| fuzz(name, seconds))
}

/// Shares so many seconds of a processor among all targets.
pub fn share(seconds: u32) -> Outcome {
    run(None, (seconds / targets()?.len().max(1) as u32).max(1))
}

/// For one target, or for all.
fn cargo_fuzz(verb: &str, target: Option<&str>) -> std::process::Command {
    let mut command = steps::command("cargo", &["fuzz", verb, "--fuzz-dir", FUZZ_DIR, "--sanitizer", "none"]);
    command.args(target);
    // cargo-fuzz needs compiler flags that are stable only in nightly builds; this says we know.
    command.env("RUSTC_BOOTSTRAP", "1");
    command
}

/// Fuzzes one target; what libFuzzer says is shown only when it found something.
fn fuzz(name: &str, seconds: u32) -> Outcome {
    let limit = format!("-max_total_time={seconds}");
    let options = ["--", &limit, "-max_len=4096", "-print_final_stats=1", "-verbosity=0"];
    let mut command = cargo_fuzz("run", Some(name));
    let output = command.args(options).output().map_err(|e| format!("cargo fuzz: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("fuzzing {name} found something:\n{said}"));
    }
    let runs = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    println!("{name}: {} inputs in {seconds} s, nothing found", runs.unwrap_or("?").trim());
    Ok(())
}

fn targets() -> Outcome<Vec<String>> {
    let dir = steps::root().join(FUZZ_DIR).join("fuzz_targets");
    let entries = fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let name = |entry: fs::DirEntry| entry.path().file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let mut names: Vec<String> = entries.flatten().filter_map(name).collect();
    names.sort();
    Ok(names)
}
