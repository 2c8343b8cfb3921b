//! Sessions end to end, over a network that loses packets.

use super::*;
use crate::client::{Client, ClientError};

const KEY: [u8; 32] = [3; 32];

fn operator() -> Identity {
    Identity::from_private([5; 32])
}

fn addr() -> Caller {
    Caller::Network(SocketAddr::from(([127, 0, 0, 1], 9)))
}

fn server() -> Server {
    let zhost = Identity::from_private([6; 32]);
    Server::new(Instant::ZERO, zhost, KEY, Trust::Operators(vec![*operator().public()]), Rng::from_number(2))
}

/// Runs one request to its reply; the server echoes. Gives the datagrams the server sent, too.
fn ask(server: &mut Server, mut client: Client, loss: u64) -> (Result<Vec<u8>, ClientError>, usize) {
    let mut rng = Rng::from_number(loss);
    let mut now = Instant::ZERO;
    let mut answers = 0;
    client.request(now, vec![7; 10_000]).unwrap();
    loop {
        if let Err(error) = client.handle_timeout(now) {
            return (Err(error), answers);
        }
        server.handle_timeout(now);
        let up: Vec<_> = std::iter::from_fn(|| client.poll_datagram()).collect();
        up.iter()
            .filter(|_| !rng.chance(loss))
            .for_each(|datagram| server.handle_datagram(now, addr(), datagram));
        while let Some((session, message, request)) = server.poll_request() {
            server.reply(now, session, message, request);
        }
        let down: Vec<_> = std::iter::from_fn(|| server.poll_datagram()).collect();
        answers += down.len();
        down.iter()
            .filter(|_| !rng.chance(loss))
            .for_each(|(_, datagram)| client.handle_datagram(now, datagram));
        if let Some(reply) = client.poll_reply() {
            return (Ok(reply), answers);
        }
        now += Duration::from_millis(20);
    }
}

fn client(identity: &Identity, key: &[u8; 32], seed: u64) -> Client {
    Client::new(Instant::ZERO, Pace::NETWORK, identity, key, Rng::from_number(seed)).unwrap()
}

#[test]
fn an_operator_is_answered_even_over_a_bad_network() {
    for loss in [0, 100, 300] {
        let (reply, _) = ask(&mut server(), client(&operator(), &KEY, 1), loss);
        assert_eq!(reply, Ok(vec![7; 10_000]), "loss {loss}");
    }
}

#[test]
fn strangers_get_no_answer_at_all() {
    let (reply, answers) = ask(&mut server(), client(&operator(), &[4; 32], 1), 0);
    assert_eq!((reply, answers), (Err(ClientError::Silent), 0), "without the control secret");
}

#[test]
fn an_unknown_operator_gets_no_further_than_the_handshake() {
    let stranger = Identity::from_private([8; 32]);
    let mut server = server();
    let (reply, _) = ask(&mut server, client(&stranger, &KEY, 1), 0);
    assert_eq!(reply, Err(ClientError::Stranger));
    assert!(server.poll_request().is_none());
}

#[test]
fn handshakes_are_rate_limited_and_sessions_bounded() {
    let mut server = server();
    for seed in 0..1000 {
        let mut client = client(&operator(), &KEY, seed);
        client.handle_timeout(Instant::ZERO).unwrap();
        server.handle_datagram(Instant::ZERO, addr(), &client.poll_datagram().unwrap());
    }
    assert_eq!(std::iter::from_fn(|| server.poll_datagram()).count(), CONTROL_HANDSHAKES_BURST as usize);
    assert_eq!(server.sessions.len(), CONTROL_SESSIONS_MAX);
}

#[test]
fn a_recorded_hello_gets_no_second_answer() {
    let mut server = server();
    let mut client = client(&operator(), &KEY, 1);
    client.handle_timeout(Instant::ZERO).unwrap();
    let hello = client.poll_datagram().unwrap();
    server.handle_datagram(Instant::ZERO, addr(), &hello);
    assert!(server.poll_datagram().is_some());
    let later = Instant::ZERO + HANDSHAKE_MAX;
    server.handle_timeout(later);
    server.handle_datagram(later, addr(), &hello);
    assert!(server.poll_datagram().is_none(), "the same session again");
    let mut other = hello.clone();
    other[8] ^= 1;
    server.handle_datagram(later, addr(), &other);
    assert!(server.poll_datagram().is_none(), "under another session's number");
}

#[test]
fn a_hello_that_came_too_soon_is_answered_when_it_comes_again() {
    let mut server = server();
    let mut last = Vec::new();
    for seed in 0..=u64::from(CONTROL_HANDSHAKES_BURST) {
        let mut client = client(&operator(), &KEY, seed);
        client.handle_timeout(Instant::ZERO).unwrap();
        last = client.poll_datagram().unwrap();
        while server.poll_datagram().is_some() {}
        server.handle_datagram(Instant::ZERO, addr(), &last);
    }
    assert!(server.poll_datagram().is_none(), "one more than the burst");
    let later = Instant::ZERO + Duration::from_millis(300);
    server.handle_datagram(later, addr(), &last);
    assert!(server.poll_datagram().is_some());
}

#[test]
fn garbage_does_not_lock_operators_out() {
    let mut server = server();
    for session in 0..10_000_u64 {
        server.handle_datagram(Instant::ZERO, addr(), &packet::join(Kind::Hello, session, &[7; 48]));
    }
    let (reply, _) = ask(&mut server, client(&operator(), &KEY, 1), 0);
    assert_eq!(reply, Ok(vec![7; 10_000]));
}

proptest::proptest! {
    #[test]
    fn random_datagrams_never_panic_and_get_no_answer(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..1300)) {
        let mut server = server();
        server.handle_datagram(Instant::ZERO, addr(), &bytes);
        proptest::prop_assert!(server.poll_datagram().is_none());
        let mut client = client(&operator(), &KEY, 1);
        client.handle_datagram(Instant::ZERO, &bytes);
    }
}
