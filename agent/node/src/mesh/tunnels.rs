//! What is sealed end to end, through relays that cannot read it: the streams say what is to be done, and whoever has the
//! keys what came of it.

use crate::mesh::routes::Route;
use serde::{Deserialize, Serialize};
use zhost_base::ZhostId;
use zhost_link::tunnel::Envelope;

/// What the tunnels are to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Hash)]
pub enum TunnelOrder {
    /// Open one to this zhost along this route, in place of an earlier one.
    Open {
        /// To whom.
        to: ZhostId,
        /// Which way.
        route: Route,
    },
    /// Seal a packet for the zhost at the other end.
    Seal {
        /// Whose tunnel.
        to: ZhostId,
        /// Which way it goes.
        route: Route,
        /// What is sealed.
        #[serde(with = "serde_bytes")]
        packet: Vec<u8>,
    },
    /// The zhost at the other end has opened what was sealed.
    Confirm(ZhostId),
    /// Forget the tunnel to this zhost.
    Close(ZhostId),
    /// Take in what relays brought.
    Take {
        /// Which way an answer goes.
        back: Route,
        /// What they brought.
        envelope: Envelope,
    },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TunnelNews {
    /// This is to go along this route.
    Envelope(Route, Envelope),
    /// Packets to this zhost can be sealed.
    Opened(ZhostId),
    /// This zhost sealed this packet for us.
    Packet(ZhostId, #[serde(with = "serde_bytes")] Vec<u8>),
}
