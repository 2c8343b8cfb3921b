//! zrms: which zhost suits a space (`plan`), placing topologies (`coordinator`), who keeps a space's data
//! (`keepers`) and what most of them know of it (`census`), and the state that comes of it.

pub(crate) mod census;
pub(crate) mod coordinator;
pub(crate) mod keepers;
pub(crate) mod plan;
pub(crate) mod topology_state;
