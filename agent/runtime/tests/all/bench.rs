//! A worker in virtual time, with guests written as WAT.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};
use zhost_base::{
    Generation, Instant, Name, Pid, Rng, SpaceKey, SpaceKind, SpaceSpec, ZhostId,
    limits::BLOB_CHUNK_SIZE_BYTES,
};
use zhost_exchange::{
    DeviceError, Devices, Entries, Exit, Frame, Launch, Leases, Reading, Store, StoreError, WorkerCommand,
    WorkerEvent, Write, blob_key, table,
};
use zhost_mex::PublisherKey;
use zhost_runtime::{MemoryStore, Slice, Wasmi, Worker};

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub fn key(space: &str) -> SpaceKey {
    SpaceKey { topology: zhost_mex::topology_id(&name("t")), space: name(space) }
}

pub fn module(body: &str) -> Vec<u8> {
    wat::parse_str(format!("(module {body})")).unwrap()
}

pub fn spec(capabilities: &[&str]) -> SpaceSpec {
    SpaceSpec {
        capabilities: capabilities.iter().map(|text| name(text)).collect(),
        memory_bytes: 256 * 1024,
        ..SpaceSpec::new(name("guest"), SpaceKind::Io)
    }
}

pub fn publisher() -> PublisherKey {
    PublisherKey::from_seed([1; 32])
}

/// Devices that do what their names say.
pub struct Clockwork {
    leases: Leases,
    /// Samples that the tape has played.
    played: AtomicU8,
}

impl Default for Clockwork {
    fn default() -> Self {
        let leases = Leases::default();
        leases.lock("actuators.taken", Pid { number: 77, ..Pid::default() }).unwrap();
        Self { leases, played: AtomicU8::new(0) }
    }
}

/// A store in memory on flash that fails for keys of spaces that begin with `broken`.
#[derive(Default)]
pub struct Flash(MemoryStore);

impl Flash {
    fn check(table: &str, key: &[u8]) -> Result<(), StoreError> {
        if table.starts_with("data") && key.starts_with(b"broken") {
            return Err(StoreError::Failed("broken".into()));
        }
        Ok(())
    }
}

impl Store for Flash {
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Self::check(table, key)?;
        self.0.get(table, key)
    }

    fn scan(&self, table: &str, prefix: &[u8], limit: usize) -> Result<Entries, StoreError> {
        self.0.scan(table, prefix, limit)
    }

    fn keys(&self, table: &str, prefix: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        Self::check(table, prefix)?;
        self.0.keys(table, prefix, limit)
    }

    fn range(
        &self,
        table: &str,
        from: &[u8],
        to: Option<&[u8]>,
        size_bytes: usize,
    ) -> Result<(Entries, Option<Vec<u8>>), StoreError> {
        self.0.range(table, from, to, size_bytes)
    }

    fn usage(&self, table: &str) -> Result<u64, StoreError> {
        self.0.usage(table)
    }

    fn drop_tables(&self, prefix: &str) -> Result<(), StoreError> {
        self.0.drop_tables(prefix)
    }

    fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        self.0.commit(writes)
    }
}

impl Devices for Clockwork {
    fn capabilities(&self) -> Vec<Name> {
        let offered = ["actuators.relay", "actuators.taken", "actuators.broken", "actuators.going"];
        offered.map(name).to_vec()
    }
    fn read(&self, now: Instant, capability: &str) -> Result<Reading, DeviceError> {
        match capability {
            "sensors.clock" => {
                Ok(Reading::Json(format!("{{\"type\":\"clock\",\"value\":{}}}", now.as_millis())))
            }
            "sensors.still" => Err(DeviceError::NotYet),
            "sensors.eye" => Ok(Reading::Frame(Frame {
                sequence: 1,
                width: 2,
                height: 2,
                fourcc: *b"GREY",
                pixels: [1, 2, 3, 4].into(),
            })),
            "audio.tape" => {
                let next = self.played.fetch_add(4, Ordering::Relaxed);
                Ok(Reading::Bytes((next + 1..=next + 4).collect()))
            }
            "audio.quiet" => Ok(Reading::Bytes(Vec::new())),
            broken if broken.ends_with(".broken") => Err(DeviceError::Failed("broken".into())),
            letter if letter.len() == "sensors.".len() + 1 => Ok(Reading::Json("{\"value\":1}".into())),
            "secrets.password" => Ok(Reading::Bytes(b"hush".to_vec())),
            _ => Err(DeviceError::Missing),
        }
    }

    /// Says what it was told, backwards.
    fn command(&self, _: Instant, capability: &str, command: &[u8]) -> Result<Vec<u8>, DeviceError> {
        match capability {
            "audio.quiet" => Err(DeviceError::NotYet),
            "actuators.relay" | "audio.tape" => Ok(command.iter().rev().copied().collect()),
            broken if broken.ends_with(".broken") => Err(DeviceError::Failed("broken".into())),
            _ => Err(DeviceError::Missing),
        }
    }

    fn leases(&self) -> &Leases {
        &self.leases
    }
}

/// A worker with one guest per WAT body, each in a package of its own in the store.
pub struct Bench {
    pub worker: Worker,
    pub store: Arc<Flash>,
    pub now: Instant,
    pub events: Vec<WorkerEvent>,
    starts: u32,
    /// The type of the guests to come.
    pub kind: &'static str,
    /// Linear memory of the guests to come.
    pub memory_kib: u32,
    /// Fuel that the guests to come may use in a second; 0 is as much as there is.
    pub fuel_per_second: u32,
    /// Nobody looks after flash and devices: only short slices are run.
    pub is_slow: bool,
    /// Recognisers of the packages to come: their names and what stands behind `spec:`.
    pub recognizers: Vec<(String, String)>,
}

