//! `zctl mex …`: packages on the laptop.

use crate::{commands::MexCommand, files, keys, render};
use std::{collections::BTreeMap, fs, path::Path};
use zhost_base::limits::{MEX_FILES_MAX, MEX_SIZE_MAX_BYTES};
use zhost_mex::{Package, PublicKey, PublisherKey, Trust};
use zhost_runtime::{Wasmi, examine};

/// Shows what a package holds.
pub fn inspect(mex: &Path, json: bool) -> Result<String, String> {
    let package = Package::open(&files::read_package(mex)?, Trust::Anybody)
        .map_err(|e| format!("{}: {e}", mex.display()))?;
    render::package(&package, json)
}

/// Carries out a `mex` command that has one line to say.
pub fn run(command: &MexCommand) -> Result<String, String> {
    match command {
        MexCommand::Keygen { file } => keys::make_publisher_key(file),
        MexCommand::Build { dir, output, key } => {
            let mut package =
                zhost_mex::build(collect(dir, output)?).map_err(|e| format!("{}: {e}", dir.display()))?;
            if let Some(key) = key {
                package = zhost_mex::sign(&package, &publisher(key)?).map_err(|e| e.to_string())?;
            }
            files::write(output, &package)?;
            let signed = if key.is_some() { "signed" } else { "not signed yet" };
            Ok(format!("built {} ({} bytes, {signed})\n", output.display(), package.len()))
        }
        MexCommand::Sign { mex, key } => {
            let key = publisher(key)?;
            let signed = zhost_mex::sign(&files::read_package(mex)?, &key)
                .map_err(|e| format!("{}: {e}", mex.display()))?;
            files::write(mex, &signed)?;
            Ok(format!("signed {} as {}\n", mex.display(), key.public()))
        }
        MexCommand::Verify { mex, publisher } => verify(mex, publisher),
        MexCommand::Inspect { mex } => inspect(mex, false),
    }
}

fn verify(mex: &Path, publishers: &[String]) -> Result<String, String> {
    let error = |e: &dyn std::fmt::Display| format!("{}: {e}", mex.display());
    let key = |text: &String| text.parse::<PublicKey>().map_err(|e| format!("--publisher {text}: {e}"));
    let trusted = publishers.iter().map(key).collect::<Result<Vec<_>, _>>()?;
    let trust = if trusted.is_empty() { Trust::Anybody } else { Trust::Publishers(&trusted) };
    let package = Package::open(&files::read_package(mex)?, trust).map_err(|e| error(&e))?;
    examine(&package, &Wasmi).map_err(|e| error(&e))?;
    let signer = package.signer.ok_or_else(|| error(&zhost_mex::MexError::Unsigned))?;
    Ok(format!("{} is sound, signed by {signer}\n", mex.display()))
}

fn publisher(file: &Path) -> Result<PublisherKey, String> {
    keys::read(file).map(PublisherKey::from_seed)
}

/// All files below a directory, by their names in the package; without the package itself, if it is written there.
fn collect(dir: &Path, output: &Path) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let output = fs::canonicalize(output).ok();
    let mut files = BTreeMap::new();
    let mut room = MEX_SIZE_MAX_BYTES;
    let mut open = vec![dir.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).map_err(|e| files::error(&next, &e))? {
            let path = entry.map_err(|e| files::error(&next, &e))?.path();
            let metadata = fs::metadata(&path).map_err(|e| files::error(&path, &e))?;
            if metadata.is_dir() {
                open.push(path);
                continue;
            }
            if output.is_some() && fs::canonicalize(&path).ok() == output {
                continue;
            }
            if !metadata.is_file() {
                return Err(format!("{} is neither a file nor a directory", path.display()));
            }
            let what = "with it the files have more bytes than a package may have";
            let too_much = || format!("{}: {what}: {MEX_SIZE_MAX_BYTES}", path.display());
            room = room.checked_sub(metadata.len() as usize).ok_or_else(too_much)?;
            let content = fs::read(&path).map_err(|e| files::error(&path, &e))?;
            files.insert(path.strip_prefix(dir).unwrap_or(&path).to_string_lossy().into_owned(), content);
            if files.len() > MEX_FILES_MAX {
                return Err(format!("{} holds more than {MEX_FILES_MAX} files", dir.display()));
            }
        }
    }
    Ok(files)
}
