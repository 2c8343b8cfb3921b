//! Heartbeats: every zhost reports to its super, and the super judges who has failed.
//!
//! This is the second failure signal, beside the membership: a zhost whose gossip still answers but whose core is
//! wedged sends no heartbeats.

use crate::{
    facts::Facts,
    node::Node,
    output::Level,
    wire::{Frame, Heartbeat},
};
use litemap::LiteMap;
use std::{collections::BTreeSet, time::Duration};
use zhost_base::{Generation, Instant, ZhostId};
use zhost_gossip::row::{LoadBand, Row, RowKey};

/// How often everybody is told of a changed load, at most.
const LOAD_PERIOD_MIN: Duration = Duration::from_secs(60);
/// And for each zhost, since everybody has to hear of everybody's load.
const LOAD_PERIOD_PER_ZHOST: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug)]
struct Entry {
    generation: Generation,
    counter: u64,
    heard_at: Instant,
}

/// What a zhost sends, and what a super knows.
pub(crate) struct Heartbeats {
    counter: u64,
    send_at: Instant,
    check_at: Instant,
    /// When the coarse load was last told to everybody.
    load_told_at: Option<Instant>,
    /// The zhosts that report to us; those we took over start their clock then.
    table: LiteMap<ZhostId, Entry>,
}

impl Heartbeats {
    pub fn new(now: Instant) -> Self {
        Self { counter: 0, send_at: now, check_at: now, load_told_at: None, table: LiteMap::new() }
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        Some((self.send_at, "heartbeat").min((self.check_at, "check heartbeats")))
    }

    /// Reports to a new super at once.
    pub fn report_now(&mut self, now: Instant) {
        self.send_at = now;
    }
}

impl Facts {
    /// Whether a live zhost's super has judged this start of it failed.
    pub(crate) fn is_judged_failed(&self, id: ZhostId) -> bool {
        let Some(generation) = self.membership.generation(id) else { return false };
        let Some(Row::Super(super_node)) = self.registry.row(id, &RowKey::Super) else { return false };
        matches!(self.registry.row(*super_node, &RowKey::Verdict(id)), Some(Row::Verdict(judged)) if *judged == generation)
    }

    /// All for whom [`Self::is_judged_failed`] holds.
    pub(crate) fn judged_failed(&self) -> BTreeSet<ZhostId> {
        let verdicts = self.registry.rows().filter_map(|(_, key, _)| match key {
            RowKey::Verdict(id) => Some(*id),
            _ => None,
        });
        verdicts.filter(|id| self.is_judged_failed(*id)).collect()
    }
}

impl Node {
    pub(crate) fn heartbeat_timeout(&mut self, now: Instant) {
        if self.heartbeats.send_at <= now {
            self.heartbeats.send_at = now + self.config.timing.heartbeat;
            self.send_heartbeat(now);
        }
        if self.heartbeats.check_at <= now {
            self.heartbeats.check_at =
                now + (self.config.timing.heartbeat / 2).max(Duration::from_millis(100));
            self.check_heartbeats(now);
        }
    }

    fn send_heartbeat(&mut self, now: Instant) {
        let Some(super_node) = self.facts.super_node() else { return };
        self.heartbeats.counter += 1;
        let heartbeat = Heartbeat {
            generation: self.facts.generation,
            counter: self.heartbeats.counter,
            cpu_percent: self.load.cpu_percent,
            memory_percent: self.load.memory_percent,
            disk_percent: self.load.disk_percent,
            spaces: self.host.keys().cloned().collect(),
        };
        if super_node == self.facts.id {
            self.handle_heartbeat(now, self.facts.id, heartbeat);
        } else {
            self.send(now, super_node, &Frame::Heartbeat(heartbeat));
        }
    }

    pub(crate) fn handle_heartbeat(&mut self, now: Instant, from: ZhostId, heartbeat: Heartbeat) {
        let Heartbeat { generation, counter, .. } = heartbeat;
        let last = self.heartbeats.table.get(&from);
        let stale = last.is_some_and(|last| (generation, counter) <= (last.generation, last.counter));
        if !stale {
            self.heartbeats.table.insert(from, Entry { generation, counter, heard_at: now });
        }
    }

    /// Judges the zhosts that report to us, in rows of our own that everybody sees.
    fn check_heartbeats(&mut self, now: Instant) {
        let mine: LiteMap<ZhostId, Generation> = self.facts
            .registry
            .owners()
            .filter(|(id, _)| matches!(self.facts.registry.row(*id, &RowKey::Super), Some(Row::Super(s)) if *s == self.facts.id))
            .collect();
        self.heartbeats.table.retain(|id, _| mine.contains_key(id));
        for (id, generation) in &mine {
            let fresh = Entry { generation: *generation, counter: 0, heard_at: now };
            let entry = self.heartbeats.table.entry(*id).or_insert(fresh);
            if entry.generation < *generation {
                *entry = fresh;
            }
            let silent = now.since(entry.heard_at) >= self.config.timing.heartbeat_timeout;
            let key = RowKey::Verdict(*id);
            let judged = self.facts.registry.row(self.facts.id, &key).is_some();
            if silent && !judged {
                self.log(
                    Level::Warn,
                    format!("zhost {} sends no heartbeats: failed", self.facts.zhost_name(*id)),
                );
                self.set_row(now, key, Row::Verdict(*generation));
            } else if !silent && judged {
                self.log(Level::Info, format!("zhost {} sends heartbeats again", self.facts.zhost_name(*id)));
                self.facts.registry.remove(now, &key);
            }
        }
        let verdicts = self.facts.registry.rows_of(self.facts.id).filter_map(|(key, _)| match key {
            RowKey::Verdict(id) if !mine.contains_key(id) => Some(key.clone()),
            _ => None,
        });
        let obsolete: Vec<RowKey> = verdicts.collect();
        obsolete.iter().for_each(|key| self.facts.registry.remove(now, key));
    }

    /// Coarse load with hysteresis: a band is left only when the load is well outside of it.
    pub(crate) fn write_load_band(&mut self, now: Instant) {
        let Some(Row::Load(old)) = self.facts.registry.row(self.facts.id, &RowKey::Load).cloned() else {
            return;
        };
        let band = |percent: u8, old: u8| {
            let new = (percent.min(100) / 25).min(4);
            let centre = old * 25 + 12;
            if percent.abs_diff(centre) > 18 { new } else { old }
        };
        let new = LoadBand {
            cpu: band(self.load.cpu_percent, old.cpu),
            memory: band(self.load.memory_percent, old.memory),
        };
        let period = LOAD_PERIOD_MIN.max(LOAD_PERIOD_PER_ZHOST * self.facts.membership.peer_count() as u32);
        let rested = self.heartbeats.load_told_at.is_none_or(|at| now.since(at) >= period);
        if new != old && rested {
            self.heartbeats.load_told_at = Some(now);
            self.set_row(now, RowKey::Load, Row::Load(new));
        }
    }
}
