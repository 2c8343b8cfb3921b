//! Operates a cluster of zhosts: one command and out, or a shell.

mod carrier;
mod commands;
mod firmware;
mod keys;
mod packages;
mod profile;
mod render;
mod session;
mod template;

use clap::Parser;
use commands::{Cli, Command};
use std::{
    io::{BufRead, Write},
    process::ExitCode,
};

/// What a command has to say, or why it could not.
type Outcome = Result<String, String>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.command {
        Command::Shell => shell(&cli),
        command => show(command.run(&cli.options), cli.options.json),
    }
}

/// Shows what came of a command.
fn show(outcome: Outcome, json: bool) -> ExitCode {
    match outcome {
        Ok(text) => {
            // A closed pipe is the reader's way of saying "enough".
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(reason) if json => {
            println!("{}", serde_json::json!({ "error": reason }));
            ExitCode::FAILURE
        }
        Err(reason) => {
            eprintln!("zctl: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Reads commands until the input ends; the prompt counts them.
fn shell(cli: &Cli) -> ExitCode {
    let mut lines = std::io::stdin().lock().lines();
    for count in 0_u32.. {
        print!("zctl[{count}] >> ");
        let _ = std::io::stdout().flush();
        let Some(Ok(line)) = lines.next() else { break };
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => continue,
            ["exit" | "quit"] => break,
            _ => {}
        }
        match Cli::try_parse_from(["zctl"].iter().chain(&words)) {
            Ok(Cli { command: Command::Shell, .. }) => eprintln!("zctl: this is the shell"),
            Ok(typed) => {
                show(typed.command.run(&cli.options), cli.options.json || typed.options.json);
            }
            Err(error) => {
                let _ = error.print();
            }
        }
    }
    println!();
    ExitCode::SUCCESS
}
