//! What members say of each other, and how often each piece of news is passed on.

use super::Peer;
use alloc::vec::Vec;
use litemap::LiteMap;
use serde::{Deserialize, Serialize};
use tinyvec::ArrayVec;
use zhost_base::{Generation, ZhostId};

/// Independent accusations that are counted; further ones say nothing new.
pub const ACCUSERS_MAX: usize = 4;

/// Who says that a member does not answer.
pub type Accusers = ArrayVec<[ZhostId; ACCUSERS_MAX]>;

/// News of one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rumour {
    /// Of whom.
    pub peer: Peer,
    /// How often that start of the member has refuted an accusation.
    pub incarnation: u32,
    /// What is said.
    pub standing: Standing,
}

/// What is said of a member. At one generation and incarnation the later variant beats the earlier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It lives.
    Alive,
    /// These did not get an answer.
    Suspect(Accusers),
    /// It is gone.
    Down,
}

impl Standing {
    fn rank(&self) -> u8 {
        match self {
            Self::Alive => 0,
            Self::Suspect(_) => 1,
            Self::Down => 2,
        }
    }
}

impl Rumour {
    /// Orders the rumours of one member: the greater is the newer.
    pub(super) fn age(&self) -> (Generation, u32, u8) {
        (self.peer.generation, self.incarnation, self.standing.rank())
    }

    /// Bytes on the wire.
    pub(super) fn encoded_size(&self) -> usize {
        postcard::to_allocvec(self).map_or(usize::MAX, |bytes| bytes.len())
    }
}

/// News under way: at most one piece of each member.
#[derive(Debug, Default)]
pub(super) struct News {
    /// With how often it was told.
    told: LiteMap<ZhostId, (u32, Rumour)>,
}

impl News {
    /// Replaces what was told of the member.
    pub fn put(&mut self, rumour: Rumour) {
        self.told.insert(rumour.peer.id, (0, rumour));
    }

    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// As many of the least told pieces as fit `room` bytes, for `to`; what was told `limit` times is dropped.
    pub fn pick(&mut self, to: ZhostId, mut room: usize, limit: u32) -> Vec<Rumour> {
        let mut order: Vec<(u32, ZhostId)> = self.told.iter().map(|(id, (told, _))| (*told, *id)).collect();
        order.sort_unstable();
        let mut picked = Vec::new();
        for (_, id) in order {
            let Some((told, rumour)) = self.told.get_mut(&id) else { continue };
            // The member itself needs no telling that it lives.
            if id == to && rumour.standing == Standing::Alive {
                *told += 1;
                continue;
            }
            let Some(left) = room.checked_sub(rumour.encoded_size()) else { break };
            room = left;
            *told += 1;
            picked.push(rumour.clone());
        }
        self.told.retain(|_, (told, _)| *told < limit);
        picked
    }
}
