//! One identity on two boards: a flash card was copied. The membership finds out, and which of the two stays
//! (`gossip/src/membership/rival.rs`); here is what follows.

use crate::{effects::Effects, facts::Facts, output::Level};
use std::{collections::BTreeSet, net::SocketAddr};
use zhost_base::{ZhostId, limits::MEMBERS_MAX};
use zhost_control::protocol::Request;

/// What an operator is to do about it.
const ADVICE: &str =
    "give each board an identity of its own: remove identity.key and zhost.redb from one of them";

/// The copied zhosts we have told our operator of.
#[derive(Debug, Default)]
pub(crate) struct Rivals(BTreeSet<(ZhostId, SocketAddr)>);

impl Facts {
    /// Where the other start of us lives that stands aside for us.
    pub(crate) fn rival_addr(&self) -> Option<SocketAddr> {
        self.membership.rival_addr().filter(|_| !self.membership.stands_aside())
    }

    fn rival_place(&self) -> String {
        self.membership.rival_addr().map_or_else(|| "-".into(), |addr| addr.to_string())
    }

    /// What an operator is to do if the card of this zhost was copied.
    pub(crate) fn describe_copy(&self) -> String {
        let (here, there) = (self.at(self.id), self.rival_place());
        let stays = match self.membership.stands_aside() {
            false => "This one stays",
            true => {
                "This one stands aside: it closes its spaces and takes no commands until the other is gone"
            }
        };
        format!(
            "this zhost runs twice, here at {here} and at {there}: was its flash card copied? {stays}; {ADVICE}"
        )
    }

    /// What an operator should know of a zhost that runs twice.
    pub(crate) fn describe_rival(&self, id: ZhostId) -> Option<String> {
        if id == self.id && self.membership.stands_aside() {
            return Some(format!(
                "runs also at {}; the one asked, at {}, stands aside",
                self.rival_place(),
                self.at(id)
            ));
        }
        let addr = self.profile(id)?.rival_addr?;
        Some(format!("runs also at {addr}, which stands aside: was its flash card copied?"))
    }

    /// Why a request is not carried out while another start of us takes part in our stead.
    pub(crate) fn refuse_aside(&self, request: &Request) -> Option<String> {
        if !self.membership.stands_aside() {
            return None;
        }
        let acts_on_space = matches!(
            request,
            Request::TopoRestart(_)
                | Request::SpaceRestart(_)
                | Request::SpaceRepair(_)
                | Request::SpaceOpen(_)
        );
        (request.writes() || acts_on_space).then(|| {
            format!(
                "this zhost stands aside, since another with its identity runs at {} (a copied flash card?); nothing \
                 changed. Ask another zhost, and {ADVICE}",
                self.rival_place()
            )
        })
    }
}

impl Rivals {
    /// Tells our operator of zhosts that run twice.
    pub fn refresh(&mut self, facts: &Facts, effects: &mut Effects) {
        let seen = facts.known_zhosts().filter_map(|(id, profile)| Some((id, profile.rival_addr?)));
        let seen: BTreeSet<(ZhostId, SocketAddr)> = seen.take(MEMBERS_MAX).collect();
        for (id, addr) in seen.difference(&self.0) {
            let Some(at) = facts.membership.addr(*id).filter(|_| *id != facts.id) else { continue };
            let name = facts.zhost_name(*id);
            let text =
                format!("zhost {name} ({id}) runs twice, at {at} and at {addr}: was its flash card copied?");
            effects.log(Level::Warn, text);
        }
        self.0 = seen;
    }
}
