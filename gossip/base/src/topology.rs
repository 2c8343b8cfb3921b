//! The graph of spaces and paths as every part of the system understands it.

use crate::{Name, RecognizerSpec, TopologyId};
use alloc::{string::String, vec::Vec};
use core::{fmt, str::FromStr};
use serde::{Deserialize, Serialize};

/// What an operator deploys: spaces, and the paths on which they may send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopologySpec {
    /// The topology's name; its id derives from it.
    pub name: Name,
    /// The package's version, for people.
    pub version: Name,
    /// At most [`crate::limits::SPACES_PER_TOPOLOGY_MAX`].
    pub spaces: Vec<SpaceSpec>,
    /// At most [`crate::limits::PATHS_PER_TOPOLOGY_MAX`].
    pub paths: Vec<PathSpec>,
    /// At most [`crate::limits::RECOGNIZERS_MAX`].
    pub recognizers: Vec<RecognizerSpec>,
}

/// What a zhost offers that answers browsers.
pub const WEB_CAPABILITY: &str = "web";

/// One space of a topology: what it is, may do, needs, and where it may run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpaceSpec {
    /// Unique in its topology.
    pub name: Name,
    /// What sort of space it is.
    pub kind: SpaceKind,
    /// The permissions it declares; its zhost must offer all of them.
    pub capabilities: Vec<Name>,
    /// The most linear memory it may use.
    pub memory_bytes: u32,
    /// Who starts it.
    pub start: Start,
    /// What follows when it ends.
    pub restart: Restart,
    /// What it is told with `sys.config`; at most [`crate::limits::SETTINGS_MAX`].
    pub settings: Vec<(Name, String)>,
    /// The most fuel it may use in a second; 0 is as much as there is.
    pub fuel_per_second: u64,
    /// The most bytes of keys and values it may keep.
    pub storage_bytes: u32,
    /// How many other zhosts keep a copy of its data.
    pub replicas: u8,
    /// Only zhosts of this region may run it.
    pub region: Option<Name>,
    /// Only zhosts of this kind may run it.
    pub zhost_kind: Option<Name>,
}

/// The type of a space, as in the public MEX format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpaceKind {
    /// Talks to the world: sensors, actuators.
    Io,
    /// Keeps data on its zhost's flash.
    Data,
    /// Answers calls.
    Call,
    /// Holds conversations.
    Chat,
    /// Static assets for a browser; never WASM.
    Ui,
}

/// Who starts a space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// The cluster, which places it and restarts it.
    #[default]
    Placed,
    /// Other spaces of its topology, as often as they like, with `proc.spawn`.
    Spawned,
}

impl FromStr for Start {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "placed" => Ok(Self::Placed),
            "spawned" => Ok(Self::Spawned),
            _ => Err("expected placed or spawned"),
        }
    }
}

/// What follows when a space ends without having been told to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restart {
    /// It is started again if it failed.
    #[default]
    OnFailure,
    /// It is started again, also if it ended in order.
    Always,
    /// It stays ended, or held, until an operator restarts it.
    Never,
}

impl FromStr for Restart {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "on-failure" => Ok(Self::OnFailure),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err("expected on-failure, always or never"),
        }
    }
}

/// A declared, directed connection: without it there is no sending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathSpec {
    /// Unique among the paths leaving `from`.
    pub name: Name,
    /// Index of the sending space in [`TopologySpec::spaces`].
    pub from: u8,
    /// Index of the receiving space in [`TopologySpec::spaces`].
    pub to: u8,
}

/// One space of one topology, cluster-wide.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SpaceKey {
    /// The topology it belongs to.
    pub topology: TopologyId,
    /// Its name in that topology.
    pub space: Name,
}

impl fmt::Debug for SpaceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}", self.topology, self.space)
    }
}

impl SpaceSpec {
    /// A space that may do nothing, may be anywhere, and has 64 KiB of memory.
    pub fn new(name: Name, kind: SpaceKind) -> Self {
        Self {
            name,
            kind,
            capabilities: Vec::new(),
            memory_bytes: 64 * 1024,
            start: Start::Placed,
            restart: Restart::OnFailure,
            settings: Vec::new(),
            fuel_per_second: 0,
            storage_bytes: 1024 * 1024,
            replicas: 0,
            region: None,
            zhost_kind: None,
        }
    }

    /// Whether it may write data that outlives it.
    pub fn keeps_data(&self) -> bool {
        self.replicas > 0 || self.capabilities.iter().any(|capability| capability.as_str() == "data.write")
    }

    /// What its zhost must offer.
    pub fn needs(&self) -> impl Iterator<Item = Name> {
        let web = (self.kind == SpaceKind::Ui).then(|| WEB_CAPABILITY.parse().ok()).flatten();
        self.capabilities.iter().cloned().chain(web)
    }
}

impl TopologySpec {
    /// The space of that name.
    pub fn space(&self, name: &Name) -> Option<&SpaceSpec> {
        self.spaces.iter().find(|space| space.name == *name)
    }

    /// The paths leaving the space of that name, with the space each leads to.
    pub fn paths_from<'a>(&'a self, name: &'a Name) -> impl Iterator<Item = (&'a PathSpec, &'a SpaceSpec)> {
        self.paths.iter().filter_map(move |path| {
            let from = self.spaces.get(usize::from(path.from))?;
            let to = self.spaces.get(usize::from(path.to))?;
            (from.name == *name).then_some((path, to))
        })
    }

    /// Whether a path leaves or reaches the space of that name.
    pub fn has_path(&self, name: &Name) -> bool {
        let is = |index: u8| self.spaces.get(usize::from(index)).is_some_and(|space| space.name == *name);
        self.paths.iter().any(|path| is(path.from) || is(path.to))
    }
}

/// The text is not a type of space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotASpaceKind;

impl fmt::Display for NotASpaceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected IO, DATA, CALL, CHAT or UI")
    }
}

impl core::error::Error for NotASpaceKind {}

impl FromStr for SpaceKind {
    type Err = NotASpaceKind;
    fn from_str(text: &str) -> Result<Self, NotASpaceKind> {
        let kinds = [Self::Io, Self::Data, Self::Call, Self::Chat, Self::Ui];
        kinds.into_iter().find(|kind| kind.as_str() == text).ok_or(NotASpaceKind)
    }
}

impl SpaceKind {
    /// The word the package format uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Io => "IO",
            Self::Data => "DATA",
            Self::Call => "CALL",
            Self::Chat => "CHAT",
            Self::Ui => "UI",
        }
    }
}
