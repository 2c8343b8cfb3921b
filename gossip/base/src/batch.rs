//! Many byte strings in one.

use alloc::vec::Vec;
use core::fmt;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};

/// Each string stands behind its length in so many little-endian bytes.
const LENGTH_SIZE_BYTES: usize = 4;

/// Byte strings in order, packed so that a thousand small ones cost one allocation and one copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Batch {
    packed: Vec<u8>,
    count: usize,
}

impl Batch {
    /// Adds a string at the end; one of more than 4 GiB is cut.
    pub fn push(&mut self, item: &[u8]) {
        let length = u32::try_from(item.len()).unwrap_or(u32::MAX);
        self.packed.reserve(LENGTH_SIZE_BYTES + item.len());
        self.packed.extend_from_slice(&length.to_le_bytes());
        self.packed.extend_from_slice(&item[..length as usize]);
        self.count += 1;
    }

    /// How many strings.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of all strings together.
    pub fn content_bytes(&self) -> usize {
        self.packed.len() - self.count * LENGTH_SIZE_BYTES
    }

    /// Bytes of all strings with what packing them takes.
    pub fn packed_bytes(&self) -> usize {
        self.packed.len()
    }

    /// The strings in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut position = 0;
        core::iter::from_fn(move || {
            let item = self.at(position)?;
            position = self.after(position, item);
            Some(item)
        })
    }

    /// The string that begins at a position: 0, or what [`Self::after`] gave.
    pub fn at(&self, position: usize) -> Option<&[u8]> {
        item_at(&self.packed, position)
    }

    /// The position behind the string `item` at `position`.
    pub fn after(&self, position: usize, item: &[u8]) -> usize {
        position + LENGTH_SIZE_BYTES + item.len()
    }

    fn from_packed(packed: &[u8]) -> Option<Self> {
        let (mut position, mut count) = (0, 0);
        while position < packed.len() {
            position += LENGTH_SIZE_BYTES + item_at(packed, position)?.len();
            count += 1;
        }
        Some(Self { packed: packed.to_vec(), count })
    }
}

fn item_at(packed: &[u8], position: usize) -> Option<&[u8]> {
    let (length, rest) = packed.get(position..)?.split_first_chunk::<LENGTH_SIZE_BYTES>()?;
    rest.get(..u32::from_le_bytes(*length) as usize)
}

impl<'a> FromIterator<&'a [u8]> for Batch {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(items: I) -> Self {
        let mut batch = Self::default();
        items.into_iter().for_each(|item| batch.push(item));
        batch
    }
}

impl Serialize for Batch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.packed)
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(PackedVisitor)
    }
}

struct PackedVisitor;

impl Visitor<'_> for PackedVisitor {
    type Value = Batch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("packed byte strings")
    }

    fn visit_bytes<E: Error>(self, packed: &[u8]) -> Result<Batch, E> {
        Batch::from_packed(packed).ok_or_else(|| E::custom("a byte string is cut off"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn strings_come_back_in_order() {
        let strings: [&[u8]; 4] = [b"one", b"", b"three", &[7; 70_000]];
        let batch: Batch = strings.into_iter().collect();
        assert_eq!((batch.len(), batch.content_bytes()), (4, 70_008));
        assert!(batch.iter().eq(strings));
        let bytes = postcard::to_allocvec(&batch).unwrap();
        assert_eq!(postcard::from_bytes::<Batch>(&bytes).unwrap(), batch);
    }

    #[test]
    fn what_is_cut_off_or_promises_too_much_is_refused() {
        let batch: Batch = [b"one".as_slice(), b"two"].into_iter().collect();
        let refused = |packed: &[u8]| {
            let bytes = postcard::to_allocvec(&vec![packed]).unwrap();
            postcard::from_bytes::<Batch>(&bytes[1..]).is_err()
        };
        for end in 1..batch.packed.len() {
            assert_eq!(refused(&batch.packed[..end]), end != 7, "{end}");
        }
        assert!(refused(&[255, 255, 255, 255, 1]));
    }
}
