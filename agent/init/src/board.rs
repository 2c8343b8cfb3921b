//! The board as the kernel hands it over: file systems, modules, the flash, the clock, and at last the power.

use rustix::{
    mount::{MountFlags, UnmountFlags, mount, unmount},
    process::{WaitOptions, wait},
    system::{RebootCommand, finit_module, reboot, sethostname},
    time::{ClockId, Timespec, clock_settime},
};
use std::{
    ffi::CString,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};

/// Where the data partition is mounted.
pub const DATA_DIR: &str = "/data";
/// The label of its file system.
const DATA_LABEL: &str = "zhost-data";
/// How long the flash may take to appear.
const FLASH_WITHIN: Duration = Duration::from_secs(20);
/// How long a panicked kernel shows why, before the board restarts.
const PANIC_SECONDS: &str = "10";
const LOOK_PERIOD: Duration = Duration::from_millis(50);
/// Modules in the order in which they are loaded.
const MODULE_LIST: &str = "/lib/modules/order";
/// Repairs the file system.
const REPAIR: &str = "/sbin/e2fsck";
/// Where the last known time is kept.
const CLOCK_FILE: &str = "/data/clock";

/// Mounts what every process expects of its kernel, and has it ask us before the keyboard restarts the board.
pub fn take_over() -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mounts = [
        ("proc", "/proc", flags),
        ("sysfs", "/sys", flags),
        ("devtmpfs", "/dev", MountFlags::NOSUID),
        ("tmpfs", "/run", flags),
    ];
    for (kind, place, flags) in mounts {
        fs::create_dir_all(place)?;
        match mount(kind, place, kind, flags, None) {
            // The kernel may have mounted it already.
            Ok(()) | Err(rustix::io::Errno::BUSY) => {}
            Err(error) => return Err(io::Error::other(format!("mounting {place}: {error}"))),
        }
    }
    reboot(RebootCommand::CadOff)?;
    // A kernel in trouble is to restart the board, not to stand still.
    fs::write("/proc/sys/kernel/panic", PANIC_SECONDS)?;
    fs::write("/proc/sys/kernel/panic_on_oops", "1")
}

/// How long ago the kernel began, in hundredths of a second: what `/proc/uptime` says, `12.34 56.78`.
pub fn uptime_centis() -> u64 {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let digits: String = text.chars().take_while(|c| *c != ' ').filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_default()
}

