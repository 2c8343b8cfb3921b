//! Who keeps the data of a space that has replicas: decided by the coordinator, a pure function.
//!
//! The rule that no acknowledged write is lost: whoever becomes primary has been one, or has been among the replicas,
//! of the last decision; the primary acknowledges nothing that its replicas do not have, and nothing at all before a
//! majority of the roster has the decision that made it one; and only a full term decides anew, after it has heard from a
//! majority what was decided before ([`crate::placement::quorum`]). A zhost that is to become a replica is *joining* until
//! the primary says that it acknowledges nothing without it. Only if an operator took everybody who had the data off the
//! roster, it is lost: then one that was joining becomes primary, which has some of it or all, or else anybody.

use std::collections::BTreeSet;
use zhost_base::{
    SpaceSpec, ZhostId,
    id::rendezvous,
    planted::{self, Bug},
};
use zhost_gossip::document::{FailureReason, Home, ReplicaSet};

/// What the coordinator sees.
pub(crate) struct View<'a> {
    /// The zhosts that could run the space now, in no order.
    pub usable: &'a BTreeSet<ZhostId>,
    /// Whether the term is a full one.
    pub is_full: bool,
    /// Whether the topology has never been placed, so that there is no data.
    pub is_fresh: bool,
    /// Whether a majority has the last decision on flash.
    pub is_with_majority: bool,
    /// The replicas that the primary says it waits for, under the last decision.
    pub synced: &'a [ZhostId],
    /// For rendezvous hashing.
    pub seed: u64,
}

/// Where the primary of a space runs, if that is decided by who has its data.
pub(crate) fn home(old: &ReplicaSet, view: &View<'_>) -> Home {
    let has_data = |id: &&ZhostId| old.replicas.contains(id) || planted::has(Bug::Usurp);
    let successors = view.usable.iter().filter(|_| view.is_full).filter(has_data);
    let successor = successors.max_by_key(|id| rendezvous(view.seed, **id)).copied();
    match successor {
        _ if view.usable.contains(&old.primary) => Home::On(old.primary),
        Some(successor) => Home::On(successor),
        None => Home::Nowhere(FailureReason::Data),
    }
}

/// Where the primary of a space runs whose data is lost, if somebody was getting it.
pub(crate) fn successor_of_lost(lost: &ReplicaSet, view: &View<'_>) -> Option<ZhostId> {
    let successors = lost.joining.iter().copied().filter(|id| view.usable.contains(id));
    // One that has all of it comes first.
    successors.max_by_key(|id| (view.synced.contains(id), rendezvous(view.seed, *id)))
}

