//! Installs what is missing, and says so. What is there already is left alone.

use crate::{Outcome, steps};
use clap::ValueEnum;
use std::{fs, path::PathBuf};

/// How guests are built for wasm32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GuestRoute {
    /// Rustup's target if it can be had, else Debian's Rust.
    Auto,
    /// Rustup's wasm32-unknown-unknown target.
    Rustup,
    /// Debian's Rust with its own source of the standard library.
    Debian,
}

/// The target of guests.
pub const GUEST_TARGET: &str = "wasm32-unknown-unknown";
/// The target of programs that know nothing of zhost.
pub const PROGRAM_TARGET: &str = "wasm32-wasip1";
/// The static target of the agent on this computer.
pub const AGENT_TARGET: &str = "x86_64-unknown-linux-musl";
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

fn route_file() -> PathBuf {
    steps::root().join("target/guest-route")
}

/// The route that setup found to work.
pub fn guest_route() -> GuestRoute {
    match fs::read_to_string(route_file()).as_deref() {
        Ok("debian") => GuestRoute::Debian,
        _ => GuestRoute::Rustup,
    }
}

/// Installs what is missing.
pub fn run(guests: GuestRoute) -> Outcome {
    need_compiler()?;
    need_linker()?;
    need_nextest()?;
    need_network_tools();
    need_guest_toolchain(guests)?;
    if !has_rustup_target(AGENT_TARGET) && !add_rustup_target(AGENT_TARGET) {
        eprintln!(
            "setup: rustup has no {AGENT_TARGET}; the agent is built for this computer's own libc instead"
        );
    }
    // Only a test of an ordinary program needs it.
    if !has_rustup_target(PROGRAM_TARGET) && !add_rustup_target(PROGRAM_TARGET) {
        eprintln!("setup: rustup has no {PROGRAM_TARGET}; a test is skipped");
    }
    if !has_library_source() {
        eprintln!("setup: rustup component add rust-src");
        if !steps::succeeds("rustup", &["component", "add", "rust-src"]) {
            eprintln!(
                "setup: no source of the standard library; the agent takes it as it comes, and is larger"
            );
        }
    }
    Ok(())
}

fn need_compiler() -> Outcome {
    if steps::succeeds("cc", &["--version"]) { Ok(()) } else { apt_install(&["gcc", "libc6-dev"]) }
}

/// The static agent is linked by LLVM's linker (`.cargo/config.toml`).
fn need_linker() -> Outcome {
    if steps::succeeds("ld.lld", &["--version"]) { Ok(()) } else { apt_install(&["lld"]) }
}

fn need_nextest() -> Outcome {
    if steps::succeeds("cargo", &["nextest", "--version"]) {
        return Ok(());
    }
    eprintln!("setup: installing cargo-nextest, the test runner (takes some minutes)");
    steps::run(&mut steps::command("cargo", &["install", "--quiet", "--locked", "cargo-nextest"]))
}

/// What tests in network namespaces need. Without root there are no such tests, and nothing is missing.
fn need_network_tools() {
    let is_root = steps::output(&mut steps::command("id", &["-u"])).is_ok_and(|id| id.trim() == "0");
    let has = |program: &str, version: &str| steps::succeeds(program, &[version]);
    if is_root
        && !(has("ip", "-V")
            && has("nft", "--version")
            && has("setpriv", "--version")
            && has("ethtool", "--version")
            && has("python3", "--version"))
        && let Err(reason) = apt_install(&["iproute2", "nftables", "util-linux", "ethtool", "python3"])
    {
        eprintln!("setup: tests in network namespaces will be skipped: {reason}");
    }
}

/// A browser, to look at the pages of UI spaces with. Without root the demo looks at them without one.
pub fn need_browser() {
    let is_there = steps::succeeds("chromedriver", &["--version"]);
    if !is_there && let Err(reason) = apt_install(&["chromium", "chromium-driver"]) {
        eprintln!("setup: pages will not be looked at with a real browser: {reason}");
    }
}

/// Zig from PyPI, for a test of a guest in C. Without it that one is skipped.
pub fn need_c_compiler_for_guests() {
    let environment = steps::root().join("target/bench-venv");
    let python = environment.join("bin/python").display().to_string();
    if steps::succeeds(&python, &["-m", "ziglang", "version"]) {
        return;
    }
    eprintln!("setup: installing zig, for guests in C, in target/bench-venv");
    let made = steps::succeeds("python3", &["-m", "venv", &environment.display().to_string()]);
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "ziglang"];
    if !made || !steps::succeeds(&python, &pip) {
        eprintln!("setup: no zig; a test is skipped");
    }
}

