//! `bench`: installs and measures other people's distributed systems.

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use zhost_bench::{Outcome, peers, run_all, setup, side, table};

/// Measures other people's distributed systems, for comparison.
#[derive(Parser)]
#[command(name = "bench")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install the peers: Debian packages, and a Python environment below target.
    Setup,
    /// Measure the peers, and raw TCP, which the others are compared with.
    Peers {
        /// Measure this peer only.
        #[arg(long)]
        only: Option<String>,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
}

fn measure(only: Option<&str>, json: bool) -> Outcome {
    if let Some(name) = only
        && !peers::names().any(|known| known == name)
    {
        let known: Vec<&str> = peers::names().collect();
        return Err(format!("there is no peer {name}; there are {}", known.join(", ")));
    }
    let results = run_all(only);
    let text = if json {
        serde_json::to_string_pretty(&results).map_err(|e| e.to_string())? + "\n"
    } else {
        table::render(&results)
    };
    print!("{text}");
    Ok(())
}

fn main() -> ExitCode {
    if let Some(code) = side::run_if_asked() {
        return code;
    }
    let outcome = match Cli::parse().task {
        Task::Setup => setup::setup(&setup::environment_dir()),
        Task::Peers { only, json } => measure(only.as_deref(), json),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("bench: {reason}");
            ExitCode::FAILURE
        }
    }
}
