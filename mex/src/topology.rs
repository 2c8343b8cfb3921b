//! `topology.yaml` and `space.yaml`: the graph, checked.

use crate::{
    error::MexError,
    manifest::read_annotations,
    yaml::{self, Mapping, YamlError},
};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use zhost_base::{
    Name, PathSpec, SpaceKind, SpaceSpec, Start, TopologyId, TopologySpec,
    limits::{
        CAPABILITIES_MAX, PATHS_PER_TOPOLOGY_MAX, REPLICAS_MAX, SETTING_SIZE_MAX_BYTES, SETTINGS_MAX,
        SPACES_PER_TOPOLOGY_MAX,
    },
};

/// The topology's file name.
pub const TOPOLOGY: &str = "topology.yaml";

const MEMORY_DEFAULT_KIB: u32 = 4096;
const MEMORY_MAX_KIB: u32 = 256 * 1024;
const STORAGE_DEFAULT_KIB: u32 = 16 * 1024;
const STORAGE_MAX_KIB: u32 = 1024 * 1024;

/// The id of the topology with this name.
pub fn topology_id(name: &Name) -> TopologyId {
    let hash = Sha256::new().chain_update(b"zhost topology ").chain_update(name.as_str()).finalize();
    TopologyId::from_name_hash(&hash.into())
}

/// Reads `topology.yaml`; `version` is the package's.
pub fn read(bytes: &[u8], version: Name) -> Result<TopologySpec, MexError> {
    let in_file = |e: YamlError| e.in_file(TOPOLOGY);
    let mut root = yaml::parse(bytes).and_then(yaml::Node::mapping).map_err(in_file)?;
    let name = read_head(&mut root, "Topology").map_err(in_file)?;
    let spaces = root.required("spaces").and_then(yaml::Node::list).map_err(in_file)?;
    let paths =
        root.optional("paths").map(yaml::Node::list).transpose().map_err(in_file)?.unwrap_or_default();
    root.finish().map_err(in_file)?;
    if spaces.is_empty() {
        return Err(rule("a topology has at least one space"));
    }
    if spaces.len() > SPACES_PER_TOPOLOGY_MAX {
        return Err(rule(format!("a topology has at most {SPACES_PER_TOPOLOGY_MAX} spaces")));
    }
    if paths.len() > PATHS_PER_TOPOLOGY_MAX {
        return Err(rule(format!("a topology has at most {PATHS_PER_TOPOLOGY_MAX} paths")));
    }
    let spaces =
        spaces.into_iter().map(|space| read_space(space).map_err(in_file)).collect::<Result<Vec<_>, _>>()?;
    spaces.iter().try_for_each(check_space)?;
    let mut names = BTreeSet::new();
    if let Some(twice) = spaces.iter().find(|space| !names.insert(&space.name)) {
        return Err(rule(format!("the space {} is declared twice", twice.name)));
    }
    let paths =
        paths.into_iter().map(|path| read_path(path).map_err(in_file)).collect::<Result<Vec<_>, _>>()?;
    let paths = checked_paths(&spaces, paths)?;
    Ok(TopologySpec { name, version, spaces, paths, recognizers: Vec::new() })
}

/// What topologies and spaces begin with: version, kind, name.
pub(crate) fn read_head(root: &mut Mapping, kind: &str) -> Result<Name, YamlError> {
    root.required("apiVersion")?.expect("samoza/v1")?;
    root.required("kind")?.expect(kind)?;
    let mut metadata = root.required("metadata")?.mapping()?;
    let name = metadata.value("name")?;
    metadata.optional("owner").map(yaml::Node::text).transpose()?;
    metadata.optional("annotations").map(read_annotations).transpose()?;
    metadata.finish()?;
    Ok(name)
}

fn read_space(node: yaml::Node) -> Result<SpaceSpec, YamlError> {
    let mut space = node.mapping()?;
    let name: Name = space.value("name")?;
    let kind = space.value("type")?;
    let capabilities = space.optional("capabilities").map(yaml::Node::list).transpose()?.unwrap_or_default();
    if let Some(path) = space.optional("path") {
        path.expect(&format!("spaces/{name}"))?;
    }
    let resources = read_resources(space.optional("resources"))?;
    let settings = match space.optional("config") {
        Some(config) => config.mapping()?.values()?,
        None => Vec::new(),
    };
    let start = space.optional("start").map(yaml::Node::value).transpose()?.unwrap_or_default();
    let restart = space.optional("restart").map(yaml::Node::value).transpose()?.unwrap_or_default();
    let replicas = space.optional("replicas").map(yaml::Node::value).transpose()?.unwrap_or(0);
    let (mut region, mut zhost_kind) = (None, None);
    if let Some(placement) = space.optional("placement") {
        let mut placement = placement.mapping()?;
        region = placement.optional("region").map(yaml::Node::value).transpose()?;
        zhost_kind = placement.optional("kind").map(yaml::Node::value).transpose()?;
        placement.finish()?;
    }
    space.finish()?;
    Ok(SpaceSpec {
        name,
        kind,
        capabilities: capabilities.into_iter().map(yaml::Node::value).collect::<Result<_, _>>()?,
        memory_bytes: resources.memory_kib.saturating_mul(1024),
        start,
        restart,
        settings,
        fuel_per_second: resources.fuel_per_second,
        storage_bytes: resources.storage_kib.saturating_mul(1024),
        replicas,
        region,
        zhost_kind,
    })
}

