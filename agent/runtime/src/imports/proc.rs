//! `proc` and `names`: other spaces as actors.

use super::{Env, Imports, NAME_MAX_BYTES, answer, bytes, name, pid, status, wait};
use crate::{
    actor::{ASK_TIMEOUT, REASON_SIZE_MAX_BYTES, SPAWN_TIMEOUT},
    budget::ARGUMENT_MAX_BYTES,
};
use std::time::Duration;
use wasmi::{Error, errors::LinkerError};
use zhost_base::{Name, Pid, limits::MESSAGE_SIZE_MAX_BYTES};
use zhost_exchange::{Act, Ask, Refusal};

/// What is done to another space.
type OnPid = fn(Pid) -> Act;

const PID_SIZE: u32 = Pid::SIZE_BYTES as u32;

/// A name that others may have given themselves.
fn given_name(env: &mut Env<'_>, pointer: u32, size: u32) -> Result<Result<Name, Refusal>, Error> {
    let bytes = name(env, pointer, size)?;
    let text = std::str::from_utf8(&bytes[..bytes.len().min(NAME_MAX_BYTES)]).ok();
    Ok(text.and_then(|text| text.parse().ok()).ok_or(Refusal::NotFound))
}

pub(super) fn link(imports: &mut Imports<'_>) -> Result<(), LinkerError> {
    link_spawning(imports)?;
    link_bonds(imports)?;
    imports.func_wrap("proc", "self", |mut env: Env<'_>, buffer: u32| {
        let pid = env.data().context.pid.encode().to_vec();
        answer(&mut env, Ok(pid), buffer, PID_SIZE)
    })?;
    imports.func_wrap("proc", "list", |mut env: Env<'_>, buffer: u32, room: u32| {
        env.data_mut().context.ask(Ask::Zhosts, ASK_TIMEOUT);
        wait(&mut env, Ok(()), buffer, room)
    })?;
    imports.func_wrap("proc", "send", |mut env: Env<'_>, to: u32, data: u32, size: u32| {
        let to = pid(&mut env, to)?;
        let payload = bytes(&mut env, data, size, MESSAGE_SIZE_MAX_BYTES)?;
        Ok::<i32, Error>(status(env.data_mut().context.send_to_pid(to, &payload)))
    })?;
    imports.func_wrap("proc", "unsent", |mut env: Env<'_>, buffer: u32, room: u32| {
        let notice = env.data_mut().context.next_unsent(room as usize);
        answer(&mut env, notice, buffer, room)
    })?;
    imports.func_wrap(
        "proc",
        "call",
        |mut env: Env<'_>, to: u32, data: u32, size: u32, ms: u32, reply: u32, room: u32| {
            let to = pid(&mut env, to)?;
            let payload = bytes(&mut env, data, size, MESSAGE_SIZE_MAX_BYTES)?;
            let within = Duration::from_millis(u64::from(ms));
            let asked = env.data_mut().context.call_pid(to, payload, within);
            wait(&mut env, asked, reply, room)
        },
    )?;
    imports.func_wrap("names", "register", |mut env: Env<'_>, text: u32, size: u32| {
        let asked = given_name(&mut env, text, size)?.map(|name| {
            env.data_mut().context.ask(Ask::Register(name), ASK_TIMEOUT);
        });
        wait(&mut env, asked, 0, 0)
    })?;
    imports.func_wrap("names", "whereis", |mut env: Env<'_>, text: u32, size: u32, buffer: u32| {
        let asked = given_name(&mut env, text, size)?.map(|name| {
            env.data_mut().context.ask(Ask::Whereis(name), ASK_TIMEOUT);
        });
        wait(&mut env, asked, buffer, PID_SIZE)
    })?;
    imports.func_wrap("names", "unregister", |mut env: Env<'_>, text: u32, size: u32| {
        let name = given_name(&mut env, text, size)?;
        Ok::<i32, Error>(status(name.map(|name| env.data_mut().context.act(Act::Unregister(name)))))
    })?;
    Ok(())
}

fn link_spawning(imports: &mut Imports<'_>) -> Result<(), LinkerError> {
    for (function, link) in [("spawn", false), ("spawn_link", true)] {
        imports.func_wrap(
            "proc",
            function,
            move |mut env: Env<'_>,
                  zhost: u32,
                  zhost_size: u32,
                  space: u32,
                  space_size: u32,
                  argument: u32,
                  size: u32,
                  buffer: u32| {
                let zhost = match zhost_size {
                    0 => Ok(None),
                    size => given_name(&mut env, zhost, size)?.map(Some),
                };
                let space = given_name(&mut env, space, space_size)?;
                let argument = bytes(&mut env, argument, size, ARGUMENT_MAX_BYTES)?;
                let asked = match (zhost, space) {
                    (Ok(_), Ok(_)) if argument.len() > ARGUMENT_MAX_BYTES => Err(Refusal::TooLarge),
                    (Ok(zhost), Ok(space)) => {
                        let ask = Ask::Spawn { zhost, space, argument, link };
                        env.data_mut().context.ask(ask, SPAWN_TIMEOUT);
                        Ok(())
                    }
                    (Err(refusal), _) | (_, Err(refusal)) => Err(refusal),
                };
                wait(&mut env, asked, buffer, PID_SIZE)
            },
        )?;
    }
    Ok(())
}

fn link_bonds(imports: &mut Imports<'_>) -> Result<(), LinkerError> {
    let acts: [(&str, OnPid); 4] = [
        ("link", Act::Link),
        ("unlink", Act::Unlink),
        ("monitor", Act::Monitor),
        ("demonitor", Act::Demonitor),
    ];
    for (function, act) in acts {
        imports.func_wrap("proc", function, move |mut env: Env<'_>, other: u32| {
            let other = pid(&mut env, other)?;
            env.data_mut().context.act(act(other));
            Ok::<i32, Error>(0)
        })?;
    }
    imports.func_wrap("proc", "monitor_zhost", |mut env: Env<'_>, text: u32, size: u32| {
        let name = given_name(&mut env, text, size)?;
        Ok::<i32, Error>(status(name.map(|name| env.data_mut().context.act(Act::MonitorZhost(name)))))
    })?;
    imports.func_wrap("proc", "exit", |mut env: Env<'_>, other: u32, reason: u32, size: u32| {
        let other = pid(&mut env, other)?;
        let reason = bytes(&mut env, reason, size, REASON_SIZE_MAX_BYTES - 1)?;
        let reason = String::from_utf8_lossy(&reason).into_owned();
        env.data_mut().context.act(Act::Exit(other, reason));
        Ok::<i32, Error>(0)
    })?;
    imports.func_wrap("proc", "trap_exits", |mut env: Env<'_>, yes: i32| {
        env.data_mut().context.traps_exits = yes != 0;
    })?;
    Ok(())
}
