//! `sys`: log, time, sleep, randomness, what the package and the zhost tell the guest.

use super::{Env, Imports, Pause, answer, bytes, name, parts, slice, status};
use crate::{budget::SLEEP_FOREVER_MS, context::Rest};
use std::time::Duration;
use wasmi::{Error, errors::LinkerError};
use zhost_base::limits;
use zhost_exchange::{LogLevel, Report};

/// Most random bytes of one call; a trap beyond.
pub(super) const RANDOM_MAX_BYTES: usize = 4096;

pub(super) fn link(imports: &mut Imports<'_>) -> Result<(), LinkerError> {
    imports.func_wrap(
        "sys",
        "log",
        |mut env: Env<'_>, level: i32, text: u32, size: u32| -> Result<(), Error> {
            let text = bytes(&mut env, text, size, limits::LOG_LINE_SIZE_MAX_BYTES)?;
            env.data_mut().context.log(LogLevel::from_number(level), &text);
            Ok(())
        },
    )?;
    imports.func_wrap("sys", "time_ms", |env: Env<'_>| env.data().context.unix_ms() as i64)?;
    imports.func_wrap("sys", "now_us", |env: Env<'_>| env.data().context.now.as_micros() as i64)?;
    imports.func_wrap("sys", "sleep", |mut env: Env<'_>, ms: u32| {
        let context = &mut env.data_mut().context;
        context.rest = Some(match ms {
            SLEEP_FOREVER_MS => Rest::UntilCalled,
            ms => Rest::Until(context.now + Duration::from_millis(u64::from(ms))),
        });
    })?;
    imports.func_wrap("sys", "yield", |_: Env<'_>| -> Result<(), Error> {
        Err(Error::host(Pause::Yield(None)))
    })?;
    imports.func_wrap(
        "sys",
        "self_emit",
        |mut env: Env<'_>, data: u32, size: u32| -> Result<i32, Error> {
            let payload = bytes(&mut env, data, size, limits::MESSAGE_SIZE_MAX_BYTES)?;
            Ok(status(env.data_mut().context.self_emit(&payload)))
        },
    )?;
    imports.func_wrap("sys", "random", |mut env: Env<'_>, buffer: u32, size: u32| -> Result<(), Error> {
        let random = random(&mut env, buffer, size)?;
        answer(&mut env, Ok(random), buffer, size).map(drop)
    })?;
    imports.func_wrap("sys", "config", |mut env: Env<'_>, key: u32, size: u32, buffer: u32, room: u32| {
        let key = name(&mut env, key, size)?;
        let setting = env.data().context.setting(&key);
        answer(&mut env, setting, buffer, room)
    })?;
    imports.func_wrap("sys", "secret", |mut env: Env<'_>, key: u32, size: u32, buffer: u32, room: u32| {
        let key = name(&mut env, key, size)?;
        let secret = env.data().context.secret(&key);
        answer(&mut env, secret, buffer, room)
    })?;
    imports.func_wrap("sys", "argument", |mut env: Env<'_>, buffer: u32, room: u32| {
        let argument = env.data().context.argument.clone();
        answer(&mut env, Ok(argument), buffer, room)
    })?;
    imports.func_wrap(
        "sys",
        "report",
        |mut env: Env<'_>, healthy: i32, saturation: u32, text: u32, size: u32| -> Result<(), Error> {
            let (memory, context) = parts(&mut env)?;
            let text = slice(memory, text, size, limits::LOG_LINE_SIZE_MAX_BYTES - 1)?;
            context.report = Some(Report {
                healthy: healthy != 0,
                saturation_percent: saturation.min(100) as u8,
                text: String::from_utf8_lossy(text).into_owned(),
            });
            Ok(())
        },
    )?;
    Ok(())
}

/// As much randomness as a buffer holds, which must not be too much.
pub(super) fn random(env: &mut Env<'_>, buffer: u32, size: u32) -> Result<Vec<u8>, Error> {
    let mut random = bytes(env, buffer, size, RANDOM_MAX_BYTES)?;
    if random.len() > RANDOM_MAX_BYTES {
        return Err(Error::new("at most 4096 random bytes are given at once"));
    }
    env.data_mut().context.rng.fill(&mut random);
    Ok(random)
}
