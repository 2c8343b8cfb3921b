//! Which zhosts to be linked with, what is announced of the links, and the ways that follow.

use crate::{
    effects::Effects,
    facts::Facts,
    mesh::{
        links::Links,
        routes::{Graph, Route, band_rtt_us},
    },
    output::Level,
};
use litemap::LiteMap;
use std::{collections::BTreeSet, time::Duration};
use zhost_base::{
    Instant, ZhostId,
    id::rendezvous,
    limits::{LINKS_ANNOUNCED_MAX, MEMBERS_MAX, MESH_FULL_MAX},
};
use zhost_gossip::row::{Row, RowKey};

/// Near and random neighbours, beside the supers and the next zhost by id.
const NEAR: usize = 2;
const RANDOM: usize = 2;
/// How many times nearer somebody else must be for a near neighbour to be given up.
const NEARER_FACTOR: u64 = 4;
/// How seldom that is considered, at least: a change is told to everybody.
const NEAR_PERIOD_MIN: Duration = Duration::from_secs(60);
/// And for each zhost, since everybody has to hear of everybody's changes; up to twice as long, so that those who
/// started together do not all change at once.
const NEAR_PERIOD_PER_ZHOST_MS: u64 = 1000;
/// With more zhosts than this, a zhost is linked with its own super only.
const ALL_SUPERS_MAX: usize = 64;
/// So many times two more than usual is slow: sixteen times.
const SLOW_BANDS: u8 = 4;
/// And below this, eight milliseconds, nobody is slow.
const SLOW_MIN: u8 = 13;
/// How long a neighbour that was chosen stays announced after its link broke: most are back at once, and whoever sends
/// over one that is not is told so by the relay before it.
const BROKEN_MAX: Duration = Duration::from_secs(10);
/// What a link is taken to cost before its round trip is known.
const UNMEASURED_RTT_US: u64 = 1000;
/// How long a zhost that was gone has to stay before it is given more work, if others can do it.
const STABILISATION: Duration = Duration::from_secs(20);
/// A link on which something got stuck is avoided for this long.
const AVOID: Duration = Duration::from_secs(5);

/// The links, which of them there should be, the ways over them, and what is wrong with those.
pub(crate) struct Mesh {
    pub links: Links,
    /// Links that do not pass things on at present, and until when they are avoided.
    avoided: LiteMap<(ZhostId, ZhostId), Instant>,
    routes: LiteMap<ZhostId, (Route, u64)>,
    /// Since when those who were gone are back.
    up_since: LiteMap<ZhostId, Instant>,
    gone: BTreeSet<ZhostId>,
    /// Whether a large part of the others stopped answering at once.
    pub looks_cut: bool,
    /// The neighbours chosen for being near.
    near: Vec<ZhostId>,
    /// When the last of them was chosen.
    near_chosen_at: Option<Instant>,
    /// The neighbours that were chosen and linked, and since when those are not linked that are not.
    announced: LiteMap<ZhostId, Option<Instant>>,
    /// What the routes were computed from: our links and the registry, and when.
    seen: Option<(u64, u64, Instant)>,
}

impl Mesh {
    pub fn new(links: Links) -> Self {
        Self {
            links,
            avoided: LiteMap::new(),
            routes: LiteMap::new(),
            up_since: LiteMap::new(),
            gone: BTreeSet::new(),
            looks_cut: false,
            near: Vec::new(),
            near_chosen_at: None,
            announced: LiteMap::new(),
            seen: None,
        }
    }

    /// The links are made anew, and ways over them found anew.
    pub fn begin_again(&mut self) {
        self.links.begin_again();
        self.avoided.clear();
        self.routes.clear();
        self.looks_cut = false;
        self.seen = None;
    }

    /// When a link is no longer avoided, or a broken one no longer announced.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let avoided = self.avoided.values().min().map(|until| (*until, "try a link again"));
        let broken = self.announced.values().flatten().min();
        let broken = broken.map(|since| (*since + BROKEN_MAX, "announce a link no longer"));
        avoided.into_iter().chain(broken).min()
    }

    /// Of the neighbours that are `chosen`, those that are announced: linked, or linked until a moment ago.
    fn announce(&mut self, now: Instant, chosen: impl Iterator<Item = ZhostId>) -> Vec<ZhostId> {
        let mut announced = LiteMap::new();
        for id in chosen {
            let before = self.announced.get(&id).copied();
            let broken_since = match (self.links.is_up(id), before) {
                (true, _) => None,
                (false, Some(since)) => Some(since.unwrap_or(now)),
                (false, None) => continue,
            };
            if broken_since.is_none_or(|since| now.since(since) < BROKEN_MAX) {
                announced.insert(id, broken_since);
            }
        }
        self.announced = announced;
        self.announced.keys().copied().collect()
    }
}

fn pair(a: ZhostId, b: ZhostId) -> (ZhostId, ZhostId) {
    (a.min(b), a.max(b))
}

