//! At which of its addresses a member is reached.
//!
//! A zhost on two networks has neighbours that reach it at one address only, and neighbours that do so at the other. So
//! everybody finds out for itself. A member is where its datagrams come from, until it answers there; one that does not
//! answer in time is asked at all its addresses, and is where it answers then. As long as it answers, nothing else
//! that is heard changes anything: two zhosts with two addresses each would chase each other.

use super::{
    Membership, MembershipEvent,
    addrs::{Addrs, is_link_local},
};
use alloc::vec::Vec;
use core::net::SocketAddr;
use zhost_base::ZhostId;

/// How this zhost reaches a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Way {
    /// Where it is asked first.
    pub at: Option<SocketAddr>,
    /// Whether it has answered there.
    proved: bool,
    /// From where else it was heard last.
    heard: Option<SocketAddr>,
    /// Who reached it last when we did not.
    pub via: Option<ZhostId>,
}

impl Way {
    /// Another start of the member may be elsewhere.
    pub fn of_another_start(self) -> Self {
        Self { proved: false, ..self }
    }

    /// The member told addresses that replace what it told before; `ours` are nobody else's.
    pub fn handle_told(&mut self, before: &Addrs, told: &Addrs, ours: &Addrs) {
        if self.at.is_some_and(|at| before.contains(at) && !told.contains(at)) {
            (self.at, self.proved) = (None, false);
        }
        if before != told {
            self.try_told(told, ours);
        }
        if self.at.is_none() {
            self.at = candidates(None, self.heard, told, ours).first().copied();
        }
    }

    /// Either's network changed: an address that everybody can use may work again, in place of a link-local one.
    pub fn try_told(&mut self, told: &Addrs, ours: &Addrs) {
        if let Some(at) = self.at.filter(|at| is_link_local(at.ip()) && !told.is_empty()) {
            (self.at, self.proved, self.heard) = (None, false, Some(at));
            self.at = candidates(None, self.heard, told, ours).first().copied();
        }
    }

    /// A datagram of the member came from there.
    pub fn handle_source(&mut self, from: SocketAddr, told: &Addrs) {
        // Only those on the same cable can use it: what everybody can use is better, if it works.
        let is_last_resort = is_link_local(from.ip()) && !told.is_empty();
        if self.at == Some(from) {
        } else if self.at.is_none() || !(self.proved || is_last_resort) {
            self.at = Some(from);
        } else {
            self.heard = Some(from);
        }
    }

    /// The member answered from there: at once, or after it was asked at all its addresses.
    fn handle_answer(&mut self, from: SocketAddr, at_once: bool) {
        if !(at_once && self.proved) {
            self.at = Some(from);
        }
        self.proved = true;
    }
}

/// Where a member may be reached, the best guess first.
fn candidates(
    at: Option<SocketAddr>,
    heard: Option<SocketAddr>,
    told: &Addrs,
    ours: &Addrs,
) -> Vec<SocketAddr> {
    // An address of ours that somebody else has too, as every machine has its loopback, would lead back to us.
    let leads_there =
        |addr: &SocketAddr| !ours.contains(*addr) && (!addr.ip().is_loopback() || ours.are_on_loopback());
    let mut told: Vec<SocketAddr> = told.iter().filter(leads_there).collect();
    told.sort_by_key(|addr| core::cmp::Reverse(ours.nearness(*addr)));
    let mut all: Vec<SocketAddr> = at.into_iter().chain(heard).collect();
    if at.is_none() && heard.is_some_and(|heard| is_link_local(heard.ip())) {
        all.splice(0..0, told);
    } else {
        all.extend(told);
    }
    let mut seen = Vec::with_capacity(all.len());
    all.retain(|addr| {
        !seen.contains(addr) && {
            seen.push(*addr);
            true
        }
    });
    all
}

impl Membership {
    /// Where a live member is reached, or we are; nothing if we know of no address.
    pub fn addr(&self, id: ZhostId) -> Option<SocketAddr> {
        if id == self.me.id {
            return self.me.addrs.iter().next();
        }
        self.members.get(&id).filter(|member| member.is_up())?.way.at
    }

    /// All addresses at which a live member may be reached, the one that works first.
    pub fn addrs(&self, id: ZhostId) -> Vec<SocketAddr> {
        let Some(member) = self.members.get(&id).filter(|member| member.is_up()) else { return Vec::new() };
        candidates(member.way.at, member.way.heard, &member.peer.addrs, &self.me.addrs)
    }

