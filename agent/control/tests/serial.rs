//! A package over a serial cable: 115,200 baud, flipped bits, console text in between, a cable that is pulled.

use std::{collections::VecDeque, time::Duration};
use zhost_base::{Instant, Rng};
use zhost_control::{
    Caller, Client, ClientError, Pace, Server, Trust,
    line::{LineReader, frame},
};
use zhost_link::Identity;

const KEY: [u8; 32] = [3; 32];
const BYTES_PER_SECOND: usize = 11_520;
const TICK: Duration = Duration::from_millis(10);

/// One direction of a cable.
struct Wire {
    queue: VecDeque<u8>,
    reader: LineReader,
    /// Mean bytes between two flipped bits, if any flip.
    error_every: Option<u64>,
    rng: Rng,
}

impl Wire {
    fn new(error_every: Option<u64>, seed: u64) -> Self {
        Self {
            queue: VecDeque::new(),
            reader: LineReader::default(),
            error_every,
            rng: Rng::from_number(seed),
        }
    }

    /// What a tick brings to the other end.
    fn carry(&mut self) {
        for _ in 0..BYTES_PER_SECOND / 100 {
            let Some(byte) = self.queue.pop_front() else { return };
            let flip = self.error_every.is_some_and(|every| self.rng.below(every) == 0);
            let byte = if flip { byte ^ 1 << self.rng.below(8) } else { byte };
            self.reader.handle_bytes(&[byte]);
        }
    }
}

/// Sends `size` bytes up and back; the cable is out from each of these seconds on, for ten.
fn exchange(
    size: usize,
    error_every: Option<u64>,
    unplugged: &[u64],
    seed: u64,
) -> Result<Duration, ClientError> {
    let start = Instant::from_micros(1);
    let (operator, zhost) = (Identity::from_private([5; 32]), Identity::from_private([6; 32]));
    let trust = Trust::Operators(vec![*operator.public()]);
    let mut server = Server::new(start, zhost, KEY, trust, Rng::from_number(seed));
    let rng = Rng::from_number(seed + 1);
    let mut client = Client::new(start, Pace::SERIAL, &operator, &KEY, rng).unwrap();
    let message: Vec<u8> = (0..size).map(|i| (i * 31 / 7) as u8).collect();
    client.request(start, message.clone())?;
    let (mut up, mut down) = (Wire::new(error_every, seed + 2), Wire::new(error_every, seed + 3));
    let mut now = start;
    let mut was_out = false;
    loop {
        let second = now.since(start).as_secs();
        let is_out = unplugged.iter().any(|from| (*from..from + 10).contains(&second));
        if is_out {
            up.queue.clear();
            down.queue.clear();
        } else {
            if was_out {
                client.handle_line_back(now);
            }
            client.handle_timeout(now)?;
            up.carry();
            down.carry();
        }
        was_out = is_out;
        server.handle_timeout(now);
        while let Some(datagram) = up.reader.poll_datagram() {
            server.handle_datagram(now, Caller::Serial, &datagram);
        }
        while let Some((session, number, request)) = server.poll_request() {
            assert!(request == message, "what arrives is what was sent");
            server.reply(now, session, number, b"taken".to_vec());
        }
        while let Some(datagram) = down.reader.poll_datagram() {
            client.handle_datagram(now, &datagram);
        }
        while let Some(datagram) = client.poll_datagram() {
            up.queue.extend(frame(&datagram));
        }
        while let Some((caller, datagram)) = server.poll_datagram() {
            assert_eq!(caller, Caller::Serial);
            down.queue.extend(frame(&datagram));
        }
        if down.rng.below(40) == 0 {
            down.queue.extend(b"[  12.345678] usb 1-1: new high-speed USB device number 4 using dwc2\r\n");
        }
        if let Some(reply) = client.poll_reply() {
            assert_eq!(reply, b"taken");
            return Ok(now.since(start));
        }
        now += TICK;
    }
}

#[test]
fn a_package_crosses_a_quiet_cable_at_three_quarters_of_its_speed() {
    let took = exchange(300_000, None, &[], 1).unwrap();
    assert!(took < Duration::from_millis(300_000 * 1000 / 11_520 * 4 / 3), "took {took:?}");
}

#[test]
fn a_package_crosses_flipped_bits_and_two_pulled_cables_intact() {
    for seed in 0..10 {
        let took = exchange(300_000, Some(2_000), &[5, 30], seed).unwrap();
        assert!(took < Duration::from_secs(120), "seed {seed}: took {took:?}");
    }
}

#[test]
fn a_short_request_waits_for_a_cable_that_is_out() {
    let took = exchange(300, None, &[0], 1).unwrap();
    assert!(took < Duration::from_secs(12), "took {took:?}");
}
