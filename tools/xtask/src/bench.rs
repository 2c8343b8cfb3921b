//! `cargo xtask bench mesh`: zhost and other systems, measured alike in one run.

use crate::{Outcome, artifacts, setup, steps};
use clap::Subcommand;

#[derive(Subcommand)]
pub enum BenchCommand {
    /// Real: kill-to-all-known, idle bytes, round trips and messages a second, beside other systems. Simulated:
    /// detection, idle cost and large clusters.
    Mesh {
        /// Measure only this system, and raw TCP.
        #[arg(long)]
        only: Option<String>,
        /// Leave the simulated figures out.
        #[arg(long)]
        no_simulation: bool,
        /// Do not install the other systems; those that are missing are said to be.
        #[arg(long)]
        no_setup: bool,
    },
}

/// `cargo xtask bench …`.
pub fn run(command: &BenchCommand) -> Outcome {
    let BenchCommand::Mesh { only, no_simulation, no_setup } = command;
    setup::run(setup::GuestRoute::Auto)?;
    let artifacts = artifacts::build()?;
    eprintln!("building the drivers of other systems (the first time takes some minutes)");
    steps::run(&mut steps::command("cargo", &["build", "--quiet", "--package", "zhost-bench"]))?;
    let bench = steps::root().join("target/debug/bench").display().to_string();
    if !no_setup {
        steps::run(&mut steps::command(&bench, &["setup"]))?;
    }
    let mut args = vec!["peers"];
    if let Some(only) = only {
        args.extend(["--only", only]);
    }
    let mut measure = steps::command(&bench, &args);
    measure.env("ZHOST_PROGRAM", &artifacts.programs.zhost).env("ZCTL_PROGRAM", &artifacts.programs.zctl);
    steps::run(measure.env("ZHOST_DUEL", &artifacts.duel))?;
    if *no_simulation {
        return Ok(());
    }
    eprintln!("building the simulator for long runs (the first time takes some minutes)");
    let figures = ["run", "--quiet", "--profile", "sim", "--package", "zhost-sim", "--bin", "figures"];
    steps::run(&mut steps::command("cargo", &figures))
}