    /// The live member that is reached, or says so, at that address; we count too.
    pub fn reached_at(&self, addr: SocketAddr) -> Option<ZhostId> {
        let is_there = |(_, member): &(&ZhostId, &super::Member)| {
            member.is_up() && (member.way.at == Some(addr) || member.peer.addrs.contains(addr))
        };
        if self.me.addrs.contains(addr) {
            return Some(self.me.id);
        }
        self.members.iter().find(is_there).map(|(id, _)| *id)
    }

    /// An authentic datagram of that zhost came from there.
    pub fn handle_source(&mut self, id: ZhostId, from: SocketAddr) {
        self.change_way(id, |way, told| way.handle_source(from, told));
    }

    /// It answered a ping of ours.
    pub(super) fn handle_answer(&mut self, id: ZhostId, from: SocketAddr, at_once: bool) {
        self.change_way(id, |way, _| way.handle_answer(from, at_once));
    }

    /// Somebody else reached it.
    pub(super) fn note_helper(&mut self, id: ZhostId, helper: ZhostId) {
        self.change_way(id, |way, _| way.via = Some(helper));
    }

    pub(super) fn change_way(&mut self, id: ZhostId, change: impl FnOnce(&mut Way, &Addrs)) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let before = member.way.at;
        change(&mut member.way, &member.peer.addrs);
        if member.way.at != before && member.is_up() {
            self.events.push_back(MembershipEvent::Moved(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn addrs(texts: &[&str]) -> Addrs {
        texts.iter().map(|text| addr(text)).collect()
    }

    #[test]
    fn who_answers_stays_where_it_is_and_who_does_not_is_found_elsewhere() {
        let told = addrs(&["10.1.0.2:9", "10.2.0.2:9"]);
        let ours = addrs(&["10.2.0.7:9", "10.1.0.7:9"]);
        let mut way = Way::default();
        way.handle_told(&Addrs::default(), &told, &ours);
        assert_eq!(way.at, Some(addr("10.1.0.2:9")), "both are as near: the first");
        way.handle_source(addr("10.2.0.2:9"), &told);
        assert_eq!(way.at, Some(addr("10.2.0.2:9")), "evidence is better than a guess");
        way.handle_answer(addr("10.2.0.2:9"), true);
        way.handle_source(addr("10.1.0.2:9"), &told);
        way.handle_answer(addr("10.1.0.2:9"), true);
        assert_eq!(way.at, Some(addr("10.2.0.2:9")), "it works");
        way.handle_answer(addr("10.1.0.2:9"), false);
        assert_eq!(way.at, Some(addr("10.1.0.2:9")), "it did not any more");
    }

    #[test]
    fn where_only_the_same_cable_hears_is_the_last_resort() {
        let (told, ours, near) = (addrs(&["[fd00::2]:9"]), addrs(&["[fd00::1]:9"]), addr("[fe80::2]:9"));
        let mut way = Way::default();
        way.handle_told(&Addrs::default(), &told, &ours);
        way.handle_source(near, &told);
        assert_eq!(way.at, Some(addr("[fd00::2]:9")));
        way.handle_answer(near, false);
        assert_eq!(way.at, Some(near), "nothing else answers");
    }

    #[test]
    fn what_leads_back_to_ourselves_is_not_believed() {
        let told = addrs(&["127.0.0.1:9", "172.17.0.1:9", "192.168.50.2:9"]);
        let ours = addrs(&["192.168.50.1:9", "172.17.0.1:9"]);
        assert_eq!(candidates(None, None, &told, &ours), [addr("192.168.50.2:9")]);
        let on_loopback = addrs(&["127.0.0.1:8"]);
        assert_eq!(candidates(None, None, &told, &on_loopback)[0], addr("127.0.0.1:9"));
    }

    #[test]
    fn an_address_that_is_told_no_longer_is_left() {
        let (before, told) = (addrs(&["10.1.0.2:9"]), addrs(&["10.2.0.2:9"]));
        let mut way = Way { at: Some(addr("10.1.0.2:9")), proved: true, ..Way::default() };
        way.handle_told(&before, &told, &Addrs::default());
        assert_eq!(way.at, Some(addr("10.2.0.2:9")));
        let seen_there = addr("[fe80::2]:9");
        let mut way = Way { at: Some(seen_there), proved: true, ..Way::default() };
        way.handle_told(&before, &told, &Addrs::default());
        assert_eq!(way.at, Some(addr("10.2.0.2:9")), "what everybody can use is tried again");
        assert_eq!(way.heard, Some(seen_there), "and this, if it does not work");
        let mut way = Way { at: Some(seen_there), proved: true, ..Way::default() };
        way.handle_told(&told, &told, &Addrs::default());
        assert_eq!(way.at, Some(seen_there), "nothing has changed");
    }
}
