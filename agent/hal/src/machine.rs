//! Where the hardware is: the running kernel's files, or a recording of some.

use crate::v4l2::Wish;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use zhost_exchange::{DeviceError, Reading};

/// Size of an attribute that is read; the rest is not looked at.
const ATTRIBUTE_MAX_BYTES: usize = 4096;
/// Size of a recording in text.
const RECORDING_MAX_BYTES: u64 = 256 * 1024;
/// Entries of a directory that are looked at.
const ENTRIES_MAX: usize = 256;

/// The files of a machine: `/sys` and `/dev`, below `/` or below the directory of a recording.
#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
    is_recorded: bool,
    camera: Wish,
}

impl Machine {
    /// This computer.
    pub fn real() -> Self {
        Self::below(Path::new("/"))
    }

    /// A machine whose files are below this directory, not below `/`.
    pub fn below(root: &Path) -> Self {
        Self { root: root.to_owned(), is_recorded: false, camera: Wish::default() }
    }

    /// A recording: its `sys` is a copy of some of `/sys`; each file of its `dev` is played by the backend's twin.
    pub fn recorded(root: &Path) -> Self {
        // A relative name would be looked for below itself.
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        Self { root, is_recorded: true, camera: Wish::default() }
    }

    /// The same, its cameras asked for such pictures.
    pub fn with_camera(self, camera: Wish) -> Self {
        Self { camera, ..self }
    }

    /// What its cameras are asked for.
    pub(crate) fn camera(&self) -> Wish {
        self.camera
    }

    /// Whether it is a recording.
    pub fn is_recorded(&self) -> bool {
        self.is_recorded
    }

    /// A file of the machine; `name` is relative to its root.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The entries of a directory whose names begin with `prefix`, sorted by name; none if there is no such directory.
    pub fn entries(&self, dir: &str, prefix: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.path(dir)) else { return Vec::new() };
        let is_meant = |path: &PathBuf| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(prefix))
        };
        let mut found: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(is_meant).take(ENTRIES_MAX).collect();
        // video10 comes after video2.
        found.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
        found
    }
}

/// Why a file of a device could not be used.
pub(crate) fn failed(file: &Path, reason: impl ToString) -> DeviceError {
    DeviceError::Failed(format!("{}: {}", file.display(), reason.to_string()))
}

/// Why a device could not be opened: one that is gone is missing.
pub(crate) fn unopened(file: &Path, error: &io::Error) -> DeviceError {
    match error.kind() {
        io::ErrorKind::NotFound => DeviceError::Missing,
        _ => failed(file, error),
    }
}

/// The text of an attribute, without the line's end.
pub(crate) fn attribute(file: &Path) -> Result<String, DeviceError> {
    let mut bytes = fs::read(file).map_err(|e| unopened(file, &e))?;
    bytes.truncate(ATTRIBUTE_MAX_BYTES);
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// The text of a recording; a large one is refused.
pub(crate) fn recording(file: &Path) -> Result<String, DeviceError> {
    let size = fs::metadata(file).map_err(|e| unopened(file, &e))?.len();
    if size > RECORDING_MAX_BYTES {
        return Err(failed(file, format!("a recording has at most {RECORDING_MAX_BYTES} bytes")));
    }
    fs::read_to_string(file).map_err(|e| failed(file, e))
}

/// The number in an attribute.
pub(crate) fn number(file: &Path) -> Result<i64, DeviceError> {
    let text = attribute(file)?;
    text.parse().map_err(|_| failed(file, format!("{text:?} is no number")))
}

/// A value in thousandths of its unit, as a reading.
pub(crate) fn milli_reading(kind: &str, milli: i64, unit: &str) -> Reading {
    let (sign, size) = (if milli < 0 { "-" } else { "" }, milli.unsigned_abs());
    let value = match size % 1000 {
        0 => format!("{sign}{}", size / 1000),
        rest => format!("{sign}{}.{rest:03}", size / 1000).trim_end_matches('0').to_owned(),
    };
    Reading::Json(format!("{{\"type\":\"{kind}\",\"value\":{value},\"unit\":\"{unit}\"}}"))
}

/// A name that fits a capability, made of what a driver calls itself.
pub(crate) fn plain_name(text: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c.to_ascii_lowercase() } else { '-' }
    };
    text.trim().chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousandths_are_written_as_people_do() {
        let text = |milli| match milli_reading("t", milli, "C") {
            Reading::Json(json) => json,
            other => panic!("{other:?}"),
        };
        assert_eq!(text(21_500), r#"{"type":"t","value":21.5,"unit":"C"}"#);
        assert_eq!(text(-62), r#"{"type":"t","value":-0.062,"unit":"C"}"#);
        assert_eq!(text(40_000), r#"{"type":"t","value":40,"unit":"C"}"#);
        for milli in [-1, 0, 999, 1000, 123_456] {
            assert_eq!(milli_reading("t", milli, "C").value_milli(), Some(milli));
        }
    }
}
