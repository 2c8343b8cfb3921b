//! One simulated board: an agent, a worker that runs its guests inline, and a disk.

use crate::{disk::SimDisk, guests, slots::SimSlots};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use zhost_base::{Instant, Name, Rng};
use zhost_exchange::{NoDevices, Store};
use zhost_gossip::seal::ClusterSecret;
use zhost_link::Identity;
use zhost_node::{
    Agent, ClockTrust, ConnectionId, DiskRequest, Examination, Findings, Input, Keys, Named, NodeConfig,
    Recovered, Tape, Timing,
};
use zhost_runtime::{MemoryStore, RedbStore, Wasmi, Worker, examine};

/// The key under which simulated operators speak.
pub const CONTROL_KEY: [u8; 32] = [2; 32];
/// What all simulated boards share.
const CLUSTER_SECRET: [u8; 32] = [1; 32];
/// Wall clock at the world's origin.
pub const UNIX_ORIGIN_MS: u64 = 1_800_000_000_000;

/// Periods and timeouts of boards that are judged, so that much happens in little time.
const HASTY: Timing = Timing {
    heartbeat: Duration::from_secs(1),
    heartbeat_timeout: Duration::from_secs(4),
    alone: Duration::from_secs(10),
};

/// What is running on a board that has power.
pub struct Running {
    pub agent: Agent,
    pub worker: Worker,
    pub store: Arc<dyn Store>,
    /// Disk requests asked for and not yet carried out, in order.
    pub disk_queue: BTreeMap<u64, DiskRequest>,
    pub accepted: u64,
}

/// The monotonic clock of a board: begins at its start, and goes a little wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalClock {
    started_at: Instant,
    /// Millionths by which it is fast; slow ones are negative.
    drift_ppm: i64,
}

impl LocalClock {
    const ORIGIN_US: i128 = 1_000_000;

    /// What the clock shows at the world's `now`.
    pub fn show(&self, now: Instant) -> Instant {
        let elapsed = i128::from(now.since(self.started_at).as_micros() as u64);
        let shown = Self::ORIGIN_US + elapsed + elapsed * i128::from(self.drift_ppm) / 1_000_000;
        Instant::from_micros(shown as u64)
    }

    /// The first world time at which the clock shows `local`.
    pub fn when(&self, local: Instant) -> Instant {
        let shown = (i128::from(local.as_micros()) - Self::ORIGIN_US).max(0);
        let mut elapsed = (shown * 1_000_000 / (1_000_000 + i128::from(self.drift_ppm))) as u64;
        let at = |elapsed: u64| self.started_at + Duration::from_micros(elapsed);
        while self.show(at(elapsed)) < local {
            elapsed += 1;
        }
        at(elapsed)
    }
}

/// How long a board examines each KiB of a package, ordinarily.
const EXAMINATION_PER_KIB: Duration = Duration::from_millis(2);

/// A board.
pub struct Machine {
    pub addr: SocketAddr,
    pub disk: SimDisk,
    pub running: Option<Running>,
    /// Whether its kernel answers, with or without a zhost.
    pub has_power: bool,
    /// Until when it does nothing, like a stopped process.
    pub paused_until: Option<Instant>,
    /// Its disk takes this many times longer than usual.
    pub disk_slowness: u32,
    /// When it has done what it was asked so far.
    pub disk_free_at: Instant,
    /// How long it examines each KiB of a package.
    pub examination_per_kib: Duration,
    pub clock: LocalClock,
    /// Counts starts, so that events of an earlier life are dropped.
    pub life: u32,
    /// Its slots for agents.
    pub slots: SimSlots,
    config: NodeConfig,
    keys: Keys,
    /// Whether it has started before with this identity.
    pub was_here: bool,
    measured: bool,
    /// Whether its starts are recorded, and what is of the present one.
    pub is_recorded: bool,
    recording: Rc<RefCell<Vec<u8>>>,
}

/// Everybody on the simulated network.
const BROADCAST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::BROADCAST), 9200);

/// The operator all simulated clusters trust.
pub fn operator() -> Identity {
    Identity::from_private([7; 32])
}

