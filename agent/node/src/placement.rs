//! zrms: which zhost suits a space (`plan`), the next placement of a topology (`draft`), placing topologies (`coordinator`), who
//! keeps a space's data (`replica_sets`) and what most of them know of it (`quorum`), and the state that comes of it.

pub(crate) mod coordinator;
pub(crate) mod draft;
pub(crate) mod plan;
pub(crate) mod quorum;
pub(crate) mod replica_sets;
pub(crate) mod topology_state;
