//! A package, opened and verified.

use crate::{
    archive::{self, Asset, Files},
    error::MexError,
    manifest::{MANIFEST, Manifest},
    recognizer,
    signature::PublicKey,
    topology::{self, TOPOLOGY},
};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use zhost_base::{BlobDigest, Name, SpaceKind, TopologySpec, limits::RECOGNIZERS_MAX};

/// Whose packages are accepted.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// Anybody's, even unsigned ones: for looking at a package, never for running it.
    Anybody,
    /// Those signed by one of these publishers.
    Publishers(&'a [PublicKey]),
}

/// A package whose archive, hashes, signature and topology have been checked.
#[derive(Clone, Debug)]
pub struct Package {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Who signed it.
    pub signer: Option<PublicKey>,
    /// Its graph of spaces.
    pub topology: TopologySpec,
    pub(crate) files: Files,
}

/// Files by name, each with the hash of its content.
pub type Assets = BTreeMap<String, (String, Asset)>;

/// The digest under which the package with these bytes is known.
pub fn digest(bytes: &[u8]) -> BlobDigest {
    BlobDigest(Sha256::digest(bytes).into())
}

impl Package {
    /// Opens a package; any flaw refuses it whole.
    pub fn open(bytes: &[u8], trust: Trust<'_>) -> Result<Self, MexError> {
        let files = archive::read(bytes)?;
        let text = files.get(MANIFEST).ok_or_else(|| MexError::Missing(MANIFEST.into()))?;
        let (manifest, signer) = Manifest::read(text)?;
        if let Trust::Publishers(trusted) = trust {
            let signer = signer.ok_or(MexError::Unsigned)?;
            if !trusted.contains(&signer) {
                return Err(MexError::Untrusted(signer));
            }
        }
        check_integrity(&manifest, &files)?;
        let topology = checked_content(&manifest, &files)?;
        Ok(Self { manifest, signer, topology, files })
    }

    /// The WASM of a space.
    pub fn wasm(&self, space: &Name) -> Option<&[u8]> {
        self.files.get(&format!("spaces/{space}/core.wasm")).map(Vec::as_slice)
    }

    /// The files of a UI space as the archive holds them, by their names below the space, with the SHA-256 of their
    /// contents in hexadecimal digits. `bytes` are those the package was opened from.
    pub fn assets(&self, bytes: &[u8], space: &Name) -> Result<Assets, MexError> {
        let prefix = format!("spaces/{space}/");
        let mut stored = archive::read_stored(bytes, &prefix)?;
        stored.remove("space.yaml");
        let listed = self.manifest.integrity.iter().flatten();
        let hashes: BTreeMap<&str, &str> =
            listed.filter_map(|(path, hash)| Some((path.strip_prefix(&prefix)?, hash.as_str()))).collect();
        let with_hash = |(name, asset): (String, Asset)| {
            let hash = hashes.get(name.as_str()).map(|hash| (*hash).to_owned())?;
            Some((name, (hash, asset)))
        };
        Ok(stored.into_iter().filter_map(with_hash).collect())
    }

    /// Every file with its size in bytes.
    pub fn files(&self) -> impl Iterator<Item = (&str, usize)> {
        self.files.iter().map(|(name, content)| (name.as_str(), content.len()))
    }
}

fn check_integrity(manifest: &Manifest, files: &Files) -> Result<(), MexError> {
    let rule = |reason: &str| MexError::Rule { file: MANIFEST.into(), reason: reason.into() };
    let listed = manifest.integrity.as_ref().ok_or_else(|| rule("the integrity block is missing"))?;
    let mut listed: BTreeMap<&str, &str> =
        listed.iter().map(|(path, hash)| (path.as_str(), hash.as_str())).collect();
    for (name, content) in files.iter().filter(|(name, _)| *name != MANIFEST) {
        let hash = listed.remove(name.as_str()).ok_or_else(|| MexError::Unexpected(name.clone()))?;
        if hash != hex_hash(content) {
            return Err(MexError::Hash(name.clone()));
        }
    }
    match listed.into_keys().next() {
        Some(name) => Err(MexError::Missing(name.into())),
        None => Ok(()),
    }
}

/// SHA-256 as the manifest writes it.
pub(crate) fn hex_hash(content: &[u8]) -> String {
    digest(content).to_string()
}

/// Checks what the files mean, and that each of them means something.
pub(crate) fn checked_content(manifest: &Manifest, files: &Files) -> Result<TopologySpec, MexError> {
    let rule = |reason: String| MexError::Rule { file: MANIFEST.into(), reason };
    if manifest.topology != TOPOLOGY {
        return Err(rule(format!("spec.topology must be {TOPOLOGY}")));
    }
    let text = files.get(TOPOLOGY).ok_or_else(|| MexError::Missing(TOPOLOGY.into()))?;
    let mut topology = topology::read(text, manifest.metadata.version.clone())?;
    if !topology.spaces.iter().map(|space| &space.name).eq(&manifest.spaces) {
        return Err(rule(format!("spec.spaces must list the spaces of {TOPOLOGY} in the same order")));
    }
    for space in &topology.spaces {
        let file = |name: &str| format!("spaces/{}/{name}", space.name);
        let space_file = file("space.yaml");
        let text = files.get(&space_file).ok_or_else(|| MexError::Missing(space_file.clone()))?;
        topology::check_space_file(&space_file, text, &space.name)?;
        let has_wasm = files.contains_key(&file("core.wasm"));
        if space.kind != SpaceKind::Ui && !has_wasm {
            return Err(MexError::Missing(file("core.wasm")));
        }
        if space.kind == SpaceKind::Ui && !files.contains_key(&file("index.html")) {
            return Err(MexError::Missing(file("index.html")));
        }
    }
    let recognizers = files.iter().filter(|(name, _)| name.starts_with("recognizers/"));
    topology.recognizers =
        recognizers.map(|(name, text)| recognizer::read(name, text)).collect::<Result<_, _>>()?;
    if topology.recognizers.len() > RECOGNIZERS_MAX {
        return Err(rule(format!("a package has at most {RECOGNIZERS_MAX} recognizers")));
    }
    match files.keys().find(|name| !is_declared(name, &topology)) {
        Some(name) => Err(MexError::Unexpected(name.clone())),
        None => Ok(topology),
    }
}

fn is_declared(file: &str, topology: &TopologySpec) -> bool {
    if matches!(file, MANIFEST | TOPOLOGY | "world/layout.yaml") || file.starts_with("recognizers/") {
        return true;
    }
    let Some((space, rest)) = file.strip_prefix("spaces/").and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    topology.spaces.iter().any(|declared| {
        declared.name.as_str() == space
            && match declared.kind {
                SpaceKind::Ui => !rest.ends_with(".wasm"),
                _ => matches!(rest, "space.yaml" | "core.wasm"),
            }
    })
}
