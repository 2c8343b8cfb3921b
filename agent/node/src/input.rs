//! What happens to a zhost: everything a node is ever told comes as one of these, through [`Node::handle`](crate::Node::handle).

use crate::{
    disk::DiskReply,
    firmware::FirmwareOrder,
    mesh::{
        links::{ConnectionId, Received},
        tunnels::TunnelNews,
    },
    operators::{commands::Asker, examination::Findings},
    spaces::web::WebId,
};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use zhost_base::Name;
use zhost_control::{
    SessionId,
    protocol::{self, Service},
};
use zhost_exchange::{StoreError, WorkerEvent};
use zhost_link::LinkError;
use zhost_web::Request;

/// What the shell measured about its machine, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Processors in use.
    pub cpu_percent: u8,
    /// Memory in use.
    pub memory_percent: u8,
    /// Disk in use.
    pub disk_percent: u8,
    /// Memory of the agent itself, its spaces included, in KiB.
    pub resident_kib: u32,
}

/// Something that happens to a zhost.
#[derive(Debug, Serialize, Deserialize)]
pub enum Input {
    /// Time passed; spurious ones are harmless.
    Timeout,
    /// A datagram arrived that a zhost of the cluster has sealed.
    Gossip(SocketAddr, Vec<u8>),
    /// A datagram arrived that is sealed with another secret, or for another cluster.
    Foreign(SocketAddr),
    /// An operator asks this, in a session of his; what is no request makes no sense here.
    Requested(SessionId, u32, Option<protocol::Request>),
    /// Somebody connected; the shell gives the connection an odd number.
    Accepted(ConnectionId, SocketAddr),
    /// A connection asked for with [`Output::Connect`](crate::Output::Connect) is open.
    Connected(ConnectionId),
    /// Something arrived on a connection.
    Received(ConnectionId, Result<Received, LinkError>),
    /// Something happened in a tunnel.
    Tunnel(TunnelNews),
    /// A connection ended, or could not be made.
    Closed {
        /// Which.
        connection: ConnectionId,
        /// Whether the other kernel said that nobody listens there.
        refused: bool,
    },
    /// The disk request with this token was carried out, or failed.
    Disk(u64, Result<DiskReply, StoreError>),
    /// A worker reports.
    Worker(WorkerEvent),
    /// An examination is finished.
    Examined(Findings),
    /// The shell has done this with the slots for agents, or could not.
    Firmware(FirmwareOrder, Result<(), String>),
    /// Names were looked up for [`Output::Resolve`](crate::Output::Resolve): those that stand for no address at present
    /// have none here.
    Resolved(Vec<(String, Vec<SocketAddr>)>),
    /// The machine's network changed.
    Network {
        /// Where the zhost is reached.
        addrs: Vec<SocketAddr>,
        /// Addresses at which everybody on it hears.
        broadcasts: Vec<SocketAddr>,
    },
    /// A browser asks.
    Asked {
        /// Which.
        id: WebId,
        /// For what.
        request: Request,
        /// Until when the ticket is good that it shows, seconds since 1970, if it shows a true one for this space.
        good_until_s: Option<u64>,
    },
    /// The address of the page that was asked for, with a ticket.
    Page(Asker, String),
    /// A browser is gone.
    Left(WebId),
    /// Devices have come or gone: the machine offers these capabilities.
    Capabilities(Vec<Name>),
    /// At the origin of the monotonic clock the wall clock shows this, in milliseconds since 1970; 0 if it is not set. It
    /// may have been set.
    Clock(u64),
    /// The shell measured the machine's load.
    Load(Load),
    /// How the shell's threads and tasks are, for operators.
    Services(Vec<Service>),
    /// The shell has room for so many links.
    Room {
        /// All of them.
        links: usize,
        /// Of these, those on which nobody has proved yet who is there.
        unproved: usize,
    },
    /// The process was asked to end: closes the spaces, leaves the cluster, then says
    /// [`Output::Finished`](crate::Output::Finished).
    Shutdown,
    /// A test has panics planted, or taken out again. Where assertions of debugging are off there is no such thing.
    #[cfg(debug_assertions)]
    Planted(Option<crate::Planted>),
}
