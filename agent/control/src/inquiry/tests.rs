//! Several zhosts asked at once: which of them answers, how soon, and what is said if none does.

use super::*;
use crate::{Caller, Server, Trust};
use std::net::SocketAddr;

const KEY: [u8; 32] = [3; 32];
const TICK: Duration = Duration::from_millis(10);

fn operator() -> Identity {
    Identity::from_private([5; 32])
}

/// What stands at an address.
enum Place {
    Zhost(Box<Server>),
    /// A zhost whose words take this many ticks.
    Far(Box<Server>, u32),
    Nobody,
    Refusing,
}

fn zhost(key: [u8; 32], operator: &Identity) -> Box<Server> {
    let trust = Trust::Operators(vec![*operator.public()]);
    Box::new(Server::new(Instant::ZERO, Identity::from_private([6; 32]), key, trust, Rng::from_number(2)))
}

fn good() -> Place {
    Place::Zhost(zhost(KEY, &operator()))
}

/// Another secret.
fn foreign() -> Place {
    Place::Zhost(zhost([4; 32], &operator()))
}

/// The same secret, other operators.
fn closed() -> Place {
    Place::Zhost(zhost(KEY, &Identity::from_private([7; 32])))
}

/// Asks them all; gives the reply or the troubles, how long it took, and how often a zhost was given the request.
fn ask(places: &mut [Place]) -> (Result<Vec<u8>, Vec<Trouble>>, Duration, usize) {
    let mut now = Instant::ZERO;
    let mut inquiry =
        Inquiry::new(now, Pace::NETWORK, &operator(), &KEY, Rng::from_number(1), places.len(), vec![7; 5000])
            .unwrap();
    let mut requests = 0;
    let mut under_way: Vec<(Instant, usize, Vec<u8>)> = Vec::new();
    loop {
        if let Err(troubles) = inquiry.handle_timeout(now) {
            return (Err(troubles), now.since(Instant::ZERO), requests);
        }
        while let Some((index, datagram)) = inquiry.poll_datagram() {
            let (server, delay) = match &mut places[index] {
                Place::Nobody => continue,
                Place::Refusing => {
                    inquiry.handle_unreachable(now, index, "refused".into());
                    continue;
                }
                Place::Zhost(server) => (server, 0),
                Place::Far(server, ticks) => (server, *ticks),
            };
            let caller = Caller::Network(SocketAddr::from(([127, 0, 0, 1], 9)));
            server.handle_datagram(now, caller, &datagram);
            while let Some((session, message, request)) = server.poll_request() {
                requests += 1;
                server.reply(now, session, message, [&[index as u8][..], &request].concat());
            }
            let answers = std::iter::from_fn(|| server.poll_datagram());
            under_way.extend(answers.map(|(_, answer)| (now + TICK * delay, index, answer)));
        }
        let (due, rest) = under_way.drain(..).partition(|(at, ..)| *at <= now);
        under_way = rest;
        let due: Vec<(Instant, usize, Vec<u8>)> = due;
        due.iter().for_each(|(_, index, answer)| inquiry.handle_datagram(now, *index, answer));
        if let Some(reply) = inquiry.poll_reply() {
            return (Ok(reply), now.since(Instant::ZERO), requests);
        }
        now += TICK;
    }
}

fn answered_by(places: &mut [Place]) -> (u8, Duration, usize) {
    let (reply, after, requests) = ask(places);
    let reply = reply.unwrap();
    assert_eq!(reply[1..], [7; 5000]);
    (reply[0], after, requests)
}

#[test]
fn the_first_that_is_named_answers_if_it_can() {
    let (by, after, requests) = answered_by(&mut [good(), good(), good()]);
    assert_eq!((by, requests), (0, 1), "nobody else is given the request");
    assert!(after < HEAD_START, "{after:?}");
    let (by, _, requests) = answered_by(&mut [Place::Far(zhost(KEY, &operator()), 4), good()]);
    assert_eq!((by, requests), (0, 1), "a little later than another");
}

#[test]
fn whoever_answers_is_asked_without_waiting_for_the_others() {
    for first in [Place::Nobody, foreign(), Place::Far(zhost(KEY, &operator()), 100)] {
        let (by, after, requests) = answered_by(&mut [first, Place::Nobody, good()]);
        assert_eq!((by, requests), (2, 1));
        assert!(after < Duration::from_millis(300), "{after:?}");
    }
    let (by, after, _) = answered_by(&mut [Place::Refusing, good()]);
    assert_eq!(by, 1);
    assert!(after < HEAD_START, "who refuses is not waited for: {after:?}");
}

#[test]
fn one_that_does_not_take_the_operator_is_passed_over() {
    let (by, after, requests) = answered_by(&mut [closed(), good()]);
    assert_eq!((by, requests), (1, 1));
    assert!(after < Duration::from_secs(2), "{after:?}");
}

#[test]
fn what_is_known_of_each_is_said_within_three_seconds() {
    let mut places: Vec<Place> = (0..17).map(|_| Place::Nobody).collect();
    places.extend([closed(), foreign(), Place::Refusing]);
    let (troubles, after, requests) = ask(&mut places);
    let troubles = troubles.unwrap_err();
    assert!(after <= Duration::from_secs(3), "{after:?}");
    assert_eq!(requests, 0);
    assert!(troubles[..17].iter().all(|trouble| *trouble == Trouble::Session(ClientError::Silent)));
    assert_eq!(
        troubles[17..],
        [
            Trouble::Session(ClientError::Stranger),
            Trouble::Session(ClientError::Silent),
            Trouble::Unreachable("refused".into())
        ]
    );
}

#[test]
fn many_that_do_not_take_the_operator_are_not_tried_one_after_the_other_for_ever() {
    let mut places: Vec<Place> = (0..20).map(|_| closed()).collect();
    let (troubles, after, _) = ask(&mut places);
    assert!(troubles.unwrap_err().iter().all(|trouble| *trouble == Trouble::Session(ClientError::Stranger)));
    assert!(after <= Duration::from_secs(4), "{after:?}");
}

#[test]
fn all_refusing_needs_no_waiting() {
    let (troubles, after, _) = ask(&mut [Place::Refusing, Place::Refusing]);
    assert_eq!(troubles.unwrap_err().len(), 2);
    assert!(after <= TICK, "{after:?}");
}

#[test]
fn too_large_a_request_asks_nobody() {
    let request = vec![0; zhost_base::limits::CONTROL_MESSAGE_MAX_BYTES + 1];
    let rng = Rng::from_number(1);
    let inquiry = Inquiry::new(Instant::ZERO, Pace::NETWORK, &operator(), &KEY, rng, 1, request);
    assert!(matches!(inquiry, Err(ClientError::TooLarge)));
}
