//! `cargo xtask cross …`: the agent for every board, static, without Docker.
//!
//! Rust's own linker links all of them. Where rustup has no standard library for a target, the C library comes from
//! zig, which builds musl for any processor, and the standard library from its source.

use crate::{
    Outcome,
    artifacts::{self, Artifacts},
    setup, steps,
};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};
use zhost_cluster::{Cluster, Programs, cast, watch};

/// How long an emulated cluster may take for each step.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tests that simulate hours or make sessions by the thousand: minutes under emulation, and the same on every processor.
const TOO_LONG_EMULATED: [&str; 3] =
    ["declared_dead_in_an_hour", "a_silent_death_among_twenty", "frames_cross_in_order"];

/// What makes agents for boards smaller: the interpreter is built for size, which costs it a twentieth of its speed, and
/// panics of other people's crates do not say where they were.
const FOR_SIZE: [&str; 5] = [
    "-Zprofile-rustflags",
    "--config",
    "profile.release.package.wasmi.opt-level=\"z\"",
    "--config",
    "profile.release.package.\"*\".rustflags=[\"-Zlocation-detail=none\"]",
];

/// A kind of board to build for.
#[derive(Debug)]
pub struct Target {
    /// As Rust calls it.
    pub name: &'static str,
    /// Zig's name for it, and the least processor it is for.
    zig: (&'static str, &'static str),
    /// What runs it on this computer, if it is foreign.
    emulator: Option<&'static str>,
    /// The most it may have on flash.
    pub max_bytes: u64,
}

/// All of them. ARMv6 has none of the short instructions that ARMv7 has.
pub const TARGETS: [Target; 4] = [
    Target {
        name: "aarch64-unknown-linux-musl",
        zig: ("aarch64-linux-musl", "generic"),
        emulator: Some("qemu-aarch64-static"),
        max_bytes: 3_300_000,
    },
    Target {
        name: "armv7-unknown-linux-musleabihf",
        zig: ("arm-linux-musleabihf", "generic+v7a+vfp3d16"),
        emulator: Some("qemu-arm-static"),
        max_bytes: 2_600_000,
    },
    Target {
        name: "arm-unknown-linux-musleabihf",
        zig: ("arm-linux-musleabihf", "arm1176jzf_s"),
        emulator: Some("qemu-arm-static"),
        max_bytes: 3_600_000,
    },
    Target {
        name: setup::AGENT_TARGET,
        zig: ("x86_64-linux-musl", "baseline"),
        emulator: None,
        max_bytes: 4_900_000,
    },
];

/// The targets somebody asks for: one by its name, or `all`.
pub fn targets(name: &str) -> Outcome<Vec<&'static Target>> {
    let asked: Vec<&Target> = TARGETS.iter().filter(|target| name == "all" || target.name == name).collect();
    if asked.is_empty() {
        let known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        return Err(format!("there is no target {name}; there are all, {}", known.join(", ")));
    }
    Ok(asked)
}

/// `cargo xtask cross … --tests`: the pure crates' own tests, as they run on boards.
pub fn test(name: &str, crates: &[&str]) -> Outcome {
    setup::need_library_source()?;
    for target in targets(name)? {
        let Some(emulator) = target.emulator else { continue };
        setup::need_emulators()?;
        eprintln!("testing the pure crates for {} (some minutes, the first time)", target.name);
        let mut command = target.cargo("test", &steps::root().join("target/cross"))?;
        command.args(["-Zbuild-std=std,panic_unwind,test", "--lib", "--profile", "sim"]);
        for name in crates {
            command.args(["--package", name]);
        }
        command.arg("--");
        for name in TOO_LONG_EMULATED {
            command.args(["--skip", name]);
        }
        command.env(target.variable("RUNNER"), emulator);
        let said = steps::output(&mut command)?;
        let passed = said.lines().filter_map(|line| line.strip_prefix("test result: ok. "));
        let passed: u32 = passed.filter_map(|line| line.split(' ').next()?.parse::<u32>().ok()).sum();
        if passed == 0 {
            return Err(format!("{}: no test ran", target.name));
        }
        println!("{:<34} {passed} tests of the pure crates passed under {emulator}", target.name);
    }
    Ok(())
}

