//! One simulated board: a node, a worker that runs its guests inline, and a disk.

use crate::{disk::SimDisk, guests};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};
use zhost_base::{Instant, Name, Rng};
use zhost_gossip::seal::ClusterSecret;
use zhost_link::Identity;
use zhost_node::{ConnectionId, DiskRequest, Node, NodeConfig, Recovered, Timing};
use zhost_runtime::{NoDevices, RedbStore, Store, Wasmi, Worker};

/// The key under which simulated operators speak.
pub const CONTROL_KEY: [u8; 32] = [2; 32];
/// Wall clock at the world's origin.
pub const UNIX_ORIGIN_MS: u64 = 1_800_000_000_000;

/// What is running on a board that has power.
pub struct Running {
    pub node: Node,
    pub worker: Worker,
    pub store: Arc<dyn Store>,
    /// Disk requests asked for and not yet carried out, in order.
    pub disk_queue: BTreeMap<u64, DiskRequest>,
    pub accepted: u64,
}

/// A board.
pub struct Machine {
    pub addr: SocketAddr,
    pub disk: SimDisk,
    pub running: Option<Running>,
    /// Whether its kernel answers, with or without a zhost.
    pub has_power: bool,
    /// Counts starts, so that events of an earlier life are dropped.
    pub life: u32,
    config: NodeConfig,
}

/// The operator all simulated clusters trust.
pub fn operator() -> Identity {
    Identity::from_private([7; 32])
}

/// The addresses of the board with this index: gossip and links, and control.
pub fn addrs(index: usize) -> (SocketAddr, SocketAddr) {
    let [high, low] = (index as u16).to_be_bytes();
    (SocketAddr::from(([10, 0, high, low], 9200)), SocketAddr::from(([10, 0, high, low], 9000)))
}

impl Machine {
    /// A board without power. Those with a camera cannot become super nodes.
    pub fn new(index: usize, has_camera: bool, seed: u64) -> Self {
        let (addr, control_addr) = addrs(index);
        let mut private = [0; 32];
        Rng::from_number(seed.wrapping_mul(1000) + index as u64).fill(&mut private);
        let name = |text: String| -> Name { text.parse().expect("a fixed name") };
        let config = NodeConfig {
            cluster: name("sim".into()),
            secret: ClusterSecret::new([1; 32], name("sim".into())),
            identity: Identity::from_private(private),
            name: name(format!("z{index}")),
            region: name(["north", "south"][index % 2].into()),
            kind: name("sim".into()),
            addr,
            control_addr: Some(control_addr),
            join: if index == 0 { Vec::new() } else { vec![addrs(0).0] },
            eligible: !has_camera,
            runs_spaces: true,
            memory_bytes: 64 << 20,
            capabilities: if has_camera { vec![name("sensors.camera".into())] } else { Vec::new() },
            control_key: CONTROL_KEY,
            operators: vec![*operator().public()],
            publishers: vec![guests::publisher().public()],
            timing: Timing {
                heartbeat: std::time::Duration::from_secs(1),
                heartbeat_timeout: std::time::Duration::from_secs(4),
                alone: std::time::Duration::from_secs(10),
            },
            unix_origin_ms: UNIX_ORIGIN_MS,
            version: name("sim".into()),
        };
        Self { addr, disk: SimDisk::default(), running: None, has_power: false, life: 0, config }
    }

    /// Power on.
    pub fn start(&mut self, now: Instant, mut rng: Rng) {
        self.life += 1;
        self.has_power = true;
        let disk = self.disk.clone();
        let store = RedbStore::open(move || Ok(disk.clone()))
            .expect("the disk can always be opened after a power cut");
        let store: Arc<dyn Store> = Arc::new(store);
        let recovered = Recovered::boot(store.as_ref()).expect("the disk can be read");
        let publishers = self.config.publishers.clone();
        let worker = Worker::new(
            Box::new(Wasmi),
            store.clone(),
            Arc::new(NoDevices),
            publishers,
            rng.fork(),
            UNIX_ORIGIN_MS,
        );
        let node = Node::new(now, self.config.clone(), recovered, Box::new(Wasmi), rng);
        self.running = Some(Running { node, worker, store, disk_queue: BTreeMap::new(), accepted: 1 });
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
