//! What carries control datagrams: the network, or a serial cable that may be pulled and put back.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serialport::SerialPort;
use std::{
    fmt, fs,
    io::{self, Read, Write},
    net::{SocketAddr, UdpSocket},
    os::unix::fs::FileTypeExt,
    str::FromStr,
    thread,
    time::{Duration, Instant},
};
use zhost_control::{
    Pace,
    line::{self, LineReader},
};

/// Speed of a cable whose speed is not told.
const BAUD: u32 = 115_200;
const BAUD_MIN: u32 = 300;
const BAUD_MAX: u32 = 4_000_000;
/// How often a cable that is out is looked for.
const LOOK_PERIOD: Duration = Duration::from_millis(500);
/// How long it may be out.
const OUT_MAX: Duration = Duration::from_secs(300);

/// A serial cable: `/dev/ttyUSB0` or `/dev/ttyUSB0@9600`.
#[derive(Clone, Debug)]
pub struct Cable {
    port: String,
    baud: u32,
}

impl FromStr for Cable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (port, baud) = match text.rsplit_once('@') {
            Some((port, baud)) => match baud.parse() {
                Ok(baud @ BAUD_MIN..=BAUD_MAX) => (port, baud),
                _ => {
                    return Err(format!("{baud:?} is no speed: a number from {BAUD_MIN} to {BAUD_MAX}"));
                }
            },
            None => (text, BAUD),
        };
        if port.is_empty() {
            return Err("a serial port has a name such as /dev/ttyUSB0".into());
        }
        Ok(Self { port: port.to_owned(), baud })
    }
}

impl fmt::Display for Cable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.port)
    }
}

/// Open ways to zhosts.
pub enum Carrier {
    /// Sockets, each connected to one of the zhosts; or why there is none.
    Network(Vec<Result<UdpSocket, String>>),
    /// The cable.
    Serial { cable: Cable, port: Box<dyn SerialPort>, reader: LineReader },
}

/// What waiting for the other side came to.
pub enum Heard {
    /// A datagram of one of the zhosts.
    Datagram(usize, Vec<u8>),
    /// The cable was out, and is there again.
    LineBack,
    /// There is no way to one of them, for this reason.
    Unreachable(usize, String),
}

impl Carrier {
    /// Sockets for these zhosts.
    pub fn network(addresses: impl Iterator<Item = SocketAddr>) -> Self {
        let socket = |addr: SocketAddr| {
            let socket = UdpSocket::bind(if addr.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
            socket.connect(addr)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        Self::Network(addresses.map(|addr| socket(addr).map_err(|e| unreachable(&e))).collect())
    }

    /// The cable, opened.
    pub fn serial(cable: &Cable) -> io::Result<Self> {
        if !fs::metadata(&cable.port)?.file_type().is_char_device() {
            return Err(io::Error::other("that is no serial port"));
        }
        let port = serialport::new(&cable.port, cable.baud).open()?;
        Ok(Self::Serial { cable: cable.clone(), port, reader: LineReader::default() })
    }

    /// How sessions go over it.
    pub fn pace(&self) -> Pace {
        match self {
            Self::Network(_) => Pace::NETWORK,
            Self::Serial { .. } => Pace::SERIAL,
        }
    }

    /// Sends a datagram to one of the zhosts, or loses it; an error says that there is no way there.
    pub fn send(&mut self, zhost: usize, datagram: &[u8]) -> Result<(), String> {
        // What a full socket or a cable that is out does not take is lost, and sent again by the session.
        match self {
            Self::Network(sockets) => match sockets.get(zhost) {
                Some(Ok(socket)) => match socket.send(datagram) {
                    Err(error) if !is_pause(&error) => Err(unreachable(&error)),
                    _ => Ok(()),
                },
                Some(Err(reason)) => Err(reason.clone()),
                None => Ok(()),
            },
            Self::Serial { port, .. } => {
                drop(port.write_all(&line::frame(datagram)));
                Ok(())
            }
        }
    }

    /// Listens for at most this long.
    pub fn listen(&mut self, patience: Duration) -> io::Result<Vec<Heard>> {
        let mut buffer = [0; 2048];
        match self {
            Self::Network(sockets) => {
                wait_for_any(sockets, patience)?;
                let open =
                    sockets.iter().enumerate().filter_map(|(i, socket)| Some((i, socket.as_ref().ok()?)));
                let heard = open.filter_map(|(zhost, socket)| match socket.recv(&mut buffer) {
                    Ok(size) => Some(Heard::Datagram(zhost, buffer[..size].to_vec())),
                    Err(error) if is_pause(&error) => None,
                    Err(error) => Some(Heard::Unreachable(zhost, unreachable(&error))),
                });
                Ok(heard.collect())
            }
            Self::Serial { cable, port, reader } => {
                port.set_timeout(patience)?;
                match port.read(&mut buffer) {
                    Ok(size @ 1..) => reader.handle_bytes(&buffer[..size]),
                    Err(error) if is_pause(&error) => {}
                    Ok(_) | Err(_) => {
                        *port = wait_for(cable)?;
                        return Ok(vec![Heard::LineBack]);
                    }
                }
                // Console text of the board; whoever wants to read it uses a terminal.
                reader.take_text();
                let datagrams = std::iter::from_fn(|| reader.poll_datagram());
                Ok(datagrams.map(|datagram| Heard::Datagram(0, datagram)).collect())
            }
        }
    }
}

/// Waits until one of them has something, or for so long.
fn wait_for_any(sockets: &[Result<UdpSocket, String>], patience: Duration) -> io::Result<()> {
    let mut polled: Vec<PollFd<'_>> =
        sockets.iter().flatten().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
    let patience =
        Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: i64::from(patience.subsec_nanos()) };
    match poll(&mut polled, Some(&patience)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Why there is no way to a zhost.
fn unreachable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nobody listens there (connection refused)".into(),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            format!("this computer has no way there ({})", error.kind())
        }
        _ => error.to_string(),
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn wait_for(cable: &Cable) -> io::Result<Box<dyn SerialPort>> {
    eprintln!("zctl: {} is out; waiting for it", cable.port);
    let since = Instant::now();
    loop {
        thread::sleep(LOOK_PERIOD);
        match serialport::new(&cable.port, cable.baud).open() {
            Ok(port) => return Ok(port),
            Err(error) if since.elapsed() > OUT_MAX => return Err(error.into()),
            Err(_) => {}
        }
    }
}
