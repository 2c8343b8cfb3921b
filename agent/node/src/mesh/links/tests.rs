//! Where links are tried, and who is let in.

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

const KEY: [u8; 32] = [5; 32];

fn links(private: u8) -> Links {
    Links::new(
        Instant::ZERO,
        Identity::from_private([private; 32]),
        KEY,
        Rng::from_number(u64::from(private)),
    )
}

fn addr(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], port))
}

/// The connections that are closed.
fn closed(links: &mut Links) -> Vec<u64> {
    let outputs = std::iter::from_fn(|| links.poll_output());
    outputs.filter_map(|output| if let LinkOutput::Close(id) = output { Some(id.0) } else { None }).collect()
}

fn strangers(links: &Links) -> usize {
    links.connections.values().filter(|connection| connection.peer.is_none()).count()
}

#[test]
fn silent_strangers_of_one_address_make_room_for_each_other() {
    let mut links = links(1);
    for number in 0..200 {
        links.handle_accepted(Instant::ZERO, ConnectionId(2 * number + 1), addr(9, number as u16));
    }
    assert_eq!(strangers(&links), LINKS_UNPROVED_PER_ADDRESS_MAX);
    let kept = LINKS_UNPROVED_PER_ADDRESS_MAX as u64;
    assert_eq!(
        closed(&mut links),
        (0..200 - kept).map(|number| 2 * number + 1).collect::<Vec<_>>(),
        "the oldest"
    );
}

#[test]
fn whoever_floods_makes_room_and_not_who_came_first() {
    let mut links = links(1);
    links.handle_room(20, 6);
    links.handle_accepted(Instant::ZERO, ConnectionId(1), addr(1, 1));
    for number in 1..100 {
        links.handle_accepted(Instant::ZERO, ConnectionId(2 * number + 1), addr(9, number as u16));
    }
    assert_eq!(strangers(&links), 6);
    assert!(links.connections.contains_key(&ConnectionId(1)), "another address than the flood's");
    assert_eq!(closed(&mut links).len(), 94);
}

#[test]
fn a_member_is_let_in_while_strangers_hold_all_they_may() {
    let (mut ours, mut theirs) = (links(1), links(2));
    ours.handle_room(8, 4);
    for number in 10..30 {
        ours.handle_accepted(Instant::ZERO, ConnectionId(2 * number + 1), addr(9, number as u16));
    }
    // A member from the very address of the strangers.
    let (member, here, there) = (theirs.identity.zhost_id(), ConnectionId(101), ConnectionId(2));
    let peer = ours.identity.zhost_id();
    let known = |id, at| (LiteMap::from_iter([(id, vec![at])]), BTreeSet::from([id]));
    let (members, wanted) = known(peer, addr(1, 1));
    theirs.handle_members(Instant::ZERO, members, wanted);
    let (members, _) = known(member, addr(9, 1));
    ours.handle_members(Instant::ZERO, members, BTreeSet::new());
    ours.handle_accepted(Instant::ZERO, here, addr(9, 1));
    theirs.handle_connected(there);
    for _ in 0..8 {
        exchange(&mut theirs, &mut ours, here);
        exchange(&mut ours, &mut theirs, there);
    }
    assert!(ours.is_up(member));
    for number in 60..90 {
        ours.handle_accepted(Instant::ZERO, ConnectionId(2 * number + 1), addr(9, number as u16));
    }
    assert!(ours.is_up(member), "who has proved who he is makes no room");
    assert_eq!(strangers(&ours), 4);
}

/// Carries what one side has to write to the other's connection.
fn exchange(from: &mut Links, to: &mut Links, connection: ConnectionId) {
    from.flush_all();
    while let Some(output) = from.poll_output() {
        if let LinkOutput::Write(_, bytes) = output {
            to.handle_bytes(Instant::ZERO, connection, &bytes);
        }
    }
}
