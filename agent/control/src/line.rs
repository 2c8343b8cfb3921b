//! Datagrams on a serial line, beside console text.
//!
//! A frame is the datagram and its CRC-32 (big endian), COBS-encoded so that it holds no zero byte, between two zero
//! bytes. Text never holds zeros, so whatever does not decode to a good CRC is text or damage: the next zero begins
//! anew.

use crate::packet::DATAGRAM_MAX_BYTES;
use std::collections::VecDeque;

const CRC_SIZE_BYTES: usize = 4;
/// Largest frame between its zeros.
const FRAME_MAX_BYTES: usize = cobs::max_encoding_length(DATAGRAM_MAX_BYTES + CRC_SIZE_BYTES);
/// Text that waits to be asked for; more is dropped, oldest first.
const TEXT_MAX_BYTES: usize = 4096;

/// The bytes of a frame with this datagram.
pub fn frame(datagram: &[u8]) -> Vec<u8> {
    let mut plain = datagram.to_vec();
    plain.extend_from_slice(&crc32fast::hash(datagram).to_be_bytes());
    let mut framed = vec![0; cobs::max_encoding_length(plain.len()) + 2];
    let size = cobs::encode(&plain, &mut framed[1..]);
    framed.truncate(size + 2);
    framed[size + 1] = 0;
    framed
}

/// The datagram in what stood between two zeros.
fn unframe(chunk: &[u8]) -> Option<Vec<u8>> {
    let mut plain = vec![0; chunk.len()];
    let size = cobs::decode(chunk, &mut plain).ok()?;
    plain.truncate(size);
    let (datagram, crc) = plain.split_last_chunk::<CRC_SIZE_BYTES>()?;
    (crc32fast::hash(datagram) == u32::from_be_bytes(*crc)).then(|| datagram.to_vec())
}

/// Finds datagrams among the bytes of a line.
#[derive(Debug, Default)]
pub struct LineReader {
    /// Since the last zero.
    chunk: Vec<u8>,
    datagrams: VecDeque<Vec<u8>>,
    text: VecDeque<u8>,
}

impl LineReader {
    /// Bytes came.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte != 0 {
                self.chunk.push(*byte);
                if self.chunk.len() > FRAME_MAX_BYTES {
                    self.take_chunk_as_text();
                }
                continue;
            }
            match unframe(&self.chunk) {
                Some(datagram) => {
                    self.datagrams.push_back(datagram);
                    self.chunk.clear();
                }
                None => self.take_chunk_as_text(),
            }
        }
    }

    fn take_chunk_as_text(&mut self) {
        self.text.extend(self.chunk.drain(..));
        let excess = self.text.len().saturating_sub(TEXT_MAX_BYTES);
        self.text.drain(..excess);
    }

    /// The next datagram.
    pub fn poll_datagram(&mut self) -> Option<Vec<u8>> {
        self.datagrams.pop_front()
    }

    /// What stood beside the frames: console text, and damaged frames.
    pub fn take_text(&mut self) -> Vec<u8> {
        self.text.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
        let mut reader = LineReader::default();
        reader.handle_bytes(bytes);
        (std::iter::from_fn(|| reader.poll_datagram()).collect(), reader.take_text())
    }

    #[test]
    fn frames_stand_beside_text() {
        let line = [b"boot\r\n".as_slice(), &frame(b"one"), b"[ 1.0] usb\r\n", &frame(&[0; 40])].concat();
        let (datagrams, text) = read(&line);
        assert_eq!(datagrams, [b"one".to_vec(), vec![0; 40]]);
        assert_eq!(text, b"boot\r\n[ 1.0] usb\r\n");
    }

    #[test]
    fn text_inside_a_frame_costs_that_frame_only() {
        let mut broken = frame(b"lost");
        broken.splice(3..3, *b"panic!");
        let (datagrams, _) = read(&[broken, frame(b"found")].concat());
        assert_eq!(datagrams, [b"found"]);
    }

    #[test]
    fn endless_text_is_bounded() {
        let mut reader = LineReader::default();
        reader.handle_bytes(&vec![b'x'; 1 << 20]);
        assert!(reader.chunk.len() <= FRAME_MAX_BYTES);
        assert!(reader.take_text().len() <= TEXT_MAX_BYTES);
        reader.handle_bytes(&[&[0], frame(b"after").as_slice()].concat());
        assert_eq!(reader.poll_datagram().as_deref(), Some(b"after".as_slice()));
    }

    proptest! {
        #[test]
        fn every_datagram_survives_its_frame(datagram in prop::collection::vec(any::<u8>(), 0..DATAGRAM_MAX_BYTES)) {
            let framed = frame(&datagram);
            prop_assert!(framed.len() <= FRAME_MAX_BYTES + 2);
            prop_assert_eq!(read(&framed).0, [datagram]);
        }

        #[test]
        fn a_flipped_bit_never_makes_another_datagram(
            datagram in prop::collection::vec(any::<u8>(), 1..300), at in any::<prop::sample::Index>(), bit in 0..8
        ) {
            let mut framed = frame(&datagram);
            let at = at.index(framed.len());
            framed[at] ^= 1_u8 << bit;
            let (datagrams, _) = read(&framed);
            prop_assert!(datagrams.iter().all(|read| *read == datagram || read.is_empty()));
        }
    }
}