/// Settings on the kernel's command line: `zhost.name=attic` is `name`.
pub fn told_by_kernel() -> Vec<(String, String)> {
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let words = line.split_whitespace().filter_map(|word| word.strip_prefix("zhost.")?.split_once('='));
    words.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Loads the image's modules; one that does not fit this board costs a line. Gives how many were loaded.
pub fn load_modules() -> usize {
    let list = fs::read_to_string(MODULE_LIST).unwrap_or_default();
    let load = |line: &str| {
        let (file, parameters) = line.split_once(' ').unwrap_or((line, ""));
        let path = Path::new(MODULE_LIST).with_file_name(file);
        let loaded = File::open(&path).and_then(|module| {
            let parameters = CString::new(parameters)?;
            Ok(finit_module(&module, &parameters, 0)?)
        });
        match loaded {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => true,
            Err(error) => {
                log::warn!("module {file}: {error}");
                false
            }
        }
    };
    list.lines().filter(|line| load(line)).count()
}

/// Checks the data partition and mounts it.
pub fn mount_data() -> Result<(), String> {
    let device = data_device()?;
    let status = Command::new(REPAIR).arg("-p").arg(&device).stdin(Stdio::null()).status();
    let status = status.map_err(|e| format!("{REPAIR}: {e}"))?;
    // 1 and 2 say that it is whole again.
    if status.code().is_none_or(|code| code > 2) {
        return Err(format!("{} is damaged beyond what {REPAIR} -p repairs ({status})", device.display()));
    }
    fs::create_dir_all(DATA_DIR).map_err(|e| format!("{DATA_DIR}: {e}"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOATIME;
    mount(&device, DATA_DIR, "ext4", flags, None)
        .map_err(|e| format!("{} cannot be mounted: {e}", device.display()))
}

/// Waits for the partition with our label.
pub fn data_device() -> Result<PathBuf, String> {
    let deadline = Instant::now() + FLASH_WITHIN;
    loop {
        let devices = fs::read_dir("/sys/class/block").map_err(|e| format!("/sys/class/block: {e}"))?;
        let mut devices: Vec<PathBuf> =
            devices.filter_map(|device| Some(Path::new("/dev").join(device.ok()?.file_name()))).collect();
        devices.sort();
        if let Some(device) = devices.into_iter().find(|device| label(device).as_deref() == Some(DATA_LABEL))
        {
            return Ok(device);
        }
        if Instant::now() >= deadline {
            return Err(format!("no partition is labelled {DATA_LABEL}"));
        }
        thread::sleep(LOOK_PERIOD);
    }
}

/// The label of an ext4 file system (kernel: Documentation/filesystems/ext4/super.rst).
fn label(device: &Path) -> Option<String> {
    const SUPERBLOCK_AT: u64 = 1024;
    const MAGIC_AT: usize = 0x38;
    const LABEL_AT: usize = 0x78;
    let mut superblock = [0; LABEL_AT + 16];
    let mut file = File::open(device).ok()?;
    file.seek(SeekFrom::Start(SUPERBLOCK_AT)).ok()?;
    file.read_exact(&mut superblock).ok()?;
    if superblock[MAGIC_AT..MAGIC_AT + 2] != [0x53, 0xef] {
        return None;
    }
    let label = superblock[LABEL_AT..].split(|byte| *byte == 0).next()?;
    String::from_utf8(label.to_vec()).ok()
}

/// Gives the board its name.
pub fn set_name(name: &str) {
    if let Err(error) = sethostname(name.as_bytes()) {
        log::warn!("host name {name}: {error}");
    }
}

/// Puts the clock of a board that has none to the last time that was kept: late, but never before what was.
pub fn restore_clock() {
    let kept = fs::read_to_string(CLOCK_FILE).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let Some(kept) = kept else { return };
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    if now < kept {
        set_clock(kept * 1000);
    }
}

/// Puts the clock to this time, milliseconds since 1970.
pub fn set_clock(unix_ms: u64) {
    let time = Timespec { tv_sec: (unix_ms / 1000) as i64, tv_nsec: (unix_ms % 1000 * 1_000_000) as _ };
    if let Err(error) = clock_settime(ClockId::Realtime, time) {
        log::warn!("setting the clock: {error}");
    }
}

/// Whether the board has a clock that goes on without power.
pub fn has_clock() -> bool {
    fs::read_dir("/sys/class/rtc").is_ok_and(|mut clocks| clocks.next().is_some())
}

/// Keeps the time for the next start.
pub fn keep_clock() -> io::Result<()> {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    let unfinished = Path::new(CLOCK_FILE).with_extension("new");
    fs::write(&unfinished, now.to_string())?;
    File::open(&unfinished)?.sync_all()?;
    fs::rename(unfinished, CLOCK_FILE)
}

/// Buries processes whose parents have died; the first process inherits them.
pub fn reap() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

/// How the board ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// And begins anew.
    Restart,
    /// Without power.
    PowerOff,
}

/// Ends the board: what is on its way to flash arrives first.
pub fn end(end: End) -> io::Error {
    if let Err(error) = keep_clock() {
        log::warn!("{CLOCK_FILE}: {error}");
    }
    rustix::fs::sync();
    match unmount(DATA_DIR, UnmountFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::INVAL) => {}
        Err(error) => log::warn!("unmounting {DATA_DIR}: {error}"),
    }
    let command = match end {
        End::Restart => RebootCommand::Restart,
        End::PowerOff => RebootCommand::PowerOff,
    };
    match reboot(command) {
        Ok(()) => io::Error::other("the kernel does not end the board"),
        Err(error) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_read_only_from_an_ext4_file_system() {
        let file = std::env::temp_dir().join(format!("zhost-label-{}", std::process::id()));
        let mut image = vec![0; 4096];
        image[1024 + 0x38..1024 + 0x3a].copy_from_slice(&[0x53, 0xef]);
        image[1024 + 0x78..1024 + 0x82].copy_from_slice(b"zhost-data");
        fs::write(&file, &image).unwrap();
        assert_eq!(label(&file).as_deref(), Some(DATA_LABEL));
        image[1024 + 0x38] = 0;
        fs::write(&file, &image).unwrap();
        assert_eq!(label(&file), None);
        fs::write(&file, &image[..1024]).unwrap();
        assert_eq!(label(&file), None, "a partition too small for a file system");
        fs::remove_file(file).unwrap();
    }
}
