//! Running other programs.

use crate::Outcome;
use std::{
    path::PathBuf,
    process::{Command, Stdio},
};
use zhost_cluster::without;

/// The root of the project.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap_or_else(|_| PathBuf::from("."))
}

/// A command in the root of the project, free of what cargo set for this process.
pub fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    for variable in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(variable);
    }
    command.env(without::NOT_RUN, not_run());
    command
}

/// Where tests write down what they do without.
pub fn not_run() -> PathBuf {
    root().join("target/not-run.txt")
}

/// Runs cargo.
pub fn cargo(args: &[&str]) -> Outcome {
    run(&mut command("cargo", args))
}

/// How many processors there are.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The commit that is checked out.
pub fn commit() -> Outcome<String> {
    output(&mut command("git", &["rev-parse", "HEAD"])).map(|hash| hash.trim().to_owned())
}

/// Runs a command, showing its output; a failure names it.
pub fn run(command: &mut Command) -> Outcome {
    let shown = shown(command);
    let status = command.status().map_err(|e| format!("{shown}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{shown}: {status}")) }
}

/// Runs a command, showing its output only if it fails.
pub fn run_quietly(command: &mut Command) -> Outcome {
    let shown = shown(command);
    let output = command.output().map_err(|e| format!("{shown}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{}{shown}: {}", String::from_utf8_lossy(&output.stderr), output.status))
}

/// Whether a command succeeds, without showing anything.
pub fn succeeds(program: &str, args: &[&str]) -> bool {
    let mut command = command(program, args);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Whether there is a program of this name; some stand where only root looks.
pub fn is_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).any(|dir| dir.join(name).is_file())
}

/// Runs a command and gives what it printed.
pub fn output(command: &mut Command) -> Outcome<String> {
    let shown = shown(command);
    let output = command.stderr(Stdio::inherit()).output().map_err(|e| format!("{shown}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{shown}: {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|e| format!("{shown}: {e}"))
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
