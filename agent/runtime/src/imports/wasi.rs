//! WASI preview 1 without files (<https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md>): output,
//! arguments, environment, clocks, randomness, sleeping. There are no directories, so that whatever needs one fails
//! with "bad file descriptor".

use super::{Env, Imports, Pause, Place, bytes, out_of_bounds, parts, sys::random, write};
use crate::{actor::Until, context::Context};
use std::time::Duration;
use wasmi::{Error, FuncType, Val, ValType, errors::LinkerError};

const MODULE: &str = "wasi_snapshot_preview1";
const SUCCESS: i32 = 0;
const BAD_FD: i32 = 8;
const INVALID: i32 = 28;
const ILLEGAL_SEEK: i32 = 70;
/// Buffers of one `fd_write`, and events of one `poll_oneoff`.
const VECTOR_MAX: u32 = 64;
/// Bytes of one `fd_write` that are looked at; the rest counts as written.
const WRITE_MAX_BYTES: u32 = 4096;
const SUBSCRIPTION_SIZE: u32 = 48;
const EVENT_SIZE: usize = 32;

/// Functions that need a file: their name, and their parameters, `I` being of 64 bits.
const FILE_FUNCTIONS: [(&str, &str); 31] = [
    ("fd_advise", "iIIi"),
    ("fd_allocate", "iII"),
    ("fd_datasync", "i"),
    ("fd_fdstat_set_flags", "ii"),
    ("fd_fdstat_set_rights", "iII"),
    ("fd_filestat_get", "ii"),
    ("fd_filestat_set_size", "iI"),
    ("fd_filestat_set_times", "iIIi"),
    ("fd_pread", "iiiIi"),
    ("fd_prestat_dir_name", "iii"),
    ("fd_prestat_get", "ii"),
    ("fd_pwrite", "iiiIi"),
    ("fd_readdir", "iiiIi"),
    ("fd_renumber", "ii"),
    ("fd_sync", "i"),
    ("fd_tell", "ii"),
    ("path_create_directory", "iii"),
    ("path_filestat_get", "iiiii"),
    ("path_filestat_set_times", "iiiiIIi"),
    ("path_link", "iiiiiii"),
    ("path_open", "iiiiiIIii"),
    ("path_readlink", "iiiiii"),
    ("path_remove_directory", "iii"),
    ("path_rename", "iiiiii"),
    ("path_symlink", "iiiii"),
    ("path_unlink_file", "iii"),
    ("proc_raise", "i"),
    ("sock_accept", "iii"),
    ("sock_recv", "iiiiii"),
    ("sock_send", "iiiii"),
    ("sock_shutdown", "ii"),
];

/// Functions that do something.
const OWN_FUNCTIONS: [&str; 14] = [
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_close",
    "fd_fdstat_get",
    "fd_read",
    "fd_seek",
    "fd_write",
    "poll_oneoff",
    "proc_exit",
    "random_get",
];

/// Whether there is such a function.
pub(crate) fn offers(function: &str) -> bool {
    function == "sched_yield"
        || OWN_FUNCTIONS.contains(&function)
        || FILE_FUNCTIONS.iter().any(|(name, _)| *name == function)
}

