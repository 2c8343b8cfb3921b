//! Datagrams at the control port, and requests and replies inside.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zhost_base::{Instant, Rng};
use zhost_control::{
    Server,
    protocol::{Reply, Request},
};
use zhost_link::Identity;

fuzz_target!(|bytes: &[u8]| {
    let identity = Identity::from_private([1; 32]);
    let mut server = Server::new(Instant::ZERO, identity, [2; 32], vec![[3; 32]], Rng::from_number(1));
    server.handle_datagram(Instant::ZERO, ([127, 0, 0, 1], 1).into(), bytes);
    assert!(server.poll_datagram().is_none(), "a stranger gets no answer");
    let _ = Request::decode(bytes);
    let _ = Reply::decode(bytes);
});
