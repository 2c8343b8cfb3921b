//! MEX: the signed package that carries a topology, its WASM and its assets.
//!
//! A package is a ZIP of `manifest.yaml` (who published it, the SHA-256 of every file, an Ed25519 signature),
//! `topology.yaml` (spaces and paths) and one directory per space. The reader takes hostile input: everything is
//! checked against a limit before it is allocated, nothing is ignored silently, and packages built here carry a
//! checksum over the whole archive, so that a flipped bit anywhere is noticed.

mod archive;
mod build;
mod error;
pub mod firmware;
mod manifest;
mod package;
mod recognizer;
mod signature;
mod topology;
pub mod yaml;

pub use archive::Asset;
pub use build::{build, sign};
pub use error::MexError;
pub use manifest::{Manifest, Metadata};
pub use package::{Assets, Package, Trust, digest};
pub use signature::{KeyError, PublicKey, PublisherKey};
pub use topology::topology_id;
