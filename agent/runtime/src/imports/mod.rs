//! What guests can call, module by module; [`crate::abi`] says which capability unlocks what.

mod contained;
mod data;
mod hardware;
mod net;
mod proc;
mod sys;
mod wasi;

use crate::{context::Context, wasmi_engine::Host};
use contained::Imports;
use std::fmt;
use wasmi::{
    Caller, Error, Linker, TrapCode,
    errors::{HostError, LinkerError},
};
use zhost_base::Pid;
use zhost_exchange::Refusal;

/// What a host call costs beside its bytes.
const CALL_FUEL: u64 = 100;
/// What a look into the store, or at a device, costs.
const SLOW_FUEL: u64 = 20_000;
/// Bytes copied for one unit of fuel.
const BYTES_PER_FUEL: u64 = 8;
/// Longest path, sensor or space name that is looked at.
const NAME_MAX_BYTES: usize = 64;

pub(crate) type Env<'a> = Caller<'a, Host>;

/// How an import leaves the guest, to come back later or never.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pause {
    /// Others have a turn; then the import returns this.
    Yield(Option<i32>),
    /// The guest waits for an answer, which belongs there.
    Wait(Place),
    /// The guest wants to end with this code.
    Exit(i32),
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pause")
    }
}

impl HostError for Pause {}

/// A guest's buffer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    pub pointer: u32,
    pub room: u32,
}

impl Place {
    /// Hands an answer to the buffer if it fits; gives what the import returns.
    pub fn fill(self, memory: &mut [u8], answer: Result<Vec<u8>, Refusal>) -> i32 {
        match answer {
            Ok(content) if content.len() > self.room as usize => Refusal::TooLarge as i32,
            Ok(content) => match write(memory, self.pointer, &content) {
                Ok(()) => content.len() as i32,
                // It was checked when the guest began to wait, and memories do not shrink.
                Err(_) => Refusal::Failed as i32,
            },
            Err(refusal) => refusal as i32,
        }
    }
}

/// Whether WASI has such a function.
pub(crate) fn offers_wasi(function: &str) -> bool {
    wasi::offers(function)
}

/// Makes all imports known.
pub(crate) fn link(linker: &mut Linker<Host>) -> Result<(), LinkerError> {
    let imports = &mut Imports(linker);
    sys::link(imports)?;
    net::link(imports)?;
    proc::link(imports)?;
    data::link(imports)?;
    hardware::link(imports)?;
    wasi::link(imports)
}

fn out_of_bounds() -> Error {
    Error::from(TrapCode::MemoryOutOfBounds)
}

/// The guest's memory and its context.
fn parts<'a>(env: &'a mut Env<'_>) -> Result<(&'a mut [u8], &'a mut Context), Error> {
    let memory = env.data().memory.ok_or_else(out_of_bounds)?;
    let (bytes, host) = memory.data_and_store_mut(env);
    Ok((bytes, &mut host.context))
}

/// The bytes at `pointer`, of which at most `max` and one more are given: enough to see that it is too much.
fn slice(memory: &[u8], pointer: u32, size: u32, max: usize) -> Result<&[u8], Error> {
    let start = pointer as usize;
    let whole = memory.get(start..start.saturating_add(size as usize)).ok_or_else(out_of_bounds)?;
    Ok(&whole[..whole.len().min(max + 1)])
}

/// Takes fuel for work done outside of the guest: without fuel left, the guest has to wait for its next slice.
fn charge(env: &mut Env<'_>, fuel: u64) -> Result<(), Error> {
    let left = env.get_fuel()?.saturating_sub(fuel);
    env.set_fuel(left)
}

/// A copy of a [`slice`] of the guest's memory.
fn bytes(env: &mut Env<'_>, pointer: u32, size: u32, max: usize) -> Result<Vec<u8>, Error> {
    let copied = slice(parts(env)?.0, pointer, size, max)?.to_vec();
    charge(env, CALL_FUEL + copied.len() as u64 / BYTES_PER_FUEL)?;
    Ok(copied)
}

/// A name in the guest's memory.
fn name(env: &mut Env<'_>, pointer: u32, size: u32) -> Result<Vec<u8>, Error> {
    bytes(env, pointer, size, NAME_MAX_BYTES)
}

/// A pid in the guest's memory.
fn pid(env: &mut Env<'_>, pointer: u32) -> Result<Pid, Error> {
    let bytes = bytes(env, pointer, Pid::SIZE_BYTES as u32, Pid::SIZE_BYTES)?;
    Pid::decode(&bytes).ok_or_else(out_of_bounds)
}

fn write(memory: &mut [u8], pointer: u32, content: &[u8]) -> Result<(), Error> {
    let place = memory.get_mut(pointer as usize..).and_then(|rest| rest.get_mut(..content.len()));
    place.ok_or_else(out_of_bounds)?.copy_from_slice(content);
    Ok(())
}

/// Hands `result` to the guest's buffer, if it fits, and gives its size or the refusal.
fn answer(
    env: &mut Env<'_>,
    result: Result<Vec<u8>, Refusal>,
    pointer: u32,
    room: u32,
) -> Result<i32, Error> {
    match result {
        Ok(content) if content.len() > room as usize => Ok(Refusal::TooLarge as i32),
        Ok(content) => {
            write(parts(env)?.0, pointer, &content)?;
            charge(env, content.len() as u64 / BYTES_PER_FUEL)?;
            Ok(content.len() as i32)
        }
        Err(refusal) => Ok(refusal as i32),
    }
}

fn status(result: Result<(), Refusal>) -> i32 {
    result.map_or_else(|refusal| refusal as i32, |()| 0)
}

/// Makes the guest wait if its question was accepted; the answer belongs into this buffer.
fn wait(env: &mut Env<'_>, asked: Result<(), Refusal>, pointer: u32, room: u32) -> Result<i32, Error> {
    slice(parts(env)?.0, pointer, room, 0)?;
    match asked {
        Ok(()) => Err(Error::host(Pause::Wait(Place { pointer, room }))),
        Err(refusal) => Ok(refusal as i32),
    }
}
