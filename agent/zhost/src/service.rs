//! What a service manager is told, if there is one (systemd: `man 3 sd_notify`).

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

/// The way to the service manager.
pub struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    /// The one that started this process, if it wants to be told.
    pub fn find() -> io::Result<Option<Self>> {
        let Ok(name) = env::var("NOTIFY_SOCKET") else { return Ok(None) };
        let addr = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&addr)?;
        socket.set_nonblocking(true)?;
        Ok(Some(Self { socket }))
    }

    /// The agent answers at its ports.
    pub fn is_ready(&self) {
        self.say("READY=1");
    }

    /// The loop goes round.
    pub fn is_healthy(&self) {
        self.say("WATCHDOG=1");
    }

    /// The spaces are closed, and the agent ends.
    pub fn is_ending(&self) {
        self.say("STOPPING=1");
    }

    fn say(&self, state: &str) {
        // A manager that does not listen has its own way of finding out.
        let _ = self.socket.send(state.as_bytes());
    }
}
