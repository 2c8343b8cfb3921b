//! Programs that guests are made of: read from packages on flash, checked, compiled once for all guests of a space.

use crate::interpreter::{Interpreter, Program};
use litemap::LiteMap;
use std::sync::{Arc, Weak};
use zhost_base::{BlobDigest, Name, RecognizerSpec, SpaceKind, SpaceSpec, limits::BLOB_CHUNK_SIZE_BYTES};
use zhost_exchange::{Store, blob_key, table};
use zhost_mex::{Assets, Package, PublicKey, Trust};

/// A program with what its package says of its space.
pub(crate) struct Loaded {
    pub program: Arc<dyn Program>,
    pub spec: SpaceSpec,
    /// The names of its outgoing paths.
    pub paths: Vec<Name>,
    pub recognizers: Vec<RecognizerSpec>,
}

/// What a space is made of.
pub(crate) enum Content {
    /// A guest's.
    Program(Arc<Loaded>),
    /// A UI space's.
    Files(Assets),
}

/// Programs in use, and where further ones come from.
pub(crate) struct Programs {
    interpreter: Box<dyn Interpreter>,
    store: Arc<dyn Store>,
    publishers: Vec<PublicKey>,
    loaded: LiteMap<(BlobDigest, Name), Weak<Loaded>>,
    /// The package opened last: its other spaces are likely to follow.
    recent: Option<Recent>,
}

struct Recent {
    digest: BlobDigest,
    bytes: Vec<u8>,
    package: Package,
}

impl Programs {
    pub fn new(interpreter: Box<dyn Interpreter>, store: Arc<dyn Store>, publishers: Vec<PublicKey>) -> Self {
        Self { interpreter, store, publishers, loaded: LiteMap::new(), recent: None }
    }

    /// Forgets what only the next launch would need.
    pub fn rest(&mut self) {
        self.recent = None;
    }

    /// What a space of a package of so many bytes is made of.
    pub fn get(&mut self, digest: BlobDigest, package_bytes: u32, space: &Name) -> Result<Content, String> {
        let key = (digest, space.clone());
        if let Some(loaded) = self.loaded.get(&key).and_then(Weak::upgrade) {
            return Ok(Content::Program(loaded));
        }
        self.loaded.retain(|_, loaded| loaded.strong_count() > 0);
        self.open(digest, package_bytes)?;
        let Some(Recent { package, bytes, .. }) = &self.recent else {
            return Err("its package is gone".into());
        };
        let spec = package.topology.space(space).ok_or("its package does not declare it")?.clone();
        if spec.kind == SpaceKind::Ui {
            return package.assets(bytes, space).map(Content::Files).map_err(|e| e.to_string());
        }
        let wasm = package.wasm(space).ok_or("its package holds no WASM for it")?;
        // Checked again here: a zhost takes nobody's word for what it runs.
        let has_path = package.topology.has_path(space);
        self.interpreter.check(wasm, &spec, has_path).map_err(|e| e.to_string())?;
        let program = self.interpreter.load(wasm).map_err(|e| e.to_string())?;
        let paths = package.topology.paths_from(space).map(|(path, _)| path.name.clone()).collect();
        let recognizers = package.topology.recognizers.clone();
        let loaded = Arc::new(Loaded { program, spec, paths, recognizers });
        self.loaded.insert(key, Arc::downgrade(&loaded));
        Ok(Content::Program(loaded))
    }

    /// Reads and checks a package, unless it is the one that was read last.
    fn open(&mut self, digest: BlobDigest, package_bytes: u32) -> Result<(), String> {
        if self.recent.as_ref().is_none_or(|recent| recent.digest != digest) {
            self.recent = None;
            let bytes = read_blob(self.store.as_ref(), digest, package_bytes)?;
            let package =
                Package::open(&bytes, Trust::Publishers(&self.publishers)).map_err(|e| e.to_string())?;
            self.recent = Some(Recent { digest, bytes, package });
        }
        Ok(())
    }
}

/// Puts a blob together from its pieces on flash, or says why that cannot be done.
pub fn read_blob(store: &dyn Store, digest: BlobDigest, size_bytes: u32) -> Result<Vec<u8>, String> {
    let mut blob = Vec::with_capacity(size_bytes as usize);
    for index in 0..size_bytes.div_ceil(BLOB_CHUNK_SIZE_BYTES as u32) {
        let piece = store.get(table::BLOBS, &blob_key(digest, index)).map_err(|e| e.to_string())?;
        blob.extend_from_slice(&piece.ok_or("it is not complete on this zhost's flash")?);
    }
    if zhost_mex::digest(&blob) != digest {
        return Err("it is damaged on this zhost's flash".into());
    }
    Ok(blob)
}
