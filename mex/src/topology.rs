//! `topology.yaml` and `space.yaml`: the graph, checked.

use crate::{error::MexError, yaml};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use zhost_base::{
    Name, PathSpec, SpaceKind, SpaceSpec, TopologyId, TopologySpec,
    limits::{CAPABILITIES_MAX, PATHS_PER_TOPOLOGY_MAX, SPACES_PER_TOPOLOGY_MAX},
};

/// The topology's file name.
pub const TOPOLOGY: &str = "topology.yaml";

const MEMORY_DEFAULT_KIB: u32 = 4096;
const MEMORY_MAX_KIB: u32 = 256 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Topology {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spaces: Vec<Space>,
    #[serde(default)]
    paths: Vec<Path>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: Name,
    #[serde(default, rename = "owner")]
    _owner: Option<String>,
    #[serde(default, rename = "annotations")]
    _annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Space {
    name: Name,
    #[serde(rename = "type")]
    kind: SpaceKind,
    #[serde(default)]
    capabilities: Vec<Name>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    resources: Resources,
    #[serde(default)]
    placement: Constraints,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Resources {
    #[serde(rename = "memoryKiB")]
    memory_kib: u32,
}

impl Default for Resources {
    fn default() -> Self {
        Self { memory_kib: MEMORY_DEFAULT_KIB }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Constraints {
    #[serde(default)]
    region: Option<Name>,
    #[serde(default)]
    kind: Option<Name>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Path {
    from: Name,
    to: Name,
    name: Name,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SpaceFile {
    api_version: String,
    kind: String,
    metadata: Metadata,
}

/// The id of the topology with this name.
pub fn topology_id(name: &Name) -> TopologyId {
    let hash = Sha256::new().chain_update(b"zhost topology ").chain_update(name.as_str()).finalize();
    TopologyId::from_name_hash(&hash.into())
}

/// Reads `topology.yaml`; `version` is the package's.
pub fn read(bytes: &[u8], version: Name) -> Result<TopologySpec, MexError> {
    let topology: Topology = yaml::read(TOPOLOGY, bytes)?;
    if topology.api_version != "samoza/v1" || topology.kind != "Topology" {
        return Err(rule("expected apiVersion: samoza/v1 and kind: Topology"));
    }
    if topology.spaces.is_empty() {
        return Err(rule("a topology has at least one space"));
    }
    if topology.spaces.len() > SPACES_PER_TOPOLOGY_MAX {
        return Err(rule(format!("a topology has at most {SPACES_PER_TOPOLOGY_MAX} spaces")));
    }
    if topology.paths.len() > PATHS_PER_TOPOLOGY_MAX {
        return Err(rule(format!("a topology has at most {PATHS_PER_TOPOLOGY_MAX} paths")));
    }
    let spaces = topology.spaces.into_iter().map(checked_space).collect::<Result<Vec<_>, _>>()?;
    let mut names = BTreeSet::new();
    if let Some(twice) = spaces.iter().find(|space| !names.insert(&space.name)) {
        return Err(rule(format!("the space {} is declared twice", twice.name)));
    }
    let paths = checked_paths(&spaces, topology.paths)?;
    Ok(TopologySpec { name: topology.metadata.name, version, spaces, paths })
}

fn checked_space(space: Space) -> Result<SpaceSpec, MexError> {
    let name = &space.name;
    if space.path.is_some_and(|path| path.trim_end_matches('/') != format!("spaces/{name}")) {
        return Err(rule(format!("the path of space {name} must be spaces/{name}")));
    }
    if space.capabilities.len() > CAPABILITIES_MAX {
        return Err(rule(format!("space {name} declares more than {CAPABILITIES_MAX} capabilities")));
    }
    if !(64..=MEMORY_MAX_KIB).contains(&space.resources.memory_kib) {
        return Err(rule(format!("space {name}: resources.memoryKiB must lie between 64 and {MEMORY_MAX_KIB}")));
    }
    Ok(SpaceSpec {
        name: space.name,
        kind: space.kind,
        capabilities: space.capabilities,
        memory_bytes: space.resources.memory_kib * 1024,
        region: space.placement.region,
        zhost_kind: space.placement.kind,
    })
}

fn checked_paths(spaces: &[SpaceSpec], paths: Vec<Path>) -> Result<Vec<PathSpec>, MexError> {
    let index = |path: &Name, name: &Name| {
        let found = spaces.iter().position(|space| space.name == *name).and_then(|i| u8::try_from(i).ok());
        found.ok_or_else(|| rule(format!("path {path} names the space {name}, which is not declared")))
    };
    let mut seen = BTreeSet::new();
    let mut checked = Vec::with_capacity(paths.len());
    for path in paths {
        let spec = PathSpec { from: index(&path.name, &path.from)?, to: index(&path.name, &path.to)?, name: path.name };
        if spec.from == spec.to {
            return Err(rule(format!("path {} leads from {} to itself", spec.name, path.from)));
        }
        if !seen.insert((spec.from, spec.name.clone())) {
            return Err(rule(format!("two paths named {} leave the space {}", spec.name, path.from)));
        }
        checked.push(spec);
    }
    Ok(checked)
}

/// Checks a `space.yaml`.
pub fn check_space_file(file: &str, bytes: &[u8], name: &Name) -> Result<(), MexError> {
    let space: SpaceFile = yaml::read(file, bytes)?;
    if space.api_version != "samoza/v1" || space.kind != "Space" || space.metadata.name != *name {
        let reason = format!("expected apiVersion: samoza/v1, kind: Space and metadata.name: {name}");
        return Err(MexError::Rule { file: file.into(), reason });
    }
    Ok(())
}

fn rule(reason: impl Into<String>) -> MexError {
    MexError::Rule { file: TOPOLOGY.into(), reason: reason.into() }
}
