//! Secrets that a zhost keeps for its spaces: one file each, which only its owner may read, in a directory of the
//! zhost's. They are read when they are asked for, so that a changed one is taken at once.

use crate::{
    Device, Found,
    machine::{failed, unopened},
};
use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};
use zhost_base::Instant;
use zhost_exchange::{DeviceError, Reading};

/// Size of a secret; a larger one is refused.
const SECRET_MAX_BYTES: u64 = 4096;

struct Secret(PathBuf);

/// The secrets in a directory: file `x` is `secrets.x`.
pub fn find(dir: &Path) -> Vec<Found> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let found = entries.filter(|path| path.is_file()).filter_map(|path| {
        let name = format!("secrets.{}", path.file_name()?.to_str()?);
        Some(Found::certain(name, path.clone(), Secret(path)))
    });
    found.collect()
}

impl Device for Secret {
    fn read(&self, _: Instant) -> Result<Reading, DeviceError> {
        let file = File::open(&self.0).map_err(|e| unopened(&self.0, &e))?;
        let metadata = file.metadata().map_err(|e| failed(&self.0, e))?;
        if metadata.mode() & 0o077 != 0 {
            return Err(failed(&self.0, "others may read it; run chmod 600 on it"));
        }
        if metadata.len() > SECRET_MAX_BYTES {
            return Err(failed(&self.0, format!("a secret has at most {SECRET_MAX_BYTES} bytes")));
        }
        let mut bytes = Vec::new();
        file.take(SECRET_MAX_BYTES).read_to_end(&mut bytes).map_err(|e| failed(&self.0, e))?;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        Ok(Reading::Bytes(bytes))
    }
}
