//! The imports as the stage plays them. Pointers and sizes come from the SDK itself, of slices that it holds.
#![allow(clippy::too_many_arguments, reason = "the imports are what they are")]

use super::{
    Kind, Stage,
    others::{self, Whom},
    with,
};
use crate::{Refusal, proc::Pid};
use std::{string::String, vec::Vec};

const NOT_FOUND: i32 = -1;
const TRY_AGAIN: i32 = -2;
const TOO_LARGE: i32 = -3;
const FAILED: i32 = -5;
const TAKEN: i32 = -7;
/// Size of one message.
pub(super) const MESSAGE_MAX_BYTES: usize = 48 * 1024;

fn bytes(start: *const u8, size: usize) -> Vec<u8> {
    // SAFETY: see above.
    unsafe { core::slice::from_raw_parts(start, size) }.to_vec()
}

fn text(start: *const u8, size: usize) -> String {
    String::from_utf8_lossy(&bytes(start, size)).into_owned()
}

/// Puts bytes into a buffer; their number, or a refusal if there is no room.
fn give(buffer: *mut u8, room: usize, bytes: &[u8]) -> i32 {
    if bytes.len() > room {
        return TOO_LARGE;
    }
    // SAFETY: see above.
    unsafe { core::slice::from_raw_parts_mut(buffer, bytes.len()) }.copy_from_slice(bytes);
    bytes.len() as i32
}

fn give_found(buffer: *mut u8, room: usize, found: Option<Vec<u8>>) -> i32 {
    found.map_or(NOT_FOUND, |found| give(buffer, room, &found))
}

pub fn log(level: i32, start: *const u8, size: usize) {
    with(|stage| stage.logs.push((level, text(start, size))));
}

pub fn time_ms() -> i64 {
    now_us() / 1000
}

pub fn now_us() -> i64 {
    with(|stage| stage.now_us as i64)
}

pub fn sleep(ms: u32) {
    super::advance_ms(u64::from(ms));
}

pub fn yield_now() {}

pub fn self_emit(data: *const u8, size: usize) -> i32 {
    if size > MESSAGE_MAX_BYTES {
        return TOO_LARGE;
    }
    super::put(Kind::Own, "", &bytes(data, size));
    0
}

pub fn random(buffer: *mut u8, size: usize) {
    // Steele and Vigna's SplitMix64: the same on every stage.
    let next = |stage: &mut Stage| {
        stage.seed = stage.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (stage.seed ^ (stage.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)) as u8
    };
    let random: Vec<u8> = (0..size).map(|_| with(next)).collect();
    give(buffer, size, &random);
}

pub fn config(key: *const u8, size: usize, buffer: *mut u8, room: usize) -> i32 {
    let found = with(|stage| stage.settings.get(&text(key, size)).cloned());
    give_found(buffer, room, found.map(String::into_bytes))
}

pub fn secret(name: *const u8, size: usize, buffer: *mut u8, room: usize) -> i32 {
    give_found(buffer, room, with(|stage| stage.secrets.get(&text(name, size)).cloned()))
}

pub fn argument(buffer: *mut u8, room: usize) -> i32 {
    give(buffer, room, &with(|stage| stage.argument.clone()))
}

pub fn report(_healthy: i32, _saturation: u32, _text: *const u8, _size: usize) {}

pub fn emit_to(path: *const u8, path_size: usize, data: *const u8, size: usize) -> i32 {
    let path = text(path, path_size);
    if size > MESSAGE_MAX_BYTES {
        return TOO_LARGE;
    }
    with(|stage| {
        if stage.blocked.contains(&path) {
            return TRY_AGAIN;
        }
        stage.emitted.push((path, bytes(data, size)));
        0
    })
}

pub fn recv_next(buffer: *mut u8, room: usize) -> i32 {
    with(|stage| match stage.mail.front() {
        None => NOT_FOUND,
        Some(mail) if mail.message.len() > room => TOO_LARGE,
        Some(mail) => {
            stage.last = Some((mail.kind, mail.path.clone(), mail.about));
            let size = give(buffer, room, &mail.message);
            stage.mail.pop_front();
            size
        }
    })
}

pub fn recv_path(buffer: *mut u8, room: usize) -> i32 {
    let path = with(|stage| stage.last.clone().filter(|(kind, ..)| matches!(kind, Kind::Path | Kind::Call)));
    give_found(buffer, room, path.map(|(_, path, _)| path.into_bytes()))
}

pub fn recv_kind() -> i32 {
    with(|stage| stage.last.as_ref().map_or(NOT_FOUND, |(kind, ..)| *kind as i32))
}

