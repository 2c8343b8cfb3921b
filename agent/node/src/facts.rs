//! What this zhost knows: who is there, who leads, what is written down for all, and which of it is obeyed. All read it;
//! only the node changes it, and `cluster/documents` the ledger in it. The questions asked of it stand, as functions of
//! [`Facts`], in the files that they belong to.

use crate::disk::Lost;
use litemap::LiteMap;
use zhost_base::{Generation, TopologyId, ZhostId};
use zhost_gossip::{
    document::Slot, election::Election, ledger::Ledger, membership::Membership, registry::Registry,
};

/// What a zhost knows of itself and of the others.
pub(crate) struct Facts {
    pub id: ZhostId,
    pub generation: Generation,
    pub membership: Membership,
    pub registry: Registry,
    pub ledger: Ledger,
    pub election: Election,
    /// The slot each topology's placement was last obeyed from.
    pub obeyed: LiteMap<TopologyId, Slot>,
    /// What was on our flash once, and is not any more.
    pub lost: Lost,
    /// Whether we know enough of the cluster to start spaces and to vote.
    pub ready: bool,
}

#[cfg(test)]
pub(crate) mod fixture {
    //! Facts as tests of concerns need them.

    use super::Facts;
    use litemap::LiteMap;
    use zhost_base::{BlobDigest, Generation, Instant, Pid, Rng, SpaceKey, TopologySpec, ZhostId};
    use zhost_exchange::Launch;
    use zhost_gossip::{
        document::{Document, DocumentKey, RosterEntry, Stamp, TopologyDocument, Wanted},
        election::Election,
        ledger::Ledger,
        membership::{Membership, Peer, Rumour, Standing},
        registry::Registry,
    };

    fn peer(id: ZhostId) -> Peer {
        Peer { id, generation: Generation(1), addrs: Default::default(), nonce: 0 }
    }

    /// What the first of these zhosts knows when all of them live and are on the roster, and these documents are on its
    /// flash.
    pub fn facts(zhosts: &[ZhostId], documents: impl IntoIterator<Item = (DocumentKey, Document)>) -> Facts {
        let (now, id, generation) = (Instant::ZERO, zhosts[0], Generation(1));
        let mut rng = Rng::from_number(id.0);
        let mut membership = Membership::new(now, peer(id), Vec::new(), Vec::new(), rng.fork());
        for other in &zhosts[1..] {
            let rumour = Rumour { peer: peer(*other), incarnation: 0, standing: Standing::Alive };
            membership.handle_rumours(now, *other, vec![rumour]);
        }
        let roster = zhosts.iter().map(|member| {
            let entry = RosterEntry { name: "z".parse().unwrap(), removed: false };
            (DocumentKey::Roster(*member), Document::Roster(Stamp { counter: 1, writer: *member }, entry))
        });
        Facts {
            id,
            generation,
            membership,
            registry: Registry::new(id, generation),
            ledger: Ledger::restore(roster.chain(documents), 0),
            election: Election::new(id, Default::default(), rng.fork()),
            obeyed: LiteMap::new(),
            lost: Default::default(),
            ready: true,
        }
    }

    /// What the worker of a space is told.
    pub fn launch(key: &SpaceKey) -> Launch {
        Launch {
            key: key.clone(),
            space: key.space.clone(),
            pid: Pid::default(),
            package: BlobDigest([0; 32]),
            package_bytes: 1,
            argument: Vec::new(),
        }
    }

    /// That a zhost was taken off the roster.
    pub fn removed(id: ZhostId) -> (DocumentKey, Document) {
        let entry = RosterEntry { name: "z".parse().unwrap(), removed: true };
        (DocumentKey::Roster(id), Document::Roster(Stamp { counter: 9, writer: id }, entry))
    }

    /// A topology without spaces, as the zhost `writer` has written it.
    pub fn topology(wanted: Wanted, counter: u64, writer: ZhostId) -> Document {
        let spec = TopologySpec {
            name: "t".parse().unwrap(),
            version: "1".parse().unwrap(),
            spaces: vec![],
            paths: vec![],
            recognizers: vec![],
        };
        let topology = TopologyDocument {
            wanted,
            revision: 1,
            package: BlobDigest([0; 32]),
            package_bytes: 1,
            spec,
            created_unix_ms: 0,
            updated_unix_ms: 0,
            deletions: 1,
            drops: Vec::new(),
        };
        Document::Topology(Stamp { counter, writer }, topology)
    }
}
