//! Gossip datagrams: sealed bytes from strangers, and opened ones from an insider gone mad.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zhost_base::{Generation, Instant, Rng, ZhostId};
use zhost_gossip::{
    datagram::Datagram,
    membership::{Membership, Peer},
    registry::{Carrier, Registry},
    seal::{ClusterSecret, Sealer},
};

fuzz_target!(|bytes: &[u8]| {
    let _ = Sealer::new(&ClusterSecret::new([1; 32], "fuzz".parse().expect("a name"))).open(bytes);
    let now = Instant::from_micros(1);
    let peer = |id| Peer { id: ZhostId(id), generation: Generation(1), addr: ([127, 0, 0, 1], 1).into() };
    let mut membership = Membership::new(now, peer(1), Vec::new(), Vec::new(), Rng::from_number(1));
    membership.handle_hello(now, peer(2), &[]);
    let from = peer(2).addr;
    match Datagram::decode(bytes) {
        Some(Datagram::Registry(message)) => {
            let mut registry = Registry::new(ZhostId(1), Generation(1));
            registry.handle_message(message, Carrier::Link, |_| Some(Generation(1)));
            let _ = registry.digest(Carrier::Link, true);
        }
        Some(Datagram::Swim(swim)) => membership.handle_swim(now, from, swim),
        Some(Datagram::Hello(peer)) => membership.handle_hello(now, peer, &[]),
        Some(Datagram::Beacon(peer)) => membership.handle_beacon(now, peer, &[]),
        Some(Datagram::Welcome { me, to, known, rumours }) => {
            membership.handle_welcome(now, me, to, known, rumours);
        }
        _ => {}
    }
    membership.handle_timeout(now + zhost_base::Duration::from_secs(3600));
});