pub fn sender(buffer: *mut u8) -> i32 {
    let about = with(|stage| stage.last.as_ref().and_then(|(.., about)| *about));
    give_found(buffer, 16, about.map(|pid| pid.0.to_vec()))
}

pub fn undelivered(_buffer: *mut u8, _room: usize) -> i32 {
    NOT_FOUND
}

pub fn call(
    path: *const u8,
    path_size: usize,
    data: *const u8,
    size: usize,
    ms: u32,
    reply: *mut u8,
    room: usize,
) -> i32 {
    called(Whom::Path(text(path, path_size)), bytes(data, size), ms, reply, room)
}

fn called(whom: Whom, message: Vec<u8>, ms: u32, reply: *mut u8, room: usize) -> i32 {
    if message.len() > MESSAGE_MAX_BYTES {
        return TOO_LARGE;
    }
    match others::take_answer(whom, message) {
        Some(Ok(answer)) => give(reply, room, &answer),
        Some(Err(refusal)) => refusal.code(),
        None => {
            super::advance_ms(u64::from(ms));
            Refusal::TimedOut.code()
        }
    }
}

pub fn reply(data: *const u8, size: usize) -> i32 {
    with(|stage| match stage.last.take_if(|(kind, ..)| *kind == Kind::Call) {
        Some(_) => {
            stage.replies.push(bytes(data, size));
            0
        }
        None => NOT_FOUND,
    })
}

pub fn get(key: *const u8, key_size: usize, buffer: *mut u8, room: usize) -> i32 {
    give_found(buffer, room, super::stored(&bytes(key, key_size)))
}

pub fn list(prefix: *const u8, prefix_size: usize, buffer: *mut u8, room: usize) -> i32 {
    let prefix = bytes(prefix, prefix_size);
    let mut list = Vec::new();
    for key in with(|stage| stage.data.keys().cloned().collect::<Vec<_>>()) {
        if key.starts_with(&prefix) && list.len() + 2 + key.len() <= room {
            list.extend_from_slice(&(key.len() as u16).to_le_bytes());
            list.extend_from_slice(&key);
        }
    }
    give(buffer, room, &list)
}

pub fn put(key: *const u8, key_size: usize, value: *const u8, size: usize) -> i32 {
    with(|stage| stage.data.insert(bytes(key, key_size), bytes(value, size)));
    0
}

pub fn delete(key: *const u8, key_size: usize) -> i32 {
    with(|stage| stage.data.remove(&bytes(key, key_size)));
    0
}

pub fn batch(writes: *const u8, size: usize) -> i32 {
    let writes = bytes(writes, size);
    let (mut rest, mut changes) = (&*writes, Vec::new());
    while !rest.is_empty() {
        let Some(change) = take_write(&mut rest) else { return FAILED };
        changes.push(change);
    }
    with(|stage| {
        for (key, value) in changes {
            match value {
                Some(value) => stage.data.insert(key, value),
                None => stage.data.remove(&key),
            };
        }
    });
    0
}

/// The length of the key (two bytes), the key, the length of the value (four; all ones to delete), the value.
fn take_write(rest: &mut &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let mut take = |size: usize| {
        let (taken, left) = rest.split_at_checked(size)?;
        *rest = left;
        Some(taken.to_vec())
    };
    let key_size = u16::from_le_bytes(take(2)?.try_into().ok()?);
    let key = take(usize::from(key_size))?;
    match u32::from_le_bytes(take(4)?.try_into().ok()?) {
        u32::MAX => Some((key, None)),
        size => Some((key, Some(take(size as usize)?))),
    }
}

pub fn sync() -> i32 {
    0
}

pub mod sensors {
    use super::{NOT_FOUND, give_found, text, with};

    pub fn read(name: *const u8, size: usize, buffer: *mut u8, room: usize) -> i32 {
        give_found(buffer, room, with(|stage| stage.readings.get(&text(name, size)).cloned()))
    }

    pub fn subscribe(name: *const u8, size: usize, _period_ms: u32) -> i32 {
        with(|stage| if stage.readings.contains_key(&text(name, size)) { 0 } else { NOT_FOUND })
    }

    pub fn unsubscribe(_name: *const u8, _size: usize) -> i32 {
        0
    }
}

pub mod events {
    pub fn subscribe(_name: *const u8, _size: usize) -> i32 {
        0
    }

    pub fn unsubscribe(_name: *const u8, _size: usize) -> i32 {
        0
    }
}

pub mod actuators {
    use super::{TAKEN, bytes, text, with};

