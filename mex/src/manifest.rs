//! `manifest.yaml`: who published what, the hash of every file, and the signature.
//!
//! The signature is over the exact text of the manifest before its last top-level block, which must be `signature:`
//! in the form written here; so there is nothing to canonicalise and nothing unsigned to vary.

use crate::{
    error::MexError,
    signature::{self, PublicKey, PublisherKey},
    yaml::{self, Mapping, YamlError, quoted},
};
use std::collections::BTreeMap;
use zhost_base::Name;

/// The manifest's file name.
pub const MANIFEST: &str = "manifest.yaml";
const SIGNATURE_HEAD: &str = "signature:\n";

/// The content of `manifest.yaml` without its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Name, version and publisher.
    pub metadata: Metadata,
    pub(crate) topology: String,
    pub(crate) spaces: Vec<Name>,
    /// The SHA-256 of every other file, once the package is built.
    pub(crate) integrity: Option<BTreeMap<String, String>>,
}

/// What the package says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The package's name.
    pub name: Name,
    /// The package's version.
    pub version: Name,
    /// Who published it.
    pub publisher: String,
    /// When, as the publisher wrote it.
    pub created: Option<String>,
    /// The publisher's own notes.
    pub annotations: BTreeMap<String, String>,
}

/// What stands in a signature block.
struct Signed {
    key: PublicKey,
    signature: [u8; 64],
}

impl Manifest {
    /// Reads the manifest and tells who signed it; an unsigned one has no signer.
    pub(crate) fn read(bytes: &[u8]) -> Result<(Self, Option<PublicKey>), MexError> {
        let in_file = |e: YamlError| e.in_file(MANIFEST);
        let rule = |reason: &str| MexError::Rule { file: MANIFEST.into(), reason: reason.into() };
        let mut root = yaml::parse(bytes).and_then(yaml::Node::mapping).map_err(in_file)?;
        let signature = root.optional("signature");
        let manifest = Self::from_yaml(root).map_err(in_file)?;
        if manifest.metadata.publisher.len() > 128 {
            return Err(rule("metadata.publisher has at most 128 bytes"));
        }
        let Some(signature) = signature else { return Ok((manifest, None)) };
        let Signed { key, signature } =
            read_signature(signature).map_err(in_file)?.ok_or(MexError::BadSignature)?;
        let Some(signed) = bytes.strip_suffix(signature_block(&key, &signature).as_bytes()) else {
            return Err(rule("the signature must be the last block, as `zctl mex sign` writes it"));
        };
        if !key.verifies(signed, &signature) {
            return Err(MexError::BadSignature);
        }
        Ok((manifest, Some(key)))
    }

    fn from_yaml(mut root: Mapping) -> Result<Self, YamlError> {
        root.required("apiVersion")?.expect("samoza/v1")?;
        root.required("kind")?.expect("MEX")?;
        let mut metadata = root.required("metadata")?.mapping()?;
        let mut spec = root.required("spec")?.mapping()?;
        let integrity = root.optional("integrity").map(read_integrity).transpose()?;
        root.finish()?;
        let manifest = Self {
            metadata: Metadata {
                name: metadata.value("name")?,
                version: metadata.value("version")?,
                publisher: metadata.required("publisher")?.text()?,
                created: metadata.optional("created").map(yaml::Node::text).transpose()?,
                annotations: metadata
                    .optional("annotations")
                    .map(read_annotations)
                    .transpose()?
                    .unwrap_or_default(),
            },
            topology: spec.required("topology")?.text()?,
            spaces: spec
                .required("spaces")?
                .list()?
                .into_iter()
                .map(yaml::Node::value)
                .collect::<Result<_, _>>()?,
            integrity,
        };
        metadata.finish()?;
        spec.finish()?;
        Ok(manifest)
    }

    /// The manifest's text without a signature.
    pub(crate) fn render(&self) -> String {
        let Metadata { name, version, publisher, created, annotations } = &self.metadata;
        let mut text = format!(
            "apiVersion: samoza/v1\nkind: MEX\nmetadata:\n  name: {}\n  version: {}\n  publisher: {}\n",
            quoted(name.as_str()),
            quoted(version.as_str()),
            quoted(publisher)
        );
        if let Some(created) = created {
            text += &format!("  created: {}\n", quoted(created));
        }
        if !annotations.is_empty() {
            text += "  annotations:\n";
            annotations
                .iter()
                .for_each(|(key, value)| text += &format!("    {}: {}\n", quoted(key), quoted(value)));
        }
        text += &format!("spec:\n  topology: {}\n  spaces:\n", quoted(&self.topology));
        self.spaces.iter().for_each(|space| text += &format!("    - {}\n", quoted(space.as_str())));
        if let Some(files) = &self.integrity {
            text += "integrity:\n  algorithm: sha256\n  files:\n";
            files.iter().for_each(|(path, hash)| {
                text += &format!("    - path: {}\n      hash: {hash}\n", quoted(path))
            });
        }
        text
    }

    /// The manifest's text, signed by `key`.
    pub(crate) fn render_signed(&self, key: &PublisherKey) -> String {
        let text = self.render();
        let block = signature_block(&key.public(), &key.sign(text.as_bytes()));
        text + &block
    }
}

/// Free text by free keys: the one place where unknown keys are welcome.
pub(crate) fn read_annotations(node: yaml::Node) -> Result<BTreeMap<String, String>, YamlError> {
    node.mapping()?.into_entries().map(|(key, value)| Ok((key, value.text()?))).collect()
}

fn read_integrity(node: yaml::Node) -> Result<BTreeMap<String, String>, YamlError> {
    let mut integrity = node.mapping()?;
    let algorithm = integrity.required("algorithm")?;
    algorithm.expect("sha256")?;
    let mut files = BTreeMap::new();
    for file in integrity.required("files")?.list()? {
        let mut file = file.mapping()?;
        let path: String = file.required("path")?.text()?;
        let hash = file.required("hash")?.text()?;
        file.finish()?;
        files.insert(path, hash);
    }
    integrity.finish()?;
    Ok(files)
}

/// The two halves of a signature block; nothing if they are not a key and a signature.
fn read_signature(node: yaml::Node) -> Result<Option<Signed>, YamlError> {
    let mut block = node.mapping()?;
    let algorithm = block.required("algorithm")?.text()?;
    let key = block.required("publicKey")?.text()?;
    let signature = block.required("signature")?.text()?;
    block.finish()?;
    let key = key.parse::<PublicKey>().ok().filter(|_| algorithm == "ed25519");
    Ok(key.zip(signature::decode::<64>(&signature).ok()).map(|(key, signature)| Signed { key, signature }))
}

fn signature_block(key: &PublicKey, signature: &[u8; 64]) -> String {
    let signature = signature::encode(signature);
    format!("{SIGNATURE_HEAD}  algorithm: ed25519\n  publicKey: {key}\n  signature: {signature}\n")
}
