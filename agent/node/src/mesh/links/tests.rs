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
    let mut links = Links::new(now, ZhostId(1));
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

fn links(me: u64) -> Links {
    Links::new(Instant::ZERO, ZhostId(me))
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

/// What its channel tells of a zhost that has proved who it is, and said this.
fn proved(peer: ZhostId, hops: &[Hop]) -> Result<Received, LinkError> {
    let frames = hops.iter().map(|hop| ByteBuf::from(hop.encode())).collect();
    Ok(Received { from: Some(peer), frames })
}

#[test]
fn a_member_is_let_in_while_strangers_hold_all_they_may() {
    let mut links = links(1);
    links.handle_room(8, 4);
    for number in 10..30 {
        links.handle_accepted(Instant::ZERO, ConnectionId(2 * number + 1), addr(9, number as u16));
    }
    // A member from the very address of the strangers.
    let here = ConnectionId(101);
    links.handle_members(Instant::ZERO, LiteMap::from_iter([(PEER, vec![addr(9, 1)])]), BTreeSet::new());
    links.handle_accepted(Instant::ZERO, here, addr(9, 1));
    links.handle_received(Instant::ZERO, here, proved(PEER, &[]));
    assert!(links.is_up(PEER));
    for number in 60..90 {
        links.handle_accepted(Instant::ZERO, ConnectionId(2 * number + 1), addr(9, number as u16));
    }
    assert!(links.is_up(PEER), "who has proved who he is makes no room");
    assert_eq!(strangers(&links), 4);
}

#[test]
fn who_does_not_prove_who_he_is_in_time_is_cut_off_and_so_is_who_sends_what_his_key_did_not_seal() {
    let mut links = links(1);
    let handle =
        |links: &mut Links, received| links.handle_received(Instant::ZERO, ConnectionId(3), received);
    links.handle_accepted(Instant::ZERO, ConnectionId(1), addr(9, 1));
    links.handle_accepted(Instant::ZERO, ConnectionId(3), addr(9, 2));
    handle(&mut links, Ok(Received { from: None, frames: Vec::new() }));
    handle(&mut links, proved(PEER, &[]));
    let (due, _) = links.poll_timeout().unwrap();
    links.handle_timeout(Instant::ZERO + LINK_HANDSHAKE_TIMEOUT - Duration::from_micros(1));
    assert!(closed(&mut links).is_empty() && due <= Instant::ZERO + LINK_HANDSHAKE_TIMEOUT);
    links.handle_timeout(Instant::ZERO + LINK_HANDSHAKE_TIMEOUT);
    assert_eq!(closed(&mut links), [1]);
    assert!(links.is_up(PEER));
    handle(&mut links, Err(LinkError::Forged));
    assert_eq!(closed(&mut links), [3]);
    assert!(!links.is_up(PEER));
}

#[test]
fn frames_of_one_turn_go_out_together_and_what_a_link_does_not_take_closes_it() {
    let mut links = links(1);
    links.handle_accepted(Instant::ZERO, ConnectionId(1), addr(9, 1));
    links.handle_received(Instant::ZERO, ConnectionId(1), proved(PEER, &[Hop::Ping(5), Hop::Ping(6)]));
    links.flush_all();
    let written: Vec<Vec<u8>> = std::iter::from_fn(|| links.poll_output())
        .filter_map(|output| if let LinkOutput::Write(_, frames) = output { Some(frames) } else { None })
        .collect();
    let mut expected = Vec::new();
    // Its own question comes first.
    for hop in [Hop::Ping(2), Hop::Pong(5), Hop::Pong(6)] {
        push_frame(&mut expected, &hop.encode()).unwrap();
    }
    assert_eq!(written, [expected]);
    let large = Hop::Gossip(vec![0; 100_000]);
    (0..1000).for_each(|_| links.send(PEER, &large));
    links.handle_timeout(Instant::ZERO);
    assert_eq!(closed(&mut links), [1]);
}
