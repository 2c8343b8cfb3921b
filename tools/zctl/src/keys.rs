//! Keys and secrets in files that only their owner may read.

use crate::files;
use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};
use zhost_link::Identity;
use zhost_mex::PublisherKey;

/// Fills an array from the operating system's randomness.
pub fn random() -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|e| format!("/dev/urandom: {e}"))?;
    Ok(bytes)
}

/// Two digits a byte.
pub fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write_new(file: &Path) -> Result<[u8; 32], String> {
    let secret = random()?;
    let mut opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .map_err(|e| files::error(file, &e))?;
    writeln!(opened, "{}", hex(&secret)).map_err(|e| files::error(file, &e))?;
    Ok(secret)
}

/// Reads 64 hexadecimal digits from a file that only its owner may read.
pub fn read(file: &Path) -> Result<[u8; 32], String> {
    let error = |reason: &dyn std::fmt::Display| format!("{}: {reason}", file.display());
    let opened = File::open(file).map_err(|e| files::error(file, &e))?;
    let metadata = opened.metadata().map_err(|e| files::error(file, &e))?;
    if metadata.is_dir() {
        return Err(error(&"that is a directory, not a key or secret"));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(error(&format!("others may read it (mode {mode:o}); run chmod 600 on it")));
    }
    let mut text = String::new();
    opened.take(1024).read_to_string(&mut text).map_err(|e| files::error(file, &e))?;
    let text = text.trim();
    let digits = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        let pair = text.get(2 * index..2 * index + 2).filter(|_| digits);
        let pair = pair.ok_or_else(|| {
            error(&"expected 64 hexadecimal digits, as `zctl keygen` and `zctl secret` write them")
        })?;
        *byte = u8::from_str_radix(pair, 16).map_err(|e| error(&e))?;
    }
    Ok(bytes)
}

/// Reads a public key of an operator, as `zctl keygen` prints it.
pub fn parse_public(text: &str) -> Result<String, String> {
    let digits = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let wrong =
        || format!("{text:?} is no operator's key: 64 hexadecimal digits, as `zctl keygen` prints them");
    digits.then(|| text.to_ascii_lowercase()).ok_or_else(wrong)
}

/// Makes an operator's key; prints its public half.
pub fn make_operator_key(file: &Path) -> Result<String, String> {
    let identity = Identity::from_private(write_new(file)?);
    Ok(format!("{}\n", hex(identity.public())))
}

/// Makes a publisher's key; prints its public half.
pub fn make_publisher_key(file: &Path) -> Result<String, String> {
    Ok(format!("{}\n", PublisherKey::from_seed(write_new(file)?).public()))
}

/// Makes a secret.
pub fn make_secret(file: &Path) -> Result<String, String> {
    write_new(file)?;
    Ok(format!("wrote {}\n", file.display()))
}