/// `cargo xtask cross …`: builds, and looks at what came out.
pub fn run(name: &str, again: bool) -> Outcome {
    let targets = targets(name)?;
    setup::need_library_source()?;
    let target_dir = steps::root().join("target/cross");
    let all = build_all(&targets, &target_dir)?;
    let artifacts = artifacts::build()?;
    let mut lines = Vec::new();
    let second =
        if again { build_all(&targets, &target_dir.with_file_name("cross-again"))? } else { Vec::new() };
    let pairs: Vec<(&Target, &Built)> = targets.iter().copied().zip(&all).collect();
    // Scripts are written before anything is started: a child of another thread could hold one open while it is run.
    pairs.iter().try_for_each(|(target, built)| target.runnable(&built.zhost).map(drop))?;
    steps::side_by_side(&pairs, |(target, built)| {
        target.look_at(built)?;
        target.try_out(built, &artifacts)
    })?;
    for (index, (target, built)) in pairs.into_iter().enumerate() {
        let digest = digest(&built.zhost)?;
        if let Some(second) = second.get(index)
            && digest != self::digest(&second.zhost)?
        {
            return Err(format!("{}: two builds differ", target.name));
        }
        lines.push(format!(
            "{:<34} {}  sha256 {}",
            target.name,
            target.room(built.size_bytes()?)?,
            &digest[..16]
        ));
    }
    println!(
        "static, stripped, two of each made a cluster here and ran spaces{}:",
        if again { ", the same when built again" } else { "" }
    );
    lines.iter().for_each(|line| println!("  {line}"));
    Ok(())
}

/// Builds the agent for these targets below a directory. The linking of each keeps one processor busy for a minute, so
/// they are built side by side: those for boards by one cargo, the one for this computer, which is built with other
/// options, by another, in a directory of its own, since one cargo locks out another.
pub fn build_all(targets: &[&Target], target_dir: &Path) -> Outcome<Vec<Built>> {
    let (boards, here): (Vec<&Target>, Vec<&Target>) =
        targets.iter().copied().partition(|target| target.is_board());
    if targets.iter().any(|target| !setup::has_rustup_target(target.name)) {
        // Fetched once, before all want it.
        setup::need_zig()?;
    }
    thread::scope(|scope| {
        let beside = scope.spawn(|| build_group(&here, target_dir));
        steps::side_by_side(&boards, |target| target.prepare())?;
        build_group(&boards, target_dir)?;
        beside.join().unwrap_or_else(|_| Err("it panicked".into()))
    })?;
    Ok(targets.iter().map(|target| target.built(target_dir)).collect())
}

fn build_group(targets: &[&Target], target_dir: &Path) -> Outcome {
    let Some(first) = targets.first() else { return Ok(()) };
    let names: Vec<&str> = targets.iter().map(|target| target.name).collect();
    eprintln!("building the agent for {} (some minutes, the first time)", names.join(", "));
    let mut command = cargo("build", targets, &first.dir(target_dir))?;
    steps::run_quietly(command.args(["--release", "--package", "zhost"]))
}

/// Cargo for these targets, which are all for boards or none of them.
fn cargo(verb: &str, targets: &[&Target], target_dir: &Path) -> Outcome<Command> {
    let mut command = steps::command("cargo", &[verb, "--quiet", "-Zjson-target-spec"]);
    command.arg("--target-dir").arg(target_dir);
    // The standard library, built for size and without what prints backtraces: 350 kB less.
    command.args(["-Zbuild-std=std,panic_unwind", "-Zbuild-std-features=optimize_for_size"]);
    command.env("RUSTC_BOOTSTRAP", "1");
    if targets.iter().any(|target| target.is_board()) {
        command.args(FOR_SIZE);
    }
    for target in targets {
        command.arg("--target").arg(target.specification()?);
        command.env(target.variable("RUSTFLAGS"), target.flags()?);
    }
    Ok(command)
}

/// An agent that was built.
pub struct Built {
    /// The program.
    pub zhost: PathBuf,
    /// The linker's account of what is in it.
    map: PathBuf,
}

