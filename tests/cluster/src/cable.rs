//! A serial cable between two pseudo-terminals: it flips bits, and can be pulled and put back.

use crate::Outcome;
use rustix::{
    fs::OFlags,
    io::Errno,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use std::{
    fs,
    os::{fd::OwnedFd, unix::fs::symlink},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often both ends are looked at.
const LOOK_PERIOD: Duration = Duration::from_millis(1);
/// How often an end that is full is looked at before it loses something.
const LOOKS_MAX: u32 = 20;
/// Bytes carried at each look: about 460,800 baud.
const CHUNK_SIZE_BYTES: usize = 46;

/// One end: what a program opens is the name, what comes out at the other side is read here.
struct End {
    name: PathBuf,
    pty: Option<OwnedFd>,
}

impl End {
    fn plug(&mut self) -> Outcome {
        let open = || -> Result<(OwnedFd, String), Errno> {
            let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
            grantpt(&pty)?;
            unlockpt(&pty)?;
            rustix::fs::fcntl_setfl(&pty, OFlags::NONBLOCK)?;
            let name = ptsname(&pty, Vec::new())?.to_string_lossy().into_owned();
            Ok((pty, name))
        };
        let (pty, terminal) = open().map_err(|e| format!("a pseudo-terminal: {e}"))?;
        symlink(terminal, &self.name).map_err(|e| format!("{}: {e}", self.name.display()))?;
        self.pty = Some(pty);
        Ok(())
    }

    fn pull(&mut self) {
        // Nobody finds the end any more, and who had it sees it hang up.
        let _ = fs::remove_file(&self.name);
        self.pty = None;
    }

    fn read(&self, buffer: &mut [u8]) -> usize {
        // An end that nobody has opened says EIO.
        self.pty.as_ref().map_or(0, |pty| rustix::io::read(pty, buffer).unwrap_or(0))
    }

    /// Writes what the end takes soon; the rest is lost, as on any cable without handshake lines.
    fn write(&self, mut bytes: &[u8]) {
        let mut patience = LOOKS_MAX;
        while let Some(pty) = self.pty.as_ref().filter(|_| !bytes.is_empty() && patience > 0) {
            match rustix::io::write(pty, bytes) {
                Ok(size) => bytes = &bytes[size..],
                Err(_) => {
                    patience -= 1;
                    thread::sleep(LOOK_PERIOD);
                }
            }
        }
    }
}

/// A cable that carries until it is dropped.
pub struct Cable {
    is_pulled: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Cable {
    /// Lays one between two names, the first of which can be pulled; it flips a bit every so many bytes.
    pub fn lay(laptop: &Path, board: &Path, error_every: u64) -> Outcome<Self> {
        let mut laptop = End { name: laptop.to_owned(), pty: None };
        let mut board = End { name: board.to_owned(), pty: None };
        laptop.plug()?;
        board.plug()?;
        let (is_pulled, ends) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (pulled, end) = (is_pulled.clone(), ends.clone());
        let carry = move || {
            let mut buffer = [0; CHUNK_SIZE_BYTES];
            let mut carried = 0_u64;
            while !end.load(Ordering::Relaxed) {
                match (pulled.load(Ordering::Relaxed), laptop.pty.is_some()) {
                    (true, true) => laptop.pull(),
                    (false, false) => laptop.plug().expect("a cable can be put back"),
                    _ => {}
                }
                for (from, to) in [(&laptop, &board), (&board, &laptop)] {
                    let size = from.read(&mut buffer);
                    for byte in &mut buffer[..size] {
                        carried += 1;
                        if carried.is_multiple_of(error_every) {
                            *byte ^= 1 << (carried / error_every % 8);
                        }
                    }
                    to.write(&buffer[..size]);
                }
                thread::sleep(LOOK_PERIOD);
            }
        };
        let thread = thread::Builder::new().name("cable".into()).spawn(carry).map_err(|e| e.to_string())?;
        Ok(Self { is_pulled, ends, thread: Some(thread) })
    }

    /// Pulls it, or puts it back.
    pub fn pull(&self, is_pulled: bool) {
        self.is_pulled.store(is_pulled, Ordering::Relaxed);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
