//! How `zctl` talks to a zhost.
//!
//! A session is a Noise handshake (`XXpsk0` under the control secret) whose initiator must be a trusted operator;
//! strangers get no answer at all. Inside it, messages of any size up to a limit travel as numbered fragments with
//! selective acknowledgement, so that a package crosses a lossy network, or a noisy serial
//! line ([`mod@line`]). [`protocol`] says what the messages mean.

mod client;
mod inquiry;
pub mod line;
mod pace;
mod packet;
pub mod protocol;
mod server;
mod transfer;

pub use client::{Client, ClientError};
pub use inquiry::{Inquiry, Trouble};
pub use pace::Pace;
pub use server::{Caller, Server, SessionId, Trust};