/// The addresses of the board with this index: gossip and links, and control.
pub fn addrs(index: usize) -> (SocketAddr, SocketAddr) {
    let [high, low] = (index as u16).to_be_bytes();
    (SocketAddr::from(([10, 0, high, low], 9200)), SocketAddr::from(([10, 0, high, low], 9000)))
}

fn private_key(index: usize, seed: u64) -> [u8; 32] {
    let mut private = [0; 32];
    Rng::from_number(seed.wrapping_mul(1000) + index as u64).fill(&mut private);
    private
}

/// All keys of the boards of a site: the cluster's secret, that of its operators, and everybody's own.
pub fn keys(seed: u64, zhosts: usize) -> Vec<[u8; 32]> {
    let own = (0..zhosts).map(|index| private_key(index, seed));
    own.chain([CLUSTER_SECRET, CONTROL_KEY]).collect()
}

impl Machine {
    /// A board without power. Those with a camera cannot become super nodes.
    pub fn new(index: usize, has_camera: bool, seed: u64, measured: bool) -> Self {
        let (addr, control_addr) = addrs(index);
        let name = |text: String| -> Name { text.parse().expect("a fixed name") };
        let keys = Keys {
            secret: ClusterSecret::new(CLUSTER_SECRET, name("sim".into())),
            identity: Identity::from_private(private_key(index, seed)),
            control: CONTROL_KEY,
        };
        let config = NodeConfig {
            cluster: name("sim".into()),
            id: keys.identity.zhost_id(),
            name: name(format!("z{index}")),
            region: name(["head", "north", "south"][if index == 0 { 0 } else { 1 + index % 2 }].into()),
            kind: name("sim".into()),
            addrs: vec![addr],
            control_addr: Some(control_addr),
            web_addr: None,
            join: if index == 0 { Vec::new() } else { vec![Named::Addr(addrs(0).0)] },
            // Some sites have no broadcasts; there the first board founds the cluster at once.
            discover: seed.is_multiple_of(2),
            broadcasts: if seed.is_multiple_of(2) { vec![BROADCAST] } else { Vec::new() },
            eligible: !has_camera,
            runs_spaces: true,
            memory_bytes: 64 << 20,
            capabilities: if has_camera { vec![name("sensors.camera".into())] } else { Vec::new() },
            operators: vec![*operator().public()],
            publishers: vec![guests::publisher().public()],
            timing: if measured { Timing::default() } else { HASTY },
            unix_origin_ms: UNIX_ORIGIN_MS,
            clock_trust: ClockTrust::Own,
            version: name("sim".into()),
            slots: None,
        };
        Self {
            addr,
            disk: SimDisk::default(),
            running: None,
            has_power: false,
            paused_until: None,
            disk_slowness: 1,
            disk_free_at: Instant::ZERO,
            examination_per_kib: EXAMINATION_PER_KIB,
            clock: LocalClock::default(),
            life: 0,
            slots: SimSlots::default(),
            config,
            keys,
            was_here: false,
            measured,
            is_recorded: false,
            recording: Rc::default(),
        }
    }

    /// The board has another address from now on.
    pub fn move_to(&mut self, addr: SocketAddr) {
        self.addr = addr;
        self.config.addrs = vec![addr];
    }

    /// The board is told to join these, and whether it looks around on its network.
    pub fn set_join(&mut self, join: &[SocketAddr], discover: bool) {
        self.config.join = join.iter().copied().map(Named::Addr).collect();
        self.config.discover = discover;
        self.config.broadcasts = if discover { vec![BROADCAST] } else { Vec::new() };
    }

    /// Addresses at which everybody on its network hears.
    pub fn broadcasts(&self) -> Vec<SocketAddr> {
        self.config.broadcasts.clone()
    }

    /// The board has these devices from now on.
    pub fn set_devices(&mut self, now: Instant, capabilities: &[&str]) {
        self.config.capabilities =
            capabilities.iter().map(|text| text.parse().expect("a capability")).collect();
        if let Some(running) = &mut self.running {
            running.agent.handle(now, Input::Capabilities(self.config.capabilities.clone()));
        }
    }

