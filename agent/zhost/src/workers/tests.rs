use super::*;
use std::collections::BTreeMap;
use zhost_base::{Generation, Name, Pid, ZhostId, limits::BLOB_CHUNK_SIZE_BYTES};
use zhost_exchange::{DeviceError, Launch, Leases, Reading, StoreError, Write, blob_key, table};
use zhost_mex::PublisherKey;
use zhost_runtime::MemoryStore;

const IDLE: &str =
    r#"(module (memory (export "memory") 1) (func (export "on_process") (result i32) (i32.const 0)))"#;
/// Reads the sensor whose driver panics when it is read again.
const RECKLESS: &str = r#"(module
    (import "sensors" "read" (func $read (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1) (data (i32.const 0) "bomb")
    (func (export "on_process") (result i32)
        (drop (call $read (i32.const 0) (i32.const 4) (i32.const 64) (i32.const 64)))
        (call $read (i32.const 0) (i32.const 4) (i32.const 64) (i32.const 64))))"#;
/// Has the worker read it, now and then.
const SUBSCRIBER: &str = r#"(module
    (import "sensors" "subscribe" (func $subscribe (param i32 i32 i32) (result i32)))
    (memory (export "memory") 1) (data (i32.const 0) "bomb")
    (func (export "on_init") (result i32) (call $subscribe (i32.const 0) (i32.const 4) (i32.const 1)))
    (func (export "on_process") (result i32) (i32.const 0)))"#;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn publisher() -> PublisherKey {
    PublisherKey::from_seed([1; 32])
}

/// Devices of which one panics when it is read again.
#[derive(Default)]
struct Bomb {
    leases: Leases,
    was_read: AtomicBool,
}

impl Devices for Bomb {
    fn capabilities(&self) -> Vec<Name> {
        vec![name("sensors.bomb")]
    }

    fn read(&self, _: Instant, _: &str) -> Result<Reading, DeviceError> {
        assert!(!self.was_read.swap(true, Ordering::Relaxed), "planted");
        Ok(Reading::Json(String::new()))
    }

    fn leases(&self) -> &Leases {
        &self.leases
    }
}

struct Site {
    workers: Workers,
    store: Arc<MemoryStore>,
    clock: Clock,
    inbox: smol::channel::Receiver<Event>,
    starts: u32,
    seen: Vec<WorkerEvent>,
}

impl Site {
    fn new() -> Self {
        let (events, inbox) = smol::channel::bounded(64);
        let (store, clock) = (Arc::new(MemoryStore::default()), Clock::start());
        let surroundings = Surroundings {
            store: store.clone(),
            devices: Arc::new(Bomb::default()),
            publishers: vec![publisher().public()],
            clock,
            events,
        };
        let workers = Workers::start(&surroundings, &mut Rng::from_number(1)).unwrap();
        Self { workers, store, clock, inbox, starts: 0, seen: Vec::new() }
    }

    /// Has a space started; gives its key.
    fn start(&mut self, space: &str, module: &str) -> SpaceKey {
        let head = |kind: &str, name: &str| {
            format!("apiVersion: samoza/v1\nkind: {kind}\nmetadata:\n  name: {name}\n")
        };
        let manifest = head("MEX", space)
            + &format!(
                "  version: v1\n  publisher: p\nspec:\n  topology: topology.yaml\n  spaces: [{space}]\n"
            );
        let topology = head("Topology", space)
            + &format!(
                "spaces:\n- {{name: {space}, type: IO, capabilities: [sensors.bomb], resources: {{memoryKiB: 128}}}}\n"
            );
        let files = BTreeMap::from([
            ("manifest.yaml".into(), manifest.into_bytes()),
            ("topology.yaml".into(), topology.into_bytes()),
            (format!("spaces/{space}/space.yaml"), head("Space", space).into_bytes()),
            (format!("spaces/{space}/core.wasm"), wat::parse_str(module).unwrap()),
        ]);
        let package = zhost_mex::sign(&zhost_mex::build(files).unwrap(), &publisher()).unwrap();
        let digest = zhost_mex::digest(&package);
        let write = |(piece, index): (&[u8], u32)| Write {
            table: table::BLOBS.into(),
            key: blob_key(digest, index),
            value: Some(piece.to_vec()),
        };
        let writes: Vec<Write> = package.chunks(BLOB_CHUNK_SIZE_BYTES).zip(0..).map(write).collect();
        self.store.commit(&writes).unwrap();
        self.starts += 1;
        let key = SpaceKey { topology: zhost_mex::topology_id(&name(space)), space: name(space) };
        let launch = Launch {
            key: key.clone(),
            space: name(space),
            pid: Pid { zhost: ZhostId(1), generation: Generation(1), number: self.starts },
            package: digest,
            package_bytes: package.len() as u32,
            argument: Vec::new(),
        };
        self.workers.command(WorkerCommand::Start(launch));
        key
    }

