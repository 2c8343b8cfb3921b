//! The registry against an oracle: the same history, told to our registries and to `chitchat`, must end in the same
//! rows.

#![cfg(not(target_env = "musl"))]

use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion, spawn_chitchat,
    transport::ChannelTransport,
};
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};
use zhost_base::{Generation, Instant, Rng, ZhostId};
use zhost_gossip::{
    registry::{Carrier, Registry},
    row::{Row, RowKey},
};

const OWNERS: usize = 5;
const KEYS: u64 = 12;
const WRITES: usize = 300;
const START: Generation = Generation(1);

/// By owner and key, the value.
type Rows = BTreeMap<(usize, u64), u32>;

/// One write: by this owner, to this key, of this value, or a deletion.
#[derive(Clone, Copy, Debug)]
struct Change {
    owner: usize,
    key: u64,
    value: Option<u32>,
}

fn history(seed: u64) -> Vec<Change> {
    let mut rng = Rng::from_number(seed);
    let change = |_| Change {
        owner: rng.below(OWNERS as u64) as usize,
        key: rng.below(KEYS),
        value: (!rng.chance(300)).then(|| rng.number() as u32),
    };
    (0..WRITES).map(change).collect()
}

fn rows_of(registry: &Registry) -> Rows {
    let row = |(owner, key, row): (ZhostId, &RowKey, &Row)| match (key, row) {
        (RowKey::Verdict(key), Row::Verdict(value)) => Some(((owner.0 as usize, key.0), value.0)),
        _ => None,
    };
    registry.rows().filter_map(row).collect()
}

/// One round of anti-entropy between two registries, of whose datagrams some are lost.
fn exchange(registries: &mut [Registry], rng: &mut Rng) {
    let a = rng.below(OWNERS as u64) as usize;
    let b = (a + 1 + rng.below(OWNERS as u64 - 1) as usize) % OWNERS;
    let mut under_way = VecDeque::from([(b, a, registries[a].digest(Carrier::Datagram, true))]);
    while let Some((to, from, message)) = under_way.pop_front() {
        if !rng.chance(200) {
            let answers = registries[to].handle_message(message, Carrier::Datagram, |_| Some(START));
            under_way.extend(answers.into_iter().map(|answer| (from, to, answer)));
        }
    }
}

/// What our registries come to.
fn ours(changes: &[Change], seed: u64) -> Rows {
    let mut rng = Rng::from_number(seed + 1000);
    let mut registries: Vec<Registry> =
        (0..OWNERS).map(|id| Registry::new(ZhostId(id as u64), START)).collect();
    for (index, Change { owner, key, value }) in changes.iter().enumerate() {
        // Long enough for tombstones to be collected on the way.
        let now = Instant::from_micros(index as u64 * 1_000_000);
        let (own, key) = (&mut registries[*owner], RowKey::Verdict(ZhostId(*key)));
        match value {
            Some(value) => own.set(now, key, Row::Verdict(Generation(*value))).expect("a small row"),
            None => own.remove(now, &key),
        }
        own.collect_tombstones(now);
        exchange(&mut registries, &mut rng);
    }
    (0..500).for_each(|_| exchange(&mut registries, &mut rng));
    let all: Vec<Rows> = registries.iter().map(rows_of).collect();
    assert!(all.iter().all(|rows| *rows == all[0]), "seed {seed}: our registries differ from each other");
    all[0].clone()
}

fn member(index: usize) -> ChitchatId {
    ChitchatId::new(format!("owner-{index}"), 1, SocketAddr::from(([127, 0, 0, 1], 1 + index as u16)))
}

fn config(index: usize) -> ChitchatConfig {
    let id = member(index);
    ChitchatConfig {
        listen_addr: id.gossip_advertise_addr,
        chitchat_id: id,
        cluster_id: "oracle".into(),
        gossip_interval: Duration::from_millis(5),
        seed_nodes: vec![member(0).gossip_advertise_addr.to_string()],
        failure_detector_config: FailureDetectorConfig::default(),
        marked_for_deletion_grace_period: Duration::from_secs(3600),
        catchup_callback: None,
        extra_liveness_predicate: None,
        protocol_version: ProtocolVersion::V1,
    }
}

async fn seen_by(handle: &ChitchatHandle) -> Rows {
    let chitchat = handle.chitchat();
    let chitchat = chitchat.lock().await;
    let mut rows = Rows::new();
    for owner in 0..OWNERS {
        let values = chitchat.node_state(&member(owner)).into_iter().flat_map(|state| state.key_values());
        rows.extend(
            values.map(|(key, value)| {
                ((owner, key.parse().expect("a number")), value.parse().expect("a number"))
            }),
        );
    }
    rows
}

/// What chitchat comes to. It runs by the real clock: its members are looked at until they agree with each owner on
/// its own rows, for half a minute.
async fn theirs(changes: &[Change]) -> Rows {
    let transport = ChannelTransport::default();
    let mut handles = Vec::new();
    for index in 0..OWNERS {
        let handle = spawn_chitchat(config(index), Vec::new(), &transport).await;
        handles.push(handle.expect("members in one process start"));
    }
    for Change { owner, key, value } in changes {
        let chitchat = handles[*owner].chitchat();
        let mut chitchat = chitchat.lock().await;
        match value {
            Some(value) => chitchat.self_node_state().set(key, value),
            None => chitchat.self_node_state().delete(&key.to_string()),
        }
    }
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..3000 {
        looks.tick().await;
        let mut views = Vec::new();
        for handle in &handles {
            views.push(seen_by(handle).await);
        }
        let by = |rows: &Rows, owner: usize| -> Rows {
            rows.iter().filter(|((of, _), _)| *of == owner).map(|(key, value)| (*key, *value)).collect()
        };
        let knows = |view: &Rows| (0..OWNERS).all(|owner| by(view, owner) == by(&views[owner], owner));
        if views.iter().all(knows) {
            return views.swap_remove(0);
        }
    }
    panic!("chitchat's members do not agree");
}

#[tokio::test]
async fn the_same_history_ends_in_the_same_rows_as_with_chitchat() {
    for seed in 0..3 {
        let changes = history(seed);
        assert_eq!(ours(&changes, seed), theirs(&changes).await, "seed {seed}");
    }
}
