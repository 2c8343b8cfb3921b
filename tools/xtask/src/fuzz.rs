//! Fuzzing the parsers of foreign bytes with libFuzzer.

use crate::{Outcome, setup, steps};
use std::fs;

/// Where the targets are.
const FUZZ_DIR: &str = "tests/fuzz";

/// Fuzzes one target, or all.
pub fn run(target: Option<&str>, seconds: u32) -> Outcome {
    setup::need_fuzzer()?;
    let all = targets()?;
    let chosen: Vec<&String> =
        all.iter().filter(|name| target.is_none_or(|wanted| wanted == *name)).collect();
    if chosen.is_empty() {
        return Err(format!("there is no such fuzz target; there are {}", all.join(", ")));
    }
    for name in chosen {
        fuzz(name, seconds)?;
    }
    Ok(())
}

/// Fuzzes one target; what libFuzzer says is shown only when it found something.
fn fuzz(name: &str, seconds: u32) -> Outcome {
    let limit = format!("-max_total_time={seconds}");
    let fuzz = ["fuzz", "run", "--fuzz-dir", FUZZ_DIR, "--sanitizer", "none", name, "--"];
    let options = [limit.as_str(), "-max_len=4096", "-print_final_stats=1", "-verbosity=0"];
    let mut command = steps::command("cargo", &[&fuzz[..], &options[..]].concat());
    // cargo-fuzz needs compiler flags that are stable only in nightly builds; this says we know.
    let output = command.env("RUSTC_BOOTSTRAP", "1").output().map_err(|e| format!("cargo fuzz: {e}"))?;
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
