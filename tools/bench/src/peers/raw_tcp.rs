//! Raw TCP, what all others are compared with: no buffering by the sender, a system call for each message.

use crate::{
    Outcome,
    net::Hosts,
    pair,
    process::Scratch,
    report::PeerResult,
    side::{self, Role},
    stream::Stream,
    talk::{Channel, MESSAGE_SIZE_BYTES, Message},
};
use std::{net::SocketAddr, time::Duration};

/// What this is called among the sides.
pub const SIDE: &str = "raw-tcp";
const PORT: u16 = 24100;

/// Measures it.
pub fn run(result: &mut PeerResult) -> Outcome {
    let (hosts, scratch) = (Hosts::pair()?, Scratch::create()?);
    result.hosts = hosts.describe();
    let address = hosts.socket(Role::Far.host(), PORT);
    pair::measure(result, &scratch, |role| side::talker(&hosts, role, SIDE, address))
}

/// The connection of one side.
pub fn connect(role: Role, address: SocketAddr) -> Outcome<impl Channel> {
    match role {
        Role::Near => Stream::connect(address),
        Role::Far => Stream::accept(address),
    }
}

impl Channel for Stream {
    fn send(&mut self, message: Message) -> Outcome {
        self.write(&message.to_bytes())?;
        Stream::flush(self)
    }

    fn flush(&mut self) -> Outcome {
        Ok(())
    }

    fn receive(&mut self, within: Duration) -> Outcome<Option<Message>> {
        self.frame(within, |bytes| {
            let Some(bytes) = bytes.get(..MESSAGE_SIZE_BYTES) else { return Ok(None) };
            Ok(Some((Message::from_bytes(bytes)?, MESSAGE_SIZE_BYTES)))
        })
    }
}
