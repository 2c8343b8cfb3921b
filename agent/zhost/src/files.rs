//! Files the agent reads or keeps: whole, private, of a bounded size, or set aside.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// How many damaged files of one name are kept.
const ASIDE_MAX: usize = 2;

/// Fills an array from the operating system's randomness.
pub fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads a secret of 64 hexadecimal digits from a file that only its owner may read.
pub fn read_secret(file: &Path) -> io::Result<[u8; 32]> {
    let mut text = String::new();
    let opened = File::open(file)?;
    if opened.metadata()?.mode() & 0o077 != 0 {
        return Err(io::Error::other("others may read it; run chmod 600 on it"));
    }
    opened.take(1024).read_to_string(&mut text)?;
    parse_hex(text.trim_start_matches('\u{feff}').trim())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "expected 64 hexadecimal digits"))
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Reads an operator's public key: 64 hexadecimal digits.
pub fn parse_operator(text: &str) -> Option<[u8; 32]> {
    parse_hex(text)
}

/// Writes a secret that only its owner may read.
pub fn write_secret(file: &Path, secret: &[u8; 32]) -> io::Result<()> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    write_private(file, &format!("{hex}\n"))
}

/// Writes a file that only its owner may read, so that a power cut leaves either all of it or nothing.
pub fn write_private(file: &Path, text: &str) -> io::Result<()> {
    let unfinished = file.with_extension("new");
    let mut opened =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    opened.write_all(text.as_bytes())?;
    opened.sync_all()?;
    fs::rename(unfinished, file)?;
    sync_dir_of(file)
}

/// Reads a file that has at most so many bytes.
pub fn read(file: &Path, size_max_bytes: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Some files are longer than they say.
    File::open(file)?.take(size_max_bytes as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > size_max_bytes {
        return Err(io::Error::other(format!("it has more than {size_max_bytes} bytes")));
    }
    Ok(bytes)
}

/// Gives a file that cannot be used a name that says so, and tells which. Of several, the first are kept, and the last.
pub fn set_aside(file: &Path) -> io::Result<PathBuf> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let aside = |number: usize| file.with_file_name(format!("{name}.damaged-{number}"));
    let free = (1..ASIDE_MAX).map(aside).find(|name| !name.exists()).unwrap_or_else(|| aside(ASIDE_MAX));
    fs::rename(file, &free)?;
    sync_dir_of(file)?;
    Ok(free)
}

/// A name is on flash when its directory is.
fn sync_dir_of(file: &Path) -> io::Result<()> {
    File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all()
}
