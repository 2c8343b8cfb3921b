//! Two starts of one zhost at once: a flash card was copied, and both boards have its key.
//!
//! Every start has a random number, its *nonce*, that is told wherever its generation is. Whoever hears that another start
//! of itself lives elsewhere asks it: one that does not answer is over (a card that was moved, a disk that was rolled back),
//! and its generation is outdone. One that answers is a *rival*. Of the two, the one with the lower nonce decides, so that
//! both agree: who has been active for longer stays. The other *stands aside*: it leaves, is silent, asks now and then
//! whether the one that stays is still there, and goes on when nobody says so any more.
//!
//! A claim counts only if it repeats the nonce of whom it answers: what was recorded of earlier starts proves nothing.

use super::{Membership, MembershipEvent, Peer, Rumour, Standing, Swim, SwimMessage};
use crate::datagram::Datagram;
use alloc::vec;
use core::{net::SocketAddr, time::Duration};
use serde::{Deserialize, Serialize};
use zhost_base::Instant;

/// How often another start is asked while it is not known whether it lives.
const ASK_PERIOD: Duration = Duration::from_millis(250);
/// How long it has to answer, and others to say that it lives.
const ANSWER_WITHIN: Duration = Duration::from_millis(1500);
/// If it does not answer us, but others say for so long that it lives, it does.
const HEARSAY: Duration = Duration::from_secs(10);
/// How often a rival is asked, once it is known which of the two stays.
const LOOK_PERIOD: Duration = Duration::from_secs(5);
/// For so long there must be no sign of a rival before it counts as gone.
const GONE_AFTER: Duration = Duration::from_secs(16);
/// Others that one who stands aside asks beside its rival, at most.
const WITNESSES_MAX: usize = 3;

/// One start of a zhost speaks to another of the same zhost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Who speaks.
    pub peer: Peer,
    /// The nonce of the other start, as far as it is known.
    pub to: u32,
    /// For how long the speaker has been active; not at all while it stands aside.
    pub active_ms: Option<u64>,
    /// The nonce of the start that stays, once that is decided.
    pub stays: Option<u32>,
    /// Whether an answer is wanted.
    pub asks: bool,
}

/// How we stand to the other start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// We do not know whether it lives.
    Doubt,
    /// It lives, and we stay.
    Stay,
    /// It lives, and we stand aside.
    Aside,
}

/// Another start of ourselves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rival {
    peer: Peer,
    /// From where it spoke to us last.
    at: Option<SocketAddr>,
    stand: Stand,
    since: Instant,
    /// When it spoke to us last.
    heard_at: Option<Instant>,
    /// When somebody said last that it lives.
    said_at: Option<Instant>,
    /// Whether it stood aside when it spoke last.
    is_aside: bool,
    ask_at: Instant,
}

impl Rival {
    fn is_silent(&self, now: Instant, within: Duration) -> bool {
        let signs = [Some(self.since), self.heard_at, self.said_at].into_iter().flatten();
        signs.max().is_none_or(|last| now.since(last) >= within)
    }
}

impl Membership {
    /// The other start of this zhost that lives, and whether we stand aside for it.
    pub fn rival(&self) -> Option<(Peer, bool)> {
        let rival = self.rival.filter(|rival| rival.stand != Stand::Doubt)?;
        Some((rival.peer, rival.stand == Stand::Aside))
    }

    /// Where the other start of this zhost is reached.
    pub fn rival_addr(&self) -> Option<SocketAddr> {
        let rival = self.rival.filter(|rival| rival.stand != Stand::Doubt)?;
        rival.at.or_else(|| rival.peer.addrs.iter().next())
    }

    /// Whether another start of this zhost goes on in our place.
    pub fn stands_aside(&self) -> bool {
        self.rival.is_some_and(|rival| rival.stand == Stand::Aside)
    }

