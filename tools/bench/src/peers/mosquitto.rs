//! Mosquitto: two brokers joined by a bridge, QoS 0, each application connected with the broker of its own
//! host.
//!
//! Applications send each message with a system call of its own, as libmosquitto does.

use crate::{
    Outcome,
    certificates::Certificates,
    net::Hosts,
    pair,
    process::{self, Process, Scratch},
    report::PeerResult,
    side::{self, Role},
    stream::Stream,
    talk::{Channel, Message},
};
use std::{net::SocketAddr, time::Duration};

/// What this is called among the sides.
pub const SIDE: &str = "mosquitto";
const CLIENT_PORT: u16 = 24883;
const BRIDGE_PORT: u16 = 24884;
const GREETED_WITHIN: Duration = Duration::from_secs(5);

/// Measures brokers bridged in plain text.
pub fn run_plain(result: &mut PeerResult) -> Outcome {
    run(result, false)
}

/// Measures brokers bridged over TLS.
pub fn run_tls(result: &mut PeerResult) -> Outcome {
    run(result, true)
}

fn run(result: &mut PeerResult, tls: bool) -> Outcome {
    let broker = process::installed("mosquitto")?;
    let (hosts, scratch) = (Hosts::pair()?, Scratch::create()?);
    result.hosts = hosts.describe();
    let certificates = if tls { Some(Certificates::create(&scratch, &hosts)?) } else { None };
    let start = |role: Role| {
        let content = config(&hosts, role, certificates.as_ref());
        let config = scratch.write(&format!("{}.conf", role.name()), &content)?;
        let mut command = hosts.command(role.host(), &broker);
        Process::start(command.arg("-c").arg(config), &scratch.file(&format!("{}-broker", role.name())))
    };
    let brokers = Role::BOTH.map(start).into_iter().collect::<Outcome<Vec<_>>>()?;
    let client = |role: Role| side::talker(&hosts, role, SIDE, hosts.socket(role.host(), CLIENT_PORT));
    let measured = pair::measure(result, &scratch, client);
    measured.map_err(|reason| format!("{reason} (the bridging broker: {})", brokers[1].last_words()))
}

/// The near broker opens the bridge to the far one. Queues have no limit, since the talk itself bounds what
/// is under way; `user root` is what a broker started by root needs to read its own files.
fn config(hosts: &Hosts, role: Role, certificates: Option<&Certificates>) -> String {
    let common = format!(
        "allow_anonymous true\npersistence false\nmax_queued_messages 0\nset_tcp_nodelay true\nuser root\n\
         listener {CLIENT_PORT} {}\n",
        hosts.address(role.host())
    );
    let (bridge, listener) = certificates.map_or_else(Default::default, |files| {
        let (authority, certificate, key) =
            (files.authority.display(), files.certificate.display(), files.key.display());
        let listener = format!("cafile {authority}\ncertfile {certificate}\nkeyfile {key}\n");
        (format!("bridge_cafile {authority}\n"), listener)
    });
    let far = hosts.address(Role::Far.host());
    match role {
        Role::Near => format!(
            "{common}connection bench\naddress {far}:{BRIDGE_PORT}\nnotifications false\ntry_private true\n\
             restart_timeout 1\ntopic bench/far out 0\ntopic bench/near in 0\n{bridge}"
        ),
        Role::Far => format!("{common}listener {BRIDGE_PORT} {far}\n{listener}"),
    }
}

/// A client of MQTT 3.1.1, as small as this needs.
pub struct Client {
    stream: Stream,
    topic: String,
}

impl Client {
    /// Connects with a broker and subscribes to what is for this side.
    pub fn connect(role: Role, broker: SocketAddr) -> Outcome<Self> {
        let mut stream = Stream::connect(broker)?;
        stream.write(&connect_packet(role.name()))?;
        stream.write(&subscribe_packet(&format!("bench/{}", role.name())))?;
        stream.flush()?;
        for expected in [Frame::Connected, Frame::Subscribed] {
            let frame = stream.frame(GREETED_WITHIN, parse)?;
            if frame.as_ref() != Some(&expected) {
                return Err(format!("mosquitto says {frame:?}, not {expected:?}"));
            }
        }
        Ok(Self { stream, topic: format!("bench/{}", role.other().name()) })
    }
}

impl Channel for Client {
    fn send(&mut self, message: Message) -> Outcome {
        self.stream.write(&publish_packet(&self.topic, &message.to_bytes()))?;
        self.stream.flush()
    }

    fn flush(&mut self) -> Outcome {
        Ok(())
    }

    fn receive(&mut self, within: Duration) -> Outcome<Option<Message>> {
        match self.stream.frame(within, parse)? {
            Some(Frame::Message(message)) => Ok(Some(message)),
            Some(other) => Err(format!("mosquitto says {other:?}")),
            None => Ok(None),
        }
    }
}

