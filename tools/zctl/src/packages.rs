//! `zctl mex …`: packages on the laptop.

use crate::{Outcome, commands::MexCommand, keys, render};
use std::{collections::BTreeMap, fs, path::Path};
use zhost_base::limits::{MEX_FILES_MAX, MEX_SIZE_MAX_BYTES};
use zhost_mex::{Package, PublicKey, PublisherKey, Trust};

/// Shows what a package holds.
pub fn inspect(mex: &Path, json: bool) -> Outcome {
    let package =
        Package::open(&read(mex)?, Trust::Anybody).map_err(|e| format!("{}: {e}", mex.display()))?;
    render::package(&package, json)
}

/// Carries out a `mex` command that has one line to say.
pub fn run(command: &MexCommand) -> Outcome {
    match command {
        MexCommand::Keygen { file } => keys::make_publisher_key(file),
        MexCommand::Build { dir, output, key } => {
            let mut package =
                zhost_mex::build(collect(dir)?).map_err(|e| format!("{}: {e}", dir.display()))?;
            if let Some(key) = key {
                package = zhost_mex::sign(&package, &publisher(key)?).map_err(|e| e.to_string())?;
            }
            write(output, &package)?;
            let signed = if key.is_some() { "signed" } else { "not signed yet" };
            Ok(format!("built {} ({} bytes, {signed})\n", output.display(), package.len()))
        }
        MexCommand::Sign { mex, key } => {
            let key = publisher(key)?;
            let signed = zhost_mex::sign(&read(mex)?, &key).map_err(|e| format!("{}: {e}", mex.display()))?;
            write(mex, &signed)?;
            Ok(format!("signed {} as {}\n", mex.display(), key.public()))
        }
        MexCommand::Verify { mex, publisher } => verify(mex, publisher),
        MexCommand::Inspect { mex } => inspect(mex, false),
    }
}

fn verify(mex: &Path, publishers: &[String]) -> Outcome {
    let error = |e: &dyn std::fmt::Display| format!("{}: {e}", mex.display());
    let key = |text: &String| text.parse::<PublicKey>().map_err(|e| format!("--publisher {text}: {e}"));
    let trusted = publishers.iter().map(key).collect::<Result<Vec<_>, _>>()?;
    let trust = if trusted.is_empty() { Trust::Anybody } else { Trust::Publishers(&trusted) };
    let package = Package::open(&read(mex)?, trust).map_err(|e| error(&e))?;
    let signer = package.signer.ok_or_else(|| error(&zhost_mex::MexError::Unsigned))?;
    Ok(format!("{} is sound, signed by {signer}\n", mex.display()))
}

fn publisher(file: &Path) -> Result<PublisherKey, String> {
    keys::read(file).map(PublisherKey::from_seed)
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|e| format!("{}: {e}", file.display()))
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(file, bytes).map_err(|e| format!("{}: {e}", file.display()))
}

/// All files below a directory, by their names in the package.
fn collect(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut files = BTreeMap::new();
    let mut room = MEX_SIZE_MAX_BYTES;
    let mut open = vec![dir.to_path_buf()];
    while let Some(next) = open.pop() {
        let error = |e: std::io::Error| format!("{}: {e}", next.display());
        for entry in fs::read_dir(&next).map_err(error)? {
            let path = entry.map_err(error)?.path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let name = path.strip_prefix(dir).unwrap_or(&path).to_string_lossy().into_owned();
            let content = read(&path)?;
            room = room
                .checked_sub(content.len())
                .ok_or_else(|| format!("{} holds too much for a package", dir.display()))?;
            files.insert(name, content);
            if files.len() > MEX_FILES_MAX {
                return Err(format!("{} holds more than {MEX_FILES_MAX} files", dir.display()));
            }
        }
    }
    Ok(files)
}