    /// Lets the desks work until `is_enough` has happened.
    fn wait_for(&mut self, is_enough: impl Fn(&[WorkerEvent]) -> bool) {
        while !is_enough(&self.seen) {
            self.seen.extend(self.workers.work(self.clock.now()));
            while let Ok(event) = self.inbox.try_recv() {
                if let Event::Worker(desk) = event {
                    self.workers.handle_done(desk);
                }
            }
            thread::yield_now();
        }
    }

    fn wait_for_starts(&mut self, count: usize) {
        self.wait_for(|seen| {
            seen.iter().filter(|event| matches!(event, WorkerEvent::Started(..))).count() == count
        });
    }

    /// The spaces that ended, and why.
    fn crashed(&self) -> BTreeMap<SpaceKey, String> {
        let crashed = self.seen.iter().filter_map(|event| match event {
            WorkerEvent::Exited(key, _, Exit::Crashed(reason)) => Some((key.clone(), reason.clone())),
            _ => None,
        });
        crashed.collect()
    }
}

fn has_exit(seen: &[WorkerEvent]) -> bool {
    seen.iter().any(|event| matches!(event, WorkerEvent::Exited(..)))
}

/// The desk of a space.
fn desk_of(site: &Site, key: &SpaceKey) -> usize {
    let is_here = |desk: &Arc<Desk>| lock(&desk.bench).here.contains_key(key);
    site.workers.desks.iter().position(is_here).expect("a space is at a desk")
}

#[test]
fn a_panic_below_an_import_costs_its_space_a_restart_and_no_other_anything() {
    let mut site = Site::new();
    let calm = ["a", "b", "c", "d", "e", "f", "g", "h"];
    calm.into_iter().for_each(|name| drop(site.start(name, IDLE)));
    site.wait_for_starts(8);
    let reckless = site.start("reckless", RECKLESS);
    site.wait_for(has_exit);
    let reason = "trapped: the host failed: it panicked: planted";
    assert_eq!(site.crashed(), BTreeMap::from([(reckless, reason.to_owned())]));
    let before = site.seen.iter().filter(|event| matches!(event, WorkerEvent::Started(..))).count();
    site.start("reckless", IDLE);
    site.wait_for_starts(before + 1);
    assert_eq!(site.crashed().len(), 1);
}

