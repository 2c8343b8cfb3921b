//! Bytes on a link, before and after its handshake, and the frames inside.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zhost_base::{Generation, Instant, Rng};
use zhost_link::{
    Identity, Link,
    noise::Role,
    stream::Stream,
    tunnel::{Arrivals, Envelope},
};
use zhost_node::{Hop, Parcel};

fn link(role: Role, seed: u8) -> Link {
    let identity = Identity::from_private([seed; 32]);
    Link::new(role, &identity, &[9; 32], Rng::from_number(u64::from(seed)))
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
    let _ = zhost_node::DataOrder::decode(bytes);
    let now = Instant::from_micros(1);
    let mut arrivals = Arrivals::default();
    match Hop::decode(bytes) {
        Some(Hop::Parcel(Parcel::Stream(packet))) => {
            let mut stream = Stream::new(Generation(1), Generation(1), 7);
            stream.send(vec![1]).expect("an empty queue");
            let _ = stream.poll_packet(now);
            let _ = stream.handle_packet(now, Generation(1), packet);
            let _ = stream.poll_packet(now);
        }
        Some(Hop::Relay(relayed)) => match relayed.envelope {
            Envelope::Open(number, message) => {
                let identity = Identity::from_private([2; 32]);
                let _ = arrivals.handle_open(number, &message, &identity, &[9; 32], Rng::from_number(1));
            }
            Envelope::Sealed { tunnel, finish, nonce, bytes } => {
                let _ = arrivals.handle_sealed(tunnel, finish.as_deref(), nonce, &bytes);
            }
            Envelope::Accept(..) => {}
        },
        _ => {}
    }
});
