//! Packages and agents are examined before anything is done with them: hashes, signatures, and the code of every space.
//! A small board takes seconds over that, so the shell does it beside its loop.

use serde::{Deserialize, Serialize};
use zhost_base::{Name, TopologySpec};
use zhost_mex::{Package, PublicKey, Trust, firmware::Firmware};

/// What an operator says he sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A topology with its spaces.
    Package,
    /// An agent for boards.
    Firmware,
}

/// What the shell is to examine; it says [`Input::Examined`](crate::Input::Examined) then.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Examination {
    pub(crate) command: u64,
    pub(crate) kind: Kind,
    pub(crate) bytes: Vec<u8>,
}

/// What came of an [`Examination`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Findings {
    pub(crate) command: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) result: Result<Found, String>,
}

/// Stands for an [`Examination`].
#[derive(Clone, Debug)]
pub struct Ticket {
    command: u64,
}

impl Ticket {
    /// What is to be said where it cannot be examined.
    pub fn give_up(&self, reason: &str) -> Findings {
        Findings { command: self.command, bytes: Vec::new(), result: Err(reason.into()) }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Found {
    Topology(TopologySpec),
    Firmware { target: Name, version: Name },
}

impl Examination {
    /// Bytes of what is examined.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Stands for it where it may be given up.
    pub fn ticket(&self) -> Ticket {
        Ticket { command: self.command }
    }

    /// Examines, in the way every shell does; what the code of a package's spaces may be, `examine_code` knows.
    pub fn perform(
        self,
        publishers: &[PublicKey],
        examine_code: impl Fn(&Package) -> Result<(), String>,
    ) -> Findings {
        let Self { command, kind, bytes } = self;
        let result = match kind {
            Kind::Package => examine_package(&bytes, publishers, examine_code).map(Found::Topology),
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
    examine_code: impl Fn(&Package) -> Result<(), String>,
) -> Result<TopologySpec, String> {
    let package = Package::open(bytes, Trust::Publishers(publishers)).map_err(|error| error.to_string())?;
    examine_code(&package)?;
    Ok(package.topology)
}