impl Bench {
    pub fn new() -> Self {
        let store = Arc::new(Flash::default());
        let worker = Worker::new(
            Box::new(Wasmi),
            store.clone(),
            Arc::new(Clockwork::default()),
            vec![publisher().public()],
            Rng::from_number(1),
            1000,
        );
        Self {
            worker,
            store,
            now: Instant::from_micros(1),
            events: Vec::new(),
            starts: 0,
            kind: "IO",
            recognizers: Vec::new(),
            memory_kib: 256,
            fuel_per_second: 0,
            is_slow: false,
        }
    }

    /// Starts a guest that declares `capabilities` and stands at both ends of paths with a silent partner.
    pub fn start(&mut self, space: &str, capabilities: &[&str], body: &str) {
        self.start_with(space, capabilities, "", &module(body));
    }

    /// The same with further lines for the space in `topology.yaml`, and the module as it is.
    pub fn start_with(&mut self, space: &str, capabilities: &[&str], more: &str, wasm: &[u8]) {
        let head = |kind: &str, name: &str| {
            format!("apiVersion: samoza/v1\nkind: {kind}\nmetadata:\n  name: {name}\n")
        };
        let manifest = head("MEX", space)
            + &format!(
                "  version: v1\n  publisher: p\nspec:\n  topology: topology.yaml\n  spaces: [{space}, partner]\n"
            );
        let topology = head("Topology", space)
            + &format!(
                "spaces:\n- {{name: {space}, type: {}, capabilities: [{}], resources: {{memoryKiB: {}, storageKiB: 64, fuelPerSecond: {}}}{more}}}\n- {{name: partner, type: IO}}\n\
                 paths:\n- {{from: {space}, to: partner, name: out}}\n- {{from: partner, to: {space}, name: in}}\n",
                self.kind,
                capabilities.join(", "),
                self.memory_kib,
                self.fuel_per_second
            );
        let mut files = BTreeMap::from([
            ("manifest.yaml".into(), manifest.into_bytes()),
            ("topology.yaml".into(), topology.into_bytes()),
            (format!("spaces/{space}/space.yaml"), head("Space", space).into_bytes()),
            (format!("spaces/{space}/core.wasm"), wasm.to_vec()),
            ("spaces/partner/space.yaml".into(), head("Space", "partner").into_bytes()),
            ("spaces/partner/core.wasm".into(), module(&format!("{MEMORY} {IDLE}"))),
        ]);
        for (name, spec) in &self.recognizers {
            let text = head("Recognizer", name) + &format!("spec: {spec}\n");
            files.insert(format!("recognizers/{name}.yaml"), text.into_bytes());
        }
        let package = zhost_mex::sign(&zhost_mex::build(files).unwrap(), &publisher()).unwrap();
        let digest = zhost_mex::digest(&package);
        let pieces = package.chunks(BLOB_CHUNK_SIZE_BYTES).zip(0..);
        let write = |(piece, index): (&[u8], u32)| Write {
            table: table::BLOBS.into(),
            key: blob_key(digest, index),
            value: Some(piece.to_vec()),
        };
        self.store.commit(&pieces.map(write).collect::<Vec<_>>()).unwrap();
        self.starts += 1;
        let launch = Launch {
            key: key(space),
            space: name(space),
            pid: Pid { zhost: ZhostId(1), generation: Generation(1), number: self.starts },
            package: digest,
            package_bytes: package.len() as u32,
            argument: b"argument".to_vec(),
        };
        self.worker.handle_command(self.now, WorkerCommand::Start(launch));
    }

    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        let slice = if self.is_slow { Slice::Short } else { Slice::Long };
        loop {
            while self.worker.is_ready(slice) && self.now < end {
                self.worker.run_slice(self.now, slice);
                self.now += Duration::from_micros(100);
                if self.worker.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
                    self.worker.handle_timeout(self.now);
                }
            }
            self.events.extend(std::iter::from_fn(|| self.worker.poll_event()));
            match self.worker.poll_timeout() {
                Some((at, _)) if at <= end => self.now = self.now.max(at),
                _ => break,
            }
            self.worker.handle_timeout(self.now);
        }
        self.now = self.now.max(end);
    }

    pub fn logs(&self) -> Vec<&str> {
        let logs = self.events.iter().filter_map(|event| match event {
            WorkerEvent::Log(_, _, text) => Some(text.as_str()),
            _ => None,
        });
        logs.collect()
    }

    pub fn exit_of(&self, space: &str) -> Option<&Exit> {
        self.events.iter().find_map(|event| match event {
            WorkerEvent::Exited(exited, _, exit) if *exited == key(space) => Some(exit),
            _ => None,
        })
    }
}

pub const LOG: &str = r#"(import "sys" "log" (func $log (param i32 i32 i32)))"#;
pub const SLEEP: &str = r#"(import "sys" "sleep" (func $sleep (param i32)))"#;
pub const MEMORY: &str = r#"(memory (export "memory") 1)"#;
pub const IDLE: &str = r#"(func (export "on_process") (result i32) (i32.const 0))"#;