    /// The board gets a copy of another one's card: its identity, its settings and what it has stored.
    pub fn copy_card(&mut self, of: &Self) {
        let (addrs, control_addr) = (self.config.addrs.clone(), self.config.control_addr);
        self.config = NodeConfig { addrs, control_addr, ..of.config.clone() };
        self.keys = of.keys.clone();
        self.disk.restore(of.disk.snapshot());
        self.was_here = true;
    }

    /// Another board takes this one's place.
    pub fn replace(&mut self, rng: &mut Rng) {
        let mut private = [0; 32];
        rng.fill(&mut private);
        self.disk = SimDisk::default();
        self.keys.identity = Identity::from_private(private);
        self.config.id = self.keys.identity.zhost_id();
        self.was_here = false;
    }

    /// Whether its network carries broadcasts.
    pub fn has_broadcasts(&self) -> bool {
        !self.config.broadcasts.is_empty()
    }

    /// Whether its clock goes on without power.
    pub fn has_time(&self) -> bool {
        self.config.clock_trust == ClockTrust::Own
    }

    /// Power on.
    pub fn start(&mut self, now: Instant, mut rng: Rng) {
        self.life += 1;
        self.paused_until = None;
        self.disk_free_at = now;
        self.clock = LocalClock { started_at: now, drift_ppm: rng.below(401) as i64 - 200 };
        // A board without a battery wakes up in 1970, or where its time was put on flash, days ago.
        let local_ms = self.clock.show(now).as_millis();
        let right = UNIX_ORIGIN_MS + now.as_millis() - local_ms;
        (self.config.unix_origin_ms, self.config.clock_trust) = match rng.below(4) {
            0 => (0, ClockTrust::Kept),
            1 => (right - rng.below(1_000_000_000), ClockTrust::Kept),
            _ => (right, ClockTrust::Own),
        };
        self.config.slots = self.slots.boot();
        let now = self.clock.show(now);
        self.has_power = true;
        let disk = self.disk.clone();
        let store: Arc<dyn Store> = if self.measured {
            Arc::new(MemoryStore::default())
        } else {
            let store = RedbStore::open(move || Ok(disk.clone()));
            Arc::new(store.expect("the disk can always be opened after a power cut"))
        };
        let recovered = Recovered::boot(store.as_ref(), self.was_here).expect("the disk can be read");
        self.was_here = true;
        let publishers = self.config.publishers.clone();
        let worker = Worker::new(
            Box::new(Wasmi),
            store.clone(),
            Arc::new(NoDevices::default()),
            publishers,
            rng.fork(),
            self.config.unix_origin_ms,
        );
        let tape = self.is_recorded.then(|| self.insert_tape());
        let agent = Agent::new(now, self.config.clone(), self.keys.clone(), recovered, rng, tape);
        self.running = Some(Running { agent, worker, store, disk_queue: BTreeMap::new(), accepted: 1 });
    }

    fn insert_tape(&mut self) -> Tape {
        self.recording = Rc::default();
        let recording = self.recording.clone();
        Box::new(move |bytes| {
            recording.borrow_mut().extend_from_slice(bytes);
            true
        })
    }

    /// Takes out what was recorded since the last start.
    pub fn take_recording(&mut self) -> Vec<u8> {
        self.recording.take()
    }

    /// What was drawn for this start.
    pub fn draws(&self) -> String {
        let trust = self.config.clock_trust;
        format!(
            "a clock {} ppm fast, time {trust:?} from {}",
            self.clock.drift_ppm, self.config.unix_origin_ms
        )
    }

    /// Examines what an operator sent.
    pub fn examine(&self, examination: Examination) -> Findings {
        examination.perform(&self.config.publishers, |package| examine(package, &Wasmi))
    }

    /// Power off, perhaps in the middle of a write.
    pub fn kill(&mut self, rng: &mut Rng) {
        if let Some(running) = self.running.take()
            && let Some(request) = running.disk_queue.values().next()
            && rng.chance(500)
        {
            self.disk.die_after(rng.below(12) as u32);
            // It fails half way; what became of it shows at the next start.
            let _ = request.perform(running.store.as_ref());
        }
        self.disk.cut_power(rng);
    }
}

impl Running {
    /// A number for an accepted connection; those of the node itself are even.
    pub fn accept(&mut self) -> ConnectionId {
        self.accepted += 2;
        ConnectionId(self.accepted)
    }
}
