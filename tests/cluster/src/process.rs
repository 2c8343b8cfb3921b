//! Other programs: run, watched, and ended by us.

use crate::Outcome;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// What names of temporary things begin with.
const NAME_PREFIX: &str = "zhost-lab";
/// How often [`watch`] looks.
const LOOK_PERIOD: Duration = Duration::from_millis(5);
/// Directories that users who are not root may lack in their PATH.
const MORE_PROGRAM_DIRS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// A program that runs beside this one; it is killed when this is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program that writes all it says to the file `log`.
    pub fn start(command: &mut Command, log: &Path) -> Outcome<Self> {
        let open = || File::create(log).map_err(|e| format!("{}: {e}", log.display()));
        let (said, complained) = (open()?, File::options().append(true).open(log));
        let complained = complained.map_err(|e| format!("{}: {e}", log.display()))?;
        let child = command.stdin(Stdio::null()).stdout(said).stderr(complained).spawn();
        let child = child.map_err(|e| format!("{}: {e}", shown(command)))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// What it said so far.
    pub fn said(&self) -> Outcome<String> {
        let bytes = fs::read(&self.log).map_err(|e| format!("{}: {e}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Waits until it has ended well.
    pub fn finish(&mut self, patience: Duration) -> Outcome {
        let status = watch(patience, || self.child.try_wait().map_err(|e| e.to_string()))?;
        if status.success() { Ok(()) } else { Err(format!("{status}: {}", self.last_words())) }
    }

    /// The last lines it said, as one.
    pub fn last_words(&self) -> String {
        let said = self.said().unwrap_or_default();
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(3)..].join(" | ")
    }

    /// Kills it: SIGKILL, no goodbye.
    pub fn kill(&mut self) -> Outcome {
        self.child.kill().and_then(|()| self.child.wait()).map(drop).map_err(|e| e.to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(reason) = self.kill() {
            eprintln!("zhosts: cannot end process {}: {reason}", self.child.id());
        }
    }
}

/// Looks again and again until `look` gives something, for at most `patience`.
pub fn watch<T>(patience: Duration, mut look: impl FnMut() -> Outcome<Option<T>>) -> Outcome<T> {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if let Some(seen) = look()? {
            return Ok(seen);
        }
        thread::sleep(LOOK_PERIOD);
    }
    Err(format!("not within {} s", patience.as_secs()))
}

/// Runs a short command and gives what it printed.
pub fn output(command: &mut Command) -> Outcome<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{}: {e}", shown(command)))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {}", shown(command), complaint.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Where an installed program is.
pub fn installed(program: &str) -> Outcome<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(MORE_PROGRAM_DIRS.map(PathBuf::from));
    let found = dirs.map(|dir| dir.join(program)).find(|file| file.is_file());
    found.ok_or_else(|| format!("{program} is not installed; `bench setup` installs it"))
}

/// A name for something temporary of this process.
pub fn own_name(number: u32) -> String {
    format!("{NAME_PREFIX}-{}-{number}", std::process::id())
}

/// The names in `dir` of what processes like this one left when they were killed.
pub fn leftovers(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let ended = |name: &String| maker(name).is_some_and(|pid| !Path::new("/proc").join(pid).exists());
    names.filter(ended).collect()
}

/// The process id of whoever made something temporary, if it was one of us.
fn maker(name: &str) -> Option<&str> {
    let (pid, _) = name.strip_prefix(NAME_PREFIX)?.strip_prefix('-')?.split_once('-')?;
    let is_number = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(pid)
}

/// A directory for a short time: removed, with what it holds, when this is dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes a new one.
    pub fn create() -> Outcome<Self> {
        static SCRATCHES: AtomicU32 = AtomicU32::new(0);
        let number = SCRATCHES.fetch_add(1, Ordering::Relaxed);
        let all = std::env::temp_dir();
        for leftover in leftovers(&all) {
            // Those of other users stay.
            let _ = fs::remove_dir_all(all.join(leftover));
        }
        let dir = all.join(own_name(number));
        fs::create_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        Ok(Self(dir))
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file in it, and tells where that is.
    pub fn write(&self, name: &str, content: &str) -> Outcome<PathBuf> {
        let file = self.file(name);
        fs::write(&file, content).map_err(|e| format!("{}: {e}", file.display()))?;
        Ok(file)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_dir_all(&self.0) {
            eprintln!("zhosts: {}: {e}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_who_made_them() {
        assert_eq!(maker(&own_name(7)), Some(std::process::id().to_string().as_str()));
        assert_eq!(maker("zhost-lab-123-0-4"), Some("123"));
        assert_eq!(maker("zhost-lab-x-0-4"), None);
        assert_eq!(maker("zhost-lab--0"), None);
        assert_eq!(maker("somebody-else"), None);
    }
}
