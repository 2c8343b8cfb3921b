//! Building and signing packages.

use crate::{
    archive::{self, Files},
    error::MexError,
    manifest::{MANIFEST, Manifest},
    package::{self, hex_hash},
    signature::PublisherKey,
};

/// Builds an unsigned package from source files: `manifest.yaml` (without integrity and signature), `topology.yaml`
/// and the spaces' directories. The same files give the same bytes.
pub fn build(mut files: Files) -> Result<Vec<u8>, MexError> {
    let text = files.remove(MANIFEST).ok_or_else(|| MexError::Missing(MANIFEST.into()))?;
    let (mut manifest, _) = Manifest::read(&text)?;
    package::checked_content(&manifest, &files)?;
    let hashes = files.iter().map(|(path, content)| (path.clone(), hex_hash(content)));
    manifest.integrity = Some(hashes.collect());
    files.insert(MANIFEST.into(), manifest.render().into_bytes());
    archive::write(&files)
}

/// Signs a package, replacing any signature it has.
pub fn sign(bytes: &[u8], key: &PublisherKey) -> Result<Vec<u8>, MexError> {
    let mut package = package::Package::open(bytes, package::Trust::Anybody)?;
    let text = package.manifest.render_signed(key);
    package.files.insert(MANIFEST.into(), text.into_bytes());
    archive::write(&package.files)
}