impl Built {
    /// What it takes on flash.
    pub fn size_bytes(&self) -> Outcome<u64> {
        fs::metadata(&self.zhost).map(|file| file.len()).map_err(|e| format!("{}: {e}", self.zhost.display()))
    }

    /// How much of it comes from which crate, the largest first.
    pub fn by_crate(&self) -> Outcome<Vec<(String, u64)>> {
        let text = fs::read_to_string(&self.map).map_err(|e| format!("{}: {e}", self.map.display()))?;
        let mut sizes = BTreeMap::new();
        for line in text.lines() {
            let columns: Vec<&str> = line.split_whitespace().collect();
            // Address, load address, size, alignment, then the file and its section.
            let [_, _, size, _, section] = columns.as_slice() else { continue };
            if let (Ok(size), Some((_, section))) = (u64::from_str_radix(size, 16), section.split_once(":("))
            {
                *sizes.entry(crate_of(section.trim_end_matches(')'))).or_insert(0) += size;
            }
        }
        let mut sizes: Vec<(String, u64)> = sizes.into_iter().collect();
        sizes.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
        Ok(sizes)
    }
}

/// The crate a section of the linker's map belongs to, by the name of what is in it: of the crates in that name, as
/// Rust mangles it (`Cs`, a hash, `_`, length and name), the first that is not the standard library's.
fn crate_of(section: &str) -> String {
    let is_table =
        [".eh_frame", ".gcc_except_table", ".ARM.ex"].iter().any(|table| section.starts_with(table));
    if is_table {
        return "(tables for unwinding)".to_owned();
    }
    let crates = section.split("Cs").skip(1).filter_map(|rest| {
        let (_, name) = rest.split_once('_')?;
        let digits = name.find(|c: char| !c.is_ascii_digit())?;
        let length: usize = name[..digits].parse().ok()?;
        name[digits..].trim_start_matches('_').get(..length)
    });
    let crates: Vec<&str> = crates.collect();
    let own = crates.iter().find(|name| !["core", "alloc", "std"].contains(name));
    match (own, crates.is_empty()) {
        (Some(name), _) => (*name).to_owned(),
        (None, false) => "(standard library)".to_owned(),
        (None, true) => "(constants, C library)".to_owned(),
    }
}

impl Target {
    /// Builds the agent below this target directory.
    pub fn build(&self, target_dir: &Path) -> Outcome<Built> {
        build_group(&[self], target_dir)?;
        Ok(self.built(target_dir))
    }

    /// Cargo for this target.
    pub fn cargo(&self, verb: &str, target_dir: &Path) -> Outcome<Command> {
        cargo(verb, &[self], &self.dir(target_dir))
    }

    /// Where its agent is when it is built.
    fn built(&self, target_dir: &Path) -> Built {
        let zhost = self.dir(target_dir).join(self.name).join("release/zhost");
        Built { zhost, map: steps::root().join(self.map()) }
    }

    /// Where it is built.
    fn dir(&self, target_dir: &Path) -> PathBuf {
        if self.is_board() { target_dir.to_owned() } else { target_dir.join("here") }
    }

    /// Makes what the compiler is told, which takes other programs.
    fn prepare(&self) -> Outcome {
        self.specification().and_then(|_| self.flags()).map(drop)
    }

    /// What the compiler is told beside what `.cargo/config.toml` says: relative paths, and none of this computer in what
    /// is built, so that the same source gives the same program.
    fn flags(&self) -> Outcome<String> {
        let mut flags =
            format!("-Clink-arg=-Map={} --remap-path-prefix={}=.", self.map(), steps::root().display());
        if self.is_board() {
            // Of what is only for programmers to read, the names of types.
            flags += " -Zfmt-debug=shallow";
        }
        if let Some(cargo) = setup::cargo_home() {
            flags += &format!(" --remap-path-prefix={}=", cargo.join("registry/src").display());
        }
        if !setup::has_rustup_target(self.name) {
            let libraries = self.libraries()?;
            flags += &format!(" -Clink-self-contained=no -Lnative={libraries} -Clink-arg={libraries}/crt1.o");
        }
        Ok(flags)
    }

