//! Who founds the cluster when nobody has one.
//!
//! A zhost that was never in a cluster looks for one: at the places named in `join`, and on its network. If nobody it
//! finds knows one either, one of them founds it: the first by id of those that could. At once, when all that are named
//! have answered; after a while, when some are silent; never, when none of them answers, since then nothing is known of
//! the cluster that is to be joined. Two halves of a site that cannot hear each other found two: they unite when they
//! can.

use crate::{
    node::Node,
    output::{Level, Output},
};
use litemap::LiteMap;
use serde::{Deserialize, Serialize};
use std::{fmt, net::SocketAddr, str::FromStr, time::Duration};
use zhost_base::{
    Instant, ZhostId,
    limits::{JOIN_ADDRESSES_MAX, MEMBERS_MAX},
};
use zhost_gossip::{datagram::Readiness, membership::Addrs};

/// The port of gossip and links, where none is named.
pub const DEFAULT_PORT: u16 = 9200;
/// How long a zhost that knows nobody looks around on its network before it founds a cluster.
const LOOK_AROUND: Duration = Duration::from_secs(3);
/// How long it waits for its machine to have a network before it founds one without: there may be a serial line.
const NETWORK_WITHIN: Duration = Duration::from_secs(20);
/// How long those that answered wait for others named in `join` that do not.
const NAMED_WITHIN: Duration = Duration::from_secs(30);
/// How often those who know no cluster tell each other so, and how soon after somebody came.
const ROUND_PERIOD: Duration = Duration::from_secs(1);
const ROUND_SOON: Duration = Duration::from_millis(100);
/// Zhosts told in one round; among more, chance decides.
const TOLD_MAX: usize = 32;
/// Longest name of a machine.
const HOST_NAME_MAX_BYTES: usize = 253;

/// A zhost that is to be joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Named {
    /// The one there.
    Addr(SocketAddr),
    /// The one at the machine and port of that name, whatever its address is at the time.
    Name(String),
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(addr) = text.parse() {
            return Ok(Self::Addr(addr));
        }
        if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(Self::Addr(SocketAddr::new(ip, DEFAULT_PORT)));
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()),
            None => (text, Some(DEFAULT_PORT)),
        };
        let in_names = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        // Four numbers are meant as an address.
        let is_name = !host.is_empty()
            && host.len() <= HOST_NAME_MAX_BYTES
            && host.bytes().all(in_names)
            && host.bytes().any(|byte| byte.is_ascii_alphabetic());
        match port.filter(|port| is_name && *port > 0) {
            Some(port) => Ok(Self::Name(format!("{host}:{port}"))),
            None => Err(format!(
                "{text:?} is neither an address such as 192.168.1.10, 192.168.1.10:{DEFAULT_PORT} or \
                 [fd00::10]:{DEFAULT_PORT} nor a name such as attic or attic:{DEFAULT_PORT}"
            )),
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addr(addr) => addr.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// What is known of others that could found a cluster, or have one.
#[derive(Debug)]
pub(crate) struct Founding {
    /// Whether this zhost looks for a cluster, having never been in one.
    searches: bool,
    /// Whether it looks around on its network.
    discovers: bool,
    /// Who is to be joined, and where they are as far as that is known.
    named: Vec<(Named, Vec<SocketAddr>)>,
    started_at: Instant,
    network_at: Option<Instant>,
    /// When the last zhost came up: it says soon how far it is.
    last_up: Instant,
    readiness: LiteMap<ZhostId, Readiness>,
    /// Names are being looked up.
    resolves: bool,
    /// When the others are told how far we are.
    next_round: Instant,
    /// When we found a cluster if nothing changes.
    due: Option<Instant>,
}

/// Who answers.
struct Situation<'a> {
    me: ZhostId,
    alive: &'a [ZhostId],
    /// Who is at each of the named places; we count too.
    named: &'a [Option<ZhostId>],
}

