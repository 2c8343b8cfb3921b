//! `cargo xtask test`: stages, each of steps, in the order in which they fail fastest.

mod deny;
mod links;
mod plan;
mod report;
mod style;

pub use plan::{Effort, PURE_CRATES};

use crate::{Outcome, steps};
use clap::{Args, ValueEnum};
use plan::{STEPS, Step};
use report::{Report, Result};
use std::{panic, time::Instant};
use zhost_cluster::without;

/// A part of the tests that makes sense alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// What takes seconds to name a mistake: formatting, lints, style, unit and property tests.
    Quick,
    /// Whole clusters, simulated and of real processes; parsers fuzzed; the demo.
    System,
    /// Agents for boards: their sizes, their tests under emulation, real Arm kernels.
    Boards,
    /// All of that at length, for a release.
    Soak,
}

impl Stage {
    /// As it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::System => "system",
            Self::Boards => "boards",
            Self::Soak => "soak",
        }
    }
}

/// What is run if nobody says what.
const EVERYDAY: [Stage; 3] = [Stage::Quick, Stage::System, Stage::Boards];

/// `cargo xtask test …`.
#[derive(Args, Default)]
pub struct Options {
    /// Run this stage; may be given several times. Without it: quick, system and boards.
    #[arg(long, value_enum, value_name = "STAGE")]
    stage: Vec<Stage>,
    /// Run this step alone, by its name in the table.
    #[arg(long, value_name = "STEP", conflicts_with = "stage")]
    only: Option<String>,
    /// Go on after a step that failed.
    #[arg(long)]
    keep_going: bool,
    /// Of soak only as much as fits into about so many minutes, to try it.
    #[arg(long, value_name = "N")]
    minutes: Option<u32>,
    /// Say what the steps are, and run none.
    #[arg(long)]
    list: bool,
}

/// Runs what was asked for; the table comes in any case.
pub fn run(options: &Options) -> Outcome {
    let chosen = chosen(options)?;
    if options.list {
        chosen.iter().for_each(|step| println!("{:<7} {:<13} {}", step.stage.name(), step.name, step.what));
        return Ok(());
    }
    let effort = plan::Effort::new(options.minutes);
    let mut report = Report::new(&chosen)?;
    for (index, step) in chosen.iter().enumerate() {
        println!("\n== {}/{}: {} [{}]", index + 1, chosen.len(), step.what, step.name);
        let begin = Instant::now();
        // A panic of a step is a failure of that step; the table is still wanted.
        let run = panic::catch_unwind(panic::AssertUnwindSafe(|| (step.run)(&effort)));
        let outcome = run.unwrap_or_else(|_| Err("it panicked, see above".into()));
        let result = if outcome.is_ok() { Result::Passed } else { Result::Failed };
        report.note(index, result, begin.elapsed())?;
        println!("-- {} {} in {:.0} s", step.name, result.word(), begin.elapsed().as_secs_f64());
        if let Err(reason) = outcome {
            eprintln!("{}: {reason}\nagain, alone: {}", step.name, step.again());
            if !options.keep_going {
                break;
            }
        }
    }
    report.print();
    report.outcome()
}

/// The steps of the stages that were asked for, or the one.
fn chosen(options: &Options) -> Outcome<Vec<&'static Step>> {
    if let Some(name) = &options.only {
        let step = STEPS.iter().find(|step| step.name == name);
        let names = || STEPS.iter().map(|step| step.name).collect::<Vec<_>>().join(", ");
        return step
            .map(|step| vec![step])
            .ok_or_else(|| format!("there is no step {name}; there are {}", names()));
    }
    let stages: &[Stage] = if options.stage.is_empty() { &EVERYDAY } else { &options.stage };
    if options.minutes.is_some() && !stages.contains(&Stage::Soak) {
        return Err("--minutes is for --stage soak".into());
    }
    // Every stage begins with what it needs.
    Ok(STEPS.iter().filter(|step| step.name == plan::SETUP || stages.contains(&step.stage)).collect())
}

/// Something is not tested here, and why: an error in CI, elsewhere among the table's last lines.
pub fn do_without(what: &str) -> Outcome {
    without::note(what, without::is_ci(), Some(&steps::not_run()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(options: &Options) -> Outcome<Vec<&'static str>> {
        chosen(options).map(|steps| steps.iter().map(|step| step.name).collect())
    }

    #[test]
    fn without_a_word_everything_of_every_day_is_run_and_no_soak() {
        let steps = chosen(&Options::default()).unwrap();
        assert!(EVERYDAY.iter().all(|stage| steps.iter().any(|step| step.stage == *stage)));
        assert!(steps.iter().all(|step| step.stage != Stage::Soak));
    }

    #[test]
    fn a_stage_begins_with_what_it_needs_and_a_step_stands_alone() {
        let soak = names(&Options { stage: vec![Stage::Soak], ..Options::default() }).unwrap();
        assert_eq!(soak[..2], [plan::SETUP, "soak-sim"]);
        let hunt = Options { only: Some("hunt".into()), ..Options::default() };
        assert_eq!(names(&hunt).unwrap(), ["hunt"]);
    }

    #[test]
    fn a_step_that_is_not_there_and_minutes_without_a_soak_are_refused() {
        let nothing = Options { only: Some("hunts".into()), ..Options::default() };
        assert!(names(&nothing).unwrap_err().contains("there are setup, format"));
        assert!(
            names(&Options { minutes: Some(5), ..Options::default() }).unwrap_err().contains("--stage soak")
        );
    }
}
