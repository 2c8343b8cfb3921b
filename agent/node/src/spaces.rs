//! zrun: the spaces of this zhost and their supervision (`host`), messages between spaces, and what the actor model adds:
//! calls, spawns, links and monitors (`bonds`), global names; pages on the web.

pub(crate) mod actors;
pub(crate) mod bonds;
pub(crate) mod context;
pub(crate) mod host;
pub(crate) mod messages;
pub(crate) mod names;
pub(crate) mod spawns;
pub(crate) mod supervision;
pub(crate) mod web;
