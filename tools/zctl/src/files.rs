//! Files of the laptop, read with errors that name the file, what is wrong with it, and what to do.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read},
    path::Path,
};
use zhost_base::limits::{FIRMWARE_SIZE_MAX_BYTES, MEX_SIZE_MAX_BYTES};

/// What an error of the operating system means for this file.
pub fn error(file: &Path, error: &std::io::Error) -> String {
    let reason = match error.kind() {
        ErrorKind::NotFound => match file.parent().filter(|dir| !dir.as_os_str().is_empty() && !dir.exists())
        {
            Some(dir) => format!("there is no directory {}", dir.display()),
            None => "there is no such file or directory".to_owned(),
        },
        ErrorKind::PermissionDenied => "you may not open it".to_owned(),
        ErrorKind::IsADirectory => "that is a directory".to_owned(),
        ErrorKind::NotADirectory => "on the way there is a file where a directory should be".to_owned(),
        ErrorKind::AlreadyExists => {
            "it is there already, and nothing is overwritten; choose another name".to_owned()
        }
        ErrorKind::InvalidData => "it is no text".to_owned(),
        _ => error.to_string(),
    };
    format!("{}: {reason}", file.display())
}

/// Reads a file of at most so many bytes; what it is stands in the error.
pub fn read(file: &Path, what: &str, size_max: usize) -> Result<Vec<u8>, String> {
    let opened = File::open(file).map_err(|e| error(file, &e))?;
    let metadata = opened.metadata().map_err(|e| error(file, &e))?;
    if metadata.is_dir() {
        return Err(format!("{}: that is a directory, not {what}", file.display()));
    }
    // A device or a pipe has no size and perhaps no end.
    let mut bytes = Vec::new();
    opened.take(size_max as u64 + 1).read_to_end(&mut bytes).map_err(|e| error(file, &e))?;
    match bytes.len() {
        0 => Err(format!("{}: it is empty, not {what}", file.display())),
        size if size > size_max => {
            let size = metadata.len().max(size as u64);
            Err(format!("{}: it has {size} bytes; {what} has at most {size_max}", file.display()))
        }
        _ => Ok(bytes),
    }
}

/// Reads what should be a package.
pub fn read_package(file: &Path) -> Result<Vec<u8>, String> {
    let bytes = read(file, "a package", MEX_SIZE_MAX_BYTES)?;
    let what = match &bytes[..] {
        [b'P', b'K', ..] => return Ok(bytes),
        [0, b'a', b's', b'm', ..] => "a WASM module: put it in a package with `zctl mex build`",
        [0x7f, b'E', b'L', b'F', ..] => "a program for a processor",
        _ if bytes.starts_with(zhost_mex::firmware::MAGIC) => "a signed agent: `zctl firmware push` takes it",
        _ if std::str::from_utf8(&bytes).is_ok() => "a text",
        _ => return Err(format!("{}: it is no .mex package (a ZIP archive)", file.display())),
    };
    Err(format!("{}: it is no .mex package (a ZIP archive), but {what}", file.display()))
}

/// Reads what should be a signed agent.
pub fn read_firmware(file: &Path) -> Result<Vec<u8>, String> {
    let bytes = read(file, "a signed agent", FIRMWARE_SIZE_MAX_BYTES)?;
    if bytes.starts_with(zhost_mex::firmware::MAGIC) {
        return Ok(bytes);
    }
    Err(format!("{}: it is no signed agent; make one with `zctl firmware build`", file.display()))
}

/// Writes a file.
pub fn write(file: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(file, bytes).map_err(|e| error(file, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(content: &[u8]) -> String {
        let name = format!("zctl-files-{}-{}", std::process::id(), content.len());
        let file = std::env::temp_dir().join(name);
        fs::write(&file, content).unwrap();
        let outcome = read_package(&file);
        fs::remove_file(&file).unwrap();
        outcome
            .err()
            .unwrap_or_default()
            .split_once(": ")
            .map_or_else(String::new, |(_, said)| said.to_owned())
    }

    #[test]
    fn what_is_no_package_is_named() {
        assert_eq!(said(b"PK\x03\x04"), "");
        assert_eq!(said(b""), "it is empty, not a package");
        assert_eq!(said(b"hello"), "it is no .mex package (a ZIP archive), but a text");
        assert_eq!(said(&[0xff; 9]), "it is no .mex package (a ZIP archive)");
        assert!(said(b"\0asm\x01\0\0\0").contains("zctl mex build"));
        assert!(said(&[zhost_mex::firmware::MAGIC, b"x".as_slice()].concat()).contains("firmware push"));
    }

    #[test]
    fn the_limit_and_the_size_are_named_and_endless_files_end() {
        let large = said(&vec![0; MEX_SIZE_MAX_BYTES + 5]);
        assert_eq!(
            large,
            format!("it has {} bytes; a package has at most {MEX_SIZE_MAX_BYTES}", MEX_SIZE_MAX_BYTES + 5)
        );
        let endless = read(Path::new("/dev/zero"), "a package", 1000).unwrap_err();
        assert_eq!(endless, "/dev/zero: it has 1001 bytes; a package has at most 1000");
        assert_eq!(
            read(Path::new("/"), "a package", 1000).unwrap_err(),
            "/: that is a directory, not a package"
        );
    }
}
