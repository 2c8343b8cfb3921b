//! Answers of a DHCP server.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zhost_base::{Instant, Rng};
use zhost_init::dhcp::{Dhcp, Output};

fuzz_target!(|bytes: &[u8]| {
    let now = Instant::from_micros(1);
    let mut dhcp = Dhcp::new(now, [2; 6], "fuzz", Rng::from_number(1));
    dhcp.handle_timeout(now);
    let Some(Output::Send(asked)) = dhcp.poll_output() else { return };
    // As an answer to us begins; the rest is foreign.
    let mut answer = asked[..240].to_vec();
    answer[0] = 2;
    answer.extend_from_slice(bytes);
    dhcp.handle_packet(now, &answer);
    dhcp.handle_packet(now, bytes);
    while dhcp.poll_output().is_some() {}
});
