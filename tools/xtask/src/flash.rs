//! `cargo xtask flash …`: writes an image to a flash card, and to nothing else.

use crate::Outcome;
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    path::Path,
};

const CHUNK_SIZE_BYTES: usize = 1 << 20;
const SECTOR_SIZE_BYTES: u64 = 512;

/// Writes the image, if the device is a card that can be taken out and that nothing uses.
pub fn run(image: &Path, device: &Path) -> Outcome {
    let failed = |file: &Path, e: std::io::Error| format!("{}: {e}", file.display());
    let size = fs::metadata(image).map_err(|e| failed(image, e))?.len();
    let real = device.canonicalize().map_err(|e| failed(device, e))?;
    let mounts = fs::read_to_string("/proc/mounts").map_err(|e| failed(Path::new("/proc/mounts"), e))?;
    check(Path::new("/sys/class/block"), &mounts, &real, size)?;
    let mut from = File::open(image).map_err(|e| failed(image, e))?;
    let mut to = OpenOptions::new().write(true).open(&real).map_err(|e| failed(&real, e))?;
    let bar = ProgressBar::new(size);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}")
    {
        bar.set_style(style);
    }
    let mut chunk = vec![0; CHUNK_SIZE_BYTES];
    loop {
        let read = from.read(&mut chunk).map_err(|e| failed(image, e))?;
        if read == 0 {
            break;
        }
        to.write_all(&chunk[..read]).map_err(|e| failed(&real, e))?;
        bar.inc(read as u64);
    }
    bar.finish_and_clear();
    eprintln!("waiting until all of it is on the card");
    to.sync_all().map_err(|e| failed(&real, e))?;
    println!("{} is on {}; it may be taken out", image.display(), device.display());
    Ok(())
}

/// Why this device must not be overwritten.
fn check(block: &Path, mounts: &str, device: &Path, image_bytes: u64) -> Outcome {
    let refuse = |reason: &str| Err(format!("{} {reason}; nothing was written", device.display()));
    let Some(name) = device.file_name().filter(|name| block.join(name).exists()) else {
        return refuse("is no block device");
    };
    let dir = block.join(name);
    let read = |file: &str| fs::read_to_string(dir.join(file)).map(|text| text.trim().to_owned()).ok();
    if dir.join("partition").exists() {
        return refuse("is a partition; name the whole card");
    }
    // Card readers of laptops say SD instead of being removable.
    let is_card = read("device/type").is_some_and(|kind| kind == "SD");
    if read("removable").as_deref() != Some("1") && !is_card {
        return refuse("cannot be taken out, so it is no flash card");
    }
    let prefix = device.display().to_string();
    if mounts.lines().any(|line| line.starts_with(&prefix)) {
        return refuse("is mounted; unmount it first");
    }
    let size = read("size").and_then(|sectors| sectors.parse::<u64>().ok()).unwrap_or(0) * SECTOR_SIZE_BYTES;
    if size < image_bytes {
        return refuse(&format!("has {} MB, the image {} MB", size / 1_000_000, image_bytes / 1_000_000));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// A kernel's view of one device.
    fn device(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let block = std::env::temp_dir().join(format!("zhost-flash-{}-{name}", std::process::id()));
        for (file, text) in files {
            let file = block.join("sdx").join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        block
    }

    fn refusal(name: &str, files: &[(&str, &str)], mounts: &str) -> String {
        let block = device(name, files);
        let outcome = check(&block, mounts, Path::new("/dev/sdx"), 1 << 20);
        fs::remove_dir_all(&block).unwrap();
        outcome.err().unwrap_or_default()
    }

    #[test]
    fn only_a_whole_unused_card_of_sufficient_size_is_written() {
        let card = [("removable", "1\n"), ("size", "4096\n")];
        assert_eq!(refusal("card", &card, "/dev/sda1 / ext4\n"), "");
        let reader = [("removable", "0"), ("device/type", "SD\n"), ("size", "4096")];
        assert_eq!(refusal("reader", &reader, ""), "");
        let disk = [("removable", "0\n"), ("size", "4096\n")];
        assert!(refusal("disk", &disk, "").contains("cannot be taken out"));
        assert!(refusal("mounted", &card, "/dev/sdx1 /media vfat\n").contains("is mounted"));
        let partition = [("removable", "1"), ("size", "4096"), ("partition", "1")];
        assert!(refusal("partition", &partition, "").contains("whole card"));
        assert!(refusal("small", &[("removable", "1"), ("size", "8")], "").contains("has 0 MB"));
        let nothing = check(Path::new("/nowhere"), "", Path::new("/dev/sdx"), 0);
        assert!(nothing.is_err_and(|reason| reason.contains("no block device")));
    }
}
