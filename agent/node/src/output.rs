//! What a zhost wants: everything a node ever does to the world comes as one of these, from
//! [`Node::poll_output`](crate::Node::poll_output), and what is not to be sealed from
//! [`Agent::poll_output`](crate::Agent::poll_output).

use crate::{
    disk::DiskRequest,
    firmware::FirmwareOrder,
    mesh::{links::ConnectionId, tunnels::TunnelOrder},
    operators::{commands::Asker, examination::Examination},
    spaces::web::{Page, WebId},
};
use std::{net::SocketAddr, sync::Arc};
use zhost_control::{SessionId, protocol::RecordingOrder};
use zhost_exchange::WorkerCommand;

/// Which of the zhost's UDP sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Port {
    /// Gossip with other zhosts.
    Gossip,
    /// Operators.
    Control,
}

/// What a node says: what is to be sealed first, and what goes to the shell as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outgoing {
    /// Seal this, and send it.
    Plain(Plain),
    /// Do this.
    Shell(Output),
}

/// What is sealed on its way out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Plain {
    /// A datagram to a zhost, for any of the cluster to read.
    Gossip(SocketAddr, Vec<u8>),
    /// Frames of a link, each behind its length.
    Frames(ConnectionId, Vec<u8>),
    /// The answer to this request of an operator.
    Reply(SessionId, u32, Vec<u8>),
    /// What tunnels are to do; what comes of it is told with [`Input::Tunnel`](crate::Input::Tunnel).
    Tunnel(TunnelOrder),
    /// An operator wants to show somebody this page; its address, with a ticket, is told with
    /// [`Input::Page`](crate::Input::Page).
    Page {
        /// Who wants it.
        asker: Asker,
        /// Which.
        page: Page,
        /// How long the ticket is good, seconds since 1970.
        until_s: u64,
    },
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Send a datagram.
    Datagram(Port, SocketAddr, Vec<u8>),
    /// Write to the serial line all of this, or nothing.
    Serial(Vec<u8>),
    /// Look these names of machines and ports up, then say [`Input::Resolved`](crate::Input::Resolved).
    Resolve(Vec<String>),
    /// Open a TCP connection, then say [`Input::Connected`](crate::Input::Connected) or
    /// [`Input::Closed`](crate::Input::Closed).
    Connect(ConnectionId, SocketAddr),
    /// Write to a connection.
    Write(ConnectionId, Vec<u8>),
    /// Close a connection; [`Input::Closed`](crate::Input::Closed) need not be said.
    Close(ConnectionId),
    /// Do this with the store, then say [`Input::Disk`](crate::Input::Disk) with the token.
    Disk(u64, DiskRequest),
    /// Tell the workers.
    Worker(WorkerCommand),
    /// Send a browser these bytes, and nothing after them if they are the last. Bytes that are not may be left out if
    /// the browser does not keep up; [`Input::Left`](crate::Input::Left) is to be said when it is gone.
    Web {
        /// The browser's connection.
        id: WebId,
        /// What to send.
        bytes: Vec<u8>,
        /// What follows them, perhaps for several browsers.
        content: Arc<[u8]>,
        /// Whether the connection ends with them.
        is_last: bool,
    },
    /// Examine this beside everything else, then say [`Input::Examined`](crate::Input::Examined).
    Examine(Examination),
    /// Do this with the slots for agents.
    Firmware(FirmwareOrder),
    /// Do this with the recordings, then say [`Agent::handle_recorded`](crate::Agent::handle_recorded).
    Recording(SessionId, u32, RecordingOrder),
    /// Put the wall clock to this time, milliseconds since 1970.
    SetClock(u64),
    /// Tell the operator's log.
    Log(Level, String),
    /// Spaces are closed and the cluster was told: the process may end, and the board as told, if it is the whole of it.
    Finished(Ending),
}

/// What becomes of a board whose first process the agent is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ending {
    /// It begins anew.
    #[default]
    Restart,
    /// It goes without power.
    PowerOff,
}

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// Detail for developers.
    Debug,
    /// The normal course of things.
    Info,
    /// Something is odd.
    Warn,
}
