//! Heartbeats: every zhost reports to its super, and the super judges who has failed.
//!
//! This is the second failure signal, beside the membership: a zhost whose gossip still answers but whose core is
//! wedged sends no heartbeats.

use crate::{
    config::Timing,
    effects::Effects,
    facts::Facts,
    input::Load,
    output::Level,
    spaces::host::Host,
    wire::{Frame, Heartbeat},
};
use litemap::LiteMap;
use std::{collections::BTreeSet, time::Duration};
use zhost_base::{Generation, Instant, ZhostId};
use zhost_gossip::row::{LoadBand, Row, RowKey};

/// How often those are judged who report to us, at most.
const CHECK_PERIOD_MIN: Duration = Duration::from_millis(100);
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

/// What a zhost reports of itself.
#[derive(Clone, Copy)]
pub(crate) struct Report<'a> {
    pub load: Load,
    pub host: &'a Host,
}

/// What a zhost sends, and what a super knows.
pub(crate) struct Heartbeats {
    /// How often it reports.
    period: Duration,
    /// Who is silent for so long has failed.
    patience: Duration,
    counter: u64,
    send_at: Instant,
    check_at: Instant,
    /// When the coarse load was last told to everybody.
    load_told_at: Option<Instant>,
    /// The zhosts that report to us; those we took over start their clock then.
    table: LiteMap<ZhostId, Entry>,
}

impl Heartbeats {
    pub fn new(now: Instant, timing: &Timing) -> Self {
        Self {
            period: timing.heartbeat,
            patience: timing.heartbeat_timeout,
            counter: 0,
            send_at: now,
            check_at: now,
            load_told_at: None,
            table: LiteMap::new(),
        }
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
        let verdict = self.registry.row(*super_node, &RowKey::Verdict(id));
        matches!(verdict, Some(Row::Verdict(judged)) if *judged == generation)
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

impl Heartbeats {
    /// Reports to our super, which may be ourselves, and judges those that report to us, if it is time.
    pub fn handle_timeout(&mut self, now: Instant, facts: &Facts, report: Report<'_>, effects: &mut Effects) {
        if self.send_at <= now {
            self.send_at = now + self.period;
            self.report(now, facts, report, effects);
        }
        if self.check_at <= now {
            self.check_at = now + (self.period / 2).max(CHECK_PERIOD_MIN);
            self.check(now, facts, effects);
        }
    }

    fn report(&mut self, now: Instant, facts: &Facts, report: Report<'_>, effects: &mut Effects) {
        let Some(super_node) = facts.super_node() else { return };
        self.counter += 1;
        let heartbeat = Heartbeat {
            generation: facts.generation,
            counter: self.counter,
            cpu_percent: report.load.cpu_percent,
            memory_percent: report.load.memory_percent,
            disk_percent: report.load.disk_percent,
            spaces: report.host.keys().cloned().collect(),
        };
        if super_node == facts.id {
            self.handle_heartbeat(now, facts.id, &heartbeat);
        } else {
            effects.send(super_node, Frame::Heartbeat(heartbeat));
        }
    }

    /// A zhost reports. One heartbeat counts once, and none of an earlier start.
    pub fn handle_heartbeat(&mut self, now: Instant, from: ZhostId, heartbeat: &Heartbeat) {
        let Heartbeat { generation, counter, .. } = *heartbeat;
        let last = self.table.get(&from);
        let stale = last.is_some_and(|last| (generation, counter) <= (last.generation, last.counter));
        if !stale {
            self.table.insert(from, Entry { generation, counter, heard_at: now });
        }
    }

    /// Judges the zhosts that report to us, in rows of our own that everybody sees.
    fn check(&mut self, now: Instant, facts: &Facts, effects: &mut Effects) {
        let reports_to_us = |id: ZhostId| {
            let row = facts.registry.row(id, &RowKey::Super);
            matches!(row, Some(Row::Super(super_node)) if *super_node == facts.id)
        };
        let mine: LiteMap<ZhostId, Generation> =
            facts.registry.owners().filter(|(id, _)| reports_to_us(*id)).collect();
        self.table.retain(|id, _| mine.contains_key(id));
        for (id, generation) in &mine {
            let fresh = Entry { generation: *generation, counter: 0, heard_at: now };
            let entry = self.table.entry(*id).or_insert(fresh);
            if entry.generation < *generation {
                *entry = fresh;
            }
            let silent = now.since(entry.heard_at) >= self.patience;
            let key = RowKey::Verdict(*id);
            let judged = facts.registry.row(facts.id, &key).is_some();
            if silent && !judged {
                let text = format!("zhost {} sends no heartbeats: failed", facts.zhost_name(*id));
                effects.log(Level::Warn, text);
                effects.row(key, Row::Verdict(*generation));
            } else if !silent && judged {
                let text = format!("zhost {} sends heartbeats again", facts.zhost_name(*id));
                effects.log(Level::Info, text);
                effects.no_row(key);
            }
        }
        for (key, _) in facts.registry.rows_of(facts.id) {
            if let RowKey::Verdict(id) = key
                && !mine.contains_key(id)
            {
                effects.no_row(key.clone());
            }
        }
    }

    /// Coarse load with hysteresis: a band is left only when the load is well outside of it.
    pub fn handle_load(&mut self, now: Instant, facts: &Facts, load: Load, effects: &mut Effects) {
        let Some(Row::Load(old)) = facts.registry.row(facts.id, &RowKey::Load) else { return };
        let band = |percent: u8, old: u8| {
            let new = (percent.min(100) / 25).min(4);
            let centre = old * 25 + 12;
            if percent.abs_diff(centre) > 18 { new } else { old }
        };
        let new =
            LoadBand { cpu: band(load.cpu_percent, old.cpu), memory: band(load.memory_percent, old.memory) };
        let period = LOAD_PERIOD_MIN.max(LOAD_PERIOD_PER_ZHOST * facts.membership.peer_count() as u32);
        let rested = self.load_told_at.is_none_or(|at| now.since(at) >= period);
        if new != *old && rested {
            self.load_told_at = Some(now);
            effects.row(RowKey::Load, Row::Load(new));
        }
    }
}

#[cfg(test)]
mod tests;
