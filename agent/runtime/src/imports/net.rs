//! `net`: messages and calls along paths, and what is known of the mail taken last.

use super::{
    BYTES_PER_FUEL, CALL_FUEL, Env, Imports, NAME_MAX_BYTES, answer, bytes, charge, name, parts, slice,
    status, wait, write,
};
use std::time::Duration;
use wasmi::{Error, errors::LinkerError};
use zhost_base::limits::MESSAGE_SIZE_MAX_BYTES;
use zhost_exchange::Refusal;

pub(super) fn link(imports: &mut Imports<'_>) -> Result<(), LinkerError> {
    imports.func_wrap(
        "net",
        "emit_to",
        |mut env: Env<'_>, path: u32, path_size: u32, data: u32, size: u32| {
            let (memory, context) = parts(&mut env)?;
            let path = slice(memory, path, path_size, NAME_MAX_BYTES)?;
            let payload = slice(memory, data, size, MESSAGE_SIZE_MAX_BYTES)?;
            let fuel = 2 * CALL_FUEL + (path.len() + payload.len()) as u64 / BYTES_PER_FUEL;
            let status = status(context.emit_to(path, payload));
            charge(&mut env, fuel)?;
            Ok::<i32, Error>(status)
        },
    )?;
    imports.func_wrap("net", "recv_next", |mut env: Env<'_>, buffer: u32, room: u32| {
        let (memory, context) = parts(&mut env)?;
        let Some(payload) = context.mailbox.peek() else { return Ok(Refusal::NotFound as i32) };
        let size = payload.len();
        if size > room as usize {
            return Ok(Refusal::TooLarge as i32);
        }
        write(memory, buffer, payload)?;
        context.mailbox.advance();
        charge(&mut env, size as u64 / BYTES_PER_FUEL)?;
        Ok::<i32, Error>(size as i32)
    })?;
    imports.func_wrap("net", "recv_path", |mut env: Env<'_>, buffer: u32, room: u32| {
        let path = env.data().context.mailbox.label().map(|path| path.as_str().as_bytes().to_vec());
        answer(&mut env, path.ok_or(Refusal::NotFound), buffer, room)
    })?;
    imports.func_wrap("net", "recv_kind", |env: Env<'_>| {
        let kind = env.data().context.mailbox.kind();
        kind.map_or(Refusal::NotFound as i32, |kind| kind as i32)
    })?;
    imports.func_wrap("net", "sender", |mut env: Env<'_>, buffer: u32| {
        let sender = env.data().context.mailbox.sender();
        let sender = sender.map(|pid| pid.encode().to_vec()).ok_or(Refusal::NotFound);
        answer(&mut env, sender, buffer, u32::MAX)
    })?;
    imports.func_wrap("net", "undelivered", |mut env: Env<'_>, buffer: u32, room: u32| {
        let notice = env.data_mut().context.next_undelivered(room as usize);
        answer(&mut env, notice, buffer, room)
    })?;
    imports.func_wrap(
        "net",
        "call",
        |mut env: Env<'_>,
         path: u32,
         path_size: u32,
         data: u32,
         size: u32,
         ms: u32,
         reply: u32,
         room: u32| {
            let path = name(&mut env, path, path_size)?;
            let payload = bytes(&mut env, data, size, MESSAGE_SIZE_MAX_BYTES)?;
            let within = Duration::from_millis(u64::from(ms));
            let asked = env.data_mut().context.call_path(&path, payload, within);
            wait(&mut env, asked, reply, room)
        },
    )?;
    imports.func_wrap("net", "reply", |mut env: Env<'_>, data: u32, size: u32| -> Result<i32, Error> {
        let payload = bytes(&mut env, data, size, MESSAGE_SIZE_MAX_BYTES)?;
        Ok(status(env.data_mut().context.reply(payload)))
    })?;
    Ok(())
}
