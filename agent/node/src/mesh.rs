//! zmesh: which links (`neighbours`), their sessions (`links`), which ways lead over them (`routes`), conversations over
//! those (`streams`), and how much is said by kind (`traffic`).

pub(crate) mod links;
pub(crate) mod neighbours;
pub(crate) mod routes;
pub(crate) mod streams;
pub(crate) mod traffic;
