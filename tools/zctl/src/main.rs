//! Operates a cluster of zhosts: one command and out, or a shell.

mod address;
mod carrier;
mod check;
mod commands;
mod files;
mod firmware;
mod follow;
mod foreign;
mod keys;
mod packages;
mod profile;
mod recording;
mod render;
mod session;
mod template;
mod words;

use clap::{Parser, error::ErrorKind};
use commands::{Cli, Command};
use std::{
    io::{BufRead, Write},
    process::ExitCode,
};

/// A command line that makes no sense.
const USAGE: u8 = 2;

/// Why a command failed.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// It could not be carried out.
    Reason(String),
    /// It was, and what it shows is not well.
    Shown(String),
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self::Reason(reason)
    }
}

/// What a command has to say, or why it could not.
type Outcome = Result<String, Failure>;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    match &cli.command {
        Command::Shell => shell(&cli),
        command => show(command.run(&cli.options), cli.options.json),
    }
}

/// Says why a command line makes no sense, or gives the help that it asked for.
fn refuse(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
        }
        _ => match words::meant(error) {
            Some(said) => eprintln!("zctl: {}", foreign::error(&said)),
            None => eprint!("{}", foreign::usage(&error.render().to_string())),
        },
    }
    ExitCode::from(USAGE)
}

/// Shows what came of a command.
fn show(outcome: Outcome, json: bool) -> ExitCode {
    let (text, code) = match outcome {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(Failure::Shown(text)) => (text, ExitCode::FAILURE),
        Err(Failure::Reason(reason)) if json => {
            (serde_json::json!({ "error": reason }).to_string() + "\n", ExitCode::FAILURE)
        }
        Err(Failure::Reason(reason)) => {
            eprintln!("zctl: {}", foreign::error(&reason));
            return ExitCode::FAILURE;
        }
    };
    say(&text, json);
    code
}

/// Writes to standard output; `false` when nobody reads on, which is the reader's way of saying "enough".
fn say(text: &str, json: bool) -> bool {
    let text = if json { foreign::json(text) } else { foreign::lines(text) };
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
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
                refuse(&error);
            }
        }
    }
    println!();
    ExitCode::SUCCESS
}
