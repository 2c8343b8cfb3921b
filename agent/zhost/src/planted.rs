//! Panics that a test plants in a real process: one at each look at the machine's load, in one part of the node after the other.
//! In agents that are shipped this is not there, since assertions of debugging are off.

use zhost_node::{Moment, Part, Planted};

/// The environment variable that asks for them.
const VARIABLE: &str = "ZHOST_PLANTED";

/// Which panics are to come, in order.
pub fn panics() -> impl Iterator<Item = Planted> {
    let wanted = if std::env::var_os(VARIABLE).is_some() { &Part::ALL[..] } else { &[] };
    let of_part = |part: &Part| [Moment::Before, Moment::After].map(|moment| Planted::Once(*part, moment));
    wanted.iter().flat_map(of_part)
}