impl Facts {
    fn near_period(&self, members: usize) -> Duration {
        let per_zhost_ms = NEAR_PERIOD_PER_ZHOST_MS + self.id.0 % NEAR_PERIOD_PER_ZHOST_MS;
        NEAR_PERIOD_MIN.max(Duration::from_millis(per_zhost_ms * members as u64))
    }

    /// The same for both sides, so that two zhosts tend to choose each other.
    fn affinity(&self, other: ZhostId) -> u64 {
        let (low, high) = pair(self.id, other);
        rendezvous(low.0, high)
    }

    /// The middle one of the round trips that a zhost announces, as a power of two of microseconds.
    fn middle_rtt(&self, id: ZhostId) -> Option<u8> {
        let Some(Row::Links(links)) = self.registry.row(id, &RowKey::Links) else { return None };
        let mut bands: Vec<u8> = links.iter().map(|(_, band)| *band).filter(|band| *band > 0).collect();
        bands.sort_unstable();
        bands.get(bands.len() / 2).copied()
    }

    /// The middle one of what all zhosts announce so.
    pub(crate) fn usual_rtt(&self) -> u8 {
        let ids = self.membership.peers().map(|peer| peer.id).chain([self.id]);
        let mut all: Vec<u8> = ids.filter_map(|id| self.middle_rtt(id)).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or_default()
    }

    /// Whether a zhost is much farther from its neighbours than zhosts of this cluster usually are.
    pub(crate) fn is_slow(&self, id: ZhostId, usual_rtt: u8) -> bool {
        self.middle_rtt(id).is_some_and(|rtt| rtt >= usual_rtt.saturating_add(SLOW_BANDS).max(SLOW_MIN))
    }
}

impl Mesh {
    /// Tells the links where the members are, and which of them should be neighbours: all in a small cluster; else
    /// the supers, the next by id (so that the mesh is connected for certain), some near and some random ones.
    pub fn refresh(&mut self, now: Instant, facts: &Facts) {
        let ids = facts.membership.peers().map(|peer| peer.id);
        let members: LiteMap<_, _> = ids.map(|id| (id, facts.membership.addrs(id))).collect();
        let wanted = if members.len() < MESH_FULL_MAX {
            members.keys().copied().collect()
        } else {
            let ids: Vec<ZhostId> = members.keys().copied().collect();
            self.choose_near(now, facts, &ids);
            self.neighbours(facts, &ids)
        };
        self.links.handle_members(now, members, wanted);
    }

    fn neighbours(&self, facts: &Facts, members: &[ZhostId]) -> BTreeSet<ZhostId> {
        let next = members.iter().find(|id| **id > facts.id).or(members.first()).copied();
        let supers = if members.len() < ALL_SUPERS_MAX || facts.is_super(facts.id) {
            facts.supers()
        } else {
            facts.super_node().into_iter().collect()
        };
        let mut random: Vec<_> = members.iter().map(|id| (facts.affinity(*id), *id)).collect();
        random.sort_unstable();
        let random = random.into_iter().map(|(_, id)| id).take(RANDOM);
        let chosen = next.into_iter().chain(supers).chain(self.near.iter().copied()).chain(random);
        chosen.filter(|id| members.contains(id)).collect()
    }

    /// Chooses near neighbours. One is given up only for somebody much nearer, since every change costs a link.
    fn choose_near(&mut self, now: Instant, facts: &Facts, members: &[ZhostId]) {
        let distance = |id: ZhostId| facts.membership.round_trip(id).quartiles_us();
        let at_most = |id: ZhostId| distance(id).map_or(u64::MAX, |(_, high_us)| high_us);
        let at_least = |id: ZhostId| distance(id).map_or(0, |(low_us, _)| low_us);
        let mut near: Vec<ZhostId> =
            self.near.iter().copied().filter(|id| members.binary_search(id).is_ok()).collect();
        let others = members.iter().copied().filter(|id| !near.contains(id));
        let nearest = others.min_by_key(|id| (at_most(*id).saturating_add(1).ilog2(), facts.affinity(*id)));
        let Some(nearest) = nearest else { return };
        let farthest = (0..near.len()).max_by_key(|index| at_least(near[*index]));
        if near.len() < NEAR {
            near.push(nearest);
            self.near_chosen_at = Some(now);
        } else if let Some(farthest) = farthest
            && self.near_chosen_at.is_none_or(|at| now.since(at) >= facts.near_period(members.len()))
            && at_most(nearest).saturating_mul(NEARER_FACTOR) < at_least(near[farthest])
        {
            near[farthest] = nearest;
            self.near_chosen_at = Some(now);
        }
        self.near = near;
    }

    /// What is announced: the neighbours that we chose, with coarse round trips. Links made on demand, or by others, are
    /// theirs to announce or nobody's: they come and go, and everybody would have to hear of it.
    pub fn link_row(&mut self, now: Instant, facts: &Facts) -> Row {
        let wanted: Vec<ZhostId> = self.links.wanted().collect();
        let chosen = wanted.into_iter().filter(|id| facts.membership.peer(*id).is_some());
        let announced = self.announce(now, chosen);
        let mut row: Vec<(ZhostId, u8)> =
            announced.into_iter().map(|id| (id, self.links.round_trip(id).band())).collect();
        // A link that is left out here is announced by its other end.
        row.truncate(LINKS_ANNOUNCED_MAX);
        // What a link is like that is not there at present is as it was.
        if let Some(Row::Links(old)) = facts.registry.row(facts.id, &RowKey::Links) {
            let known = |id: ZhostId| old.iter().find(|(held, _)| *held == id).map_or(0, |(_, band)| *band);
            row.iter_mut().filter(|(_, band)| *band == 0).for_each(|(id, band)| *band = known(*id));
        }
        Row::Links(row)
    }

