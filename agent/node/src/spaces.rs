//! zrun: which spaces are to run here (`wishes`), those that do (`host`) and how they are started again (`supervision`),
//! messages between spaces, and what the actor model adds: calls and messages to pids (`mail`), spawns, links and
//! monitors (`bonds`), global names; pages on the web.

pub(crate) mod actors;
pub(crate) mod bonds;
pub(crate) mod context;
pub(crate) mod host;
pub(crate) mod mail;
pub(crate) mod messages;
pub(crate) mod names;
pub(crate) mod spawns;
pub(crate) mod supervision;
pub(crate) mod web;
pub(crate) mod wishes;