pub(super) fn link(imports: &mut Imports<'_>) -> Result<(), LinkerError> {
    for (name, parameters) in FILE_FUNCTIONS {
        let parameters = parameters.bytes().map(|p| if p == b'I' { ValType::I64 } else { ValType::I32 });
        imports.0.func_new(MODULE, name, FuncType::new(parameters, [ValType::I32]), |_, _, results| {
            results[0] = Val::I32(BAD_FD);
            Ok(())
        })?;
    }
    link_texts(imports)?;
    link_streams(imports)?;
    imports.func_wrap(MODULE, "clock_res_get", |mut env: Env<'_>, _: u32, result: u32| {
        put_u64(&mut env, result, 1000)
    })?;
    imports.func_wrap(MODULE, "clock_time_get", |mut env: Env<'_>, clock: u32, _: u64, result: u32| {
        match clock_ns(&env.data().context, clock) {
            Some(ns) => put_u64(&mut env, result, ns),
            None => Ok(INVALID),
        }
    })?;
    imports.func_wrap(MODULE, "random_get", |mut env: Env<'_>, buffer: u32, size: u32| {
        let random = random(&mut env, buffer, size)?;
        write(parts(&mut env)?.0, buffer, &random)?;
        Ok::<i32, Error>(SUCCESS)
    })?;
    imports.func_wrap(MODULE, "proc_exit", |_: Env<'_>, code: i32| -> Result<(), Error> {
        Err(Error::host(Pause::Exit(code)))
    })?;
    imports.func_wrap(MODULE, "sched_yield", |_: Env<'_>| -> Result<i32, Error> {
        Err(Error::host(Pause::Yield(Some(SUCCESS))))
    })?;
    imports.func_wrap(MODULE, "poll_oneoff", poll)?;
    Ok(())
}

/// Nanoseconds of the wall clock (since 1970, or since the start while it is not set), or of the monotonic ones.
fn clock_ns(context: &Context, clock: u32) -> Option<u64> {
    let micros = context.now.as_micros();
    match clock {
        0 => Some((context.unix_origin_ms * 1000 + micros) * 1000),
        1..=3 => Some(micros * 1000),
        _ => None,
    }
}

fn put(env: &mut Env<'_>, pointer: u32, content: &[u8]) -> Result<(), Error> {
    write(parts(env)?.0, pointer, content)
}

fn put_u64(env: &mut Env<'_>, pointer: u32, number: u64) -> Result<i32, Error> {
    put(env, pointer, &number.to_le_bytes())?;
    Ok(SUCCESS)
}

fn put_two(env: &mut Env<'_>, pointers: (u32, u32), numbers: (usize, usize)) -> Result<i32, Error> {
    put(env, pointers.0, &(numbers.0 as u32).to_le_bytes())?;
    put(env, pointers.1, &(numbers.1 as u32).to_le_bytes())?;
    Ok(SUCCESS)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The program's name, and its settings as its environment.
fn texts(context: &Context, environment: bool) -> Vec<Vec<u8>> {
    let name = || format!("{}\0", context.spec.name);
    let setting = |(key, value): &(_, String)| format!("{key}={value}\0");
    let texts: Vec<String> =
        if environment { context.spec.settings.iter().map(setting).collect() } else { vec![name()] };
    texts.into_iter().map(String::into_bytes).collect()
}

fn link_texts(imports: &mut Imports<'_>) -> Result<(), LinkerError> {
    for (get, sizes, environment) in
        [("args_get", "args_sizes_get", false), ("environ_get", "environ_sizes_get", true)]
    {
        imports.func_wrap(MODULE, sizes, move |mut env: Env<'_>, count: u32, size: u32| {
            let texts = texts(&env.data().context, environment);
            let bytes = texts.iter().map(Vec::len).sum();
            put_two(&mut env, (count, size), (texts.len(), bytes))
        })?;
        imports.func_wrap(MODULE, get, move |mut env: Env<'_>, mut list: u32, mut place: u32| {
            for text in texts(&env.data().context, environment) {
                put(&mut env, list, &place.to_le_bytes())?;
                put(&mut env, place, &text)?;
                // What was just written lies within 4 GiB, and a little more wraps into a trap.
                list = list.wrapping_add(4);
                place = place.wrapping_add(text.len() as u32);
            }
            Ok::<i32, Error>(SUCCESS)
        })?;
    }
    Ok(())
}

