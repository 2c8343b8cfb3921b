use super::*;
use crate::{
    facts::fixture,
    placement::plan::tests::{profile, sites},
};
use zhost_base::SpaceKind;
use zhost_gossip::document::{Document, DocumentKey};

const ID: TopologyId = TopologyId([1; 16]);
const ZHOSTS: [ZhostId; 4] = [ZhostId(0), ZhostId(1), ZhostId(2), ZhostId(3)];

/// A store with one replica.
fn topology() -> (DocumentKey, Document) {
    let Document::Topology(stamp, mut topology) = fixture::topology(Wanted::Running, 1, ZHOSTS[0]) else {
        unreachable!("it makes topologies")
    };
    let store = SpaceSpec::new("store".parse().unwrap(), SpaceKind::Data);
    topology.spec.spaces = vec![SpaceSpec { replicas: 1, ..store }];
    (DocumentKey::Topology(ID), Document::Topology(stamp, topology))
}

fn set(primary: ZhostId, replica: ZhostId, joining: &[ZhostId]) -> ReplicaSet {
    ReplicaSet {
        space: "store".parse().unwrap(),
        primary,
        replicas: vec![replica],
        joining: joining.to_vec(),
        confirmed: true,
    }
}

/// A placement of that term, by which these have the data.
fn placement(slot: Slot, term: u64, set: ReplicaSet) -> (DocumentKey, Document) {
    let version = PlacementVersion { slot, term, counter: term, coordinator: ZHOSTS[0] };
    let homes = vec![Home::On(set.primary)];
    let placement = Placement { version, revision: 1, homes, settled: true, replica_sets: vec![set] };
    (DocumentKey::Placement(ID, slot), Document::Placement(placement))
}

fn facts(placements: impl IntoIterator<Item = (DocumentKey, Document)>) -> Facts {
    fixture::facts(&ZHOSTS, placements.into_iter().chain([topology()]))
}

fn propose(facts: &Facts, slot: Slot, term: u64) -> Proposal {
    let profiles = ZHOSTS.map(|_| profile("r", "k", &[], 1 << 30));
    Draft::under(facts, ID, (slot, term), None).unwrap().propose(&mut sites(&profiles), true)
}

fn remove(facts: &mut Facts, zhosts: &[ZhostId]) {
    for id in zhosts {
        let (key, document) = fixture::removed(*id);
        facts.ledger.offer(key, document);
    }
}

#[test]
fn a_first_placement_has_as_many_replicas_as_asked_for() {
    let proposal = propose(&facts([]), Slot::Full, 1);
    let [set] = proposal.replica_sets.as_slice() else { panic!("{proposal:?}") };
    assert_eq!(proposal.homes, [Home::On(set.primary)]);
    assert_eq!((set.replicas.len(), set.joining.len(), proposal.settled), (1, 0, false));
}

#[test]
fn a_term_goes_on_from_what_is_obeyed_and_then_from_what_it_wrote_itself() {
    let before = placement(Slot::Full, 3, set(ZHOSTS[2], ZHOSTS[1], &[]));
    let mut facts = facts([before]);
    let proposal = propose(&facts, Slot::Full, 4);
    assert_eq!(proposal.homes, [Home::On(ZHOSTS[2])], "a new term moves nothing that suits");
    let draft = Draft::under(&facts, ID, (Slot::Full, 4), None).unwrap();
    assert!(!draft.is_as_before(&proposal), "but says so itself");
    let Proposal { homes, settled, replica_sets } = proposal.clone();
    let placement = Placement { version: draft.next_version(), revision: 1, homes, settled, replica_sets };
    facts.ledger.offer(DocumentKey::Placement(ID, Slot::Full), Document::Placement(placement));
    assert!(Draft::under(&facts, ID, (Slot::Full, 4), None).unwrap().is_as_before(&propose(
        &facts,
        Slot::Full,
        4
    )));
}

#[test]
fn a_version_is_above_those_of_both_slots_and_what_is_forgotten() {
    let full = placement(Slot::Full, 3, set(ZHOSTS[2], ZHOSTS[1], &[]));
    let provisional = placement(Slot::Provisional, 7, set(ZHOSTS[2], ZHOSTS[1], &[]));
    let mut facts = facts([full, provisional]);
    let counter =
        |facts: &Facts| Draft::under(facts, ID, (Slot::Full, 9), None).unwrap().next_version().counter;
    assert_eq!(counter(&facts), 8);
    facts.ledger.raise_horizon(20);
    assert_eq!(counter(&facts), 21);
}

#[test]
fn a_term_without_a_majority_moves_no_data() {
    let full = placement(Slot::Full, 3, set(ZHOSTS[2], ZHOSTS[1], &[]));
    let mut facts = facts([full]);
    // The board that writes is not usable: its replica may take over under a full term only.
    remove(&mut facts, &[ZHOSTS[2]]);
    let mut profiles = ZHOSTS.map(|_| profile("r", "k", &[], 1 << 30));
    profiles[2].blank = true;
    let proposed = |slot| {
        let draft = Draft::under(&facts, ID, (slot, 4), None).unwrap();
        draft.propose(&mut sites(&profiles), true).homes[0].clone()
    };
    assert_eq!(proposed(Slot::Full), Home::On(ZHOSTS[1]));
    assert_eq!(proposed(Slot::Provisional), Home::Nowhere(FailureReason::Data));
}

#[test]
fn data_that_nobody_has_any_more_is_said_to_be_lost_and_who_was_getting_it_goes_on() {
    let full = placement(Slot::Full, 3, set(ZHOSTS[2], ZHOSTS[1], &[ZHOSTS[3]]));
    let mut facts = facts([full]);
    let losses = |facts: &Facts| Draft::under(facts, ID, (Slot::Full, 4), None).unwrap().losses().len();
    remove(&mut facts, &[ZHOSTS[2]]);
    assert_eq!(losses(&facts), 0, "its replica has everything");
    remove(&mut facts, &[ZHOSTS[1]]);
    assert_eq!(losses(&facts), 1);
    assert_eq!(propose(&facts, Slot::Full, 4).homes, [Home::On(ZHOSTS[3])]);
}

#[test]
fn what_others_have_on_flash_is_gone_on_from_and_written_anew() {
    let full = placement(Slot::Full, 3, set(ZHOSTS[2], ZHOSTS[1], &[]));
    let (_, Document::Placement(unheard)) = placement(Slot::Full, 4, set(ZHOSTS[1], ZHOSTS[3], &[])) else {
        unreachable!("it makes placements")
    };
    let facts = facts([full]);
    let profiles = ZHOSTS.map(|_| profile("r", "k", &[], 1 << 30));
    let draft = Draft::under(&facts, ID, (Slot::Full, 4), Some(&unheard)).unwrap();
    let proposal = draft.propose(&mut sites(&profiles), false);
    assert_eq!(proposal.homes, [Home::On(ZHOSTS[1])]);
    assert_eq!(proposal.replica_sets[0].replicas, [ZHOSTS[3]]);
    assert!(!draft.is_as_before(&proposal), "the ledger has another");
    // What the ledger has since is newer.
    let older = Placement { version: PlacementVersion { term: 2, ..unheard.version }, ..unheard };
    let draft = Draft::under(&facts, ID, (Slot::Full, 4), Some(&older)).unwrap();
    assert_eq!(draft.propose(&mut sites(&profiles), false).homes, [Home::On(ZHOSTS[2])]);
}
