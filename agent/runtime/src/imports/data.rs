//! `data`: keys and values.

use super::{Env, Imports, SLOW_FUEL, answer, bytes, charge, status, wait};
use crate::{
    actor::{ASK_TIMEOUT, Until},
    budget::{DATA_BATCH_MAX_BYTES, DATA_KEY_MAX_BYTES, DATA_VALUE_MAX_BYTES},
};
use wasmi::{Error, errors::LinkerError};
use zhost_exchange::Refusal;

pub(super) fn link(imports: &mut Imports<'_>) -> Result<(), LinkerError> {
    imports.func_wrap(
        "data",
        "get",
        |mut env: Env<'_>, key: u32, key_size: u32, buffer: u32, room: u32| {
            let key = bytes(&mut env, key, key_size, DATA_KEY_MAX_BYTES)?;
            charge(&mut env, SLOW_FUEL)?;
            let value = env.data().context.data.get(&key);
            answer(&mut env, value, buffer, room)
        },
    )?;
    imports.func_wrap(
        "data",
        "list",
        |mut env: Env<'_>, prefix: u32, prefix_size: u32, buffer: u32, room: u32| {
            let prefix = bytes(&mut env, prefix, prefix_size, DATA_KEY_MAX_BYTES)?;
            charge(&mut env, SLOW_FUEL)?;
            let list = env.data().context.data.list(&prefix, room as usize);
            answer(&mut env, list, buffer, room)
        },
    )?;
    imports.func_wrap(
        "data",
        "put",
        |mut env: Env<'_>, key: u32, key_size: u32, value: u32, size: u32| {
            let key = bytes(&mut env, key, key_size, DATA_KEY_MAX_BYTES)?;
            let value = bytes(&mut env, value, size, DATA_VALUE_MAX_BYTES)?;
            charge(&mut env, SLOW_FUEL)?;
            Ok::<i32, Error>(status(env.data_mut().context.data.write(key, Some(value))))
        },
    )?;
    imports.func_wrap("data", "delete", |mut env: Env<'_>, key: u32, key_size: u32| {
        let key = bytes(&mut env, key, key_size, DATA_KEY_MAX_BYTES)?;
        charge(&mut env, SLOW_FUEL)?;
        Ok::<i32, Error>(status(env.data_mut().context.data.write(key, None)))
    })?;
    imports.func_wrap("data", "batch", |mut env: Env<'_>, batch: u32, size: u32| {
        let batch = bytes(&mut env, batch, size, DATA_BATCH_MAX_BYTES)?;
        if batch.len() > DATA_BATCH_MAX_BYTES {
            return Ok(Refusal::TooLarge as i32);
        }
        charge(&mut env, SLOW_FUEL)?;
        Ok::<i32, Error>(status(env.data_mut().context.data.write_batch(&batch)))
    })?;
    imports.func_wrap("data", "sync", |mut env: Env<'_>| {
        env.data_mut().context.wait(ASK_TIMEOUT, Until::Durable);
        wait(&mut env, Ok(()), 0, 0)
    })?;
    Ok(())
}
