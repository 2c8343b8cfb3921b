//! Browsers: takes their connections, reads what they ask, and writes what they are answered.

use crate::shell::{Event, Sockets};
use smol::{
    LocalExecutor, Timer,
    channel::{Receiver, Sender},
    future,
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use std::{cell::Cell, io, rc::Rc, time::Duration};
use zhost_node::WebId;
use zhost_web::{BODY_MAX_BYTES, HEAD_MAX_BYTES, Parsed, Request, Response, parse};

/// Connections at once; further ones are closed at once.
const CONNECTIONS_MAX: usize = 64;
/// Answers waiting for one browser; of a stream, further ones are left out.
const ANSWERS_MAX: usize = 16;
/// How much is written at once.
const WRITE_SIZE_BYTES: usize = 16 * 1024;
/// How long a browser may take to ask, and to take one write.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a silent stream says that it is still there.
const STILL_HERE: Duration = Duration::from_secs(15);

/// Bytes for a browser.
pub struct Answer {
    pub bytes: Vec<u8>,
    /// Whether the connection ends with them.
    pub is_last: bool,
}

/// Counts a connection for as long as it is there.
struct Counted(Rc<Cell<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Takes connections for as long as the agent runs.
pub async fn attend(sockets: Rc<Sockets>, executor: Rc<LocalExecutor<'static>>, events: Sender<Event>) {
    let Some(listener) = &sockets.web else { return };
    let open = Rc::new(Cell::new(0));
    let mut count = 0;
    loop {
        match listener.accept().await {
            Ok((stream, _)) if open.get() < CONNECTIONS_MAX => {
                count += 1;
                open.set(open.get() + 1);
                let (id, counted, events) = (WebId(count), Counted(open.clone()), events.clone());
                let task = async move {
                    // A browser that goes away in the middle is none of our business.
                    let _ = converse(id, stream, &events).await;
                    let _ = events.send(Event::Left(id)).await;
                    drop(counted);
                };
                executor.spawn(task).detach();
            }
            Ok(_) => {}
            Err(error) => {
                log::warn!("accepting a browser: {error}");
                Timer::after(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn timeout() -> io::Result<()> {
    Timer::after(PATIENCE).await;
    Err(io::ErrorKind::TimedOut.into())
}

async fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    for piece in bytes.chunks(WRITE_SIZE_BYTES) {
        future::or(stream.write_all(piece), timeout()).await?;
    }
    Ok(())
}

/// One request and its answer.
async fn converse(id: WebId, mut stream: TcpStream, events: &Sender<Event>) -> io::Result<()> {
    let late = async { timeout().await.map(|()| None) };
    let Some(request) = future::or(read_request(&mut stream), late).await? else { return Ok(()) };
    match request {
        Ok(request) => {
            let (sender, answers) = smol::channel::bounded(ANSWERS_MAX);
            if events.send(Event::Asked(id, request, sender)).await.is_ok() {
                // Who closes its side while it is answered is gone.
                let mut watched = stream.clone();
                let gone = async {
                    let mut byte = [0];
                    while watched.read(&mut byte).await? > 0 {}
                    Ok(())
                };
                future::or(answer(&mut stream, &answers), gone).await?;
            }
            Ok(())
        }
        Err(refusal) => write(&mut stream, &refusal.into_bytes(true)).await,
    }
}

async fn read_request(stream: &mut TcpStream) -> io::Result<Option<Result<Request, Response>>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1024];
    while bytes.len() <= HEAD_MAX_BYTES + BODY_MAX_BYTES {
        let size = stream.read(&mut buffer).await?;
        if size == 0 {
            break;
        }
        bytes.extend_from_slice(&buffer[..size]);
        match parse(&bytes) {
            Parsed::Partial => {}
            Parsed::Request(request) => return Ok(Some(Ok(request))),
            Parsed::Refused(status) => {
                let sentence = "This is no request that a zhost answers.";
                return Ok(Some(Err(Response::sentence(status, sentence))));
            }
        }
    }
    Ok(None)
}

async fn answer(stream: &mut TcpStream, answers: &Receiver<Answer>) -> io::Result<()> {
    // The sender goes when the node is done with this browser.
    let mut next = answers.recv().await;
    while let Ok(Answer { bytes, is_last }) = next {
        write(stream, &bytes).await?;
        if is_last {
            break;
        }
        // To a stream, a comment, which pages do not see.
        let silence = async {
            Timer::after(STILL_HERE).await;
            Ok(Answer { bytes: b":\n\n".to_vec(), is_last: false })
        };
        next = future::or(answers.recv(), silence).await;
    }
    Ok(())
}
