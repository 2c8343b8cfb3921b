//! Data of spaces on flash, here and on other zhosts: the replicas that follow (`replicas`), bringing one up to date
//! (`copies`), packages (`blobs`), and getting rid of what nobody needs (`disposal`).

pub(crate) mod blobs;
pub(crate) mod copies;
pub(crate) mod disposal;
pub(crate) mod replicas;
