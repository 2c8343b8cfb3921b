//! The ledger: which write wins, and what happens when the flash fails.

use super::*;
use crate::document::{DataLife, PlacementVersion};
use alloc::vec;
use zhost_base::{BlobDigest, Name, TopologySpec, limits::SPACES_PER_TOPOLOGY_MAX};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn topology(counter: u64, writer: u64, wanted: Wanted) -> Document {
    let spec = TopologySpec {
        name: name("t"),
        version: name("1"),
        spaces: vec![],
        paths: vec![],
        recognizers: vec![],
    };
    let stamp = Stamp { counter, writer: ZhostId(writer) };
    Document::Topology(
        stamp,
        TopologyDocument {
            wanted,
            revision: 1,
            package: BlobDigest([0; 32]),
            package_bytes: 1,
            spec,
            created_unix_ms: 0,
            updated_unix_ms: 0,
            deletions: 0,
            drops: Vec::new(),
        },
    )
}

fn placement(slot: Slot, term: u64, counter: u64) -> Document {
    let version = PlacementVersion { slot, term, counter, coordinator: ZhostId(1) };
    Document::Placement(Placement {
        version,
        revision: 1,
        homes: vec![],
        settled: false,
        replica_sets: vec![],
    })
}

const ID: TopologyId = TopologyId([1; 16]);
const KEY: DocumentKey = DocumentKey::Topology(ID);

#[test]
fn of_concurrent_writes_stop_wins_whatever_the_order() {
    let (run, stop) = (topology(5, 9, Wanted::Running), topology(5, 1, Wanted::Stopped));
    for (first, second) in [(&run, &stop), (&stop, &run)] {
        let mut ledger = Ledger::default();
        ledger.offer(KEY, first.clone());
        ledger.offer(KEY, second.clone());
        assert_eq!(ledger.topology(ID).unwrap().wanted, Wanted::Stopped);
    }
}

#[test]
fn a_later_write_beats_an_earlier_one_and_the_same_one_is_known() {
    let mut ledger = Ledger::default();
    assert_eq!(ledger.offer(KEY, topology(2, 1, Wanted::Stopped)), Taken::New);
    assert_eq!(ledger.offer(KEY, topology(1, 9, Wanted::Running)), Taken::Refused);
    assert_eq!(ledger.offer(KEY, topology(2, 1, Wanted::Stopped)), Taken::Pending);
    assert_eq!(ledger.offer(KEY, topology(3, 1, Wanted::Running)), Taken::New);
    assert_eq!(ledger.next_stamp(&KEY, ZhostId(4)), Stamp { counter: 4, writer: ZhostId(4) });
}

#[test]
fn only_the_newest_placement_on_flash_is_obeyed() {
    let key = DocumentKey::Placement(ID, Slot::Full);
    let (old, new) = (placement(Slot::Full, 1, 1), placement(Slot::Full, 2, 2));
    let mut ledger = Ledger::default();
    assert_eq!(ledger.offer(key, old.clone()), Taken::Refused, "of a topology nobody has heard of");
    ledger.offer(KEY, topology(1, 1, Wanted::Running));
    ledger.offer(key, old.clone());
    assert_eq!(ledger.durable_placement(ID, Slot::Full), None);
    ledger.handle_stored(key, old.fingerprint());
    ledger.offer(key, new.clone());
    assert_eq!(ledger.durable_placement(ID, Slot::Full).unwrap().version.term, 1);
    ledger.handle_stored(key, new.fingerprint());
    assert_eq!(ledger.durable_placement(ID, Slot::Full).unwrap().version.term, 2);
    assert_eq!(ledger.offer(key, old), Taken::Refused, "a stale super is fenced");
}

#[test]
fn a_placement_of_one_slot_never_lands_in_the_other() {
    let mut ledger = Ledger::default();
    let provisional = placement(Slot::Provisional, 9, 9);
    assert_eq!(ledger.offer(DocumentKey::Placement(ID, Slot::Full), provisional.clone()), Taken::Refused);
    assert_eq!(ledger.offer(KEY, provisional), Taken::Refused);
}

#[test]
fn when_the_flash_refuses_what_was_there_is_back() {
    let mut ledger = Ledger::restore([(KEY, topology(1, 1, Wanted::Running))], 0);
    let stop = topology(2, 1, Wanted::Stopped);
    ledger.offer(KEY, stop.clone());
    ledger.handle_failed(KEY, stop.fingerprint());
    assert_eq!(ledger.topology(ID).unwrap().wanted, Wanted::Running);
    assert_eq!(ledger.offer(KEY, topology(1, 1, Wanted::Running)), Taken::Stored);
}

