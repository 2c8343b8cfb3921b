//! What operators ask, and what they are told. Times are milliseconds; ids are text, so that JSON shows them whole.
//! Where two zhosts have one name, it is told with the beginning of the id behind it: `attic (a1b2c3d4)`.

use serde::{Deserialize, Serialize};

/// A command of an operator. Topologies and zhosts are named by name, id, or the first digits of the id; a space may be
/// written `topology/space`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// What this zhost is doing.
    Status,
    /// The cluster at a glance.
    Cluster,
    /// Every zhost of the roster.
    Zhosts,
    /// This zhost's place in the mesh.
    Mesh,
    /// The other zhosts and how things get there.
    MeshPeers,
    /// Ways to every zhost.
    MeshRoutes,
    /// Where every space runs.
    MeshSpaces,
    /// Round trips to one zhost, or to all.
    MeshPing(Option<String>),
    /// Deploy a package.
    TopoSubmit(#[serde(with = "serde_bytes")] Vec<u8>),
    /// All topologies.
    TopoList,
    /// One topology.
    TopoStatus(String),
    /// Stop its spaces.
    TopoStop(String),
    /// Stop and forget it.
    TopoDelete(String),
    /// Take a dead zhost off the roster.
    ClusterRemove(String),
    /// All spaces.
    Spaces,
    /// One space.
    SpaceStatus(String),
    /// Its last log lines.
    SpaceLogs(String),
    /// An address at which a browser is shown it.
    SpaceOpen(String),
    /// End it and start it again.
    SpaceRestart(String),
    /// The same with nothing stored.
    SpaceDropData(String),
    /// Compare its data with every replica anew.
    SpaceRepair(String),
    /// Restart all spaces of a topology.
    TopoRestart(String),
    /// Give a board that has no cluster its place in one; only over its serial line.
    Provision(Provisioning),
    /// Close the spaces of this zhost and end it; a board of which it is the first process begins anew, or goes without
    /// power.
    End {
        /// Without power.
        power_off: bool,
    },
    /// Have the boards run this signed agent, one after the other.
    FirmwarePush(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Which agents the boards run.
    FirmwareStatus,
    /// No further board takes up another agent.
    FirmwareHalt,
    /// Record what happens to this zhost, or give what was recorded.
    Recording(RecordingOrder),
}

/// What is to become of the recordings of a zhost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RecordingOrder {
    /// Record every start from the next one on.
    Start,
    /// Record nothing more.
    Stop,
    /// Give a piece of one.
    Read {
        /// Of the start before the last that was recorded.
        is_former: bool,
        /// From this byte on.
        offset: u64,
    },
}

/// A piece of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingPiece {
    /// Size of all of it, now.
    pub size_bytes: u64,
    /// The piece; empty behind its end.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// How long a ping waits for its answer, in milliseconds.
pub const PING_PATIENCE_MS: u64 = 500;

/// The key of sessions with a board that has no cluster: no secret, since whoever holds the cable is trusted.
pub const PROVISIONING_KEY: [u8; 32] = *b"zhost: a board without a cluster";