#[test]
fn a_panic_in_a_slice_costs_the_spaces_of_its_desk_a_restart_and_no_other_anything() {
    let mut site = Site::new();
    let calm: Vec<SpaceKey> =
        ["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| site.start(name, IDLE)).to_vec();
    site.wait_for_starts(calm.len());
    let reckless = site.start("reckless", SUBSCRIBER);
    site.wait_for(has_exit);
    let crashed = site.crashed();
    assert_eq!(crashed.get(&reckless).map(String::as_str), Some("the worker that ran it panicked"));
    // All that share its desk are told of at once, and they alone.
    let survivors: Vec<&SpaceKey> = calm.iter().filter(|key| !crashed.contains_key(*key)).collect();
    assert!(!survivors.is_empty() && survivors.len() < calm.len(), "{crashed:?}");
    let other = desk_of(&site, survivors[0]);
    assert!(survivors.iter().all(|key| desk_of(&site, key) == other));
    // Both desks go on: whoever lost its space can have it started again.
    let before = site.seen.iter().filter(|event| matches!(event, WorkerEvent::Started(..))).count();
    let lost = crashed.keys().filter(|key| **key != reckless);
    lost.for_each(|key| drop(site.start(key.space.as_str(), IDLE)));
    site.start("another", IDLE);
    site.wait_for_starts(before + crashed.len());
}

/// A store that panics when it is to read.
struct BrokenStore;

impl Store for BrokenStore {
    fn get(&self, _: &str, _: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        panic!("planted");
    }
    fn scan(&self, _: &str, _: &[u8], _: usize) -> Result<zhost_exchange::Entries, StoreError> {
        Err(StoreError::Full)
    }
    fn keys(&self, _: &str, _: &[u8], _: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        Err(StoreError::Full)
    }
    fn range(
        &self,
        _: &str,
        _: &[u8],
        _: Option<&[u8]>,
        _: usize,
    ) -> Result<(zhost_exchange::Entries, Option<Vec<u8>>), StoreError> {
        Err(StoreError::Full)
    }
    fn usage(&self, _: &str) -> Result<u64, StoreError> {
        Err(StoreError::Full)
    }
    fn drop_tables(&self, _: &str) -> Result<(), StoreError> {
        Err(StoreError::Full)
    }
    fn commit(&self, _: &[Write]) -> Result<(), StoreError> {
        Err(StoreError::Full)
    }
}

#[test]
fn the_loop_is_told_when_the_disk_thread_panics() {
    let (events, inbox) = smol::channel::bounded(8);
    let disk = start_disk(Arc::new(BrokenStore), events).unwrap();
    disk.send((1, DiskRequest::Commit(Vec::new()))).unwrap();
    assert!(matches!(inbox.recv_blocking(), Ok(Event::Node(Input::Disk(1, Err(StoreError::Full))))));
    disk.send((2, DiskRequest::Read { table: table::META, key: Vec::new() })).unwrap();
    let reason = loop {
        zhost_threads::look_after(Instant::ZERO);
        match inbox.try_recv() {
            Ok(Event::DiskLost(reason)) => break reason,
            _ => thread::yield_now(),
        }
    };
    assert!(reason.contains("planted"), "{reason}");
}

#[test]
fn the_disk_threads_queue_has_room_for_all_that_the_node_asks_at_once_and_no_more() {
    let (events, _inbox) = smol::channel::bounded(1);
    let disk = start_disk(Arc::new(MemoryStore::default()), events).unwrap();
    let request = || DiskRequest::Commit(Vec::new());
    // The thread holds one or two of them: it waits for the loop, which does not listen.
    let taken =
        (0..2 * DISK_REQUESTS_MAX as u64).take_while(|token| disk.try_send((*token, request())).is_ok());
    let taken = taken.count();
    assert!((DISK_REQUESTS_MAX..=DISK_REQUESTS_MAX + 2).contains(&taken), "{taken}");
}

#[test]
fn devices_that_come_are_told_of() {
    let dir = std::env::temp_dir().join(format!("zhost-devices-{}", std::process::id()));
    let board = Arc::new(Board::new(zhost_hal::Machine::recorded(&dir), None));
    let (events, inbox) = smol::channel::bounded(1);
    start_devices(board, events).unwrap();
    let zone = dir.join("sys/class/thermal/thermal_zone0");
    std::fs::create_dir_all(&zone).unwrap();
    std::fs::write(zone.join("type"), "soc").unwrap();
    let Ok(Event::Node(Input::Capabilities(capabilities))) = inbox.recv_blocking() else {
        panic!("something else")
    };
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(capabilities.contains(&name("sensors.soc")), "{capabilities:?}");
}