    /// The round trip to a member as far as it was measured, microseconds.
    pub fn distance_us(&self, facts: &Facts, peer: ZhostId) -> u64 {
        let datagrams = facts.membership.round_trip(peer).median_us();
        self.links.rtt_us(peer).or(datagrams).unwrap_or(u64::MAX)
    }

    /// Whether a zhost came up so recently that it is not trusted with more work if somebody else can do it.
    pub fn is_fresh(&self, now: Instant, id: ZhostId) -> bool {
        self.up_since.get(&id).is_some_and(|since| now.since(*since) < STABILISATION)
    }

    /// A member came up: one that was there before has to show that it stays.
    pub fn note_up(&mut self, now: Instant, id: ZhostId) {
        let is_back = self.gone.remove(&id);
        if is_back {
            self.up_since.insert(id, now);
        }
    }

    /// A member is gone. Many at once may mean that it is us who are cut off.
    pub fn note_down(&mut self, now: Instant, id: ZhostId) {
        self.up_since.retain(|_, since| now.since(*since) < STABILISATION);
        self.gone.insert(id);
        while self.gone.len() > MEMBERS_MAX {
            self.gone.pop_first();
        }
    }

    /// Says so, once, when a large part of the others stops answering at once: perhaps it is we who are cut off.
    fn watch_for_partition(&mut self, facts: &Facts, effects: &mut Effects) {
        let (suspects, members) = (facts.membership.suspect_count(), facts.membership.peer_count());
        let looks_cut = suspects >= 2 && suspects * 3 >= members;
        if looks_cut && !self.looks_cut {
            effects.log(
                Level::Warn,
                format!("{suspects} of {members} others do not answer: the network may be cut"),
            );
        }
        self.looks_cut = looks_cut;
    }

    /// Whether things got stuck lately on the link between these two.
    pub fn is_avoided(&self, a: ZhostId, b: ZhostId) -> bool {
        self.avoided.contains_key(&pair(a, b))
    }

    /// Something got stuck between these two: other ways are taken for a while.
    pub fn avoid(&mut self, now: Instant, a: ZhostId, b: ZhostId) {
        self.avoided.insert(pair(a, b), now + AVOID);
        self.seen = None;
    }

    /// The ways to everybody, over the links announced and our own. What others announce is looked at as seldom as the
    /// node acts upon it.
    pub fn routes(&mut self, now: Instant, facts: &Facts) -> &LiteMap<ZhostId, (Route, u64)> {
        let (links, registry) = (self.links.revision(), facts.registry.revision());
        let is_current = self.seen.is_some_and(|(seen_links, seen_registry, at)| {
            let rests = now.since(at) < facts.refresh_period();
            seen_links == links && (seen_registry == registry || rests)
        });
        if !is_current {
            self.routes = self.graph(facts).routes(facts.id);
            self.seen = Some((links, registry, now));
        }
        &self.routes
    }

    /// The links announced and our own.
    pub fn graph(&self, facts: &Facts) -> Graph {
        let mut graph = Graph::default();
        for peer in self.links.peers() {
            graph.add(facts.id, peer, self.links.rtt_us(peer).unwrap_or(UNMEASURED_RTT_US));
        }
        let others = facts.membership.peers().map(|peer| peer.id);
        for owner in others {
            let Some(Row::Links(links)) = facts.registry.row(owner, &RowKey::Links) else { continue };
            for (to, band) in links {
                // Of our own links we know best.
                if *to != facts.id && facts.membership.peer(*to).is_some() {
                    let rtt_us = if *band == 0 { UNMEASURED_RTT_US } else { band_rtt_us(*band) };
                    graph.add(owner, *to, rtt_us);
                }
            }
        }
        self.avoided.keys().for_each(|(a, b)| graph.avoid(*a, *b));
        let silent = self.links.peers().filter(|peer| self.links.is_silent(*peer));
        silent.for_each(|peer| graph.avoid(facts.id, peer));
        graph
    }

    /// Gives up what was announced or avoided for long enough, and looks whether we seem to be cut off.
    pub fn handle_timeout(&mut self, now: Instant, facts: &Facts, effects: &mut Effects) {
        if self.announced.values().flatten().any(|since| now.since(*since) >= BROKEN_MAX) {
            effects.row(RowKey::Links, self.link_row(now, facts));
        }
        let before = self.avoided.len();
        self.avoided.retain(|_, until| *until > now);
        if self.avoided.len() != before {
            self.seen = None;
        }
        self.watch_for_partition(facts, effects);
    }
}