/// Who keeps the data of a space from now on whose primary runs at `home`.
pub(crate) fn decide(
    spec: &SpaceSpec,
    old: Option<&ReplicaSet>,
    home: &Home,
    view: &View<'_>,
) -> Option<ReplicaSet> {
    let Home::On(primary) = home else { return old.cloned() };
    let wanted = usize::from(spec.replicas);
    let mut others: Vec<ZhostId> = view.usable.iter().copied().filter(|id| id != primary).collect();
    others.sort_by_key(|id| std::cmp::Reverse(rendezvous(view.seed, *id)));
    let Some(old) = old else {
        // Either there is no data yet, or the primary alone has what there is.
        others.truncate(wanted);
        let (replicas, joining) = if view.is_fresh { (others, Vec::new()) } else { (Vec::new(), others) };
        let space = spec.name.clone();
        return Some(ReplicaSet { space, primary: *primary, replicas, joining, confirmed: false });
    };
    if !view.is_full {
        return Some(old.clone());
    }
    let has_it = |id: &ZhostId| {
        let is_synced = old.primary == *primary && old.joining.contains(id) && view.synced.contains(id);
        *id == old.primary || old.replicas.contains(id) || is_synced
    };
    // A former primary may hold writes that were never acknowledged: it joins anew.
    let mut replicas: Vec<ZhostId> =
        others.iter().copied().filter(|id| has_it(id) && *id != old.primary).collect();
    replicas.truncate(wanted);
    let mut joining: Vec<ZhostId> = old.joining.iter().copied().filter(|id| others.contains(id)).collect();
    joining.extend(others.iter().filter(|id| !old.joining.contains(id)));
    joining.retain(|id| !replicas.contains(id));
    joining.truncate(wanted - replicas.len());
    let unchanged = (old.primary, &old.replicas, &old.joining) == (*primary, &replicas, &joining);
    let confirmed = unchanged && (old.confirmed || view.is_with_majority);
    Some(ReplicaSet { space: spec.name.clone(), primary: *primary, replicas, joining, confirmed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use zhost_base::SpaceKind;

    const A: ZhostId = ZhostId(1);
    const B: ZhostId = ZhostId(2);
    const C: ZhostId = ZhostId(3);

    fn spec() -> SpaceSpec {
        SpaceSpec { replicas: 1, ..SpaceSpec::new("store".parse().unwrap(), SpaceKind::Data) }
    }

    fn set(primary: ZhostId, replicas: &[ZhostId], joining: &[ZhostId]) -> ReplicaSet {
        let (replicas, joining) = (replicas.to_vec(), joining.to_vec());
        ReplicaSet { space: spec().name, primary, replicas, joining, confirmed: false }
    }

    fn next(old: &ReplicaSet, usable: &[ZhostId], is_full: bool, synced: &[ZhostId]) -> (Home, ReplicaSet) {
        let usable = usable.iter().copied().collect();
        let view =
            View { usable: &usable, is_full, is_with_majority: false, is_fresh: false, synced, seed: 7 };
        let home = home(old, &view);
        let set = decide(&spec(), Some(old), &home, &view).unwrap();
        (home, set)
    }

    #[test]
    fn a_successor_has_the_data_and_a_new_replica_joins_first() {
        let old = set(A, &[B], &[]);
        assert_eq!(next(&old, &[A, B, C], true, &[]), (Home::On(A), old.clone()));
        let (home, second) = next(&old, &[B, C], true, &[]);
        assert_eq!((home, &second), (Home::On(B), &set(B, &[], &[C])));
        assert_eq!(next(&second, &[B, C], true, &[C]).1, set(B, &[C], &[]));
        assert_eq!(next(&second, &[C], true, &[]), (Home::Nowhere(FailureReason::Data), second));
    }

    #[test]
    fn of_lost_data_whoever_was_getting_it_is_the_successor() {
        let usable = [B, C].into_iter().collect();
        let view = |synced| View {
            usable: &usable,
            is_full: true,
            is_with_majority: true,
            is_fresh: false,
            synced,
            seed: 7,
        };
        assert_eq!(successor_of_lost(&set(A, &[], &[C]), &view(&[])), Some(C));
        assert_eq!(successor_of_lost(&set(A, &[], &[B, C]), &view(&[B])), Some(B));
        assert_eq!(successor_of_lost(&set(A, &[], &[B, C]), &view(&[C])), Some(C));
        assert_eq!(successor_of_lost(&set(A, &[], &[]), &view(&[])), None);
    }

    #[test]
    fn a_former_primary_joins_anew() {
        let (_, second) = next(&set(A, &[B], &[]), &[B], true, &[]);
        assert_eq!(next(&second, &[A, B], true, &[]).1, set(B, &[], &[A]));
    }

    #[test]
    fn a_minority_decides_nothing() {
        let old = set(A, &[B], &[]);
        assert_eq!(next(&old, &[B, C], false, &[]), (Home::Nowhere(FailureReason::Data), old.clone()));
        assert_eq!(next(&old, &[A, C], false, &[]), (Home::On(A), old));
    }

    #[test]
    fn a_decision_is_confirmed_when_a_majority_has_it() {
        let (old, usable) = (set(A, &[B], &[]), [A, B, C].into_iter().collect());
        let view = |is_with_majority| View {
            usable: &usable,
            is_full: true,
            is_with_majority,
            is_fresh: false,
            synced: &[],
            seed: 7,
        };
        let confirmed =
            |old: &ReplicaSet, with| decide(&spec(), Some(old), &Home::On(A), &view(with)).unwrap().confirmed;
        assert!(!confirmed(&old, false));
        assert!(confirmed(&old, true));
        assert!(confirmed(&ReplicaSet { confirmed: true, ..old.clone() }, false), "and stays so");
        let changed = set(A, &[ZhostId(9)], &[]);
        assert!(
            !confirmed(&ReplicaSet { confirmed: true, ..changed }, true),
            "another decision is another matter"
        );
    }

    #[test]
    fn without_data_anybody_will_do() {
        let usable = [A, B, C].into_iter().collect();
        let view = View {
            usable: &usable,
            is_full: true,
            is_with_majority: true,
            is_fresh: true,
            synced: &[],
            seed: 7,
        };
        let first = decide(&spec(), None, &Home::On(A), &view).unwrap();
        assert_eq!((first.primary, first.replicas.len(), first.joining.len()), (A, 1, 0));
    }
}
