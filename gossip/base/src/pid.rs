//! The address of one start of a space, valid on every zhost.

use crate::{Generation, ZhostId};
use alloc::string::String;
use core::fmt;
use serde::{Deserialize, Serialize};

/// One start of a space: what is started anew, elsewhere or again, has another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pid {
    /// The zhost that runs it.
    pub zhost: ZhostId,
    /// Which start of that zhost.
    pub generation: Generation,
    /// Counts the spaces that this start of the zhost has started.
    pub number: u32,
}

impl Pid {
    /// Size of [`Self::encode`].
    pub const SIZE_BYTES: usize = 16;

    /// The bytes that guests hold: zhost, generation and number, little-endian.
    pub fn encode(&self) -> [u8; Self::SIZE_BYTES] {
        let mut bytes = [0; Self::SIZE_BYTES];
        bytes[..8].copy_from_slice(&self.zhost.0.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.generation.0.to_le_bytes());
        bytes[12..].copy_from_slice(&self.number.to_le_bytes());
        bytes
    }

    /// Reads what [`Self::encode`] gave.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (zhost, rest) = bytes.split_first_chunk()?;
        let (generation, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        rest.is_empty().then(|| Self {
            zhost: ZhostId(u64::from_le_bytes(*zhost)),
            generation: Generation(u32::from_le_bytes(*generation)),
            number: u32::from_le_bytes(*number),
        })
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.zhost, self.generation, self.number)
    }
}

/// How a space ended, as those bound to it are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Hash)]
pub struct ExitReason {
    /// Whether it ended by its own wish; if not, spaces linked with it end too, unless they trap exits.
    pub normal: bool,
    /// For people and programs.
    pub reason: String,
}

impl ExitReason {
    /// The zhost of the space cannot be reached: whether the space lives, nobody knows.
    pub fn no_connection() -> Self {
        Self { normal: false, reason: "noconnection".into() }
    }

    /// There is no such space.
    pub fn no_space() -> Self {
        Self { normal: false, reason: "noproc".into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_survives_its_bytes_and_nothing_else_is_one() {
        let pid = Pid { zhost: ZhostId(7 << 40), generation: Generation(3), number: 9 };
        assert_eq!(Pid::decode(&pid.encode()), Some(pid));
        assert_eq!(Pid::decode(&pid.encode()[1..]), None);
        assert_eq!(Pid::decode(&[0; 17]), None);
    }
}