/// What a broker says.
#[derive(Debug, PartialEq, Eq)]
enum Frame {
    /// We are connected.
    Connected,
    /// We are subscribed.
    Subscribed,
    /// A message for us.
    Message(Message),
}

const CONNECT: u8 = 0x10;
const CONNECTED: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const SUBSCRIBE: u8 = 0x82;
const SUBSCRIBED: u8 = 0x90;
const CLEAN_SESSION: u8 = 2;
const PROTOCOL_LEVEL: u8 = 4;
const NO_KEEP_ALIVE: [u8; 2] = [0, 0];

fn connect_packet(client: &str) -> Vec<u8> {
    let head = [&text("MQTT")[..], &[PROTOCOL_LEVEL, CLEAN_SESSION], &NO_KEEP_ALIVE].concat();
    packet(CONNECT, &[&head, &text(client)])
}

fn subscribe_packet(topic: &str) -> Vec<u8> {
    let (packet_id, qos) = ([0, 1], [0]);
    packet(SUBSCRIBE, &[&packet_id, &text(topic), &qos])
}

fn publish_packet(topic: &str, payload: &[u8]) -> Vec<u8> {
    packet(PUBLISH, &[&text(topic), payload])
}

fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut size = parts.iter().map(|part| part.len()).sum::<usize>();
    while size > 0x7f {
        bytes.push((size & 0x7f) as u8 | 0x80);
        size >>= 7;
    }
    bytes.push(size as u8);
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

fn text(text: &str) -> Vec<u8> {
    let size = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&size.to_be_bytes(), &text.as_bytes()[..usize::from(size)]].concat()
}

/// The first packet in `bytes`, and its size.
fn parse(bytes: &[u8]) -> Outcome<Option<(Frame, usize)>> {
    let Some((head, size)) = head(bytes)? else { return Ok(None) };
    let Some(body) = bytes.get(head..head + size) else { return Ok(None) };
    let frame = match (bytes[0], body) {
        (CONNECTED, [_, 0]) => Frame::Connected,
        (SUBSCRIBED, [_, _, 0]) => Frame::Subscribed,
        (PUBLISH, [high, low, rest @ ..]) => {
            let payload = rest.get(usize::from(u16::from_be_bytes([*high, *low]))..);
            Frame::Message(Message::from_bytes(payload.ok_or("a topic longer than its packet")?)?)
        }
        (first, _) => return Err(format!("a packet {first:#x} with {body:?}")),
    };
    Ok(Some((frame, head + size)))
}

/// The sizes of a packet's head and of what follows.
fn head(bytes: &[u8]) -> Outcome<Option<(usize, usize)>> {
    let mut size = 0;
    for (index, byte) in bytes.iter().skip(1).take(4).enumerate() {
        size |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((index + 2, size)));
        }
    }
    if bytes.len() < 5 { Ok(None) } else { Err("a packet whose size has no end".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::talk::Kind;

    #[test]
    fn packets_are_as_the_standard_says() {
        assert_eq!(connect_packet("near"), b"\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04near");
        assert_eq!(subscribe_packet("a/b"), b"\x82\x08\x00\x01\x00\x03a/b\x00");
        assert_eq!(publish_packet("a/b", b"hi"), b"\x30\x07\x00\x03a/bhi");
    }

    #[test]
    fn long_packets_have_sizes_of_several_bytes() {
        for (size, head_size) in [(0, 2), (127, 2), (128, 3), (16_383, 3), (16_384, 4), (2_097_152, 5)] {
            let bytes = packet(PUBLISH, &[&vec![0; size]]);
            assert_eq!(head(&bytes), Ok(Some((head_size, size))));
        }
        assert!(head(&[PUBLISH, 0xff, 0xff, 0xff, 0xff]).is_err());
    }

    #[test]
    fn packets_are_parsed_once_they_are_whole() {
        let message = Message { kind: Kind::Count, number: 7, elapsed_ns: 0 };
        let bytes = publish_packet("bench/near", &message.to_bytes());
        for missing in 1..=bytes.len() {
            assert_eq!(parse(&bytes[..bytes.len() - missing]), Ok(None));
        }
        assert_eq!(parse(&bytes), Ok(Some((Frame::Message(message), bytes.len()))));
    }

    #[test]
    fn refusals_are_errors() {
        assert_eq!(parse(b"\x20\x02\x00\x00"), Ok(Some((Frame::Connected, 4))));
        assert_eq!(parse(b"\x90\x03\x00\x01\x00"), Ok(Some((Frame::Subscribed, 5))));
        assert!(parse(b"\x20\x02\x00\x05").is_err());
        assert!(parse(b"\x90\x03\x00\x01\x80").is_err());
        assert!(parse(b"\x30\x03\x00\x09a").is_err());
    }
}