impl Founding {
    pub fn new(now: Instant, searches: bool, discovers: bool, named: Vec<Named>, has_network: bool) -> Self {
        let known = |named: Named| match named {
            Named::Addr(addr) => (named, vec![addr]),
            Named::Name(_) => (named, Vec::new()),
        };
        Self {
            searches,
            discovers,
            named: named.into_iter().map(known).collect(),
            started_at: now,
            network_at: has_network.then_some(now),
            last_up: now,
            readiness: LiteMap::new(),
            resolves: false,
            next_round: now,
            due: None,
        }
    }

    /// Where to look for members: at those named, as far as known, and at those remembered; each once.
    pub fn seeds(&self, remembered: &[SocketAddr]) -> Vec<SocketAddr> {
        let named = self.named.iter().flat_map(|(_, addrs)| addrs);
        let mut seeds = Vec::new();
        for addr in named.chain(remembered) {
            if !seeds.contains(addr) {
                seeds.push(*addr);
            }
        }
        seeds
    }

    /// A zhost says how far it is with the cluster.
    pub fn handle_readiness(&mut self, id: ZhostId, readiness: Readiness) {
        if self.readiness.len() < MEMBERS_MAX || self.readiness.contains_key(&id) {
            self.readiness.insert(id, readiness);
        }
    }

    pub fn handle_up(&mut self, now: Instant) {
        self.last_up = now;
        self.next_round = self.next_round.min(now + ROUND_SOON);
    }

    pub fn handle_down(&mut self, id: ZhostId) {
        self.readiness.remove(&id);
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let round = self.searches.then_some((self.next_round, "say that we know no cluster"));
        round.into_iter().chain(self.due.map(|due| (due, "found a cluster"))).min()
    }

    /// Whether this zhost may found the cluster: it was never in one, and knows where it is to look.
    fn is_candidate(&self, named: &[Option<ZhostId>]) -> bool {
        self.searches && (named.is_empty() || named.iter().any(Option::is_some))
    }

    /// When we found a cluster, if nothing changes: never while somebody has one, or somebody else comes before us.
    fn founds_at(&self, situation: &Situation<'_>) -> Option<Instant> {
        let Situation { me, alive, named } = situation;
        let others = |wanted: Readiness| self.readiness.iter().filter(move |(_, held)| **held == wanted);
        let is_first = others(Readiness::Founding).all(|(id, _)| id > me);
        if !self.is_candidate(named) || !is_first || others(Readiness::Ready).next().is_some() {
            return None;
        }
        let looks_too = |id: &ZhostId| id == me || self.readiness.get(id) == Some(&Readiness::Founding);
        let due = match self.network_at {
            _ if !named.is_empty() && named.iter().all(|id| id.as_ref().is_some_and(looks_too)) => {
                self.started_at
            }
            network_at if !named.is_empty() => network_at? + NAMED_WITHIN,
            _ if !self.discovers => self.started_at,
            Some(at) => at + LOOK_AROUND,
            None => self.started_at + NETWORK_WITHIN,
        };
        // Who has just come has not said yet how far it is.
        let all_said = alive.iter().all(|id| self.readiness.contains_key(id));
        Some(if all_said { due } else { due.max(self.last_up + LOOK_AROUND) })
    }
}

impl Node {
    /// Who is at each of the places named in `join`.
    fn named_zhosts(&self) -> Vec<Option<ZhostId>> {
        let who =
            |addrs: &Vec<SocketAddr>| addrs.iter().find_map(|addr| self.facts.membership.answered_at(*addr));
        self.founding.named.iter().map(|(_, addrs)| who(addrs)).collect()
    }

    /// How far this zhost is with the cluster.
    pub(crate) fn readiness(&self) -> Readiness {
        match self.facts.ready {
            true => Readiness::Ready,
            false if self.founding.is_candidate(&self.named_zhosts()) => Readiness::Founding,
            false => Readiness::Waiting,
        }
    }

