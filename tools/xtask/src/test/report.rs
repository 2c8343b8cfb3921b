//! What the steps came to and how long they took: a table, and the same as JSON.

use super::plan::Step;
use crate::{Outcome, steps};
use serde_json::json;
use std::{fs, path::PathBuf, time::Duration};

/// Where the figures of the last run are kept.
const FIGURES: &str = "target/test-times.json";

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Result {
    Passed,
    Failed,
    NotRun,
}

impl Result {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::NotRun => "not run",
        }
    }
}

/// A step, what became of it, and how long that took.
struct Line {
    step: &'static Step,
    result: Result,
    took: Duration,
}

/// All steps that were asked for.
pub struct Report {
    lines: Vec<Line>,
}

impl Report {
    /// None has run yet.
    pub fn new(chosen: &[&'static Step]) -> Outcome<Self> {
        let not_run = steps::not_run();
        let emptied =
            not_run.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&not_run, ""));
        emptied.map_err(|e| format!("{}: {e}", not_run.display()))?;
        let line = |step: &&'static Step| Line { step, result: Result::NotRun, took: Duration::ZERO };
        Ok(Self { lines: chosen.iter().map(line).collect() })
    }

    /// What became of a step. Written down at once: a run that is broken off has its figures, too.
    pub fn note(&mut self, index: usize, result: Result, took: Duration) -> Outcome {
        let Some(line) = self.lines.get_mut(index) else { return Ok(()) };
        (line.result, line.took) = (result, took);
        let file = file();
        fs::write(&file, format!("{:#}\n", self.json())).map_err(|e| format!("{}: {e}", file.display()))
    }

    /// Whether all passed.
    pub fn outcome(&self) -> Outcome {
        let failed = self.lines.iter().filter(|line| line.result == Result::Failed);
        let failed: Vec<&str> = failed.map(|line| line.step.name).collect();
        if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
    }

    /// Prints the table, and what did not run for want of something.
    pub fn print(&self) {
        println!("\n{}", self.table());
        let not_run = fs::read_to_string(steps::not_run()).unwrap_or_default();
        not_run.lines().for_each(|what| println!("did not run: {what}"));
        let count = |result| self.lines.iter().filter(|line| line.result == result).count();
        let all = count(Result::NotRun) == 0 && not_run.is_empty();
        println!("the figures: {FIGURES}{}", if all { "" } else { "; not everything ran" });
        println!("steps: {} passed, {} failed", count(Result::Passed), count(Result::Failed));
    }

    /// The table, as it stands in BENCHMARKS.md.
    fn table(&self) -> String {
        let mut text = String::from("| stage | step | seconds | |\n|---|---|---:|---|\n");
        for (index, line) in self.lines.iter().enumerate() {
            let seconds = line.took.as_secs_f64();
            let (stage, step) = (line.step.stage.name(), line.step.name);
            text += &format!("| {stage} | {step} | {seconds:.0} | {} |\n", line.result.word());
            let is_last = self.lines.get(index + 1).is_none_or(|next| next.step.stage != line.step.stage);
            if is_last {
                text += &format!("| **{stage}** | | **{:.0}** | |\n", self.seconds(Some(stage)));
            }
        }
        let total = self.seconds(None);
        text + &format!("| **all** | | **{total:.0}** | {:.1} minutes |\n", total / 60.0)
    }

    /// What a stage took, or all.
    fn seconds(&self, stage: Option<&str>) -> f64 {
        let of_stage = |line: &&Line| stage.is_none_or(|stage| line.step.stage.name() == stage);
        self.lines.iter().filter(of_stage).map(|line| line.took.as_secs_f64()).sum()
    }

    fn json(&self) -> serde_json::Value {
        let lines = self.lines.iter().map(|line| {
            json!({
                "stage": line.step.stage.name(),
                "step": line.step.name,
                "seconds": (line.took.as_secs_f64() * 10.0).round() / 10.0,
                "result": line.result.word(),
            })
        });
        json!({
            "commit": steps::commit().ok(),
            "processors": steps::processors(),
            "processor": processor(),
            "seconds": self.seconds(None).round(),
            "steps": lines.collect::<Vec<_>>(),
        })
    }
}

fn file() -> PathBuf {
    steps::root().join(FIGURES)
}

/// What the kernel calls this computer's processor.
fn processor() -> Option<String> {
    let said = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = said.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::plan::STEPS;

    fn report() -> Report {
        let line = |step| Line { step, result: Result::NotRun, took: Duration::ZERO };
        Report { lines: STEPS.iter().take(2).map(line).collect() }
    }

    #[test]
    fn a_run_that_failed_has_its_table_and_says_what_failed() {
        let mut report = report();
        report.lines[0].result = Result::Passed;
        report.lines[0].took = Duration::from_secs(61);
        report.lines[1].result = Result::Failed;
        report.lines[1].took = Duration::from_secs(2);
        let table = report.table();
        assert!(table.contains("| 61 | passed |") && table.contains("| 2 | FAILED |"), "{table}");
        assert!(table.contains("| **all** | | **63** |"), "{table}");
        assert_eq!(report.outcome(), Err(format!("failed: {}", STEPS[1].name)));
    }

    #[test]
    fn a_run_that_ends_early_says_what_did_not_run() {
        let report = report();
        assert!(report.table().contains("| 0 | not run |"));
        assert_eq!(report.json()["steps"][1]["result"], "not run");
    }
}
