//! zrms: which zhost suits a space (`plan`), the next placement of a topology (`draft`), who keeps a space's data
//! (`replica_sets`) and what most of them know of it (`quorum`), which placements are obeyed (`in_force`), and the
//! state that comes of it. `node/placement.rs` puts these together.

pub(crate) mod draft;
pub(crate) mod in_force;
pub(crate) mod plan;
pub(crate) mod quorum;
pub(crate) mod replica_sets;
pub(crate) mod topology_state;