    pub fn lock(name: *const u8, size: usize) -> i32 {
        with(|stage| stage.locked.push(text(name, size)));
        0
    }

    pub fn command(
        name: *const u8,
        name_size: usize,
        command: *const u8,
        size: usize,
        _buffer: *mut u8,
        _room: usize,
    ) -> i32 {
        let name = text(name, name_size);
        with(|stage| {
            if !stage.locked.contains(&name) {
                return TAKEN;
            }
            stage.commands.push((name, bytes(command, size)));
            0
        })
    }

    pub fn release(name: *const u8, size: usize) -> i32 {
        let name = text(name, size);
        with(|stage| stage.locked.retain(|locked| *locked != name));
        0
    }
}

pub mod audio {
    use super::{TRY_AGAIN, bytes, give, text, with};

    pub fn capture(name: *const u8, size: usize, buffer: *mut u8, room: usize) -> i32 {
        let name = text(name, size);
        let heard = with(|stage| stage.heard.remove(&name));
        let Some(samples) = heard else { return TRY_AGAIN };
        let taken = give(buffer, room, &samples);
        if taken < 0 {
            with(|stage| stage.heard.insert(name, samples));
        }
        taken
    }

    pub fn play(name: *const u8, name_size: usize, samples: *const u8, size: usize) -> i32 {
        with(|stage| stage.played.push((text(name, name_size), bytes(samples, size))));
        0
    }
}

/// The pid at that place.
fn pid(start: *const u8) -> Pid {
    bytes(start, 16).try_into().map_or_else(|_| Pid::default(), Pid)
}

fn status(result: Result<(), Refusal>) -> i32 {
    result.map_or_else(Refusal::code, |()| 0)
}

pub mod proc {
    use super::{NOT_FOUND, String, Vec, Whom, bytes, called, give, others, pid, status, text};

    pub fn list(buffer: *mut u8, room: usize) -> i32 {
        give(buffer, room, b"\x05\x00stage")
    }

    fn start(space: String, argument: Vec<u8>, linked: bool, place: *mut u8) -> i32 {
        others::spawn(space, argument, linked)
            .map_or_else(crate::Refusal::code, |pid| give(place, 16, &pid.0))
    }

    pub fn spawn(
        _: *const u8,
        _: usize,
        space: *const u8,
        space_size: usize,
        argument: *const u8,
        size: usize,
        place: *mut u8,
    ) -> i32 {
        start(text(space, space_size), bytes(argument, size), false, place)
    }

    pub fn spawn_link(
        _: *const u8,
        _: usize,
        space: *const u8,
        space_size: usize,
        argument: *const u8,
        size: usize,
        place: *mut u8,
    ) -> i32 {
        start(text(space, space_size), bytes(argument, size), true, place)
    }

    pub fn exit(other: *const u8, _: *const u8, _: usize) -> i32 {
        others::end(pid(other), "closed");
        0
    }

    pub fn send(to: *const u8, data: *const u8, size: usize) -> i32 {
        status(others::send(pid(to), bytes(data, size)))
    }

    pub fn unsent(_: *mut u8, _: usize) -> i32 {
        NOT_FOUND
    }

    pub fn call(to: *const u8, data: *const u8, size: usize, ms: u32, reply: *mut u8, room: usize) -> i32 {
        called(Whom::Pid(pid(to)), bytes(data, size), ms, reply, room)
    }

    pub fn link(other: *const u8) -> i32 {
        others::bind(pid(other), true)
    }

    pub fn unlink(other: *const u8) -> i32 {
        others::unbind(pid(other), true)
    }

    pub fn monitor(other: *const u8) -> i32 {
        others::bind(pid(other), false)
    }

    pub fn demonitor(other: *const u8) -> i32 {
        others::unbind(pid(other), false)
    }

    pub fn monitor_zhost(name: *const u8, size: usize) -> i32 {
        others::watch_zhost(text(name, size))
    }

    pub fn own(place: *mut u8) -> i32 {
        give(place, 16, &others::OWN.0)
    }

    pub fn trap_exits(yes: i32) {
        others::trap_exits(yes != 0);
    }
}

pub mod names {
    use super::{give, others, status, text};

    pub fn register(name: *const u8, size: usize) -> i32 {
        status(others::register(text(name, size)))
    }

    pub fn unregister(name: *const u8, size: usize) -> i32 {
        others::unregister(&text(name, size));
        0
    }

    pub fn whereis(name: *const u8, size: usize, place: *mut u8) -> i32 {
        others::whereis(&text(name, size)).map_or_else(crate::Refusal::code, |pid| give(place, 16, &pid.0))
    }
}
