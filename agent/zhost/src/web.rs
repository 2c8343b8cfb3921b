//! Browsers: takes their connections, reads what they ask, and writes what they are answered.

use crate::{
    event::{Answer, Event},
    sockets::Sockets,
};
use smol::{
    LocalExecutor, Timer,
    channel::{Receiver, Sender},
    future,
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use std::{
    cell::RefCell,
    io,
    net::{IpAddr, Shutdown},
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use zhost_node::WebId;
use zhost_web::{BODY_MAX_BYTES, HEAD_MAX_BYTES, Parsed, Request, Response, parse};

/// Connections at once, fewer with few descriptors; further ones are closed at once.
pub const CONNECTIONS_MAX: usize = 64;
/// Of these, from one address.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 24;
/// Bytes taken from somebody who says more than was asked.
const DRAINED_MAX_BYTES: usize = 64 * 1024;
/// Answers waiting for one browser; of a stream, further ones are left out.
const ANSWERS_MAX: usize = 16;
/// How much is written at once.
const WRITE_SIZE_BYTES: usize = 16 * 1024;
/// How long a browser may take to ask, and to take one write.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a silent stream says that it is still there.
const STILL_HERE: Duration = Duration::from_secs(15);

/// The other ends of the connections that are there.
type Open = Rc<RefCell<Vec<IpAddr>>>;

/// Counts a connection for as long as it is there.
struct Counted(Open, IpAddr);

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.0.borrow_mut();
        if let Some(index) = open.iter().position(|addr| *addr == self.1) {
            open.swap_remove(index);
        }
    }
}

/// Nobody may keep the others out.
fn has_room(open: &[IpAddr], from: IpAddr, max: usize) -> bool {
    let of_same = open.iter().filter(|addr| **addr == from).count();
    open.len() < max && of_same < CONNECTIONS_PER_ADDRESS_MAX
}

/// Takes connections for as long as the agent runs.
pub async fn attend(
    sockets: Rc<Sockets>,
    executor: Rc<LocalExecutor<'static>>,
    events: Sender<Event>,
    max: usize,
) {
    let Some(listener) = &sockets.web else { return };
    let open = Rc::new(RefCell::new(Vec::new()));
    let mut count = 0;
    loop {
        match listener.accept().await {
            Ok((stream, from)) if has_room(&open.borrow(), from.ip(), max) => {
                count += 1;
                open.borrow_mut().push(from.ip());
                let (id, counted, events) = (WebId(count), Counted(open.clone(), from.ip()), events.clone());
                let task = async move {
                    // A browser that goes away in the middle is none of our business.
                    let _ = converse(id, stream, &events).await;
                    let _ = events.send(Event::Left(id)).await;
                    drop(counted);
                };
                executor.spawn(task).detach();
            }
            Ok(_) => future::yield_now().await,
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
                // Who closes its side while it is answered is gone, and who goes on talking is no browser.
                let mut watched = stream.clone();
                let gone = async { drain(&mut watched).await };
                future::or(answer(&mut stream, &answers), gone).await?;
            }
            Ok(())
        }
        Err(refusal) => {
            write(&mut stream, &refusal.into_bytes(true)).await?;
            stream.shutdown(Shutdown::Write)?;
            // A connection that is closed with bytes unread is reset, and the refusal lost.
            future::or(drain(&mut stream), timeout()).await
        }
    }
}

/// Takes what still comes, up to a limit, until the other side closes.
async fn drain(stream: &mut TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    let mut left = DRAINED_MAX_BYTES;
    while left > 0 {
        match stream.read(&mut buffer).await? {
            0 => break,
            size => left = left.saturating_sub(size),
        }
        future::yield_now().await;
    }
    Ok(())
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
    while let Ok(Answer { bytes, content, is_last }) = next {
        write(stream, &bytes).await?;
        write(stream, &content).await?;
        if is_last {
            break;
        }
        // To a stream, a comment, which pages do not see.
        let silence = async {
            Timer::after(STILL_HERE).await;
            Ok(Answer { bytes: b":\n\n".to_vec(), content: Arc::default(), is_last: false })
        };
        next = future::or(answers.recv(), silence).await;
    }
    Ok(())
}
