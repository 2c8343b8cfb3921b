//! What tasks and threads tell the loop.

use smol::{channel::Sender, lock::SemaphoreGuardArc, net::TcpStream};
use std::{net::SocketAddr, sync::Arc};
use zhost_control::{SessionId, protocol::Reply};
use zhost_node::{ConnectionId, Input, Port, WebId};

/// Something that happened to this zhost.
pub enum Event {
    /// What is for the node alone.
    Node(Input),
    /// A datagram arrived.
    Datagram(Port, SocketAddr, Vec<u8>),
    /// Bytes came from the serial line.
    Serial(Vec<u8>),
    /// Bytes arrived on a connection.
    Bytes(ConnectionId, Vec<u8>),
    Accepted(TcpStream, SocketAddr, SemaphoreGuardArc),
    Connected(ConnectionId, TcpStream),
    /// With whether the other kernel refused the connection.
    Closed(ConnectionId, bool),
    /// A browser asks; what it is answered goes there.
    Asked(WebId, zhost_web::Request, Sender<Answer>),
    /// A browser is gone.
    Left(WebId),
    /// The machine's network may have changed.
    Network,
    /// The disk thread is gone, or hangs, for this reason.
    DiskLost(String),
    /// The recordings are as an operator wanted, or here is what he wanted of them.
    Recorded(SessionId, u32, Reply),
    /// The thread of this desk has worked.
    Worker(usize),
}

/// Bytes for a browser.
pub struct Answer {
    pub bytes: Vec<u8>,
    /// What follows them; browsers that are shown the same share it.
    pub content: Arc<[u8]>,
    /// Whether the connection ends with them.
    pub is_last: bool,
}
