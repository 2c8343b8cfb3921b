//! Debian's kernels, unpacked below `target/kernels`.

use crate::{Outcome, setup, steps};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

/// What unpacking takes.
const TOOLS: [&str; 2] = ["kmod", "xz-utils"];

/// A kernel with what belongs to it.
pub struct Kernel {
    /// Such as `6.1.0-56-arm64`.
    pub release: String,
    /// Where its packages are unpacked.
    pub root: PathBuf,
    /// Debian's name of the architecture.
    pub architecture: &'static str,
}

/// Debian's architecture of a kernel by this name.
fn architecture(kernel: &str) -> Outcome<&'static str> {
    match kernel {
        "arm64" => Ok("arm64"),
        "armmp" | "armmp-lpae" => Ok("armhf"),
        "rpi" => Ok("armel"),
        _ => Err(format!("Debian has no kernel {kernel}: arm64, armmp, armmp-lpae or rpi")),
    }
}

impl Kernel {
    /// Gets Debian's kernel of this name, unless it is there already.
    pub fn get(name: &str) -> Outcome<Self> {
        let architecture = architecture(name)?;
        let dir = steps::root().join("target/kernels").join(name);
        let (root, known) = (dir.join("root"), dir.join("release"));
        if let Ok(release) = fs::read_to_string(&known) {
            return Ok(Self { release, root, architecture });
        }
        eprintln!("getting Debian's kernel {name} (some 60 MB, once)");
        fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        shell(&format!("dpkg --add-architecture {architecture}"), &dir)?;
        setup::apt_install(&TOOLS)?;
        let depends = shell(&format!("apt-cache depends linux-image-{name}:{architecture}"), &dir)?;
        let release =
            depends.split("linux-image-").nth(2).and_then(|rest| rest.split([':', '\n', ' ']).next());
        let release = release.ok_or_else(|| format!("Debian knows no kernel {name}"))?.to_owned();
        let kernel = Self { release, root, architecture };
        kernel.add(&[&format!("linux-image-{}", kernel.release)])?;
        shell(&format!("depmod -b root {}", kernel.release), &dir)?;
        fs::write(known, &kernel.release).map_err(|e| e.to_string())?;
        Ok(kernel)
    }

    /// Where it is kept.
    pub fn dir(&self) -> &Path {
        self.root.parent().unwrap_or(Path::new("."))
    }

    /// Unpacks more packages of the same architecture beside it.
    pub fn add(&self, packages: &[&str]) -> Outcome {
        let names: Vec<String> =
            packages.iter().map(|package| format!("{package}:{}", self.architecture)).collect();
        let script = format!(
            "rm -f *.deb; apt-get download -qq {}; mkdir -p root; for p in *.deb; do dpkg -x $p root; done; rm *.deb",
            names.join(" ")
        );
        shell(&script, self.dir()).map(drop)
    }

    /// A file of another package of the same architecture.
    pub fn file(&self, package: &str, path: &str) -> Outcome<PathBuf> {
        let file = self.root.join(path);
        if !file.exists() {
            self.add(&[package])?;
        }
        Ok(file)
    }

    /// The kernel itself.
    pub fn image(&self) -> PathBuf {
        self.root.join("boot").join(format!("vmlinuz-{}", self.release))
    }

    /// The files of these modules and of what they need, in the order in which they are loaded. What is built in has
    /// none; what the kernel lacks has none either.
    pub fn modules(&self, names: &[String]) -> Outcome<Vec<PathBuf>> {
        let (mut files, mut seen) = (Vec::new(), BTreeSet::new());
        for name in names {
            let mut command =
                steps::command("modprobe", &["-S", &self.release, "--show-depends", name, "-d"]);
            let shown = steps::output(command.arg(&self.root).stdin(Stdio::null()))?;
            let found = shown.lines().filter_map(|line| line.strip_prefix("insmod ")?.split(' ').next());
            files.extend(found.map(PathBuf::from).filter(|file| seen.insert(file.clone())));
        }
        Ok(files)
    }
}

/// The directory with the firmware of Raspberry Pis, which Debian keeps in a component of its own.
pub fn raspberry_firmware() -> Outcome<PathBuf> {
    let dir = steps::root().join("target/kernels/firmware");
    let files = dir.join("usr/lib/raspi-firmware");
    if !files.exists() {
        eprintln!("getting Debian's firmware for Raspberry Pis (5 MB, once)");
        fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        // The same mirror as for everything else.
        let script = "mkdir -p lists/partial
             site=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' \
                    | sed -n 's/ main$//p' | head -1)
             echo \"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site non-free-firmware\" > sources.list
             options=\"-o Dir::Etc::SourceList=$PWD/sources.list -o Dir::Etc::SourceParts=- -o Dir::State::Lists=$PWD/lists\"
             apt-get $options update -qq; apt-get $options download -qq raspi-firmware; dpkg -x raspi-firmware*.deb .";
        shell(script, &dir)?;
    }
    Ok(files)
}

/// Runs a shell script in a directory.
pub fn shell(script: &str, dir: &Path) -> Outcome<String> {
    steps::output(steps::command("sh", &["-ec", script]).current_dir(dir))
}