struct Resources {
    memory_kib: u32,
    storage_kib: u32,
    fuel_per_second: u64,
}

fn read_resources(node: Option<yaml::Node>) -> Result<Resources, YamlError> {
    let mut resources =
        Resources { memory_kib: MEMORY_DEFAULT_KIB, storage_kib: STORAGE_DEFAULT_KIB, fuel_per_second: 0 };
    let Some(node) = node else { return Ok(resources) };
    let mut given = node.mapping()?;
    if let Some(memory) = given.optional("memoryKiB") {
        resources.memory_kib = memory.value()?;
    }
    if let Some(storage) = given.optional("storageKiB") {
        resources.storage_kib = storage.value()?;
    }
    if let Some(fuel) = given.optional("fuelPerSecond") {
        resources.fuel_per_second = fuel.value()?;
    }
    given.finish()?;
    Ok(resources)
}

fn check_space(space: &SpaceSpec) -> Result<(), MexError> {
    let name = &space.name;
    if space.capabilities.len() > CAPABILITIES_MAX {
        return Err(rule(format!("space {name} declares more than {CAPABILITIES_MAX} capabilities")));
    }
    if !(64..=MEMORY_MAX_KIB).contains(&(space.memory_bytes / 1024)) {
        return Err(rule(format!(
            "space {name}: resources.memoryKiB must lie between 64 and {MEMORY_MAX_KIB}"
        )));
    }
    if space.storage_bytes / 1024 > STORAGE_MAX_KIB {
        return Err(rule(format!("space {name}: resources.storageKiB must not exceed {STORAGE_MAX_KIB}")));
    }
    if space.settings.len() > SETTINGS_MAX {
        return Err(rule(format!("space {name}: config has more than {SETTINGS_MAX} keys")));
    }
    if let Some((key, _)) = space.settings.iter().find(|(_, value)| value.len() > SETTING_SIZE_MAX_BYTES) {
        return Err(rule(format!(
            "space {name}: config.{key} is longer than {SETTING_SIZE_MAX_BYTES} bytes"
        )));
    }
    if space.kind == SpaceKind::Ui && (!space.capabilities.is_empty() || space.start == Start::Spawned) {
        return Err(rule(format!(
            "space {name}: a UI space is files for a browser; it has no capabilities and is not spawned"
        )));
    }
    if space.start == Start::Spawned && space.keeps_data() {
        return Err(rule(format!("space {name}: a spawned space keeps no data; let it tell a DATA space")));
    }
    if space.replicas > 0 && space.kind != SpaceKind::Data {
        return Err(rule(format!("space {name}: only a DATA space has replicas")));
    }
    if space.replicas > REPLICAS_MAX {
        return Err(rule(format!("space {name}: at most {REPLICAS_MAX} replicas")));
    }
    Ok(())
}

struct Path {
    from: Name,
    to: Name,
    name: Name,
}

fn read_path(node: yaml::Node) -> Result<Path, YamlError> {
    let mut path = node.mapping()?;
    let read = Path { from: path.value("from")?, to: path.value("to")?, name: path.value("name")? };
    path.finish()?;
    Ok(read)
}

fn checked_paths(spaces: &[SpaceSpec], paths: Vec<Path>) -> Result<Vec<PathSpec>, MexError> {
    let index = |path: &Name, name: &Name| {
        let found = spaces.iter().position(|space| space.name == *name).and_then(|i| u8::try_from(i).ok());
        found.ok_or_else(|| rule(format!("path {path} names the space {name}, which is not declared")))
    };
    let mut seen = BTreeSet::new();
    let mut checked = Vec::with_capacity(paths.len());
    for path in paths {
        let spec = PathSpec {
            from: index(&path.name, &path.from)?,
            to: index(&path.name, &path.to)?,
            name: path.name,
        };
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
    let in_file = |e: YamlError| e.in_file(file);
    let mut root = yaml::parse(bytes).and_then(yaml::Node::mapping).map_err(in_file)?;
    let declared = read_head(&mut root, "Space").map_err(in_file)?;
    root.finish().map_err(in_file)?;
    if declared != *name {
        return Err(MexError::Rule { file: file.into(), reason: format!("metadata.name must be {name}") });
    }
    Ok(())
}

fn rule(reason: impl Into<String>) -> MexError {
    MexError::Rule { file: TOPOLOGY.into(), reason: reason.into() }
}
