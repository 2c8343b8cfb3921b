//! What is asked of the flash and not answered yet: bounded, so that a slow flash costs refusals, not memory.

use crate::disk::Purpose;
use litemap::LiteMap;
use std::collections::VecDeque;
use zhost_base::{
    ZhostId,
    limits::{BLOB_READS_MAX, BLOB_READS_PER_PEER_MAX, DISK_REQUESTS_MAX, DISK_REQUESTS_RESERVED},
};

/// The requests under way.
#[derive(Default)]
pub(crate) struct Flash {
    serial: u64,
    purposes: LiteMap<u64, Purpose>,
    /// Those that were not taken: they fail when the input at hand is worked off.
    refused: VecDeque<Purpose>,
}

/// Whether somebody else asks for it, who can ask again.
fn is_for_others(purpose: &Purpose) -> bool {
    matches!(
        purpose,
        Purpose::BlobPiece { .. }
            | Purpose::BlobRead { .. }
            | Purpose::SubmittedBlob { .. }
            | Purpose::DataScan { .. }
            | Purpose::DataOrder { .. }
    )
}

impl Flash {
    /// Takes a request, if there is room for one more of its sort.
    pub fn take(&mut self, purpose: Purpose) -> Option<u64> {
        let reserved = if is_for_others(&purpose) { DISK_REQUESTS_RESERVED } else { 0 };
        if self.purposes.len() >= DISK_REQUESTS_MAX - reserved {
            self.refused.push_back(purpose);
            return None;
        }
        self.serial += 1;
        self.purposes.insert(self.serial, purpose);
        Some(self.serial)
    }

    /// What a request was for that has been carried out, or has failed.
    pub fn conclude(&mut self, token: u64) -> Option<Purpose> {
        self.purposes.remove(&token)
    }

    /// What the requests were for that were not taken since this was asked.
    pub fn take_refused(&mut self) -> VecDeque<Purpose> {
        std::mem::take(&mut self.refused)
    }

    /// Whether one more piece of a blob may be read for this peer.
    pub fn may_read_for(&self, peer: ZhostId) -> bool {
        let (mut all, mut of_peer) = (0, 0);
        for purpose in self.purposes.values() {
            if let Purpose::BlobRead { peer: reader, .. } = purpose {
                all += 1;
                of_peer += usize::from(*reader == peer);
            }
        }
        all < BLOB_READS_MAX && of_peer < BLOB_READS_PER_PEER_MAX
    }

    /// Packages and agents that are on their way to the flash.
    pub fn submitted(&self) -> usize {
        self.purposes.values().filter(|purpose| matches!(purpose, Purpose::SubmittedBlob { .. })).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zhost_base::BlobDigest;

    fn read_for(peer: u64) -> Purpose {
        Purpose::BlobRead { digest: BlobDigest([1; 32]), index: 0, peer: ZhostId(peer) }
    }

    #[test]
    fn what_others_ask_for_leaves_room_for_what_must_be_kept() {
        let mut flash = Flash::default();
        let others = DISK_REQUESTS_MAX - DISK_REQUESTS_RESERVED;
        let taken = (0..2 * DISK_REQUESTS_MAX).filter_map(|_| flash.take(read_for(1))).count();
        assert_eq!(taken, others);
        let taken = (0..2 * DISK_REQUESTS_MAX).filter_map(|_| flash.take(Purpose::Nothing)).count();
        assert_eq!(taken, DISK_REQUESTS_RESERVED);
        assert_eq!(flash.purposes.len(), DISK_REQUESTS_MAX);
        assert_eq!(flash.refused.len(), 4 * DISK_REQUESTS_MAX - DISK_REQUESTS_MAX);
    }

    #[test]
    fn one_peer_that_asks_for_pieces_leaves_the_flash_to_others_and_all_of_them_to_us() {
        let mut flash = Flash::default();
        let mut granted = 0;
        for peer in 0..2 * BLOB_READS_MAX as u64 {
            for _ in 0..2 * BLOB_READS_PER_PEER_MAX {
                if flash.may_read_for(ZhostId(peer)) {
                    flash.take(read_for(peer)).expect("there is room");
                    granted += 1;
                }
            }
            let most = (peer as usize + 1) * BLOB_READS_PER_PEER_MAX;
            assert_eq!(granted, most.min(BLOB_READS_MAX));
        }
        // As the first is done, there is room for another.
        let first = *flash.purposes.keys().next().unwrap();
        flash.purposes.remove(&first);
        assert!(flash.may_read_for(ZhostId(u64::MAX)));
    }
}
