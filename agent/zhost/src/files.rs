//! Files the agent keeps or reads: secrets, the identity, the store.

use redb::backends::FileBackend;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use zhost_link::Identity;
use zhost_runtime::{RedbStore, StoreError};

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
    parse_hex(text.trim()).ok_or_else(|| io::Error::other("expected 64 hexadecimal digits"))
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

/// The zhost's identity, made at its first start.
pub fn identity(data_dir: &Path) -> io::Result<Identity> {
    let file = data_dir.join("identity.key");
    match read_secret(&file) {
        Ok(private) => Ok(Identity::from_private(private)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let private = random()?;
            write_secret(&file, &private)?;
            Ok(Identity::from_private(private))
        }
        Err(error) => Err(error),
    }
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
    // The name is on flash when the directory is.
    File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Opens the store in the data directory; only one agent at a time can.
pub fn open_store(data_dir: &Path) -> Result<RedbStore<FileBackend>, StoreError> {
    let file: PathBuf = data_dir.join("zhost.redb");
    RedbStore::open(move || {
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&file)?;
        FileBackend::new(opened).map_err(io::Error::other)
    })
}
