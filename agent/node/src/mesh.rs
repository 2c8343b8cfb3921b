//! zmesh: which links (`neighbours`), their sessions (`links`), which ways lead over them (`routes`), conversations over
//! those (`streams`), what of them is sealed end to end (`tunnels`), and how much is said by kind (`traffic`).

pub(crate) mod links;
pub(crate) mod neighbours;
pub(crate) mod routes;
pub(crate) mod streams;
pub(crate) mod traffic;
pub(crate) mod tunnels;