/// What a board must know to be a zhost of a cluster.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provisioning {
    /// The cluster's name.
    pub cluster: String,
    /// What people will call the board.
    pub name: String,
    /// The cluster's secret.
    pub secret: [u8; 32],
    /// The secret of control sessions.
    pub control_secret: [u8; 32],
    /// Public keys of the operators who may command, in hexadecimal.
    pub operators: Vec<String>,
    /// Public keys of publishers whose packages run, in hexadecimal.
    pub publishers: Vec<String>,
    /// Addresses of zhosts that are not on the same network.
    pub join: Vec<String>,
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::Cluster`].
    Cluster(Cluster),
    /// To [`Request::Zhosts`].
    Zhosts(Vec<Zhost>),
    /// To [`Request::Mesh`].
    Mesh(Mesh),
    /// To [`Request::MeshPeers`].
    Peers(Vec<Peer>),
    /// To [`Request::MeshRoutes`].
    Routes(Vec<RouteLine>),
    /// To [`Request::MeshSpaces`] and [`Request::Spaces`].
    Spaces(Vec<Space>),
    /// To [`Request::MeshPing`].
    Pings(Vec<Ping>),
    /// To [`Request::TopoSubmit`].
    Submitted(Submitted),
    /// To [`Request::TopoList`].
    Topologies(Vec<TopologyLine>),
    /// To [`Request::TopoStatus`].
    Topology(Topology),
    /// To [`Request::SpaceStatus`].
    Space(SpaceDetail),
    /// To [`Request::SpaceLogs`].
    Logs(Vec<LogLine>),
    /// To [`Request::SpaceOpen`].
    Address(String),
    /// To commands that act on a space: what happens now, in a sentence.
    Said(String),
    /// To commands that have nothing else to say: how durable their effect is.
    Done(Durability),
    /// The command was not carried out, and why.
    Refused(String),
    /// To [`Request::FirmwareStatus`].
    Firmware(FirmwareStatus),
    /// To [`RecordingOrder::Read`].
    Recording(RecordingPiece),
}

/// Which agents the boards run, and which they are to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareStatus {
    /// Counts the pushes.
    pub revision: u64,
    /// `none pushed`, `done`, `goes on`, `waits` or `halted`.
    pub state: String,
    /// For what it waits, or why it was halted.
    pub reason: String,
    /// Target and version of each agent that was pushed.
    pub images: Vec<(String, String)>,
    /// Every zhost of the roster.
    pub zhosts: Vec<FirmwareLine>,
}

/// The agent of one zhost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareLine {
    /// Its name.
    pub zhost: String,
    /// Its id.
    pub zhost_id: String,
    /// Which agents it can run.
    pub target: String,
    /// The version of the one it runs.
    pub running: String,
    /// Whether that is the one it should run, and what happens otherwise.
    pub state: String,
}

/// What a zhost is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub zhost: String,
    /// Its id.
    pub id: String,
    /// The agent's version.
    pub version: String,
    /// How often it has started.
    pub generation: u32,
    /// `super` or `local`.
    pub role: String,
    /// Since it started.
    pub uptime_ms: u64,
    /// Memory of the agent and its spaces, in KiB; 0 if it was not measured yet.
    pub resident_kib: u32,
    /// Its concerns.
    pub services: Vec<Service>,
}

/// One concern of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name, as in the public Samoza documents.
    pub name: String,
    /// `ok`, or what is wrong.
    pub state: String,
    /// Figures.
    pub detail: String,
}

/// The cluster at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// The cluster's name.
    pub name: String,
    /// The term in force, 0 if there is none.
    pub term: u64,
    /// Whether it is full; otherwise provisional.
    pub full: bool,
    /// Names of the supers.
    pub supers: Vec<String>,
    /// Their ids.
    pub super_ids: Vec<String>,
    /// Zhosts alive.
    pub alive: u32,
    /// Zhosts in the roster.
    pub roster: u32,
    /// Topologies by state.
    pub topologies: Vec<(String, u32)>,
    /// Hash of the registry; equal on zhosts that agree.
    pub registry_hash: String,
    /// Hash of the ledger; equal on zhosts that agree.
    pub ledger_hash: String,
}

/// A zhost of the roster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zhost {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// `super` or `local`.
    pub role: String,
    /// `alive`, `failed` (its super misses its heartbeats) or `dead`.
    pub state: String,
    /// Where it stands.
    pub region: String,
    /// The super it reports to.
    pub super_node: String,
    /// The id of that super, or `-`.
    pub super_id: String,
    /// Spaces it runs.
    pub spaces: u32,
    /// Capabilities it offers.
    pub capabilities: Vec<String>,
    /// Where its links are accepted.
    pub addr: String,
    /// Where it answers `zctl`.
    pub control_addr: String,
    /// That its identity is on two boards, and which.
    pub conflict: Option<String>,
}

/// A zhost's place in the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mesh {
    /// Its name.
    pub zhost: String,
    /// Links that are open.
    pub links: u32,
    /// Members alive, itself included.
    pub members: u32,
    /// Members accused of not answering.
    pub suspects: u32,
    /// How much this zhost doubts itself: 0 is not at all.
    pub doubt: u32,
    /// Packets passed on for others.
    pub packets_relayed: u64,
    /// Times a stream had to take another way.
    pub reroutes: u64,
    /// Messages between spaces sent to other zhosts.
    pub messages_sent: u64,
    /// Messages between spaces that came from other zhosts.
    pub messages_received: u64,
    /// Messages that could not be delivered.
    pub messages_undelivered: u64,
    /// What it sent, by kind.
    pub sent: Vec<SentLine>,
}

/// What a zhost sent of one kind since its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentLine {
    /// `datagram`, `link`, or `stream`: what is in streams travels in links' parcels and relayed packets, which are counted
    /// too.
    pub carrier: String,
    /// Of what kind.
    pub kind: String,
    /// How many.
    pub packets: u64,
    /// Bytes: of datagrams sealed, of the others before sealing.
    pub bytes: u64,
    /// The mean of the last one or two minutes.
    pub bytes_per_second: u64,
}

/// Another zhost, and how things get there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The other zhost's name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Its link address.
    pub addr: String,
    /// `linked`, `relayed`, `no route`, `silent` while it does not answer over its link, or `suspect` while it does not
    /// answer anybody.
    pub state: String,
    /// Links on the way, 0 if there is none.
    pub hops: u32,
    /// Round trip, microseconds, once measured.
    pub rtt_us: Option<u64>,
    /// The route.
    pub path: String,
}

/// The way of least round trip to a zhost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteLine {
    /// Where it leads.
    pub zhost: String,
    /// The id of that zhost.
    pub zhost_id: String,
    /// Links on the way, 0 if there is none.
    pub hops: u32,
    /// Round trip as the links' ends announce it, coarsely, microseconds.
    pub rtt_us: Option<u64>,
    /// The neighbour it goes through first.
    pub next: String,
    /// The route.
    pub path: String,
}

/// A space and where it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// Its name.
    pub space: String,
    /// The zhost that runs it.
    pub zhost: String,
    /// The id of that zhost.
    pub zhost_id: String,
    /// The topology it belongs to.
    pub topology: String,
    /// What it is doing.
    pub state: String,
    /// Restarts after crashes.
    pub restarts: u32,
}

/// A round trip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// The zhost asked.
    pub zhost: String,
    /// Its id.
    pub zhost_id: String,
    /// Links on the way.
    pub hops: u32,
    /// Round trip, microseconds; nothing when no answer came.
    pub rtt_us: Option<u64>,
    /// The route.
    pub path: String,
}

/// How many zhosts hold a write on their flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durability {
    /// How many do.
    pub copies: u32,
    /// How many should.
    pub wanted: u32,
}

/// A package was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// The topology's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its state right now.
    pub state: String,
    /// Spaces it has.
    pub spaces: u32,
    /// Counts the submits under this name.
    pub revision: u64,
    /// Whether it is durable.
    pub durability: Durability,
}

/// One line of the list of topologies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopologyLine {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its state.
    pub state: String,
    /// Spaces running.
    pub running: u32,
    /// Spaces it has.
    pub spaces: u32,
}

/// A topology in detail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The package's version.
    pub version: String,
    /// Counts the submits under this name.
    pub revision: u64,
    /// `pending`, `running`, `degraded`, `stopped` or `failed`.
    pub state: String,
    /// Why it failed, or what it waits for.
    pub failure_reason: Option<String>,
    /// The super that coordinates it.
    pub coordinator: String,
    /// The id of that super, or `-`.
    pub coordinator_id: String,
    /// First submitted, milliseconds since 1970.
    pub created_unix_ms: u64,
    /// Last submitted, stopped or changed.
    pub updated_unix_ms: u64,
    /// Where its spaces are.
    pub placements: Vec<PlacementLine>,
    /// State changes as this zhost saw them, oldest first.
    pub history: Vec<Transition>,
}

/// Where one space of a topology is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementLine {
    /// The space.
    pub space: String,
    /// Its zhost, or `-`.
    pub zhost: String,
    /// The id of that zhost, or `-`.
    pub zhost_id: String,
    /// What it is doing there.
    pub state: String,
}

/// A topology changed its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// When, milliseconds since 1970 by the asked zhost's clock.
    pub unix_ms: u64,
    /// The new state.
    pub state: String,
}

/// A space in detail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpaceDetail {
    /// Its name.
    pub space: String,
    /// The topology it belongs to.
    pub topology: String,
    /// Its type.
    pub kind: String,
    /// The zhost that runs it.
    pub zhost: String,
    /// The id of that zhost, or `-`.
    pub zhost_id: String,
    /// What it is doing.
    pub state: String,
    /// Starts on this zhost, the present one included.
    pub incarnation: u32,
    /// Restarts after crashes.
    pub restarts: u32,
    /// How many more run because other spaces spawned them.
    pub spawned: u32,
    /// Who else keeps its data, and whether everything is there.
    pub replicas: Vec<String>,
    /// How it ended lately, oldest first.
    pub endings: Vec<Ending>,
    /// What it says of itself, if anything.
    pub report: Option<String>,
    /// What it uses, and what it may use.
    pub budgets: Vec<Budget>,
    /// Its last log lines.
    pub log: Vec<LogLine>,
    /// Messages it has sent.
    pub messages_out: u64,
    /// Messages it was given.
    pub messages_in: u64,
    /// What it may do.
    pub capabilities: Vec<String>,
    /// Its paths, as `from -> to (name)`.
    pub paths: Vec<String>,
}

/// A space ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// When, milliseconds since 1970 by its zhost's clock.
    pub unix_ms: u64,
    /// Which start of it.
    pub start: u32,
    /// Why.
    pub reason: String,
}

/// What a space uses of something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Of what, with the unit.
    pub what: String,
    /// How much.
    pub used: u64,
    /// How much it may use, if that is limited.
    pub limit: Option<u64>,
}

/// A line of a space's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When, milliseconds since 1970 by its zhost's clock.
    pub unix_ms: u64,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// What it says.
    pub text: String,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.name();
        match self {
            Self::TopoSubmit(bytes) | Self::FirmwarePush(bytes) => {
                write!(f, "{name} of {} bytes", bytes.len())
            }
            Self::TopoStatus(of) | Self::TopoStop(of) | Self::TopoDelete(of) | Self::ClusterRemove(of) => {
                write!(f, "{name} {of}")
            }
            Self::SpaceStatus(of) | Self::SpaceLogs(of) => write!(f, "{name} {of}"),
            _ => f.write_str(name),
        }
    }
}

impl Request {
    /// The command as an operator types it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Cluster => "cluster",
            Self::Zhosts => "cluster zhosts",
            Self::Mesh => "mesh",
            Self::MeshPeers => "mesh peers",
            Self::MeshRoutes => "mesh routes",
            Self::MeshSpaces => "mesh spaces",
            Self::MeshPing(_) => "mesh ping",
            Self::TopoSubmit(_) => "topo submit",
            Self::TopoList => "topo list",
            Self::TopoStatus(_) => "topo status",
            Self::TopoStop(_) => "topo stop",
            Self::TopoDelete(_) => "topo delete",
            Self::ClusterRemove(_) => "cluster remove",
            Self::Spaces => "spaces",
            Self::SpaceStatus(_) => "spaces status",
            Self::SpaceLogs(_) => "spaces logs",
            Self::SpaceOpen(_) => "spaces open",
            Self::SpaceRestart(_) => "spaces restart",
            Self::SpaceDropData(_) => "spaces drop-data",
            Self::SpaceRepair(_) => "spaces repair",
            Self::TopoRestart(_) => "topo restart",
            Self::Provision(_) => "provision",
            Self::End { .. } => "end",
            Self::FirmwarePush(_) => "firmware push",
            Self::FirmwareStatus => "firmware status",
            Self::FirmwareHalt => "firmware halt",
            Self::Recording(_) => "board record",
        }
    }

    /// Whether the command changes the ledger.
    pub fn writes(&self) -> bool {
        matches!(
            self,
            Self::TopoSubmit(_)
                | Self::TopoStop(_)
                | Self::TopoDelete(_)
                | Self::ClusterRemove(_)
                | Self::SpaceDropData(_)
                | Self::FirmwarePush(_)
                | Self::FirmwareHalt
        )
    }

    /// The bytes of the request.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// Reads the bytes of a request.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

impl Reply {
    /// The bytes of the reply.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// Reads the bytes of a reply.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}