/// What only fuzzing needs.
pub fn need_fuzzer() -> Outcome {
    if !steps::succeeds("c++", &["--version"]) {
        apt_install(&["g++"])?;
    }
    if steps::succeeds("cargo", &["fuzz", "--version"]) {
        return Ok(());
    }
    eprintln!("setup: installing cargo-fuzz (takes a minute)");
    steps::run(&mut steps::command("cargo", &["install", "--quiet", "--locked", "cargo-fuzz"]))
}

fn need_guest_toolchain(wanted: GuestRoute) -> Outcome {
    // What was chosen once stays, until another choice is made.
    let wanted = match wanted {
        GuestRoute::Auto if route_file().exists() => guest_route(),
        wanted => wanted,
    };
    let rustup =
        wanted != GuestRoute::Debian && (has_rustup_target(GUEST_TARGET) || add_rustup_target(GUEST_TARGET));
    let route = match (rustup, wanted) {
        (true, _) => "rustup",
        (false, GuestRoute::Rustup) => {
            return Err(format!("rustup cannot add {GUEST_TARGET}; try --guests debian"));
        }
        (false, _) => {
            need_debian_rust()?;
            "debian"
        }
    };
    let file = route_file();
    let write = |_| fs::write(&file, route);
    fs::create_dir_all(steps::root().join("target"))
        .and_then(write)
        .map_err(|e| format!("{}: {e}", file.display()))
}

/// Installs a target of rustup's.
pub fn need_rustup_target(target: &str) -> Outcome {
    if has_rustup_target(target) || add_rustup_target(target) {
        return Ok(());
    }
    Err(format!("rustup has no {target}"))
}

/// Whether the active toolchain has the target.
pub fn has_rustup_target(target: &str) -> bool {
    let installed =
        steps::output(&mut steps::command("rustc", &["--print", "target-libdir", "--target", target]));
    installed.is_ok_and(|dir| PathBuf::from(dir.trim()).is_dir())
}

/// Whether the active toolchain has the standard library's source, to build it for size.
pub fn has_library_source() -> bool {
    let sysroot = steps::output(&mut steps::command("rustc", &["--print", "sysroot"]));
    sysroot.is_ok_and(|root| PathBuf::from(root.trim()).join("lib/rustlib/src/rust/library").is_dir())
}

fn add_rustup_target(target: &str) -> bool {
    eprintln!("setup: rustup target add {target}");
    steps::succeeds("rustup", &["target", "add", target])
}

fn need_debian_rust() -> Outcome {
    let missing: Vec<&str> =
        DEBIAN_PACKAGES.into_iter().filter(|package| !steps::succeeds("dpkg", &["-s", package])).collect();
    if missing.is_empty() { Ok(()) } else { apt_install(&missing) }
}

/// Installs Debian packages, or says how, if we may not.
pub fn apt_install(packages: &[&str]) -> Outcome {
    let install = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    let is_root = steps::output(&mut steps::command("id", &["-u"])).is_ok_and(|id| id.trim() == "0");
    if !is_root {
        return Err(format!(
            "some Debian packages are missing; run this, then try again:\n  sudo apt-get update && sudo {install}"
        ));
    }
    eprintln!("setup: {install}");
    let quiet = |command: &mut std::process::Command| {
        steps::run(command.env("DEBIAN_FRONTEND", "noninteractive").stdout(std::process::Stdio::null()))
    };
    // An index that is a little old is no reason to stop; a package that is missing is.
    let _ = quiet(&mut steps::command("apt-get", &["update", "-qq"]));
    let mut args = vec!["install", "-y", "-qq", "--no-install-recommends"];
    args.extend(packages);
    quiet(&mut steps::command("apt-get", &args))
}

/// The files of Debian's Rust: its `rustc` and `cargo`, which stand beside rustup's.
pub fn debian_tools() -> Outcome<(String, String)> {
    let tool = |package: &str, name: &str| {
        let files = steps::output(&mut steps::command("dpkg", &["-L", package]))?;
        let found =
            files.lines().find(|file| file.ends_with(&format!("/bin/{name}")) && !file.contains("/share/"));
        found.map(str::to_owned).ok_or_else(|| format!("the Debian package {package} holds no {name}"))
    };
    Ok((tool("rustc-web", "rustc")?, tool("cargo-web", "cargo")?))
}
