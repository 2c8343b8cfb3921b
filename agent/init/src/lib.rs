//! What the agent does when it is the first process of a board.
//!
//! The kernel starts `/init`, which is the agent. [`board`] is what happens once, before the agent runs and after it has
//! ended; [`network`] goes on beside it, with [`dhcp`] as its pure half. [`interfaces`] is for the agent anywhere.

pub mod board;
pub mod dhcp;
pub mod interfaces;
mod netlink;
pub mod network;
pub mod slots;

/// Whether this is the first process of a board.
pub fn is_first_process() -> bool {
    std::process::id() == 1
}
