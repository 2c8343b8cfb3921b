//! One zhost as a state machine: everything the agent decides, without I/O.
//!
//! A shell feeds an [`Agent`] with what happens (datagrams, connections, completions of disk requests, events of workers, time)
//! and drains [`Output`]s. The program on a board is such a shell around sockets and flash; the simulator is another around a
//! virtual network and disk. An agent is a [`Node`], which decides, and before it whatever has a key (`channels`): the node is
//! told [`Input`]s in plain words, which can be recorded and told again (`recording`).
//!
//! What happens where: `cluster` (who is there, who leads, what is written down for all), `mesh` (links, ways,
//! streams), `placement` (where spaces belong, and who keeps their data), `spaces` (the spaces of this zhost and what
//! they say), `data` (what is kept on flash for them), `operators` (commands, writes, reports), `firmware` (which agent
//! the boards run). Beside them stand what all need: `facts` (what this zhost knows), `effects` (what a concern wants
//! done; `node/run` carries it out), `disk` and `flash` (requests to the shell), `wire` (what goes between zhosts),
//! `steady` (time that stands still while the loop does not run), `inspection` (what a referee sees).

mod agent;
mod channels;
mod cluster;
mod config;
mod data;
mod disk;
mod effects;
mod facts;
mod faults;
mod firmware;
mod flash;
mod input;
mod inspection;
mod mesh;
mod node;
mod operators;
mod output;
mod placement;
mod recording;
mod spaces;
mod steady;
mod wire;

pub use agent::Agent;
pub use cluster::clock::ClockTrust;
pub use cluster::founding::{DEFAULT_PORT, Named};
pub use config::{Keys, NodeConfig, Timing};
pub use disk::{DiskReply, DiskRequest, Recovered};
pub use faults::Part;
#[cfg(debug_assertions)]
pub use faults::{Moment, Planted};
pub use firmware::{FirmwareOrder, INSTALLED_WITHIN, Slots};
pub use input::{Input, Load};
pub use inspection::{Agreement, Inspection};
pub use mesh::links::{ConnectionId, Received};
pub use mesh::tunnels::{TunnelNews, TunnelOrder};
pub use node::Node;
pub use operators::commands::Asker;
pub use operators::examination::{Examination, Findings};
pub use output::{Ending, Level, Outgoing, Output, Plain, Port};
pub use placement::topology_state::TopologyState;
pub use recording::{Recording, Replay, ReplayError, Step, Steps, Tape};
pub use spaces::web::{Page, WebId};
pub use wire::{DataOrder, Frame, Heartbeat, Hop, NoRoute, Parcel, Relayed};
