//! Messages that are values, encoded with postcard or as JSON. Both ends have to agree on type and encoding.

use crate::{
    Refusal, net,
    proc::{self, Pid},
};
use serde::{Deserialize, Serialize};

/// Size of an encoded value; larger ones are refused.
pub const VALUE_MAX_BYTES: usize = 4096;

/// What both encodings can do, with `encode` and `read` of their own.
macro_rules! verbs {
    () => {
        /// Sends a value along a path.
        pub fn emit_to<T: Serialize>(path: &str, value: &T) -> Result<(), Refusal> {
            net::emit_to(path, encode(value, &mut [0; VALUE_MAX_BYTES])?)
        }

        /// Sends a value to a pid.
        pub fn send<T: Serialize>(pid: Pid, value: &T) -> Result<(), Refusal> {
            proc::send(pid, encode(value, &mut [0; VALUE_MAX_BYTES])?)
        }

        /// Calls the space at the end of a path and waits for its reply, a value too, which is read from `buffer`.
        pub fn call<'a, T: Serialize, R: Deserialize<'a>>(
            path: &str,
            value: &T,
            within_ms: u32,
            buffer: &'a mut [u8],
        ) -> Result<R, Refusal> {
            read(net::call(path, encode(value, &mut [0; VALUE_MAX_BYTES])?, within_ms, buffer)?)
        }

        /// The same, of the space with a pid.
        pub fn call_pid<'a, T: Serialize, R: Deserialize<'a>>(
            pid: Pid,
            value: &T,
            within_ms: u32,
            buffer: &'a mut [u8],
        ) -> Result<R, Refusal> {
            read(proc::call(pid, encode(value, &mut [0; VALUE_MAX_BYTES])?, within_ms, buffer)?)
        }

        /// Replies to the call taken last.
        pub fn reply<T: Serialize>(value: &T) -> Result<(), Refusal> {
            net::reply(encode(value, &mut [0; VALUE_MAX_BYTES])?)
        }
    };
}

/// With postcard: small, and read by what knows the type.
#[cfg(feature = "postcard")]
pub mod postcard {
    use super::*;

    verbs!();

    fn encode<'a, T: Serialize>(value: &T, buffer: &'a mut [u8]) -> Result<&'a [u8], Refusal> {
        ::postcard::to_slice(value, buffer).map(|bytes| &*bytes).map_err(|_| Refusal::TooLarge)
    }

    /// The value in a message; [`Refusal::Failed`] if it holds another type.
    pub fn read<'a, T: Deserialize<'a>>(message: &'a [u8]) -> Result<T, Refusal> {
        ::postcard::from_bytes(message).map_err(|_| Refusal::Failed)
    }
}

/// As JSON: larger, and read by anything, such as the page of a UI space.
#[cfg(feature = "json")]
pub mod json {
    use super::*;

    verbs!();

    fn encode<'a, T: Serialize>(value: &T, buffer: &'a mut [u8]) -> Result<&'a [u8], Refusal> {
        let size = serde_json_core::to_slice(value, buffer).map_err(|_| Refusal::TooLarge)?;
        Ok(&buffer[..size])
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
    fn calls_and_their_replies_are_values_too() {
        let mut buffer = [0; 64];
        let whom = stage::others::PARTNER;
        stage::others::answer(Ok(b"\x07"));
        stage::others::answer(Ok(b"[1,2]"));
        assert_eq!(postcard::call("ask", &true, 1000, &mut buffer), Ok(7u8));
        assert_eq!(json::call_pid(whom, &true, 1000, &mut buffer), Ok([1, 2]));
        let called = stage::others::called().into_iter().map(|(_, message)| message);
        assert!(called.eq([b"\x01".to_vec(), b"true".to_vec()]));
        stage::deliver_call("ask", b"");
        net::recv_next(&mut buffer).unwrap();
        json::reply(&[3]).unwrap();
        assert_eq!(stage::replies(), [b"[3]".to_vec()]);
        json::send(whom, &"hello").unwrap();
        assert_eq!(stage::others::sent(), [(whom, br#""hello""#.to_vec())]);
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let long = "x".repeat(VALUE_MAX_BYTES + 1);
        assert_eq!(postcard::emit_to("a", &long.as_str()), Err(Refusal::TooLarge));
        assert_eq!(json::emit_to("a", &long.as_str()), Err(Refusal::TooLarge));
    }
}