#[test]
fn ledgers_that_compare_become_equal() {
    let mut a = Ledger::restore([(KEY, topology(1, 1, Wanted::Running))], 0);
    let entry = RosterEntry { name: name("z"), removed: false };
    let roster = Document::Roster(Stamp { counter: 1, writer: ZhostId(2) }, entry);
    let mut b = Ledger::restore(
        [(KEY, topology(2, 2, Wanted::Stopped)), (DocumentKey::Roster(ZhostId(2)), roster)],
        0,
    );
    assert_ne!(a.hash(), b.hash());
    for _ in 0..2 {
        let [of_a, of_b] = [a.digest(), b.digest()].map(|digest| match digest {
            LedgerMessage::Digest { documents, .. } => documents,
            _ => panic!(),
        });
        let (for_b, for_a) = (a.documents_lacking(&of_b), b.documents_lacking(&of_a));
        for (messages, ledger) in [(for_b, &mut b), (for_a, &mut a)] {
            for message in messages {
                let LedgerMessage::Documents(documents) = message else { panic!() };
                for (key, document) in documents {
                    let fingerprint = document.fingerprint();
                    ledger.offer(key, document);
                    ledger.handle_stored(key, fingerprint);
                }
            }
        }
    }
    assert_eq!(a.hash(), b.hash());
    assert_eq!(a.topology(ID).unwrap().wanted, Wanted::Stopped);
    assert_eq!(a.roster().count(), 1);
}

#[test]
fn a_full_ledger_refuses_new_topologies_and_takes_news_of_old_ones() {
    let mut ledger = Ledger::default();
    for n in 0..TOPOLOGIES_MAX as u32 {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        assert_eq!(
            ledger.offer(DocumentKey::Topology(TopologyId(id)), topology(1, 1, Wanted::Running)),
            Taken::New
        );
    }
    assert_eq!(ledger.offer(KEY, topology(1, 1, Wanted::Running)), Taken::Refused);
    let known = DocumentKey::Topology(TopologyId([0; 16]));
    assert_eq!(ledger.offer(known, topology(2, 1, Wanted::Stopped)), Taken::New);
}

#[test]
fn a_forgotten_topology_leaves_nothing_but_a_horizon_above_it() {
    let forgotten = topology(7, 1, Wanted::Forgotten);
    let mut ledger = Ledger::restore([(KEY, topology(6, 1, Wanted::Deleted))], 0);
    let key = DocumentKey::Placement(ID, Slot::Full);
    assert_eq!(ledger.offer(key, placement(Slot::Full, 1, 9)), Taken::New);
    assert_eq!(ledger.offer(KEY, forgotten.clone()), Taken::New);
    assert_eq!(ledger.tombstones().count(), 0, "not on flash yet");
    ledger.handle_stored(KEY, forgotten.fingerprint());
    assert_eq!((ledger.tombstones().count(), ledger.hash()), (1, Ledger::default().hash()));
    assert_eq!((ledger.forget(ID), ledger.documents().count()), (vec![KEY, key], 0));
    assert_eq!(ledger.offer(key, placement(Slot::Full, 1, 1)), Taken::Refused);
    let mut other = Ledger::default();
    assert_eq!(other.offer(KEY, forgotten), Taken::Refused, "nobody needs to hear of it");
    assert_eq!((other.horizon(), other.documents().count()), (7, 0), "but of its numbers");
    let anew = ledger.next_stamp(&KEY, ZhostId(1));
    assert_eq!((anew.counter, ledger.next_revision(ID)), (10, 10));
    assert!(ledger.next_deletions(ID) > 0, "data of the forgotten one is none of a new one's");
}

#[test]
fn a_submit_beats_forgetting_whoever_comes_first() {
    for order in [[Wanted::Forgotten, Wanted::Running], [Wanted::Running, Wanted::Forgotten]] {
        let mut ledger = Ledger::restore([(KEY, topology(6, 1, Wanted::Deleted))], 0);
        for wanted in order {
            ledger.offer(KEY, topology(7, 1, wanted));
        }
        assert_eq!(ledger.topology(ID).unwrap().wanted, Wanted::Running);
        assert_eq!(ledger.forget(ID), []);
    }
}

#[test]
fn a_topology_stays_within_the_size_foreseen_whatever_is_written_of_it() {
    let Document::Topology(_, mut written) = topology(1, 1, Wanted::Running) else {
        panic!("not a topology")
    };
    let foreseen = written.encoded_size_max();
    let long = |index: usize| name(&alloc::format!("{index:0>32}"));
    // Of spaces that the topology has no more, too.
    for index in 0..=SPACES_PER_TOPOLOGY_MAX {
        written.drop_data(&long(index), Some(DataLife { deletions: 0, drops: u32::MAX }));
    }
    assert_eq!(written.drops.len(), SPACES_PER_TOPOLOGY_MAX);
    (written.revision, written.deletions, written.updated_unix_ms) = (u64::MAX, u32::MAX, u64::MAX);
    let stamp = Stamp { counter: u64::MAX, writer: ZhostId(u64::MAX) };
    let size = encoded_size(&Document::Topology(stamp, written));
    assert!(size <= foreseen, "{size} bytes, foreseen {foreseen}");
}
