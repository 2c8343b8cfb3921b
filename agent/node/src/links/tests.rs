//! Where links are tried.

use super::*;

const PEER: ZhostId = ZhostId(7);

/// The addresses of the connections asked for since the last time, and whether a refusal was told.
fn asked(links: &mut Links) -> (Vec<(ConnectionId, SocketAddr)>, bool) {
    let (mut connects, mut refused) = (Vec::new(), false);
    while let Some(output) = links.poll_output() {
        match output {
            LinkOutput::Connect(id, addr) => connects.push((id, addr)),
            LinkOutput::Refused(peer) => refused |= peer == PEER,
            _ => {}
        }
    }
    (connects, refused)
}

#[test]
fn a_member_is_tried_at_all_its_addresses_in_turn_and_refuses_only_where_it_is() {
    let addrs: Vec<SocketAddr> = (1..4).map(|network| ([10, network, 0, 7], 9200).into()).collect();
    let mut now = Instant::from_micros(1_000_000);
    let mut links = Links::new(now, Identity::from_private([1; 32]), [2; 32], Rng::from_number(1));
    let members = std::iter::once((PEER, addrs.clone())).collect();
    links.handle_members(now, members, BTreeSet::from([PEER]));
    for tries in 0..20 {
        let (connects, _) = asked(&mut links);
        let [(id, addr)] = connects[..] else { panic!("{connects:?} after {tries} tries") };
        assert_eq!(addr, addrs[tries % addrs.len()]);
        links.handle_closed(now, id, true);
        assert_eq!(asked(&mut links).1, addr == addrs[0], "elsewhere it is somebody else who refuses");
        now += RETRY_MAX;
        links.handle_timeout(now);
    }
}
