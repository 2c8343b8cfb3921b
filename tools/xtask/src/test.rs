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
