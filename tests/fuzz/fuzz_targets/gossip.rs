//! Gossip datagrams: sealed bytes from strangers, and opened ones from an insider gone mad.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zhost_base::{Generation, Instant, Rng, ZhostId};
use zhost_gossip::{
    datagram::Datagram,
    membership::{Membership, Peer, Rumour, Standing},
    registry::{Carrier, Registry},
    seal::{ClusterSecret, Sealer},
};

fuzz_target!(|bytes: &[u8]| {
    let _ = Sealer::new(&ClusterSecret::new([1; 32], "fuzz".parse().expect("a name"))).open(bytes);
    let now = Instant::from_micros(1);
    let at = ([127, 0, 0, 1], 1).into();
    let peer = |id| Peer {
        id: ZhostId(id),
        generation: Generation(1),
        addrs: std::net::SocketAddr::into(at),
        nonce: 1,
    };
    let mut membership = Membership::new(now, peer(1), Vec::new(), Vec::new(), Rng::from_number(1));
    let from = at;
    let hello = Rumour { peer: peer(2), incarnation: 0, standing: Standing::Alive };
    membership.handle_hello(now, from, hello, None, &[]);
    match Datagram::decode(bytes) {
        Some(Datagram::Registry(message)) => {
            let mut registry = Registry::new(ZhostId(1), Generation(1));
            registry.handle_message(message, Carrier::Link, |_| Some(Generation(1)));
            let _ = registry.digest(Carrier::Link, true);
        }
        Some(Datagram::Swim(swim)) => membership.handle_swim(now, from, swim),
        Some(Datagram::Hello { me, asked }) => membership.handle_hello(now, from, me, Some(asked), &[]),
        Some(Datagram::Beacon(me)) => membership.handle_beacon(now, from, me, &[]),
        Some(Datagram::Welcome { me, asked, to, known, rumours }) => {
            membership.handle_welcome(now, from, (me, asked), (to, known), rumours);
        }
        _ => {}
    }
    membership.handle_timeout(now + zhost_base::Duration::from_secs(3600));
});
