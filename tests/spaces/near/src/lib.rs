//! Measures its way to `far`: round trips first, then as many messages as it may send.
//!
//! Messages have 64 bytes. The first says what is wanted: `e` an echo, `w` nothing (to warm up), `c` to be counted,
//! `d` the count, which `far` logs.

#![no_std]

use zspace::{Space, Text, net, space, sys};

const MESSAGE_SIZE_BYTES: usize = 64;
const WARM_UP_ROUND_TRIPS: u32 = 500;
const ROUND_TRIPS_MAX: u32 = 10_000;
const ROUND_TRIPS_WITHIN_US: u64 = 3_000_000;
const WARM_UP_US: u64 = 500_000;
const COUNTED_DURING_US: u64 = 2_500_000;
/// Round trips are sorted into buckets of one microsecond; longer ones into the last.
const BUCKETS: usize = 4096;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    RoundTrips,
    Flood,
    Count,
    Done,
}

struct Near {
    phase: Phase,
    began_us: u64,
    sent_us: u64,
    waiting: bool,
    round_trips: u32,
    buckets: [u16; BUCKETS],
}

impl Near {
    fn send(&self, kind: u8) -> bool {
        let mut message = [0; MESSAGE_SIZE_BYTES];
        message[0] = kind;
        net::emit_to("there", &message).is_ok()
    }

    fn round_trip(&mut self, now: u64) {
        let mut buffer = [0; MESSAGE_SIZE_BYTES];
        while net::recv_next(&mut buffer).is_ok() {
            let bucket = (now.saturating_sub(self.sent_us) as usize).min(BUCKETS - 1);
            self.round_trips += 1;
            if self.round_trips > WARM_UP_ROUND_TRIPS {
                self.buckets[bucket] = self.buckets[bucket].saturating_add(1);
            }
            self.waiting = false;
        }
        if !self.waiting && self.send(b'e') {
            self.waiting = true;
            self.sent_us = now;
            if self.began_us == 0 {
                self.began_us = now;
            }
        }
        let enough = self.round_trips >= WARM_UP_ROUND_TRIPS + ROUND_TRIPS_MAX;
        if self.began_us > 0 && (enough || now - self.began_us > ROUND_TRIPS_WITHIN_US) {
            self.report();
            self.phase = Phase::Flood;
            self.began_us = now;
        }
    }

    fn report(&self) {
        let samples: u32 = self.buckets.iter().map(|count| u32::from(*count)).sum();
        let percentile = |percent: u32| {
            let rank = (u64::from(samples) * u64::from(percent)).div_ceil(100) as u32;
            let mut seen = 0;
            self.buckets.iter().position(|count| {
                seen += u32::from(*count);
                seen >= rank
            })
        };
        let (p50, p99) = (percentile(50).unwrap_or(0), percentile(99).unwrap_or(0));
        let line =
            Text::<100>::format(format_args!("round-trip p50_us={p50} p99_us={p99} samples={samples}"));
        sys::log(sys::Level::Info, line.as_str());
    }

    fn flood(&mut self, now: u64) {
        let elapsed = now - self.began_us;
        let kind = if elapsed < WARM_UP_US { b'w' } else { b'c' };
        if elapsed >= WARM_UP_US + COUNTED_DURING_US {
            self.phase = Phase::Count;
        } else {
            while self.send(kind) {}
        }
    }
}

impl Space for Near {
    fn init() -> Result<Self, i32> {
        Ok(Self {
            phase: Phase::RoundTrips,
            began_us: 0,
            sent_us: 0,
            waiting: false,
            round_trips: 0,
            buckets: [0; BUCKETS],
        })
    }

    fn process(&mut self) -> i32 {
        let now = sys::now_us();
        match self.phase {
            Phase::RoundTrips => self.round_trip(now),
            Phase::Flood => self.flood(now),
            Phase::Count if self.send(b'd') => self.phase = Phase::Done,
            Phase::Count | Phase::Done => {}
        }
        sys::sleep_ms(if self.phase == Phase::Done { 1000 } else { 5 });
        0
    }
}

space!(Near);
