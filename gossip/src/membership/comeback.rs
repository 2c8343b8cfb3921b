//! Coming back from the dead. A member that was taken for dead and says that it lives is pinged several times first, and
//! has to answer most of them: one of which only now and then a datagram gets through, in either direction, would come
//! and go for as long as that lasts (Suresh and others, "Stable and Consistent Membership at Scale with Rapid", 2018).
//! Whoever hears the member itself asks it so; the others believe that one.

use super::{Membership, Rumour, Standing, State, Swim, SwimMessage};
use alloc::vec::Vec;
use core::{net::SocketAddr, time::Duration};
use litemap::LiteMap;
use zhost_base::{Instant, ZhostId};

/// Pings sent at once.
const PINGS: u32 = 8;
/// How many of them must be answered.
const ANSWERS: u32 = 6;
/// How long that may take.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// How long it is not asked again after that; doubles each time.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Members asked at once, or to be asked again; further ones have to say again that they live.
const RETURNING_MAX: usize = 64;
/// How often a member that is down is told so: two that cannot agree about it would tell each other as fast as the network
/// carries it.
const TELL_PERIOD: Duration = Duration::from_millis(200);

/// Who is asked.
#[derive(Debug, Default)]
pub(super) struct Returning {
    asked: LiteMap<ZhostId, Asked>,
}

#[derive(Debug)]
struct Asked {
    /// What it says of itself.
    word: Rumour,
    /// From where.
    addr: SocketAddr,
    /// The numbers of its pings.
    pings: Vec<u32>,
    answers: u32,
    /// Until when its answers count, and from when on it is asked again.
    until: Instant,
    again: Instant,
    pause: Duration,
}

impl Membership {
    /// Whether this is a word of a member that is down in this start of it.
    pub(super) fn is_back_from_the_dead(&self, word: &Rumour) -> bool {
        let held = self.members.get(&word.peer.id);
        let is_down = held.is_some_and(|held| {
            matches!(held.state, State::Down { .. }) && held.peer.generation == word.peer.generation
        });
        is_down && word.standing == Standing::Alive
    }

    /// Pings a member that was taken for dead and says that it lives, unless that was tried a moment ago.
    pub(super) fn ask_whether_back(&mut self, now: Instant, word: Rumour, addr: SocketAddr) {
        let id = word.peer.id;
        let before = self.returning.asked.get(&id);
        if !self.is_news(&word) || before.is_some_and(|asked| now < asked.again) {
            return;
        }
        self.returning.asked.retain(|_, asked| now.since(asked.again) < PAUSE_MAX);
        if self.returning.asked.len() >= RETURNING_MAX {
            return;
        }
        let pause = self.returning.asked.get(&id).map_or(PAUSE, |asked| (asked.pause * 2).min(PAUSE_MAX));
        let mut pings = Vec::new();
        for _ in 0..PINGS {
            self.serial = self.serial.wrapping_add(1);
            pings.push(self.serial);
            let message = SwimMessage::Ping(self.serial);
            self.send(addr, Swim { from: self.me.id, message, rumours: Vec::new() });
        }
        let until = now + ANSWER_WITHIN;
        let asked = Asked { word, addr, pings, answers: 0, until, again: until + pause, pause };
        self.returning.asked.insert(id, asked);
    }

    /// Whether somebody says more of a member than we know.
    pub(super) fn is_news(&self, rumour: &Rumour) -> bool {
        self.members.get(&rumour.peer.id).is_none_or(|held| held.rumour().age() < rumour.age())
    }

    /// A member that is down says something: it learns that it is, unless it knows.
    pub(super) fn answer_dead(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        id: ZhostId,
        message: SwimMessage,
        knows: bool,
    ) {
        if let SwimMessage::Ack(number) = message {
            return self.handle_return_ack(now, id, number);
        }
        let rumour = if knows { None } else { self.verdict(now, id) };
        let answer = match message {
            // It may ask whether we are back, as we ask it.
            SwimMessage::Ping(number) => SwimMessage::Ack(number),
            _ if rumour.is_none() => return,
            _ => SwimMessage::News,
        };
        let rumours = rumour.into_iter().collect();
        self.send(addr, Swim { from: self.me.id, message: answer, rumours });
    }

    /// What a member that is down has to be told of itself now: nothing when it was told a moment ago.
    pub(super) fn verdict(&mut self, now: Instant, id: ZhostId) -> Option<Rumour> {
        let member = self.members.get_mut(&id)?;
        let State::Down { told, .. } = &mut member.state else { return None };
        if told.is_some_and(|told| now.since(told) < TELL_PERIOD) {
            return None;
        }
        *told = Some(now);
        Some(member.rumour())
    }

    /// A member that is down answers: when most pings are answered, it is back.
    fn handle_return_ack(&mut self, now: Instant, from: ZhostId, number: u32) {
        let Some(asked) = self.returning.asked.get_mut(&from) else { return };
        let Some(index) = asked.pings.iter().position(|ping| *ping == number) else { return };
        asked.pings.swap_remove(index);
        asked.answers += 1;
        if asked.answers >= ANSWERS && now <= asked.until {
            asked.pings.clear();
            let (word, addr) = (asked.word.clone(), asked.addr);
            self.take_in(now, word, Some(addr));
        }
    }
}
