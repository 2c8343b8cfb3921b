//! A TCP connection with buffers both ways, for the clients' own small protocols.

use crate::{Outcome, process::watch};
use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

const CONNECTED_WITHIN: Duration = Duration::from_secs(10);
const INCOMING_SIZE_BYTES: usize = 64 * 1024;
/// As much as clients commonly keep until they send by themselves.
const OUTGOING_SIZE_BYTES: usize = 32 * 1024;

/// A TCP connection with buffers both ways.
pub struct Stream {
    socket: TcpStream,
    patience: Option<Duration>,
    incoming: Box<[u8]>,
    start: usize,
    end: usize,
    outgoing: Vec<u8>,
}

impl Stream {
    /// Connects as soon as somebody listens.
    pub fn connect(address: SocketAddr) -> Outcome<Self> {
        let connected = watch(CONNECTED_WITHIN, || Ok(TcpStream::connect(address).ok()));
        Self::new(connected.map_err(|reason| format!("no connection with {address}: {reason}"))?)
    }

    /// Waits for one connection.
    pub fn accept(address: SocketAddr) -> Outcome<Self> {
        let accepted = TcpListener::bind(address).and_then(|listener| listener.accept());
        Self::new(accepted.map_err(|e| format!("{address}: {e}"))?.0)
    }

    fn new(socket: TcpStream) -> Outcome<Self> {
        socket.set_nodelay(true).map_err(|e| e.to_string())?;
        let incoming = vec![0; INCOMING_SIZE_BYTES].into_boxed_slice();
        Ok(Self { socket, patience: None, incoming, start: 0, end: 0, outgoing: Vec::new() })
    }

    /// Keeps bytes until they are many, or [`Stream::flush`].
    pub fn write(&mut self, bytes: &[u8]) -> Outcome {
        self.outgoing.extend_from_slice(bytes);
        if self.outgoing.len() < OUTGOING_SIZE_BYTES { Ok(()) } else { self.flush() }
    }

    /// Sends what was kept, in one system call where the system takes it all.
    pub fn flush(&mut self) -> Outcome {
        let sent = self.socket.write_all(&self.outgoing).map_err(|e| format!("sending: {e}"));
        self.outgoing.clear();
        sent
    }

    /// The next frame that `parse` finds, if one comes in time. It gives a frame and its size, or nothing
    /// while bytes are missing.
    pub fn frame<T>(
        &mut self,
        within: Duration,
        parse: impl Fn(&[u8]) -> Outcome<Option<(T, usize)>>,
    ) -> Outcome<Option<T>> {
        loop {
            if let Some((frame, size_bytes)) = parse(&self.incoming[self.start..self.end])? {
                self.start += size_bytes;
                return Ok(Some(frame));
            }
            if !self.read_more(within)? {
                return Ok(None);
            }
        }
    }

    fn read_more(&mut self, within: Duration) -> Outcome<bool> {
        if self.patience != Some(within) {
            self.socket.set_read_timeout(Some(within)).map_err(|e| e.to_string())?;
            self.patience = Some(within);
        }
        self.incoming.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        match self.socket.read(&mut self.incoming[self.end..]) {
            Ok(0) => Err("the other end closed the connection, or sent too long a frame".into()),
            Ok(size_bytes) => {
                self.end += size_bytes;
                Ok(true)
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
            Err(e) => Err(format!("receiving: {e}")),
        }
    }
}
