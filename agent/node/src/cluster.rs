//! zmesh-controlplane: who is there, who leads, and what is written down for all. Datagrams and registry rounds
//! (`gossip`), documents and their durability (`documents`, `tombstones`), the term and its heartbeats, founding, what
//! a zhost says of itself, the time of day; and what goes wrong with identities: nobody answers (`solitude`), one
//! identity on two boards (`rivals`), a flash that was lost (`losses`).

pub(crate) mod clock;
pub(crate) mod documents;
pub(crate) mod founding;
pub(crate) mod gossip;
pub(crate) mod heartbeat;
pub(crate) mod losses;
pub(crate) mod profile;
pub(crate) mod rivals;
pub(crate) mod solitude;
pub(crate) mod term;
pub(crate) mod tombstones;
