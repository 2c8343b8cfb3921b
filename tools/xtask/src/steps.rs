//! Running other programs.

use crate::Outcome;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
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
    thread::available_parallelism().map_or(1, usize::from)
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

/// Does the same with each of these, with as many at once as there are processors. All are done, whatever comes of one of
/// them, a panic included; one of the errors, if there are any.
pub fn side_by_side<T: Sync>(all: &[T], work: impl Fn(&T) -> Outcome + Sync) -> Outcome {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut outcome = Ok(());
        while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let done = catch_unwind(AssertUnwindSafe(|| work(one)));
            outcome = outcome.and(done.unwrap_or_else(|_| Err("it panicked".into())));
        }
        outcome
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..processors()).map(|_| scope.spawn(worker)).collect();
        let ends =
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| Err("it panicked".into())));
        ends.collect::<Vec<_>>().into_iter().collect()
    })
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

#[cfg(test)]
mod tests {
    use super::side_by_side;
    use std::sync::Mutex;

    #[test]
    fn all_are_done_though_one_fails_or_panics() {
        let done = Mutex::new(Vec::new());
        let outcome = side_by_side(&[0, 1, 2, 3, 4], |number| {
            done.lock().unwrap().push(*number);
            match number {
                1 => Err("one".into()),
                2 => panic!("planted"),
                _ => Ok(()),
            }
        });
        assert!(["one", "it panicked"].map(|error| Err(error.to_owned())).contains(&outcome));
        let mut done = done.into_inner().unwrap();
        done.sort_unstable();
        assert_eq!(done, [0, 1, 2, 3, 4]);
    }
}