    /// Whether it is open if another start of this zhost lives.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.rival.is_some_and(|rival| rival.stand == Stand::Doubt)
    }

    /// Another zhost of this id than we know speaks: whether it may be a second start, elsewhere, of one that lives.
    pub(super) fn may_be_rivals(&self, peer: &Peer) -> bool {
        let held = self.members.get(&peer.id).filter(|held| held.is_up());
        held.is_some_and(|held| held.peer.nonce != peer.nonce && held.peer.addrs != peer.addrs)
    }

    /// Of two starts in one generation we hold the one that we heard of first, and tell it of the other.
    pub(super) fn tell_of_twin(&mut self, rumour: &Rumour) {
        let Peer { id, generation, .. } = rumour.peer;
        let is_twin = self.generation(id) == Some(generation) && self.may_be_rivals(&rumour.peer);
        if let Some(at) = self.addr(id).filter(|_| is_twin && rumour.standing == Standing::Alive) {
            let rumours = vec![rumour.clone()];
            self.send(at, Swim { from: self.me.id, message: SwimMessage::News, rumours });
        }
    }

    /// Somebody tells of a start of ourselves that is not this one.
    pub(super) fn hear_of_another_start(&mut self, now: Instant, rumour: &Rumour, is_known_by_asker: bool) {
        let theirs = rumour.peer;
        let is_later = (theirs.generation, rumour.incarnation) >= (self.me.generation, self.incarnation);
        // Nobody else is reached at all the addresses that we are.
        let is_over = rumour.standing == Standing::Down || theirs.addrs == self.me.addrs;
        // Whoever stands aside waits until there is no sign of the other at all.
        if is_over && self.stands_aside() {
            return;
        }
        match &mut self.rival {
            Some(rival) if rival.stand == Stand::Aside => {
                rival.peer = theirs;
                rival.said_at = Some(now);
            }
            Some(rival) if rival.peer.nonce == theirs.nonce && !is_over => {
                rival.said_at = Some(now);
                rival.peer = Peer { generation: rival.peer.generation.max(theirs.generation), ..theirs };
                if rival.stand == Stand::Stay && is_later {
                    self.regenerate(now, theirs.generation);
                }
            }
            _ if is_over => {
                if self.is_in_doubt() && self.rival.is_some_and(|rival| rival.peer.nonce == theirs.nonce) {
                    self.rival = None;
                }
                if is_later {
                    self.regenerate(now, theirs.generation);
                }
            }
            _ if is_later || is_known_by_asker => self.doubt_ourselves(now, theirs),
            _ => {}
        }
    }

    /// Another start of ourselves introduces itself to everybody.
    pub(super) fn hear_ourselves(&mut self, now: Instant, peer: Peer) {
        if peer.nonce != self.me.nonce && peer.addrs != self.me.addrs && self.rival.is_none() {
            self.doubt_ourselves(now, peer);
        }
    }

    fn doubt_ourselves(&mut self, now: Instant, other: Peer) {
        self.rival = Some(Rival {
            peer: other,
            at: None,
            stand: Stand::Doubt,
            since: now,
            heard_at: None,
            said_at: Some(now),
            is_aside: false,
            ask_at: now,
        });
        self.rival_timeout(now);
    }

    fn claim(&self, now: Instant, to: u32, asks: bool) -> Claim {
        let rival = self.rival.filter(|rival| rival.peer.nonce == to);
        let stays = rival.and_then(|rival| match rival.stand {
            Stand::Doubt => None,
            Stand::Stay => Some(self.me.nonce),
            Stand::Aside => Some(to),
        });
        let active_ms = (!self.stands_aside()).then(|| now.since(self.active_since).as_millis() as u64);
        Claim { peer: self.me, to, active_ms, stays, asks }
    }

    fn send_claim(&mut self, now: Instant, addr: SocketAddr, to: u32, asks: bool) {
        let claim = self.claim(now, to, asks);
        self.outbox.push_back((addr, Datagram::Claim(claim)));
    }

    /// A start of a zhost claims to be it.
    pub fn handle_claim(&mut self, now: Instant, from: SocketAddr, claim: Claim) {
        if self.left || claim.peer.nonce == self.me.nonce {
            return;
        }
        if claim.peer.id != self.me.id {
            // It asks whether another start of it lives, in our eyes.
            let held = self.members.get(&claim.peer.id).filter(|held| held.is_up());
            if let Some(held) = held.filter(|held| held.peer.nonce != claim.peer.nonce) {
                let rumours = vec![held.rumour()];
                self.send(from, Swim { from: self.me.id, message: SwimMessage::News, rumours });
            }
            return;
        }
        let is_proved = claim.to == self.me.nonce;
        if is_proved {
            self.face(now, from, &claim);
        }
        if claim.asks || !is_proved {
            self.send_claim(now, from, claim.peer.nonce, !is_proved);
        }
    }

    /// Another start of us lives for certain: one of the two stays.
    fn face(&mut self, now: Instant, from: SocketAddr, claim: &Claim) {
        let is_another = |rival: &Rival| rival.stand != Stand::Aside && rival.peer.nonce != claim.peer.nonce;
        if self.rival.as_ref().is_none_or(is_another) {
            self.doubt_ourselves(now, claim.peer);
        }
        let active_ms = now.since(self.active_since).as_millis() as u64;
        let we_decide = self.me.nonce < claim.peer.nonce;
        let Some(rival) = &mut self.rival else { return };
        rival.heard_at = Some(now);
        rival.at = Some(from);
        rival.is_aside = claim.active_ms.is_none();
        let stand = match (rival.stand, claim.active_ms) {
            // Two that stand aside both wait until one of them goes on.
            (Stand::Aside, None) => {
                rival.heard_at = None;
                Stand::Aside
            }
            (Stand::Aside, Some(_)) => {
                rival.peer = claim.peer;
                Stand::Aside
            }
            (_, None) => Stand::Stay,
            (_, Some(theirs)) if we_decide && active_ms >= theirs => Stand::Stay,
            (_, Some(_)) if we_decide => Stand::Aside,
            (_, Some(_)) if claim.stays == Some(claim.peer.nonce) => Stand::Aside,
            (_, Some(_)) if claim.stays == Some(self.me.nonce) => Stand::Stay,
            // The other decides, and has not yet.
            (stand, Some(_)) => stand,
        };
        self.take_stand(now, stand);
    }

    fn take_stand(&mut self, now: Instant, stand: Stand) {
        let Some(rival) = &mut self.rival else { return };
        let before = core::mem::replace(&mut rival.stand, stand);
        let other = rival.peer;
        if before == stand {
            return;
        }
        rival.ask_at = now;
        match stand {
            Stand::Doubt => {}
            Stand::Stay => {
                self.events.push_back(MembershipEvent::Rival(other));
                if other.generation > self.me.generation {
                    self.regenerate(now, other.generation);
                }
            }
            Stand::Aside => self.stand_aside(other),
        }
    }

    /// Leaves the cluster to the other start, and remembers where it was.
    fn stand_aside(&mut self, other: Peer) {
        let peers: vec::Vec<Peer> = self.peers().copied().collect();
        let addrs: vec::Vec<SocketAddr> = peers.iter().filter_map(|peer| self.addr(peer.id)).collect();
        self.search.remember(addrs.into_iter());
        self.events.extend(peers.into_iter().map(MembershipEvent::Down));
        self.members.clear();
        self.up = 0;
        self.suspects.clear();
        self.deaf.clear();
        self.round.clear();
        self.probes.clear();
        self.news = Default::default();
        self.events.push_back(MembershipEvent::StandAside(other));
    }

    pub(super) fn rival_timeout(&mut self, now: Instant) {
        let Some(rival) = self.rival.filter(|rival| rival.ask_at <= now) else { return };
        let (other, stand) = (rival.peer, rival.stand);
        match stand {
            Stand::Doubt if rival.is_silent(now, ANSWER_WITHIN) => return self.outdo(now, other),
            Stand::Doubt if now.since(rival.since) >= HEARSAY => self.take_stand(now, Stand::Aside),
            Stand::Stay if rival.is_silent(now, GONE_AFTER) => {
                self.rival = None;
                self.events.push_back(MembershipEvent::RivalGone(other));
                return;
            }
            Stand::Aside if rival.is_silent(now, GONE_AFTER) => {
                self.active_since = now;
                self.search.next = now;
                self.events.push_back(MembershipEvent::GoOn);
                return self.outdo(now, other);
            }
            _ => {}
        }
        let is_settled = match stand {
            Stand::Doubt => false,
            Stand::Stay => rival.is_aside,
            Stand::Aside => true,
        };
        if let Some(rival) = &mut self.rival {
            rival.ask_at = now + if is_settled { LOOK_PERIOD } else { ASK_PERIOD };
        }
        let addrs: vec::Vec<SocketAddr> = other.addrs.iter().chain(rival.at).collect();
        for (index, addr) in addrs.iter().enumerate() {
            if !addrs[..index].contains(addr) && !self.me.addrs.contains(*addr) {
                self.send_claim(now, *addr, other.nonce, true);
            }
        }
        if self.stands_aside() {
            self.ask_witnesses(now, other);
        }
    }

    /// The rival may live and not hear us.
    fn ask_witnesses(&mut self, now: Instant, other: Peer) {
        for _ in 0..WITNESSES_MAX {
            let seeds: vec::Vec<SocketAddr> = self.asked().collect();
            if let Some(addr) = self.rng.pick(&seeds).copied() {
                self.send_claim(now, addr, other.nonce, true);
            }
        }
    }

    /// The other start is over: whatever it was told of counts less than we do.
    fn outdo(&mut self, now: Instant, other: Peer) {
        self.rival = None;
        if other.generation >= self.me.generation {
            self.regenerate(now, other.generation);
        }
    }

    pub(super) fn rival_poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.rival.map(|rival| (rival.ask_at, "ask another start of ourselves"))
    }
}
