//! The registry: convergence, bounds, and deletions that stay deleted.

use super::*;
use crate::row::LoadBand;
use alloc::{format, vec};
use zhost_base::{BlobDigest, Duration, Rng};

const START: Generation = Generation(1);

fn blob(n: u8) -> RowKey {
    RowKey::Blob(BlobDigest([n; 32]))
}

fn load(cpu: u8) -> Row {
    Row::Load(LoadBand { cpu, memory: 0 })
}

fn registry(id: u64) -> Registry {
    Registry::new(ZhostId(id), START)
}

/// Runs rounds of anti-entropy between two registries until neither answers; gives the largest datagram.
fn reconcile(a: &mut Registry, b: &mut Registry) -> usize {
    let mut largest = 0;
    let mut to_b = vec![a.digest(Carrier::Datagram, true)];
    for _ in 0..200 {
        let mut to_a = Vec::new();
        for message in to_b.drain(..) {
            largest = largest.max(postcard::to_allocvec(&message).unwrap().len());
            to_a.extend(b.handle_message(message, Carrier::Datagram, |_| Some(START)));
        }
        for message in to_a {
            largest = largest.max(postcard::to_allocvec(&message).unwrap().len());
            to_b.extend(a.handle_message(message, Carrier::Datagram, |_| Some(START)));
        }
        if to_b.is_empty() {
            if a.hash() == b.hash() {
                break;
            }
            to_b.push(a.digest(Carrier::Datagram, true));
        }
    }
    largest
}

#[test]
fn two_registries_become_equal_within_datagrams() {
    let (mut a, mut b) = (registry(1), registry(2));
    for n in 0..100 {
        a.set(Instant::ZERO, blob(n), Row::Blob).unwrap();
    }
    b.set(Instant::ZERO, RowKey::Load, load(3)).unwrap();
    let largest = reconcile(&mut a, &mut b);
    assert_eq!(a.hash(), b.hash());
    assert_eq!(b.rows_of(ZhostId(1)).count(), 100);
    assert_eq!(a.row(ZhostId(2), &RowKey::Load), Some(&load(3)));
    assert!(largest <= crate::datagram::PLAIN_SIZE_MAX_BYTES, "{largest}");
}

#[test]
fn many_owners_still_fit_datagrams_and_converge() {
    let (mut a, mut b) = (registry(0), registry(5000));
    for id in 1..200 {
        let mut other = registry(id);
        other.set(Instant::ZERO, RowKey::Load, load(1)).unwrap();
        reconcile(&mut other, &mut a);
    }
    let largest = reconcile(&mut a, &mut b);
    assert_eq!(a.hash(), b.hash());
    assert!(largest <= crate::datagram::PLAIN_SIZE_MAX_BYTES, "{largest}");
}

#[test]
fn a_collected_deletion_is_never_undone() {
    let (mut a, mut b, mut c) = (registry(1), registry(2), registry(3));
    a.set(Instant::ZERO, blob(1), Row::Blob).unwrap();
    a.set(Instant::ZERO, blob(2), Row::Blob).unwrap();
    reconcile(&mut a, &mut b);
    reconcile(&mut a, &mut c);
    a.remove(Instant::ZERO, &blob(1));
    reconcile(&mut a, &mut b);
    let later = Instant::ZERO + ROW_TOMBSTONE_TTL + Duration::from_secs(1);
    assert!(a.poll_timeout().is_some());
    a.collect_tombstones(later);
    assert!(a.poll_timeout().is_none());
    // c was away for all of it and still holds the row; neither a nor b may learn it back.
    reconcile(&mut c, &mut b);
    reconcile(&mut a, &mut c);
    for registry in [&a, &b, &c] {
        assert_eq!(registry.row(ZhostId(1), &blob(1)), None);
        assert_eq!(registry.row(ZhostId(1), &blob(2)), Some(&Row::Blob));
    }
}

#[test]
fn rows_are_accepted_only_of_live_owners_in_their_generation() {
    let (mut a, mut b) = (registry(1), registry(2));
    a.set(Instant::ZERO, blob(1), Row::Blob).unwrap();
    let delta = a.own_delta(0).unwrap();
    b.handle_message(delta.clone(), Carrier::Datagram, |_| None);
    b.handle_message(delta.clone(), Carrier::Datagram, |_| Some(Generation(9)));
    assert_eq!(b.rows().count(), 0);
    b.handle_message(delta, Carrier::Datagram, |_| Some(START));
    assert_eq!(b.rows().count(), 1);
    b.retain(|_| None);
    assert_eq!(b.rows().count(), 0);
}

#[test]
fn nobody_writes_our_rows_but_us() {
    let (mut real, mut fake) = (registry(1), registry(1));
    real.set(Instant::ZERO, RowKey::Load, load(1)).unwrap();
    for cpu in 0..4 {
        fake.set(Instant::ZERO, RowKey::Load, load(cpu)).unwrap();
    }
    real.handle_message(fake.own_delta(0).unwrap(), Carrier::Datagram, |_| Some(START));
    assert_eq!(real.row(ZhostId(1), &RowKey::Load), Some(&load(1)));
}

#[test]
fn limits_refuse_and_change_nothing() {
    let mut a = registry(1);
    let mut written = 0;
    for n in 0..=ROWS_PER_OWNER_MAX {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&(n as u64).to_be_bytes());
        match a.set(Instant::ZERO, RowKey::Blob(BlobDigest(digest)), Row::Blob) {
            Ok(()) => written += 1,
            Err(refused) => assert_eq!(refused, RowRefused::TooManyRows),
        }
    }
    assert_eq!((written, a.rows().count()), (ROWS_PER_OWNER_MAX, ROWS_PER_OWNER_MAX));
}

#[test]
fn writing_the_same_again_is_no_change() {
    let mut a = registry(1);
    a.set(Instant::ZERO, RowKey::Load, load(1)).unwrap();
    let revision = a.revision();
    a.set(Instant::ZERO, RowKey::Load, load(1)).unwrap();
    a.remove(Instant::ZERO, &blob(1));
    assert_eq!(a.revision(), revision);
}

#[test]
fn any_history_converges_whoever_talks_to_whom() {
    for seed in 0..50 {
        let mut rng = Rng::from_number(seed);
        let mut all: Vec<Registry> = (0..4).map(registry).collect();
        let mut now = Instant::ZERO;
        for _ in 0..200 {
            now += Duration::from_secs(rng.below(20));
            let (x, y) = (rng.below(4) as usize, rng.below(4) as usize);
            match rng.below(4) {
                0 => all[x].set(now, blob(rng.below(6) as u8), Row::Blob).unwrap(),
                1 => all[x].remove(now, &blob(rng.below(6) as u8)),
                2 => all[x].collect_tombstones(now),
                _ if x != y => {
                    let mut other = core::mem::replace(&mut all[y], registry(99));
                    reconcile(&mut all[x], &mut other);
                    all[y] = other;
                }
                _ => {}
            }
        }
        for _ in 0..4 {
            for (x, y) in [(0, 1), (2, 3), (0, 2), (1, 3)] {
                let mut other = core::mem::replace(&mut all[y], registry(99));
                reconcile(&mut all[x], &mut other);
                all[y] = other;
            }
        }
        let rows = |registry: &Registry| registry.rows().map(|row| format!("{row:?}")).collect::<Vec<_>>();
        assert!(all.iter().all(|registry| rows(registry) == rows(&all[0])), "seed {seed}");
    }
}
