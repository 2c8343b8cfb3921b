//! Datagrams at the control port, bytes of a serial line, and requests and replies inside.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zhost_base::{Instant, Rng};
use zhost_control::{
    Caller, Server, Trust,
    line::LineReader,
    protocol::{Reply, Request},
};
use zhost_link::Identity;

fuzz_target!(|bytes: &[u8]| {
    let identity = Identity::from_private([1; 32]);
    let mut server =
        Server::new(Instant::ZERO, identity, [2; 32], Trust::Operators(vec![[3; 32]]), Rng::from_number(1));
    server.handle_datagram(Instant::ZERO, Caller::Network(([127, 0, 0, 1], 1).into()), bytes);
    let mut reader = LineReader::default();
    reader.handle_bytes(bytes);
    while let Some(datagram) = reader.poll_datagram() {
        server.handle_datagram(Instant::ZERO, Caller::Serial, &datagram);
    }
    assert!(server.poll_datagram().is_none(), "a stranger gets no answer");
    let _ = Request::decode(bytes);
    let _ = Reply::decode(bytes);
});
