//! Tickets for the pages of UI spaces, as every zhost of the cluster makes and tells them.

use crate::spaces::web::{Page, Place};
use std::fmt::Write;
use subtle::ConstantTimeEq;
use zhost_gossip::seal::ClusterSecret;
use zhost_web::Request;

/// Makes tickets, and tells true ones.
pub(super) struct Tickets(ClusterSecret);

impl Tickets {
    pub fn new(secret: ClusterSecret) -> Self {
        Self(secret)
    }

    /// A ticket for a page that is good until then, seconds since 1970.
    pub fn ticket(&self, page: &Page, until_s: u64) -> String {
        self.ticket_for(page.topology.as_str(), page.space.as_str(), until_s)
    }

    fn ticket_for(&self, topology: &str, space: &str, until_s: u64) -> String {
        let mut ticket = format!("{until_s:x}.");
        for byte in self.0.derive(&format!("zhost web ticket v1 {topology} {space} {until_s}")) {
            // Writing to a string cannot fail.
            let _ = write!(ticket, "{byte:02x}");
        }
        ticket
    }

    /// Until when the ticket is good that a request shows, if it is ours, and for the space that is asked for.
    pub fn good_until_s(&self, request: &Request) -> Option<u64> {
        let (place, shown) = (Place::of(&request.path)?, request.ticket()?);
        let until_s = u64::from_str_radix(shown.split_once('.')?.0, 16).ok()?;
        let ours = self.ticket_for(place.topology, place.space, until_s);
        bool::from(shown.as_bytes().ct_eq(ours.as_bytes())).then_some(until_s)
    }
}
