//! A client against a server of a few lines.

use super::*;
use proptest::{
    collection::vec,
    prelude::{any, proptest},
};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
const GIVEN: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const LEASE_SECONDS: u32 = 3600;

fn client(now: Instant) -> Dhcp {
    Dhcp::new(now, MAC, "attic", Rng::from_number(1))
}

/// What a server answers to this packet.
fn answer(packet: &[u8], kind: u8) -> Vec<u8> {
    let mut answer = packet[..OPTIONS_AT].to_vec();
    answer[0] = 2;
    answer[16..20].copy_from_slice(&GIVEN.octets());
    answer.extend_from_slice(&COOKIE);
    answer.extend_from_slice(&[
        53, 1, kind, 1, 4, 255, 255, 255, 0, 0, 3, 4, 10, 0, 2, 2, 54, 4, 10, 0, 2, 2, 51, 4,
    ]);
    answer.extend_from_slice(&LEASE_SECONDS.to_be_bytes());
    answer.push(255);
    answer
}

fn sent(client: &mut Dhcp) -> Vec<u8> {
    match client.poll_output() {
        Some(Output::Send(packet)) => packet,
        other => panic!("{other:?} instead of a packet"),
    }
}

fn kind_of(packet: &[u8]) -> u8 {
    packet[OPTIONS_AT + 6]
}

/// A client that has got an address.
fn bound(now: Instant) -> Dhcp {
    let mut client = client(now);
    client.handle_timeout(now);
    let discover = sent(&mut client);
    client.handle_packet(now, &answer(&discover, OFFER));
    let request = sent(&mut client);
    assert_eq!((kind_of(&discover), kind_of(&request)), (DISCOVER, REQUEST));
    client.handle_packet(now, &answer(&request, ACK));
    client
}

#[test]
fn an_address_is_got_and_renewed() {
    let mut now = Instant::from_micros(1);
    let mut client = bound(now);
    let lease = Lease { addr: GIVEN, prefix: 24, gateway: Some(SERVER) };
    assert_eq!(client.poll_output(), Some(Output::Use(lease)));
    now = client.poll_timeout().0;
    assert_eq!(now.since(Instant::from_micros(1)).as_secs(), u64::from(LEASE_SECONDS / 2));
    client.handle_timeout(now);
    let renewal = sent(&mut client);
    assert_eq!((kind_of(&renewal), &renewal[12..16]), (REQUEST, GIVEN.octets().as_slice()));
    client.handle_packet(now, &answer(&renewal, ACK));
    assert_eq!(client.poll_output(), Some(Output::Use(lease)));
}

#[test]
fn a_silent_server_is_asked_less_and_less_often_and_a_lease_ends() {
    let mut now = Instant::from_micros(1);
    let mut client = bound(now);
    let mut packets = 0;
    let mut dropped = false;
    client.poll_output();
    while !dropped {
        now = client.poll_timeout().0;
        client.handle_timeout(now);
        while let Some(output) = client.poll_output() {
            packets += usize::from(matches!(output, Output::Send(_)));
            dropped |= output == Output::Drop;
        }
    }
    assert!(now.since(Instant::from_micros(1)).as_secs() >= u64::from(LEASE_SECONDS));
    assert!(packets < LEASE_SECONDS as usize / 2 / 30 + 10, "{packets} packets");
}

#[test]
fn a_refusal_starts_over() {
    let mut now = Instant::from_micros(1);
    let mut client = bound(now);
    client.poll_output();
    now = client.poll_timeout().0;
    client.handle_timeout(now);
    let renewal = sent(&mut client);
    client.handle_packet(now, &answer(&renewal, NAK));
    assert_eq!(client.poll_output(), Some(Output::Drop));
    client.handle_timeout(now);
    assert_eq!(kind_of(&sent(&mut client)), DISCOVER);
}

#[test]
fn answers_to_others_are_ignored() {
    let now = Instant::from_micros(1);
    let mut client = client(now);
    client.handle_timeout(now);
    let mut offer = answer(&sent(&mut client), OFFER);
    offer[33] ^= 1;
    client.handle_packet(now, &offer);
    assert_eq!(client.poll_output(), None);
}

proptest! {
    #[test]
    fn no_packet_makes_it_panic(options in vec(any::<u8>(), 0..200)) {
        let now = Instant::from_micros(1);
        let mut client = client(now);
        client.handle_timeout(now);
        let mut packet = answer(&sent(&mut client), OFFER)[..OPTIONS_AT + 4].to_vec();
        packet.extend_from_slice(&options);
        client.handle_packet(now, &packet);
    }
}

#[test]
fn a_cable_that_is_back_may_lead_elsewhere() {
    let now = Instant::from_micros(1);
    let mut client = bound(now);
    client.poll_output();
    let later = now + Duration::from_secs(100);
    client.handle_carrier(later);
    client.handle_timeout(later);
    let request = sent(&mut client);
    assert_eq!(&request[12..16], GIVEN.octets().as_slice(), "it asks for what it has");
    client.handle_packet(later, &answer(&request, NAK));
    assert_eq!(client.poll_output(), Some(Output::Drop), "which is wrong here");
    client.handle_timeout(later);
    assert_eq!(kind_of(&sent(&mut client)), DISCOVER);
}

#[test]
fn who_waited_long_asks_at_once_when_the_cable_is_there() {
    let mut now = Instant::from_micros(1);
    let mut client = client(now);
    for _ in 0..8 {
        client.handle_timeout(now);
        sent(&mut client);
        now = client.poll_timeout().0;
    }
    assert!(now.since(Instant::from_micros(1)) > Duration::from_secs(60));
    let early = now - Duration::from_secs(20);
    client.handle_carrier(early);
    assert_eq!(client.poll_timeout().0, early);
}
