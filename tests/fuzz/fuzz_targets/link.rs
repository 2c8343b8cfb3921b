//! Bytes on a link, before and after its handshake, and the frames inside.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zhost_base::{Instant, Rng};
use zhost_link::{Identity, Link, noise::Role};

fn link(role: Role, seed: u8) -> Link {
    let identity = Identity::from_private([seed; 32]);
    Link::new(Instant::ZERO, role, &identity, &[9; 32], Rng::from_number(u64::from(seed)))
}

fuzz_target!(|bytes: &[u8]| {
    let _ = link(Role::Responder, 1).handle_bytes(bytes);
    let (mut a, mut b) = (link(Role::Initiator, 1), link(Role::Responder, 2));
    for _ in 0..3 {
        a.poll_bytes().into_iter().for_each(|bytes| b.handle_bytes(&bytes).expect("an honest handshake"));
        b.poll_bytes().into_iter().for_each(|bytes| a.handle_bytes(&bytes).expect("an honest handshake"));
    }
    let _ = b.handle_bytes(bytes);
    let _ = zhost_node::Frame::decode(bytes);
});