    /// What an agent of this size leaves of the limit, in words; an error if that is nothing.
    fn room(&self, size_bytes: u64) -> Outcome<String> {
        let [size, limit] = [size_bytes, self.max_bytes].map(|bytes| bytes.div_ceil(1000));
        match self.max_bytes.checked_sub(size_bytes) {
            Some(left) => Ok(format!("{size:>6} kB of {limit}, {} left", left / 1000)),
            None => Err(format!("{}: {size} kB, and {limit} is the limit", self.name)),
        }
    }

    /// Whether it is for boards, not for this computer.
    fn is_board(&self) -> bool {
        self.emulator.is_some()
    }

    /// What cargo is told of the target: its name, or a file with what rustc knows of it, but without the frame pointers
    /// that it wants there; unwinding needs none.
    fn specification(&self) -> Outcome<PathBuf> {
        let known = ["-Zunstable-options", "--print", "target-spec-json", "--target", self.name];
        let known = steps::output(steps::command("rustc", &known).env("RUSTC_BOOTSTRAP", "1"))?;
        let mut known: serde_json::Value = serde_json::from_str(&known).map_err(|e| e.to_string())?;
        let Some(frame_pointer) = known.get_mut("frame-pointer") else { return Ok(self.name.into()) };
        *frame_pointer = "may-omit".into();
        let file = steps::root().join("target/specifications").join(self.name).with_extension("json");
        let text = known.to_string();
        if fs::read_to_string(&file).is_ok_and(|before| before == text) {
            return Ok(file);
        }
        let written = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&file, text));
        written.map(|()| file.clone()).map_err(|e| format!("{}: {e}", file.display()))
    }

    /// What cargo calls a setting of this target in the environment.
    fn variable(&self, setting: &str) -> String {
        format!("CARGO_TARGET_{}_{setting}", self.name.to_uppercase().replace('-', "_"))
    }

    /// Where the linker writes down what it put together.
    fn map(&self) -> String {
        format!("target/{}.map", self.name)
    }

    /// The directory with the C library, which zig builds once; below the project's root.
    fn libraries(&self) -> Outcome<String> {
        let below_root = format!("target/libraries/{}", self.name);
        let dir = steps::root().join(&below_root);
        if dir.join("libc.a").exists() {
            return Ok(below_root);
        }
        let zig = setup::need_zig()?;
        eprintln!("setup: zig builds musl for {}", self.name);
        fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let program = dir.join("empty.c");
        fs::write(&program, format!("/* {} */ int main(void) {{ return 0; }}\n", dir.display()))
            .map_err(|e| e.to_string())?;
        let (target, processor) = self.zig;
        let mut link = Command::new(&zig);
        link.args(["build-exe", "-target", target, &format!("-mcpu={processor}"), "-O", "ReleaseSmall"]);
        link.args(["-lc", "-lunwind", "--verbose-link", "-femit-bin=empty", "empty.c"]).current_dir(&dir);
        let output = link.output().map_err(|e| format!("{}: {e}", zig.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        // What it tells the linker names every part; the last line is the program's own.
        let parts =
            said.lines().rfind(|line| line.starts_with("ld.lld")).ok_or_else(|| format!("zig: {said}"))?;
        let part = |name: &str| {
            let found = parts.split_whitespace().rfind(|word| word.ends_with(&format!("/{name}")));
            found.map(PathBuf::from).ok_or_else(|| format!("zig links without {name}: {parts}"))
        };
        for name in ["crt1.o", "libunwind.a"] {
            fs::copy(part(name)?, dir.join(name)).map_err(|e| format!("{name}: {e}"))?;
        }
        // Musl, what of it zig has rewritten, and what the compiler calls: one library.
        let libraries = ["libc.a", "libzigc.a", "libcompiler_rt.a"].map(part);
        let libraries = libraries.into_iter().collect::<Outcome<Vec<_>>>()?;
        let script: String = libraries.iter().map(|file| format!("addlib {}\n", file.display())).collect();
        fs::write(dir.join("merge"), format!("create merged.a\n{script}save\nend\n"))
            .map_err(|e| e.to_string())?;
        let merge = fs::File::open(dir.join("merge")).map_err(|e| e.to_string())?;
        steps::run(Command::new(&zig).args(["ar", "-M"]).current_dir(&dir).stdin(merge))?;
        fs::rename(dir.join("merged.a"), dir.join("libc.a")).map_err(|e| e.to_string())?;
        Ok(below_root)
    }

    /// A program of this computer that runs one of this target.
    fn runnable(&self, program: &Path) -> Outcome<PathBuf> {
        let Some(emulator) = self.emulator else { return Ok(program.to_owned()) };
        setup::need_emulators()?;
        let script = program.with_extension("emulated");
        let text = format!("#!/bin/sh\nexec {emulator} {} \"$@\"\n", program.display());
        if fs::read_to_string(&script).is_ok_and(|before| before == text) {
            return Ok(script);
        }
        let failed = |e: std::io::Error| format!("{}: {e}", script.display());
        fs::write(&script, text).map_err(failed)?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).map_err(failed)?;
        Ok(script)
    }

    /// Checks that the program needs nothing but a kernel, and that it works, panics included.
    fn look_at(&self, built: &Built) -> Outcome {
        let zhost = built.zhost.display().to_string();
        let segments = steps::output(&mut steps::command("readelf", &["-lW", &zhost]))?;
        let needed = steps::output(&mut steps::command("readelf", &["-dW", &zhost]))?;
        let sections = steps::output(&mut steps::command("readelf", &["-SW", &zhost]))?;
        if segments.contains("INTERP") || needed.contains("NEEDED") {
            return Err(format!("{zhost} is not static"));
        }
        if sections.contains(".symtab") {
            return Err(format!("{zhost} is not stripped"));
        }
        let runnable = self.runnable(&built.zhost)?;
        steps::output(Command::new(runnable).arg("--check")).map(drop)
    }

    /// Two of them become a cluster and run two spaces that talk to each other.
    fn try_out(&self, built: &Built, artifacts: &Artifacts) -> Outcome {
        let dir = steps::root().join(format!("target/cross-{}-{}", self.name, std::process::id()));
        let programs =
            Programs { zhost: self.runnable(&built.zhost)?, zctl: artifacts.programs.zctl.clone() };
        let mut cluster = Cluster::create(&dir, &programs, cast(2))?;
        (0..2).try_for_each(|index| cluster.start(index))?;
        let two_alive = || {
            let zhosts = cluster.ask(&["cluster", "zhosts"])?;
            let alive = zhosts.as_array().into_iter().flatten().filter(|zhost| zhost["state"] == "alive");
            Ok((alive.count() == 2).then_some(()))
        };
        watch(PATIENCE, two_alive)?;
        let [duel, mex, key] = [artifacts.duel.clone(), dir.join("duel.mex"), dir.join("publisher.key")]
            .map(|path| path.display().to_string());
        cluster.zctl(&["mex", "build", &duel, "--output", &mex, "--key", &key])?;
        watch(PATIENCE, || cluster.zctl(&["topo", "submit", &mex]).map(Some))?;
        let running = || Ok((cluster.ask(&["topo", "status", "duel"])?["state"] == "running").then_some(()));
        watch(PATIENCE, running)?;
        let heard = || Ok((!cluster.said("near")?.is_empty()).then_some(()));
        watch(PATIENCE, heard)
            .map_err(|reason| format!("{}: the spaces do not talk: {reason}", self.name))?;
        cluster.end()?;
        drop(cluster);
        fs::remove_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))
    }
}

fn digest(file: &Path) -> Outcome<String> {
    let line = steps::output(&mut steps::command("sha256sum", &[&file.display().to_string()]))?;
    Ok(line.split_whitespace().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::TARGETS;

    #[test]
    fn an_agent_over_its_target_s_limit_is_refused() {
        for target in &TARGETS {
            assert!(target.room(target.max_bytes).unwrap().ends_with(" 0 left"));
            assert!(target.room(target.max_bytes + 1).unwrap_err().contains("is the limit"));
        }
    }
}
