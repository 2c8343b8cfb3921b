//! The ways between zhosts: a pure function of the links that everybody announces.

use litemap::LiteMap;
use std::{cmp::Reverse, collections::BinaryHeap};
use zhost_base::{ZhostId, limits::HOPS_MAX};

/// What passing a relay costs beside the round trip of its links.
const RELAY_COST_US: u64 = 500;

/// What a link costs on which things get stuck.
const AVOIDED_COST_US: u64 = 60_000_000;

/// Links with their round trips, microseconds; each stands under both its ends.
#[derive(Debug, Default)]
pub(crate) struct Graph(LiteMap<ZhostId, LiteMap<ZhostId, u64>>);

/// All zhosts from the sender to the receiver.
pub type Route = Vec<ZhostId>;

impl Graph {
    /// Adds a link; of two opinions on its round trip the first counts.
    pub fn add(&mut self, a: ZhostId, b: ZhostId, rtt_us: u64) {
        self.0.entry(a).or_default().entry(b).or_insert(rtt_us);
        self.0.entry(b).or_default().entry(a).or_insert(rtt_us);
    }

    /// A link on which things get stuck at present: it is used only where there is no other.
    pub fn avoid(&mut self, a: ZhostId, b: ZhostId) {
        for (from, to) in [(a, b), (b, a)] {
            if let Some(rtt_us) = self.0.get_mut(&from).and_then(|links| links.get_mut(&to)) {
                *rtt_us = rtt_us.saturating_add(AVOIDED_COST_US);
            }
        }
    }

    /// The ways of least round trip from `me` to everybody that can be reached over at most [`HOPS_MAX`] links
    /// (Dijkstra, 1959).
    pub fn routes(&self, me: ZhostId) -> LiteMap<ZhostId, (Route, u64)> {
        let mut routes: LiteMap<ZhostId, (Route, u64)> = LiteMap::new();
        let mut queue = BinaryHeap::from([Reverse((0, vec![me]))]);
        while let Some(Reverse((cost, route))) = queue.pop() {
            let Some(here) = route.last().copied().filter(|here| !routes.contains_key(here)) else {
                continue;
            };
            for (next, rtt_us) in self.0.get(&here).into_iter().flatten() {
                if route.len() <= HOPS_MAX && !routes.contains_key(next) {
                    let mut longer = route.clone();
                    longer.push(*next);
                    queue.push(Reverse((cost + rtt_us + RELAY_COST_US, longer)));
                }
            }
            routes.insert(here, (route, cost));
        }
        routes.remove(&me);
        routes
    }
}

/// The round trip that a band stands for, microseconds.
pub(crate) fn band_rtt_us(band: u8) -> u64 {
    (1_u64 << band.min(40)) * 3 / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn z(id: u64) -> ZhostId {
        ZhostId(id)
    }

    #[test]
    fn the_way_of_least_round_trip_is_taken_and_stuck_links_avoided() {
        let mut graph = Graph::default();
        graph.add(z(1), z(2), 1000);
        graph.add(z(2), z(4), 1000);
        graph.add(z(1), z(3), 10_000);
        graph.add(z(3), z(4), 1000);
        assert_eq!(graph.routes(z(1))[&z(4)].0, [z(1), z(2), z(4)]);
        graph.avoid(z(2), z(4));
        assert_eq!(graph.routes(z(1))[&z(4)].0, [z(1), z(3), z(4)]);
        graph.avoid(z(3), z(4));
        assert_eq!(graph.routes(z(1))[&z(4)].0, [z(1), z(2), z(4)], "there is no other");
        assert!(!graph.routes(z(1)).contains_key(&z(1)) && !graph.routes(z(1)).contains_key(&z(9)));
    }

    #[test]
    fn ways_have_a_longest_length() {
        let mut graph = Graph::default();
        (0..20).for_each(|id| graph.add(z(id), z(id + 1), 10));
        let routes = graph.routes(z(0));
        assert_eq!(routes.len(), HOPS_MAX);
        assert_eq!(routes[&z(HOPS_MAX as u64)].0.len(), HOPS_MAX + 1);
    }

    #[test]
    fn bands_stand_for_what_is_in_them() {
        for rtt_us in [2, 70, 1000, 90_000, 4_000_000] {
            let near = band_rtt_us(zhost_base::round_trip::band(rtt_us));
            assert!(near * 2 >= rtt_us && near <= rtt_us * 2, "{rtt_us}: {near}");
        }
    }
}
