//! A simulated operator: the real client against the real control protocol.

use crate::machine::{self, CONTROL_KEY};
use std::net::SocketAddr;
use zhost_base::{Instant, Rng};
use zhost_control::{
    Client, Pace,
    protocol::{Reply, Request},
};

/// One request to one board.
pub struct Operator {
    pub addr: SocketAddr,
    pub machine: usize,
    pub client: Client,
    pub reply: Option<Reply>,
    pub gave_up: bool,
}

impl Operator {
    pub fn new(now: Instant, number: usize, machine: usize, request: &Request, rng: Rng) -> Self {
        let mut client =
            Client::new(now, Pace::NETWORK, &machine::operator(), &CONTROL_KEY, rng).expect("a fixed key");
        client.request(now, request.encode()).expect("requests are small");
        let addr = SocketAddr::from(([10, 9, 0, 1], 10_000 + number as u16));
        Self { addr, machine, client, reply: None, gave_up: false }
    }

    /// Whether nothing more will happen.
    pub fn is_done(&self) -> bool {
        self.reply.is_some() || self.gave_up
    }

    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
        self.client.handle_datagram(now, datagram);
        if let Some(bytes) = self.client.poll_reply() {
            self.reply = Reply::decode(&bytes);
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.gave_up |= self.client.handle_timeout(now).is_err();
    }
}