    /// Founds a cluster if it is time; whether it did.
    pub(crate) fn consider_founding(&mut self, now: Instant) -> bool {
        self.founding.due = None;
        if self.facts.ready {
            self.founding.searches = false;
        }
        if !self.founding.searches || self.is_shutting_down() || self.facts.membership.stands_aside() {
            return false;
        }
        let alive: Vec<ZhostId> = self.facts.membership.peers().map(|peer| peer.id).collect();
        let named = self.named_zhosts();
        let situation = Situation { me: self.facts.id, alive: &alive, named: &named };
        self.founding.due = self.founding.founds_at(&situation);
        if self.founding.due.is_none_or(|due| due > now) {
            return false;
        }
        let silent = named.iter().filter(|id| id.is_none()).count();
        let text = match (alive.len(), silent) {
            (0, 0) => "no zhost of the cluster answers".into(),
            (_, 0) => "none of the zhosts here knows a cluster".into(),
            (_, silent) => {
                format!("{silent} of the zhosts to join do not answer, the others know no cluster")
            }
        };
        self.log(Level::Warn, format!("{text}: founding a cluster"));
        self.founding.due = None;
        self.founding.searches = false;
        self.facts.ready = true;
        true
    }

    /// Tells others that we know no cluster: whoever has one says so, and the rest learn who is there to found one.
    pub(crate) fn founding_timeout(&mut self, now: Instant) {
        if !self.founding.searches || self.founding.next_round > now {
            return;
        }
        self.founding.next_round = now + ROUND_PERIOD;
        let mut peers: Vec<ZhostId> = self.facts.membership.peers().map(|peer| peer.id).collect();
        while peers.len() > TOLD_MAX {
            peers.swap_remove(self.rng.below(peers.len() as u64) as usize);
        }
        peers.into_iter().for_each(|peer| self.tell_summary(peer));
    }

    /// Has names looked up at which nobody is known, if it is time to ask there and nobody does so already.
    pub(crate) fn resolve_names(&mut self, now: Instant) {
        if self.facts.membership.next_search() > now || self.founding.resolves {
            return;
        }
        let unknown = |(named, addrs): &(Named, Vec<SocketAddr>)| match named {
            Named::Name(name)
                if addrs.iter().all(|addr| self.facts.membership.answered_at(*addr).is_none()) =>
            {
                Some(name.clone())
            }
            _ => None,
        };
        let names: Vec<String> = self.founding.named.iter().filter_map(unknown).collect();
        if !names.is_empty() {
            self.founding.resolves = true;
            self.output(Output::Resolve(names));
        }
    }

    /// Names were looked up for [`Output::Resolve`]: those that stand for no address at present have none here.
    pub(crate) fn handle_resolved(&mut self, now: Instant, found: Vec<(String, Vec<SocketAddr>)>) {
        self.founding.resolves = false;
        for (name, mut addrs) in found {
            addrs.truncate(JOIN_ADDRESSES_MAX);
            let name = Named::Name(name);
            let held = self.founding.named.iter_mut().filter(|(named, _)| *named == name);
            // A name server that is away for a moment takes nothing back.
            held.filter(|_| !addrs.is_empty()).for_each(|(_, held)| held.clone_from(&addrs));
        }
        let seeds = self.founding.seeds(&self.remembered);
        self.facts.membership.handle_seeds(now, seeds);
    }

