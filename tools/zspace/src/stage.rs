//! A stage: what a space sees when it is tried on a computer, without WASM and without a zhost.
//!
//! Each thread has a stage of its own, and each test its own thread, so a test puts there what its space shall find,
//! runs it, and looks what it did. A stage knows no `topology.yaml`: every path and device is taken for declared. Of other
//! spaces ([`others`]) the test says beforehand what they answer, and looks afterwards what they were asked.
//!
//! ```
//! use zspace::{Space, net, stage};
//!
//! struct Echo;
//!
//! impl Space for Echo {
//!     fn init() -> Result<Self, i32> {
//!         Ok(Self)
//!     }
//!     fn process(&mut self) -> i32 {
//!         let mut buffer = [0; 64];
//!         if let Ok(message) = net::recv_next(&mut buffer) {
//!             let _ = net::emit_to("back", message);
//!         }
//!         0
//!     }
//! }
//!
//! stage::deliver("orders", b"roses");
//! let mut echo = Echo::init().unwrap();
//! assert_eq!(echo.process(), 0);
//! assert_eq!(stage::emitted(), [("back".to_owned(), b"roses".to_vec())]);
//! ```

pub(crate) mod imports;
pub mod others;

use crate::proc::Pid;
use others::Others;
use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    string::String,
    vec::Vec,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Path = 0,
    Own = 1,
    Direct = 2,
    Call = 3,
    Exit = 4,
    Down = 5,
    ZhostDown = 6,
    NameLost = 7,
}

struct Mail {
    kind: Kind,
    path: String,
    /// Whom it came from, or tells of.
    about: Option<Pid>,
    message: Vec<u8>,
}

#[derive(Default)]
struct Stage {
    now_us: u64,
    mail: VecDeque<Mail>,
    /// The mail taken last.
    last: Option<(Kind, String, Option<Pid>)>,
    others: Others,
    /// Actuators that the space has locked.
    locked: Vec<String>,
    emitted: Vec<(String, Vec<u8>)>,
    replies: Vec<Vec<u8>>,
    /// Paths along which nobody can take anything.
    blocked: Vec<String>,
    logs: Vec<(i32, String)>,
    settings: BTreeMap<String, String>,
    secrets: BTreeMap<String, Vec<u8>>,
    argument: Vec<u8>,
    readings: BTreeMap<String, Vec<u8>>,
    commands: Vec<(String, Vec<u8>)>,
    heard: BTreeMap<String, Vec<u8>>,
    played: Vec<(String, Vec<u8>)>,
    data: BTreeMap<Vec<u8>, Vec<u8>>,
    seed: u64,
}

std::thread_local! {
    static STAGE: RefCell<Stage> = RefCell::default();
}

fn with<T>(act: impl FnOnce(&mut Stage) -> T) -> T {
    STAGE.with_borrow_mut(act)
}

/// Puts a message into the mailbox, as if it had come along that path.
pub fn deliver(path: &str, message: &[u8]) {
    put_about(Kind::Path, path, Some(others::PARTNER), message);
}

/// Puts a call into the mailbox, which the space has to take and reply to; `replies` gives what it says.
pub fn deliver_call(path: &str, message: &[u8]) {
    put_about(Kind::Call, path, Some(others::PARTNER), message);
}

/// Takes the replies that the space has given to calls.
pub fn replies() -> Vec<Vec<u8>> {
    with(|stage| std::mem::take(&mut stage.replies))
}

fn put(kind: Kind, path: &str, message: &[u8]) {
    put_about(kind, path, None, message);
}

fn put_about(kind: Kind, path: &str, about: Option<Pid>, message: &[u8]) {
    with(|stage| stage.mail.push_back(Mail { kind, path: path.into(), about, message: message.into() }));
}

/// Takes what the space has sent, with the paths along which it was.
pub fn emitted() -> Vec<(String, Vec<u8>)> {
    with(|stage| std::mem::take(&mut stage.emitted))
}

/// Whether the other end of a path takes messages; it does unless told otherwise.
pub fn set_open(path: &str, open: bool) {
    with(|stage| {
        stage.blocked.retain(|blocked| blocked != path);
        if !open {
            stage.blocked.push(path.into());
        }
    });
}

/// Takes the lines that the space has logged.
pub fn logs() -> Vec<String> {
    with(|stage| std::mem::take(&mut stage.logs)).into_iter().map(|(_, text)| text).collect()
}

/// What `config` in `topology.yaml` says.
pub fn set_config(key: &str, value: &str) {
    with(|stage| stage.settings.insert(key.into(), value.into()));
}

/// A secret that the zhost keeps.
pub fn set_secret(name: &str, secret: &[u8]) {
    with(|stage| stage.secrets.insert(name.into(), secret.into()));
}

/// What the space that spawned this one said.
pub fn set_argument(argument: &[u8]) {
    with(|stage| stage.argument = argument.into());
}

/// What a sensor says when it is read; nothing: it is not there.
pub fn set_reading(name: &str, reading: Option<&[u8]>) {
    with(|stage| match reading {
        Some(reading) => stage.readings.insert(name.into(), reading.into()),
        None => stage.readings.remove(name),
    });
}

/// Takes the commands that the space gave to actuators.
pub fn commands() -> Vec<(String, Vec<u8>)> {
    with(|stage| std::mem::take(&mut stage.commands))
}

/// What a microphone hears, until the space takes it.
pub fn set_heard(name: &str, samples: &[u8]) {
    with(|stage| stage.heard.insert(name.into(), samples.into()));
}

/// Takes what the space gave to loudspeakers.
pub fn played() -> Vec<(String, Vec<u8>)> {
    with(|stage| std::mem::take(&mut stage.played))
}

/// What the space has stored under a key.
pub fn stored(key: &[u8]) -> Option<Vec<u8>> {
    with(|stage| stage.data.get(key).cloned())
}

/// Lets time pass. It also passes when the space sleeps.
pub fn advance_ms(ms: u64) {
    with(|stage| stage.now_us += ms * 1000);
}
