//! `manifest.yaml`: who published what, the hash of every file, and the signature.
//!
//! The signature is over the exact text of the manifest before its last top-level block, which must be `signature:`
//! in the form written here; so there is nothing to canonicalise and nothing unsigned to vary.

use crate::{
    error::MexError,
    signature::{self, PublicKey, PublisherKey},
    yaml,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use zhost_base::Name;

/// The manifest's file name.
pub const MANIFEST: &str = "manifest.yaml";
const SIGNATURE_HEAD: &str = "signature:\n";

/// The content of `manifest.yaml` without its signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    /// Name, version and publisher.
    pub metadata: Metadata,
    pub(crate) spec: Spec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) integrity: Option<Integrity>,
    #[serde(default, skip_serializing)]
    signature: Option<SignatureBlock>,
}

/// What the package says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// The package's name.
    pub name: Name,
    /// The package's version.
    pub version: Name,
    /// Who published it.
    pub publisher: String,
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Free for the publisher's own notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spec {
    pub topology: String,
    pub spaces: Vec<Name>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Integrity {
    pub algorithm: String,
    pub files: Vec<FileHash>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileHash {
    pub path: String,
    pub hash: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SignatureBlock {
    algorithm: String,
    public_key: String,
    signature: String,
}

impl Manifest {
    /// Reads the manifest and tells who signed it; an unsigned one has no signer.
    pub(crate) fn read(bytes: &[u8]) -> Result<(Self, Option<PublicKey>), MexError> {
        let mut manifest: Self = yaml::read(MANIFEST, bytes)?;
        let rule = |reason: &str| MexError::Rule { file: MANIFEST.into(), reason: reason.into() };
        if manifest.api_version != "samoza/v1" || manifest.kind != "MEX" {
            return Err(rule("expected apiVersion: samoza/v1 and kind: MEX"));
        }
        if manifest.metadata.publisher.len() > 128 {
            return Err(rule("metadata.publisher has at most 128 bytes"));
        }
        let Some(block) = manifest.signature.take() else { return Ok((manifest, None)) };
        if block.algorithm != "ed25519" {
            return Err(rule("signature.algorithm must be ed25519"));
        }
        let key = PublicKey::from_str_strict(&block.public_key).ok_or(MexError::BadSignature)?;
        let signed_by = signature::decode::<64>(&block.signature).map_err(|_| MexError::BadSignature)?;
        let tail = signature_block(&key, &signed_by);
        let Some(signed) = bytes.strip_suffix(tail.as_bytes()) else {
            return Err(rule("the signature must be the last block, as `zctl mex sign` writes it"));
        };
        if !key.verifies(signed, &signed_by) {
            return Err(MexError::BadSignature);
        }
        Ok((manifest, Some(key)))
    }

    /// The manifest's text without a signature.
    pub(crate) fn render(&self) -> Result<String, MexError> {
        let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
        let mut text = serde_saphyr::to_string_with_options(self, options)
            .map_err(|e| MexError::Yaml { file: MANIFEST.into(), reason: e.to_string() })?;
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Ok(text)
    }

    /// The manifest's text, signed by `key`.
    pub(crate) fn render_signed(&self, key: &PublisherKey) -> Result<String, MexError> {
        let text = self.render()?;
        let block = signature_block(&key.public(), &key.sign(text.as_bytes()));
        Ok(text + &block)
    }
}

impl PublicKey {
    fn from_str_strict(text: &str) -> Option<Self> {
        text.parse::<Self>().ok().filter(|key| key.to_string() == text)
    }
}

fn signature_block(key: &PublicKey, signature: &[u8; 64]) -> String {
    let signature = signature::encode(signature);
    format!("{SIGNATURE_HEAD}  algorithm: ed25519\n  publicKey: {key}\n  signature: {signature}\n")
}
