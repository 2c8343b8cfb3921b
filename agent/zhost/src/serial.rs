//! The serial line: a tty that may come and go, read and written without ever waiting for it.

use crate::event::Event;
use smol::{
    Async, Timer,
    channel::{Receiver, Sender},
    future,
    io::{AsyncReadExt, AsyncWriteExt},
};
use std::{fs::File, io, path::PathBuf, time::Duration};

/// Frames waiting to be written; more are dropped, and sent again by whoever misses the answer.
pub const FRAMES_MAX: usize = 64;
/// Speed of a line that names none.
const BAUD: u32 = 115_200;
/// How often a line that is not there is looked for.
const RETRY: Duration = Duration::from_secs(1);
const READ_SIZE_BYTES: usize = 512;

/// Which line, and how fast.
#[derive(Clone, Debug)]
pub struct Line {
    file: PathBuf,
    baud: u32,
}

impl Line {
    /// Reads `FILE` or `FILE@BAUD`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (file, baud) = match text.split_once('@') {
            Some((file, baud)) => (file, baud.parse().map_err(|e| format!("{baud} is no speed: {e}"))?),
            None => (text, BAUD),
        };
        Ok(Self { file: file.into(), baud })
    }

    fn open(&self) -> io::Result<Async<File>> {
        Async::new_nonblocking(zhost_hal::uart::open(&self.file, self.baud)?)
    }
}

/// Reads and writes the line, and opens it anew when it went away, until nobody listens.
pub async fn attend(line: Line, outgoing: Receiver<Vec<u8>>, events: Sender<Event>) {
    let mut is_missed = false;
    loop {
        match line.open() {
            Ok(tty) => {
                is_missed = false;
                let ended = future::or(read(&tty, &events), write(&tty, &outgoing)).await;
                match ended {
                    Ok(()) => return,
                    Err(error) => log::warn!("serial line {}: {error}", line.file.display()),
                }
            }
            Err(error) if !is_missed => {
                log::warn!("serial line {}: {error}; waiting for it", line.file.display());
                is_missed = true;
            }
            Err(_) => {}
        }
        Timer::after(RETRY).await;
    }
}

async fn read(mut tty: &Async<File>, events: &Sender<Event>) -> io::Result<()> {
    let mut buffer = [0; READ_SIZE_BYTES];
    loop {
        let size = tty.read(&mut buffer).await?;
        if size == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if events.send(Event::Serial(buffer[..size].to_vec())).await.is_err() {
            return Ok(());
        }
    }
}

async fn write(mut tty: &Async<File>, outgoing: &Receiver<Vec<u8>>) -> io::Result<()> {
    while let Ok(frame) = outgoing.recv().await {
        tty.write_all(&frame).await?;
    }
    Ok(())
}
