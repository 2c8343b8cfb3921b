//! Messages that are values, encoded with postcard or as JSON. Both ends of a path have to agree on type and encoding.

use crate::{Refusal, net};
use serde::{Deserialize, Serialize};

/// Size of an encoded value; larger ones are refused.
pub const VALUE_MAX_BYTES: usize = 4096;

/// With postcard: small, and read by what knows the type.
#[cfg(feature = "postcard")]
pub mod postcard {
    use super::{Deserialize, Refusal, Serialize, VALUE_MAX_BYTES, net};

    /// Sends a value along a path.
    pub fn emit_to<T: Serialize>(path: &str, value: &T) -> Result<(), Refusal> {
        let mut buffer = [0; VALUE_MAX_BYTES];
        let bytes = ::postcard::to_slice(value, &mut buffer).map_err(|_| Refusal::TooLarge)?;
        net::emit_to(path, bytes)
    }

    /// The value in a message; [`Refusal::Failed`] if it holds another type.
    pub fn read<'a, T: Deserialize<'a>>(message: &'a [u8]) -> Result<T, Refusal> {
        ::postcard::from_bytes(message).map_err(|_| Refusal::Failed)
    }
}

/// As JSON: larger, and read by anything, such as the page of a UI space.
#[cfg(feature = "json")]
pub mod json {
    use super::{Deserialize, Refusal, Serialize, VALUE_MAX_BYTES, net};

    /// Sends a value along a path.
    pub fn emit_to<T: Serialize>(path: &str, value: &T) -> Result<(), Refusal> {
        let mut buffer = [0; VALUE_MAX_BYTES];
        let size = serde_json_core::to_slice(value, &mut buffer).map_err(|_| Refusal::TooLarge)?;
        net::emit_to(path, &buffer[..size])
    }

    /// The value in a message; [`Refusal::Failed`] if it holds another type, or anything after it.
    pub fn read<'a, T: Deserialize<'a>>(message: &'a [u8]) -> Result<T, Refusal> {
        match serde_json_core::from_slice(message) {
            Ok((value, size)) if message[size..].trim_ascii().is_empty() => Ok(value),
            _ => Err(Refusal::Failed),
        }
    }
}

#[cfg(all(test, feature = "postcard", feature = "json"))]
mod tests {
    use super::*;
    use crate::stage;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Reading {
        sensor: u8,
        celsius: f32,
    }

    #[test]
    fn values_arrive_as_they_were_sent() {
        let reading = Reading { sensor: 3, celsius: 21.5 };
        postcard::emit_to("a", &reading).unwrap();
        json::emit_to("b", &reading).unwrap();
        let emitted = stage::emitted();
        assert_eq!(emitted[0].1.len(), 5);
        assert_eq!(emitted[1].1, br#"{"sensor":3,"celsius":21.5}"#);
        assert_eq!(postcard::read(&emitted[0].1), Ok(Reading { ..reading }));
        assert_eq!(json::read(&emitted[1].1), Ok(reading));
        assert_eq!(json::read::<Reading>(b"{}"), Err(Refusal::Failed));
        assert_eq!(postcard::read::<Reading>(b"\x03"), Err(Refusal::Failed));
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let long = "x".repeat(VALUE_MAX_BYTES + 1);
        assert_eq!(postcard::emit_to("a", &long.as_str()), Err(Refusal::TooLarge));
        assert_eq!(json::emit_to("a", &long.as_str()), Err(Refusal::TooLarge));
    }
}
