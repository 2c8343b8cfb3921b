//! `sensors`, `actuators`, `audio` and `events`.

use super::{Env, Imports, SLOW_FUEL, answer, bytes, charge, name, status, wait};
use crate::{budget::COMMAND_MAX_BYTES, context::Context};
use wasmi::{Error, errors::LinkerError};
use zhost_exchange::Refusal;

/// What an import with a name and nothing else does.
type Named = fn(&mut Context, &[u8]) -> Result<(), Refusal>;
/// What an import with a name and a buffer does, given the buffer's room.
type Reads = fn(&mut Context, &[u8], usize) -> Result<Vec<u8>, Refusal>;

fn unsubscribe(context: &mut Context, name: &[u8], is_event: bool) -> Result<(), Refusal> {
    let name = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
    let found = name.is_some_and(|name| context.unsubscribe(&name, is_event));
    if found { Ok(()) } else { Err(Refusal::NotFound) }
}

pub(super) fn link(imports: &mut Imports<'_>) -> Result<(), LinkerError> {
    let named: [(&str, &str, Named); 5] = [
        ("sensors", "unsubscribe", |context, name| unsubscribe(context, name, false)),
        ("events", "subscribe", Context::event_subscribe),
        ("events", "unsubscribe", |context, name| unsubscribe(context, name, true)),
        ("actuators", "lock", Context::actuator_lock),
        ("actuators", "release", Context::actuator_release),
    ];
    for (module, function, act) in named {
        imports.func_wrap(module, function, move |mut env: Env<'_>, text: u32, size: u32| {
            let name = name(&mut env, text, size)?;
            Ok::<i32, Error>(status(act(&mut env.data_mut().context, &name)))
        })?;
    }
    let reads: [(&str, &str, Reads); 2] =
        [("sensors", "read", Context::sensor_read), ("audio", "capture", Context::audio_capture)];
    for (module, function, read) in reads {
        imports.func_wrap(
            module,
            function,
            move |mut env: Env<'_>, text: u32, size: u32, buffer: u32, room: u32| {
                let name = name(&mut env, text, size)?;
                charge(&mut env, SLOW_FUEL)?;
                let reading = read(&mut env.data_mut().context, &name, room as usize);
                answer(&mut env, reading, buffer, room)
            },
        )?;
    }
    imports.func_wrap("sensors", "subscribe", |mut env: Env<'_>, text: u32, size: u32, period_ms: u32| {
        let name = name(&mut env, text, size)?;
        charge(&mut env, SLOW_FUEL)?;
        Ok::<i32, Error>(status(env.data_mut().context.sensor_subscribe(&name, period_ms)))
    })?;
    imports.func_wrap(
        "actuators",
        "command",
        |mut env: Env<'_>, text: u32, text_size: u32, command: u32, size: u32, buffer: u32, room: u32| {
            let name = name(&mut env, text, text_size)?;
            let command = bytes(&mut env, command, size, COMMAND_MAX_BYTES)?;
            charge(&mut env, SLOW_FUEL)?;
            let asked = match command.len() > COMMAND_MAX_BYTES {
                true => Err(Refusal::TooLarge),
                false => env.data_mut().context.actuator_command(&name, command),
            };
            wait(&mut env, asked, buffer, room)
        },
    )?;
    imports.func_wrap(
        "audio",
        "play",
        |mut env: Env<'_>, text: u32, text_size: u32, samples: u32, size: u32| {
            let name = name(&mut env, text, text_size)?;
            let samples = bytes(&mut env, samples, size, COMMAND_MAX_BYTES)?;
            charge(&mut env, SLOW_FUEL)?;
            let result = match samples.len() > COMMAND_MAX_BYTES {
                true => Err(Refusal::TooLarge),
                false => env.data_mut().context.audio_play(&name, &samples),
            };
            Ok::<i32, Error>(status(result))
        },
    )?;
    Ok(())
}
