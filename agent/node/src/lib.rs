//! One zhost as a state machine: everything the agent decides, without I/O.
//!
//! A shell feeds a [`Node`] with `handle_*` calls (datagrams, connections, completions of disk requests, events of
//! workers, time) and drains [`Output`]s. The agent is such a shell around sockets and flash; the simulator is another
//! around a virtual network and disk.
//!
//! What happens where: `gossip` (datagrams, membership, registry rounds), `links` (connections), `documents` (ledger
//! writes and their durability), `losses` (a flash that was lost), `solitude` (nobody answers), `rivals` (one identity on
//! two boards), `burials` (forgetting deleted topologies), `blobs` (packages), `term` (election, heartbeats), `founding`
//! (who founds a cluster), `placement` (which zhost suits a
//! space), `coordinator` (placing topologies), `host` (local spaces and their supervision), `mesh` and `routes` (which
//! links, which ways), `streams` (conversations over them), `messages` (between spaces), `replicas`, `copies`, `keepers`
//! and `census` (data on other zhosts), `actors`, `spawns`, `bonds` and `names` (call, spawn, link, monitor, global names),
//! `firmware` (which agent the boards run), `clock` (the time of day), `commands`,
//! `examination`, `writes` and `reports` (operators).

mod actors;
mod blobs;
mod bonds;
mod burials;
mod census;
mod clock;
mod commands;
mod config;
mod coordinator;
mod copies;
mod disk;
mod disposal;
mod documents;
mod examination;
mod firmware;
mod flash;
mod founding;
mod gossip;
mod heartbeat;
mod host;
mod inspection;
mod keepers;
mod links;
mod lookup;
mod losses;
mod mesh;
mod messages;
mod names;
mod node;
mod placement;
mod profile;
mod replicas;
mod reports;
mod rivals;
mod routes;
mod solitude;
mod spawns;
mod steady;
mod streams;
mod supervision;
mod term;
mod topology_state;
mod traffic;
mod web;
mod wire;
mod writes;

pub use clock::ClockTrust;
pub use config::{NodeConfig, Timing};
pub use disk::{DiskReply, DiskRequest, Recovered};
pub use examination::{Examination, Findings};
pub use firmware::{FirmwareOrder, INSTALLED_WITHIN, Slots};
pub use founding::{DEFAULT_PORT, Named};
pub use inspection::{Agreement, Inspection};
pub use links::ConnectionId;
pub use node::{Ending, Level, Load, Node, Output, Port};
pub use topology_state::TopologyState;
pub use web::WebId;
pub use wire::{DataOrder, Frame, Heartbeat, Hop, NoRoute, Parcel, Relayed};
