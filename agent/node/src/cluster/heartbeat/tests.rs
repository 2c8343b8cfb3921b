//! A super and those that report to it, on a network that loses heartbeats.

use super::*;
use crate::{effects::Effect, facts::fixture};
use zhost_base::Rng;
use zhost_gossip::registry::{Carrier, Registry};

const ME: ZhostId = ZhostId(1);

fn timing() -> Timing {
    let second = Duration::from_secs(1);
    Timing { heartbeat: second, heartbeat_timeout: 3 * second, ..Timing::default() }
}

/// What this zhost knows when so many zhosts live, all of which report to the first.
fn facts(count: usize, index: usize) -> Facts {
    let mut zhosts: Vec<ZhostId> = (1..=count as u64).map(ZhostId).collect();
    zhosts.swap(0, index);
    let mut facts = fixture::facts(&zhosts, []);
    for id in zhosts {
        let mut registry = Registry::new(id, Generation(1));
        registry.set(Instant::ZERO, RowKey::Super, Row::Super(ME)).unwrap();
        if id == facts.id {
            facts.registry = registry;
        } else {
            let delta = registry.own_delta(0).unwrap();
            facts.registry.handle_message(delta, Carrier::Link, |_| Some(Generation(1)));
        }
    }
    facts
}

/// Does what is due; the heartbeats that go out.
fn run(heartbeats: &mut Heartbeats, now: Instant, facts: &mut Facts) -> Vec<Heartbeat> {
    let host = Host::new(Rng::from_number(1));
    let mut effects = Effects::default();
    heartbeats.handle_timeout(now, facts, Report { load: Load::default(), host: &host }, &mut effects);
    let mut sent = Vec::new();
    for effect in effects {
        match effect {
            Effect::Send(ME, Frame::Heartbeat(heartbeat)) => sent.push(heartbeat),
            Effect::Row(key, row) => facts.registry.set(now, key, row).unwrap(),
            Effect::NoRow(key) => facts.registry.remove(now, &key),
            Effect::Log(..) => {}
            effect => panic!("heartbeats want {effect:?}"),
        }
    }
    sent
}

#[test]
fn who_is_silent_for_long_has_failed_until_it_reports_again_and_nobody_else_has() {
    for count in [3, 7, 20] {
        let mut rng = Rng::from_number(count as u64);
        let mut sites: Vec<_> = (0..count)
            .map(|index| (facts(count, index), Heartbeats::new(Instant::ZERO, &timing())))
            .collect();
        let silent = ZhostId(count as u64);
        let judged = |sites: &[(Facts, Heartbeats)]| {
            let rows = sites[0].0.registry.rows_of(ME);
            let verdicts =
                rows.filter_map(|(key, _)| if let RowKey::Verdict(id) = key { Some(*id) } else { None });
            verdicts.collect::<Vec<_>>()
        };
        for tenth in 0..600_u64 {
            let now = Instant::from_micros(tenth * 100_000);
            let is_silent = (200..400).contains(&tenth);
            for index in 0..count {
                let (facts, heartbeats) = &mut sites[index];
                let from = facts.id;
                for heartbeat in run(heartbeats, now, facts) {
                    // Some are lost, but never two in a row: that is what patience is for.
                    let is_lost = heartbeat.counter % 3 == 0 && rng.chance(500);
                    if !(is_lost || is_silent && from == silent) {
                        sites[0].1.handle_heartbeat(now, from, &heartbeat);
                    }
                }
            }
            let expected = if (240..400).contains(&tenth) { vec![silent] } else { Vec::new() };
            let may_change = (200..240).contains(&tenth) || (400..420).contains(&tenth);
            assert!(may_change || judged(&sites) == expected, "{:?} at {tenth}", judged(&sites));
        }
    }
}

#[test]
fn a_heartbeat_counts_once_and_none_of_an_earlier_start() {
    let mut heartbeats = Heartbeats::new(Instant::ZERO, &timing());
    let heartbeat = |generation, counter| Heartbeat {
        generation: Generation(generation),
        counter,
        cpu_percent: 0,
        memory_percent: 0,
        disk_percent: 0,
        spaces: Vec::new(),
    };
    let mut heard_at = |second: u64, generation, counter| {
        let now = Instant::from_micros(second * 1_000_000);
        heartbeats.handle_heartbeat(now, ZhostId(2), &heartbeat(generation, counter));
        heartbeats.table[&ZhostId(2)].heard_at.as_millis() / 1000
    };
    assert_eq!(heard_at(1, 2, 5), 1);
    assert_eq!(heard_at(2, 2, 5), 1, "the same again");
    assert_eq!(heard_at(3, 1, 9), 1, "of its former start");
    assert_eq!(heard_at(4, 2, 6), 4);
    assert_eq!(heard_at(5, 3, 1), 5, "of its next one");
}

#[test]
fn a_load_that_moves_about_a_border_is_told_once_and_a_changed_one_now_and_then() {
    let mut facts = facts(3, 0);
    let mut heartbeats = Heartbeats::new(Instant::ZERO, &timing());
    facts.registry.set(Instant::ZERO, RowKey::Load, Row::Load(LoadBand::default())).unwrap();
    let mut told = 0;
    for second in 0..600_u64 {
        let now = Instant::from_micros(second * 1_000_000);
        let load = Load { cpu_percent: if second % 2 == 0 { 24 } else { 29 }, ..Load::default() };
        let mut effects = Effects::default();
        heartbeats.handle_load(now, &facts, load, &mut effects);
        told += effects.into_iter().count();
    }
    assert_eq!(told, 0);
    for second in 600..1200_u64 {
        let now = Instant::from_micros(second * 1_000_000);
        let load = Load { cpu_percent: if second % 2 == 0 { 5 } else { 95 }, ..Load::default() };
        let mut effects = Effects::default();
        heartbeats.handle_load(now, &facts, load, &mut effects);
        for effect in effects {
            let Effect::Row(key, row) = effect else { panic!("{effect:?}") };
            facts.registry.set(now, key, row).unwrap();
            told += 1;
        }
    }
    assert_eq!(told, 10, "once a minute");
}
