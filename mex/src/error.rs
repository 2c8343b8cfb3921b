//! Why a package is refused. Reading a package changes nothing, so no error leaves anything behind.

use crate::signature::PublicKey;
use std::fmt;

/// Why a package is refused; its text is a sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MexError {
    /// Larger than a package may be.
    TooLarge {
        /// Its size.
        size_bytes: usize,
    },
    /// Not a well-formed ZIP archive.
    Archive(String),
    /// The checksum over the archive does not match: it was damaged on its way.
    Checksum,
    /// The archive unpacks to more than is allowed.
    Bomb(String),
    /// A file name that leads out of the package or means different things to different systems.
    Path(String),
    /// A file that must be there is not.
    Missing(String),
    /// A file that belongs to nothing the package declares.
    Unexpected(String),
    /// A YAML file that cannot be read as what it should be.
    Yaml {
        /// Which file.
        file: String,
        /// What is wrong, and where.
        reason: String,
    },
    /// Something in a YAML file contradicts the rules of topologies.
    Rule {
        /// Which file.
        file: String,
        /// Which rule.
        reason: String,
    },
    /// A file whose content is not what the manifest says.
    Hash(String),
    /// The manifest bears no signature.
    Unsigned,
    /// The signature is not by the key it names, or not over this manifest.
    BadSignature,
    /// The signature is good, but by a publisher the cluster does not trust.
    Untrusted(PublicKey),
}

impl fmt::Display for MexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { size_bytes } => write!(
                f,
                "the package has {size_bytes} bytes; at most {} are allowed",
                zhost_base::limits::MEX_SIZE_MAX_BYTES
            ),
            Self::Archive(reason) => write!(f, "the package is not a sound ZIP archive: {reason}"),
            Self::Checksum => {
                f.write_str("the package is damaged: its checksum does not match; copy or build it again")
            }
            Self::Bomb(reason) => write!(f, "the package unpacks to too much: {reason}"),
            Self::Path(name) => write!(f, "the package holds a file with an unsafe name: {name:?}"),
            Self::Missing(name) => write!(f, "the package lacks the file {name}"),
            Self::Unexpected(name) => write!(f, "the package holds {name}, which nothing in it declares"),
            Self::Yaml { file, reason } | Self::Rule { file, reason } => write!(f, "{file}: {reason}"),
            Self::Hash(name) => {
                write!(f, "{name} is not the file the manifest was made for: its SHA-256 differs")
            }
            Self::Unsigned => f.write_str("the package is not signed; sign it with `zctl mex sign`"),
            Self::BadSignature => {
                f.write_str("the package's signature is wrong: the manifest is not what was signed")
            }
            Self::Untrusted(key) => write!(
                f,
                "the package is signed by a publisher this cluster does not trust: {key}; add the key to the cluster's publishers, or sign with a trusted one"
            ),
        }
    }
}

impl std::error::Error for MexError {}
