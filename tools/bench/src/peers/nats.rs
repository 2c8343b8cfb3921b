//! NATS: a cluster of two servers, each application connected with the server of its own host.
//!
//! Debian's server joins in plain text. The one from PyPI is newer and joins over mutual TLS; the connection
//! of an application with the server beside it is plain in both.

use crate::{
    Outcome,
    certificates::Certificates,
    net::Hosts,
    pair,
    process::{self, Process, Scratch},
    report::PeerResult,
    setup,
    side::{self, Role},
    stream::Stream,
    talk::{Channel, Message},
};
use std::{net::SocketAddr, path::Path, time::Duration};

/// What this is called among the sides.
pub const SIDE: &str = "nats";
const CLIENT_PORT: u16 = 24222;
const ROUTE_PORT: u16 = 24248;
const GREETED_WITHIN: Duration = Duration::from_secs(5);

/// Measures Debian's servers, joined in plain text.
pub fn run_plain(result: &mut PeerResult) -> Outcome {
    run(result, &process::installed("nats-server")?, false)
}

/// Measures the servers from PyPI, joined over TLS.
pub fn run_tls(result: &mut PeerResult) -> Outcome {
    run(result, &setup::environment_program("nats-server")?, true)
}

fn run(result: &mut PeerResult, server: &Path, tls: bool) -> Outcome {
    let (hosts, scratch) = (Hosts::pair()?, Scratch::create()?);
    result.hosts = hosts.describe();
    let certificates = if tls { Some(Certificates::create(&scratch, &hosts)?) } else { None };
    let start = |role: Role| {
        let content = config(&hosts, role, certificates.as_ref());
        let config = scratch.write(&format!("{}.conf", role.name()), &content)?;
        let mut command = hosts.command(role.host(), server);
        Process::start(command.arg("--config").arg(config), &scratch.file(&format!("{}-server", role.name())))
    };
    let servers = Role::BOTH.map(start).into_iter().collect::<Outcome<Vec<_>>>()?;
    let client = |role: Role| side::talker(&hosts, role, SIDE, hosts.socket(role.host(), CLIENT_PORT));
    let measured = pair::measure(result, &scratch, client);
    measured.map_err(|reason| format!("{reason} (a server: {})", servers[0].last_words()))
}

fn config(hosts: &Hosts, role: Role, certificates: Option<&Certificates>) -> String {
    let (clients, routes) = (hosts.socket(role.host(), CLIENT_PORT), hosts.socket(role.host(), ROUTE_PORT));
    let other = hosts.socket(role.other().host(), ROUTE_PORT);
    let tls = certificates.map_or_else(String::new, |files| {
        format!(
            "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true, timeout: 5 }}\n",
            files.certificate, files.key, files.authority
        )
    });
    format!(
        "server_name: {}\nlisten: \"{clients}\"\n\
         cluster {{\nname: bench\nlisten: \"{routes}\"\nroutes: [\"nats://{other}\"]\n{tls}}}\n",
        role.name()
    )
}

/// A client of NATS, as small as this needs.
pub struct Client {
    stream: Stream,
    publish: String,
}

impl Client {
    /// Connects with a server and subscribes to what is for this side.
    pub fn connect(role: Role, server: SocketAddr) -> Outcome<Self> {
        let mut stream = Stream::connect(server)?;
        let hello = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB bench.{} 1\r\nPING\r\n",
            role.name()
        );
        stream.write(hello.as_bytes())?;
        stream.flush()?;
        let mut client = Self { stream, publish: format!("PUB bench.{} 64\r\n", role.other().name()) };
        while client.frame(GREETED_WITHIN)? != Frame::Pong {}
        Ok(client)
    }

    fn frame(&mut self, within: Duration) -> Outcome<Frame> {
        Ok(self.stream.frame(within, parse)?.unwrap_or(Frame::Nothing))
    }
}

impl Channel for Client {
    fn send(&mut self, message: Message) -> Outcome {
        self.stream.write(self.publish.as_bytes())?;
        self.stream.write(&message.to_bytes())?;
        self.stream.write(b"\r\n")
    }

    fn flush(&mut self) -> Outcome {
        self.stream.flush()
    }

    fn receive(&mut self, within: Duration) -> Outcome<Option<Message>> {
        loop {
            match self.frame(within)? {
                Frame::Message(message) => return Ok(Some(message)),
                Frame::Nothing => return Ok(None),
                Frame::Ping => {
                    self.stream.write(b"PONG\r\n")?;
                    self.stream.flush()?;
                }
                Frame::Pong | Frame::News => {}
            }
        }
    }
}

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
enum Frame {
    /// Nothing in time.
    Nothing,
    /// It wants to know whether we are there.
    Ping,
    /// It is there.
    Pong,
    /// Something about itself.
    News,
    /// A message for us.
    Message(Message),
}

/// The first frame in `bytes`, and its size.
fn parse(bytes: &[u8]) -> Outcome<Option<(Frame, usize)>> {
    let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
    let line = std::str::from_utf8(&bytes[..end]).map_err(|e| format!("nats-server: {e}"))?;
    let body = end + 2;
    let frame = match line.split(' ').next().unwrap_or_default() {
        "MSG" => return parse_message(line, &bytes[body..], body),
        "PING" => Frame::Ping,
        "PONG" => Frame::Pong,
        "INFO" | "+OK" => Frame::News,
        _ => return Err(format!("nats-server: {line}")),
    };
    Ok(Some((frame, body)))
}

fn parse_message(line: &str, rest: &[u8], body: usize) -> Outcome<Option<(Frame, usize)>> {
    let size = line.rsplit(' ').next().and_then(|size| size.parse::<usize>().ok());
    let size = size.ok_or_else(|| format!("nats-server: {line}"))?;
    if rest.len() < size + 2 {
        return Ok(None);
    }
    Ok(Some((Frame::Message(Message::from_bytes(&rest[..size])?), body + size + 2)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::talk::Kind;

    fn incoming(message: Message) -> Vec<u8> {
        [b"MSG bench.near 1 64\r\n".as_slice(), &message.to_bytes(), b"\r\n"].concat()
    }

    #[test]
    fn messages_are_parsed_once_they_are_whole() {
        let message = Message { kind: Kind::Echo, number: 0x0a0d, elapsed_ns: 1 };
        let bytes = incoming(message);
        for missing in 1..bytes.len() {
            assert_eq!(parse(&bytes[..bytes.len() - missing]), Ok(None));
        }
        assert_eq!(parse(&bytes), Ok(Some((Frame::Message(message), bytes.len()))));
    }

    #[test]
    fn what_follows_stays() {
        assert_eq!(parse(b"PING\r\nMSG"), Ok(Some((Frame::Ping, 6))));
        assert_eq!(parse(b"INFO {\"a\":1}\r\nPONG\r\n"), Ok(Some((Frame::News, 14))));
    }

    #[test]
    fn complaints_and_nonsense_are_errors() {
        assert!(parse(b"-ERR 'Unknown Protocol Operation'\r\n").is_err());
        assert!(parse(b"MSG bench.near 1 many\r\n").is_err());
        assert!(parse(b"MSG bench.near 1 2\r\nab\r\n").is_err());
    }
}
