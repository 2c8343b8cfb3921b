//! What carries control datagrams: the network, or a serial cable that may be pulled and put back.

use serialport::SerialPort;
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, UdpSocket},
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
            Some((port, baud)) => (port, baud.parse().map_err(|e| format!("{baud:?} is no speed: {e}"))?),
            None => (text, BAUD),
        };
        Ok(Self { port: port.to_owned(), baud })
    }
}

/// An open way to a zhost.
pub enum Carrier {
    /// A socket connected to the zhost.
    Network(UdpSocket),
    /// The cable.
    Serial { cable: Cable, port: Box<dyn SerialPort>, reader: LineReader },
}

/// What waiting for the other side came to.
pub enum Heard {
    /// Perhaps some datagrams.
    Datagrams(Vec<Vec<u8>>),
    /// The cable was out, and is there again.
    LineBack,
    /// Nobody listens there.
    Refused,
}

impl Carrier {
    /// A socket for this zhost.
    pub fn network(addr: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(if addr.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        socket.connect(addr)?;
        Ok(Self::Network(socket))
    }

    /// The cable, opened.
    pub fn serial(cable: &Cable) -> io::Result<Self> {
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

    /// Sends a datagram, or loses it.
    pub fn send(&mut self, datagram: &[u8]) {
        // What a full socket or a cable that is out does not take is lost, and sent again by the session.
        match self {
            Self::Network(socket) => drop(socket.send(datagram)),
            Self::Serial { port, .. } => drop(port.write_all(&line::frame(datagram))),
        }
    }

    /// Listens for at most this long.
    pub fn listen(&mut self, patience: Duration) -> io::Result<Heard> {
        let mut buffer = [0; 2048];
        match self {
            Self::Network(socket) => {
                socket.set_read_timeout(Some(patience))?;
                Ok(match socket.recv(&mut buffer) {
                    Ok(size) => Heard::Datagrams(vec![buffer[..size].to_vec()]),
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Heard::Refused,
                    Err(_) => Heard::Datagrams(Vec::new()),
                })
            }
            Self::Serial { cable, port, reader } => {
                port.set_timeout(patience)?;
                match port.read(&mut buffer) {
                    Ok(size @ 1..) => reader.handle_bytes(&buffer[..size]),
                    Err(error) if is_pause(&error) => {}
                    Ok(_) | Err(_) => {
                        *port = wait_for(cable)?;
                        return Ok(Heard::LineBack);
                    }
                }
                // Console text of the board; whoever wants to read it uses a terminal.
                reader.take_text();
                Ok(Heard::Datagrams(std::iter::from_fn(|| reader.poll_datagram()).collect()))
            }
        }
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
