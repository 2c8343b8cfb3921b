//! Whether a cluster that nothing happens to is at rest: what it still writes and says.

use crate::world::World;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use zhost_base::ZhostId;

/// What a cluster does while nothing happens.
#[derive(Clone, Debug, Default)]
pub struct Rest {
    /// How many boards have power.
    pub boards: usize,
    /// How often a board accuses another at the end that it accused at the beginning: who lives refutes.
    pub accusations: usize,
    /// Rows that each zhost wrote about itself, the most of any.
    pub rows_max: u64,
    /// Rows of all.
    pub rows: u64,
    /// Bytes a second that each zhost sent, headers included, the mean and the most.
    pub bytes_per_second: f64,
    /// See [`Self::bytes_per_second`].
    pub bytes_per_second_max: f64,
    /// Datagrams and writes a second that each zhost sent, the mean.
    pub packets_per_second: f64,
    /// What was sent of each kind, bytes a second of each zhost, the mean.
    pub kinds: BTreeMap<String, f64>,
}

/// What a board has done so far.
#[derive(Default)]
struct Mark {
    rows: u64,
    bytes: u64,
    packets: u64,
    kinds: BTreeMap<String, u64>,
    suspects: BTreeSet<ZhostId>,
}

fn marks(world: &World) -> Vec<Mark> {
    let mark = |index: usize| Mark {
        rows: world.rows_written(index),
        bytes: world.sent_bytes(index),
        packets: world.sent_packets(index),
        kinds: world.traffic(index),
        suspects: world.suspects(index),
    };
    world.live().into_iter().map(mark).collect()
}

impl World {
    /// Lets that much time pass and measures. Nobody starts or ends meanwhile.
    pub fn rest(&mut self, length: Duration) -> Rest {
        let before = marks(self);
        self.run_for(length);
        let after = marks(self);
        let (boards, seconds) = (before.len().max(1) as f64, length.as_secs_f64());
        let mut rest = Rest { boards: before.len(), ..Rest::default() };
        for (before, after) in before.iter().zip(&after) {
            // One that took up a later start of its own counts anew.
            let rows = after.rows.saturating_sub(before.rows);
            let bytes_per_second = (after.bytes - before.bytes) as f64 / seconds;
            rest.accusations += before.suspects.intersection(&after.suspects).count();
            rest.rows += rows;
            rest.rows_max = rest.rows_max.max(rows);
            rest.bytes_per_second += bytes_per_second / boards;
            rest.bytes_per_second_max = rest.bytes_per_second_max.max(bytes_per_second);
            rest.packets_per_second += (after.packets - before.packets) as f64 / seconds / boards;
            for (kind, bytes) in &after.kinds {
                let sent = bytes - before.kinds.get(kind).copied().unwrap_or(0);
                *rest.kinds.entry(kind.clone()).or_default() += sent as f64 / seconds / boards;
            }
        }
        rest
    }
}

/// How many times more than an idle cluster one may send.
const TIMES_IDLE_MAX: f64 = 2.0;
/// The same of the one that sends most: after mishaps all stores may stand on one board, and what is sent to them with them.
const OF_ONE_MAX: f64 = 3.0;

impl Rest {
    /// What this cluster does too much, compared with an idle one of its size.
    pub fn busier_than(&self, idle: &Self) -> Vec<String> {
        // Here and there a round trip settles, or a nearer neighbour is chosen.
        let rows_max = 2 + self.boards as u64 / 4;
        let rules = [
            ("bytes a second each", self.bytes_per_second, TIMES_IDLE_MAX * idle.bytes_per_second),
            ("bytes a second of one", self.bytes_per_second_max, OF_ONE_MAX * idle.bytes_per_second_max),
            ("packets a second each", self.packets_per_second, TIMES_IDLE_MAX * idle.packets_per_second),
            ("rows", self.rows as f64, rows_max as f64),
            ("accusations that are never refuted", self.accusations as f64, 0.0),
        ];
        let broken = rules.iter().filter(|(_, is, most)| is > most);
        let broken =
            broken.map(|(what, is, most)| format!("not at rest: {is:.0} {what}, at most {most:.0}: {self}"));
        broken.collect()
    }
}

impl std::fmt::Display for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut kinds: Vec<(&String, &f64)> = self.kinds.iter().filter(|(_, rate)| **rate >= 1.0).collect();
        kinds.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let kinds: Vec<String> = kinds.iter().map(|(kind, rate)| format!("{kind} {rate:.0}")).collect();
        write!(
            f,
            "{:.0} bytes and {:.1} packets a second each (most: {:.0}), {} rows (most: {}); {}",
            self.bytes_per_second,
            self.packets_per_second,
            self.bytes_per_second_max,
            self.rows,
            self.rows_max,
            kinds.join(", ")
        )
    }
}
