//! Packages and agents are examined before anything is done with them: hashes, signatures, and the code of every space.
//! A small board takes seconds over that, so the shell does it beside its loop.

use zhost_base::{Name, SpaceKind, TopologySpec};
use zhost_mex::{Package, PublicKey, Trust, firmware::Firmware};
use zhost_runtime::Interpreter;

/// What an operator says he sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A topology with its spaces.
    Package,
    /// An agent for boards.
    Firmware,
}

/// What the shell is to examine; it calls [`Node::handle_findings`](crate::Node::handle_findings) then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examination {
    pub(crate) command: u64,
    pub(crate) kind: Kind,
    pub(crate) bytes: Vec<u8>,
}

/// What came of an [`Examination`].
#[derive(Debug)]
pub struct Findings {
    pub(crate) command: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) result: Result<Found, String>,
}

#[derive(Debug)]
pub(crate) enum Found {
    Topology(TopologySpec),
    Firmware { target: Name, version: Name },
}

impl Examination {
    /// Bytes of what is examined.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// What is to be said where it cannot be examined.
    pub fn give_up(&self, reason: &str) -> Findings {
        Findings { command: self.command, bytes: Vec::new(), result: Err(reason.into()) }
    }

    /// Examines, in the way every shell does.
    pub fn perform(self, publishers: &[PublicKey], interpreter: &dyn Interpreter) -> Findings {
        let Self { command, kind, bytes } = self;
        let result = match kind {
            Kind::Package => examine_package(&bytes, publishers, interpreter).map(Found::Topology),
            Kind::Firmware => Firmware::open(&bytes, publishers)
                .map(|firmware| Found::Firmware { target: firmware.target, version: firmware.version })
                .map_err(|error| error.to_string()),
        };
        Findings { command, bytes, result }
    }
}

/// Checks a package, and every space's WASM against what it declares.
fn examine_package(
    bytes: &[u8],
    publishers: &[PublicKey],
    interpreter: &dyn Interpreter,
) -> Result<TopologySpec, String> {
    let package = Package::open(bytes, Trust::Publishers(publishers)).map_err(|error| error.to_string())?;
    for space in &package.topology.spaces {
        let name = &space.name;
        if space.kind == SpaceKind::Ui {
            let prefix = format!("spaces/{name}/");
            let files = package.files().filter(|(file, _)| file.starts_with(&prefix));
            let size: usize = files.map(|(_, size)| size).sum();
            if size > space.memory_bytes as usize {
                let needed = size.div_ceil(1024);
                return Err(format!(
                    "space '{name}': its files have {needed} KiB, more than its resources.memoryKiB"
                ));
            }
            continue;
        }
        let wasm = package.wasm(name).ok_or_else(|| format!("space '{name}' has no WASM"))?;
        let has_path = package.topology.has_path(name);
        interpreter.check(wasm, space, has_path).map_err(|error| format!("space '{name}': {error}"))?;
    }
    Ok(package.topology)
}