fn link_streams(imports: &mut Imports<'_>) -> Result<(), LinkerError> {
    imports.func_wrap(
        MODULE,
        "fd_write",
        |mut env: Env<'_>, fd: u32, vector: u32, count: u32, written: u32| {
            if !(1..=2).contains(&fd) {
                return Ok(BAD_FD);
            }
            let count = count.min(VECTOR_MAX);
            let vector = bytes(&mut env, vector, count * 8, VECTOR_MAX as usize * 8)?;
            let mut total = 0_u32;
            for buffer in vector.chunks_exact(8) {
                let (pointer, size) = u32_at(buffer, 0).zip(u32_at(buffer, 4)).ok_or_else(out_of_bounds)?;
                let text = bytes(&mut env, pointer, size, WRITE_MAX_BYTES as usize)?;
                env.data_mut().context.print(fd as usize - 1, &text);
                total = total.saturating_add(size);
            }
            put(&mut env, written, &total.to_le_bytes())?;
            Ok::<i32, Error>(SUCCESS)
        },
    )?;
    imports.func_wrap(MODULE, "fd_read", |mut env: Env<'_>, fd: u32, _: u32, _: u32, read: u32| {
        if fd != 0 {
            return Ok(BAD_FD);
        }
        put(&mut env, read, &[0; 4])?;
        Ok::<i32, Error>(SUCCESS)
    })?;
    imports.func_wrap(MODULE, "fd_close", |_: Env<'_>, fd: u32| if fd <= 2 { SUCCESS } else { BAD_FD })?;
    imports.func_wrap(
        MODULE,
        "fd_seek",
        |_: Env<'_>, fd: u32, _: i64, _: u32, _: u32| {
            if fd <= 2 { ILLEGAL_SEEK } else { BAD_FD }
        },
    )?;
    imports.func_wrap(MODULE, "fd_fdstat_get", |mut env: Env<'_>, fd: u32, result: u32| {
        if fd > 2 {
            return Ok(BAD_FD);
        }
        // A character device; append; it may be read (the input) or written (the others), and nothing else.
        let mut status = [0; 24];
        status[0] = 2;
        status[2] = 1;
        status[8] = if fd == 0 { 1 << 1 } else { 1 << 6 };
        put(&mut env, result, &status)?;
        Ok::<i32, Error>(SUCCESS)
    })?;
    Ok(())
}

/// Waits for the first of some clocks; streams are always ready.
fn poll(mut env: Env<'_>, list: u32, events: u32, count: u32, happened: u32) -> Result<i32, Error> {
    if count == 0 || count > VECTOR_MAX {
        return Ok(INVALID);
    }
    let list = bytes(&mut env, list, count * SUBSCRIPTION_SIZE, usize::MAX - 1)?;
    let mut ready = Vec::new();
    let mut sleeper: Option<(u64, u64)> = None;
    for subscription in list.chunks_exact(SUBSCRIPTION_SIZE as usize) {
        let user_data = u64_at(subscription, 0).unwrap_or(0);
        if subscription[8] != 0 {
            ready.push((user_data, subscription[8]));
            continue;
        }
        let clock = u32_at(subscription, 16).unwrap_or(0);
        let timeout = u64_at(subscription, 24).unwrap_or(0);
        let is_absolute = subscription[40] & 1 != 0;
        let Some(now) = clock_ns(&env.data().context, clock) else { return Ok(INVALID) };
        let wait = if is_absolute { timeout.saturating_sub(now) } else { timeout };
        sleeper = sleeper.into_iter().chain([(wait, user_data)]).min();
    }
    let wait = match sleeper {
        Some((wait, user_data)) if ready.is_empty() => {
            ready.push((user_data, 0));
            wait
        }
        _ => 0,
    };
    let mut place = events;
    for (user_data, kind) in &ready {
        let mut event = [0; EVENT_SIZE];
        event[..8].copy_from_slice(&user_data.to_le_bytes());
        event[10] = *kind;
        put(&mut env, place, &event)?;
        place = place.wrapping_add(EVENT_SIZE as u32);
    }
    put(&mut env, happened, &(ready.len() as u32).to_le_bytes())?;
    if wait == 0 {
        return Ok(SUCCESS);
    }
    env.data_mut().context.wait(Duration::from_nanos(wait), Until::Deadline);
    Err(Error::host(Pause::Wait(Place::default())))
}