    /// The machine's network changed: where it is reached, and at which addresses everybody on it hears.
    pub(crate) fn handle_network(&mut self, now: Instant, addrs: &[SocketAddr], broadcasts: Vec<SocketAddr>) {
        let told: Addrs = addrs.iter().copied().collect();
        let before = self.facts.membership.me().addrs;
        if !(addrs.is_empty() && broadcasts.is_empty()) {
            self.founding.network_at.get_or_insert(now);
        }
        self.facts.membership.handle_network(now, told, broadcasts);
        if !told.is_empty() && told != before {
            let list = told.iter().map(|addr| addr.to_string()).collect::<Vec<_>>().join(", ");
            self.log(Level::Info, format!("this zhost is at {list} now"));
            self.mesh.refresh(now, &self.facts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: ZhostId = ZhostId(5);
    const LOWER: ZhostId = ZhostId(3);
    const HIGHER: ZhostId = ZhostId(7);
    const START: Instant = Instant::from_micros(1_000_000);

    fn founding(discovers: bool, named: usize) -> Founding {
        let named = (0..named).map(|last| Named::Addr(([10, 0, 0, last as u8], 9200).into())).collect();
        Founding::new(START, true, discovers, named, true)
    }

    fn founds_at(
        founding: &mut Founding,
        said: &[(ZhostId, Readiness)],
        named: &[Option<ZhostId>],
    ) -> Option<Duration> {
        founding.readiness = said.iter().copied().collect();
        let alive: Vec<ZhostId> = said.iter().map(|(id, _)| *id).collect();
        let due = founding.founds_at(&Situation { me: ME, alive: &alive, named });
        due.map(|due| due.since(START))
    }

    #[test]
    fn one_alone_looks_around_and_founds() {
        assert_eq!(founds_at(&mut founding(true, 0), &[], &[]), Some(LOOK_AROUND));
        assert_eq!(founds_at(&mut founding(false, 0), &[], &[]), Some(Duration::ZERO));
        let mut offline = founding(true, 0);
        offline.network_at = None;
        assert_eq!(founds_at(&mut offline, &[], &[]), Some(NETWORK_WITHIN));
        let mut member = founding(true, 0);
        member.searches = false;
        assert_eq!(founds_at(&mut member, &[], &[]), None, "who was in a cluster waits for it");
    }

    #[test]
    fn the_first_by_id_founds_and_nobody_while_somebody_has_a_cluster() {
        let alone = |said| founds_at(&mut founding(true, 0), &[said], &[]);
        assert_eq!(alone((HIGHER, Readiness::Founding)), Some(LOOK_AROUND));
        assert_eq!(alone((LOWER, Readiness::Founding)), None);
        assert_eq!(alone((HIGHER, Readiness::Ready)), None);
        assert_eq!(alone((LOWER, Readiness::Waiting)), Some(LOOK_AROUND), "it founds none");
    }

    #[test]
    fn all_that_are_named_have_answered_so_it_is_founded_at_once() {
        let founding = |said, named: &[Option<ZhostId>]| founds_at(&mut founding(true, 3), said, named);
        let all = [Some(ME), Some(HIGHER), Some(ZhostId(9))];
        let look = [(HIGHER, Readiness::Founding), (ZhostId(9), Readiness::Founding)];
        assert_eq!(founding(&look, &all), Some(Duration::ZERO));
        assert_eq!(founding(&look, &[Some(ME), Some(HIGHER), None]), Some(NAMED_WITHIN), "one is silent");
        let waits = [(HIGHER, Readiness::Founding), (ZhostId(9), Readiness::Waiting)];
        assert_eq!(founding(&waits, &all), Some(NAMED_WITHIN), "one waits for a cluster it was in");
        assert_eq!(founding(&[], &[None, None, None]), None, "nothing is known of the cluster");
    }

    #[test]
    fn who_has_just_come_says_first_how_far_it_is() {
        let mut founding = founding(true, 0);
        founding.last_up = START + Duration::from_secs(2);
        let due = founding.founds_at(&Situation { me: ME, alive: &[LOWER], named: &[] });
        assert_eq!(due, Some(founding.last_up + LOOK_AROUND));
    }

    #[test]
    fn places_are_addresses_or_names_with_a_port_of_their_own_or_the_usual_one() {
        let addr = |text: &str| Ok(Named::Addr(text.parse().unwrap()));
        assert_eq!("192.168.1.10".parse(), addr("192.168.1.10:9200"));
        assert_eq!("192.168.1.10:9300".parse(), addr("192.168.1.10:9300"));
        assert_eq!("fd00::10".parse(), addr("[fd00::10]:9200"));
        assert_eq!("[fd00::10]".parse(), addr("[fd00::10]:9200"));
        assert_eq!("attic".parse(), Ok(Named::Name("attic:9200".into())));
        assert_eq!("attic.local:9300".parse(), Ok(Named::Name("attic.local:9300".into())));
        let long = "a".repeat(HOST_NAME_MAX_BYTES + 1);
        for wrong in ["", ":9200", "attic:", "attic:0", "attic:70000", "a b", "192.168.1", "1.2.3.400", &long]
        {
            assert!(wrong.parse::<Named>().unwrap_err().contains("such as attic"), "{wrong}");
        }
    }
}
