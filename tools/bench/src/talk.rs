//! What two applications say to each other while they are measured, over whatever carries it.
//!
//! All messages have 64 bytes. The far side echoes what asks for an echo; of the others it keeps count, and
//! tells the count, with the time by its own clock, once every [`COUNTED_EVERY`]. The near side never has
//! more than [`IN_FLIGHT_MAX`] uncounted messages under way. Drivers in other languages (`ping.erl`,
//! `ping_zenoh.py`) do the same.

use crate::Outcome;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// The size of every message.
pub const MESSAGE_SIZE_BYTES: usize = 64;
/// The far side tells its count once for so many messages.
pub const COUNTED_EVERY: u64 = 1024;
/// So many messages may be under way.
pub const IN_FLIGHT_MAX: u64 = 16 * COUNTED_EVERY;

const FIRST_ANSWER_WITHIN: Duration = Duration::from_secs(15);
const GREETING_PERIOD: Duration = Duration::from_millis(100);
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
const IDLE_MAX: Duration = Duration::from_secs(60);
const WARM_UP_ROUND_TRIPS: usize = 500;
const ROUND_TRIPS_MAX: usize = 10_000;
const ROUND_TRIPS_WITHIN: Duration = Duration::from_secs(3);
const WARM_UP: Duration = Duration::from_millis(500);
const COUNTED_DURING: Duration = Duration::from_millis(2500);

/// Carries messages to and from the application on the other host.
pub trait Channel {
    /// Sends a message, or keeps it for [`Channel::flush`], as clients of this system do.
    fn send(&mut self, message: Message) -> Outcome;
    /// Sends what was kept.
    fn flush(&mut self) -> Outcome;
    /// The next message, if one comes in time.
    fn receive(&mut self, within: Duration) -> Outcome<Option<Message>>;
}

/// What a message wants or tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Send this back.
    Echo,
    /// Count this.
    Count,
    /// So many were counted.
    Counted,
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it wants or tells.
    pub kind: Kind,
    /// Which one it is of its kind; of [`Kind::Counted`], the count.
    pub number: u64,
    /// Of [`Kind::Counted`], the time since the first was counted.
    pub elapsed_ns: u64,
}

impl Message {
    /// The bytes that travel.
    pub fn to_bytes(self) -> [u8; MESSAGE_SIZE_BYTES] {
        let mut bytes = [0; MESSAGE_SIZE_BYTES];
        bytes[0] = match self.kind {
            Kind::Echo => b'e',
            Kind::Count => b'c',
            Kind::Counted => b'd',
        };
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.elapsed_ns.to_le_bytes());
        bytes
    }

    /// The message that these bytes are.
    pub fn from_bytes(bytes: &[u8]) -> Outcome<Self> {
        if bytes.len() != MESSAGE_SIZE_BYTES {
            return Err(format!("a message has {} bytes", bytes.len()));
        }
        let kind = match bytes[0] {
            b'e' => Kind::Echo,
            b'c' => Kind::Count,
            b'd' => Kind::Counted,
            other => return Err(format!("a message of kind {other}")),
        };
        let number =
            |at: usize| bytes[at..at + 8].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Ok(Self { kind, number: number(8), elapsed_ns: number(16) })
    }
}

/// What the near side found; near sides in all languages print it as JSON on their last line.
#[derive(Debug, Serialize, Deserialize)]
pub struct Figures {
    /// All round trips.
    pub round_trips_ns: Vec<u64>,
    /// Messages that arrived, warm-up left out.
    pub received: u64,
    /// How long these took.
    pub elapsed_ns: u64,
}

/// The near side: asks, and takes the time.
pub fn ask(channel: &mut impl Channel) -> Outcome<Figures> {
    let greetings = greet(channel)?;
    let round_trips_ns = take_round_trips(channel, greetings)?;
    let (from, to) = pour(channel)?;
    let figures = Figures {
        round_trips_ns,
        received: to.number - from.number,
        elapsed_ns: to.elapsed_ns - from.elapsed_ns,
    };
    Ok(figures)
}

