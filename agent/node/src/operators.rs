//! zbase: what operators ask for (`commands`), write down for the cluster (`writes`) and are told (`reports`); what they
//! mean by a name (`lookup`), and the examination of what they send.

pub(crate) mod commands;
pub(crate) mod examination;
pub(crate) mod lookup;
pub(crate) mod reports;
pub(crate) mod writes;