/// Sends until something comes back: systems take their time until the two hosts are joined.
fn greet(channel: &mut impl Channel) -> Outcome<u64> {
    let deadline = Instant::now() + FIRST_ANSWER_WITHIN;
    let mut number = 0;
    while Instant::now() < deadline {
        channel.send(Message { kind: Kind::Echo, number, elapsed_ns: 0 })?;
        channel.flush()?;
        number += 1;
        if channel.receive(GREETING_PERIOD)?.is_some() {
            return Ok(number);
        }
    }
    Err(format!("the far side did not answer within {} s", FIRST_ANSWER_WITHIN.as_secs()))
}

fn take_round_trips(channel: &mut impl Channel, first_number: u64) -> Outcome<Vec<u64>> {
    let mut number = first_number;
    let mut take = |count: usize| {
        let (start, mut taken) = (Instant::now(), Vec::with_capacity(count));
        while taken.len() < count && start.elapsed() < ROUND_TRIPS_WITHIN {
            taken.push(round_trip(channel, number)?);
            number += 1;
        }
        Ok(taken)
    };
    take(WARM_UP_ROUND_TRIPS)?;
    take(ROUND_TRIPS_MAX)
}

fn round_trip(channel: &mut impl Channel, number: u64) -> Outcome<u64> {
    let start = Instant::now();
    channel.send(Message { kind: Kind::Echo, number, elapsed_ns: 0 })?;
    channel.flush()?;
    // Late answers to greetings have other numbers.
    while expect(channel)?.number != number {}
    Ok(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

fn expect(channel: &mut impl Channel) -> Outcome<Message> {
    let message = channel.receive(ANSWER_WITHIN)?;
    message.ok_or_else(|| format!("no answer within {} s: messages were lost", ANSWER_WITHIN.as_secs()))
}

/// Sends as fast as the far side counts; gives its counts after the warm-up and at the end.
fn pour(channel: &mut impl Channel) -> Outcome<(Message, Message)> {
    let start = Instant::now();
    let (mut number, mut last, mut from) = (0, None::<Message>, None);
    loop {
        let counted = last.map_or(0, |counted| counted.number);
        while number < counted + IN_FLIGHT_MAX {
            channel.send(Message { kind: Kind::Count, number, elapsed_ns: 0 })?;
            number += 1;
        }
        channel.flush()?;
        let counted = expect(channel)?;
        last = Some(counted);
        if start.elapsed() < WARM_UP {
            continue;
        }
        let from = *from.get_or_insert(counted);
        if counted.elapsed_ns - from.elapsed_ns > COUNTED_DURING.as_nanos() as u64 {
            return Ok((from, counted));
        }
    }
}

/// The far side: answers until it is ended, or nobody asks any more.
pub fn answer(channel: &mut impl Channel) -> Outcome {
    let (mut count, mut first) = (0, Instant::now());
    while let Some(message) = channel.receive(IDLE_MAX)? {
        match message.kind {
            Kind::Echo => channel.send(message)?,
            Kind::Count => {
                if count == 0 {
                    first = Instant::now();
                }
                count += 1;
                if count % COUNTED_EVERY != 0 {
                    continue;
                }
                let elapsed_ns = u64::try_from(first.elapsed().as_nanos()).unwrap_or(u64::MAX);
                channel.send(Message { kind: Kind::Counted, number: count, elapsed_ns })?;
            }
            Kind::Counted => return Err("the near side does not count".into()),
        }
        channel.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_way() {
        let message = Message { kind: Kind::Counted, number: 0x0102_0304_0506_0708, elapsed_ns: u64::MAX };
        assert_eq!(Message::from_bytes(&message.to_bytes()), Ok(message));
    }

    #[test]
    fn foreign_bytes_are_no_message() {
        assert!(Message::from_bytes(&[0; MESSAGE_SIZE_BYTES]).is_err());
        assert!(Message::from_bytes(b"e").is_err());
    }
}
