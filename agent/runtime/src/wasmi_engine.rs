//! The interpreter on wasmi: validated, fuel-metered, suspended and resumed at will.

use crate::{
    abi,
    budget::{DATA_KEY_MAX_BYTES, DATA_VALUE_MAX_BYTES},
    context::{Context, LogLevel, Refusal},
    interpreter::{Export, Guest, Interpreter, LoadError, Step},
};
use std::fmt;
use wasmi::{
    Caller, CompilationMode, Config, Engine, Error, ExternType, Func, Instance, Linker, Memory, Module,
    ResumableCall, ResumableCallHostTrap, ResumableCallOutOfFuel, Store, TrapCode, Val, ValType,
    errors::{HostError, LinkerError},
};
use wasmi_core::{LimiterError, ResourceLimiter};
use zhost_base::{SpaceSpec, limits};

const RECURSION_MAX: usize = 512;
const STACK_MAX_BYTES: usize = 256 * 1024;
/// What a host call costs beside its bytes.
const CALL_FUEL: u64 = 100;
/// What a look into the store costs.
const STORE_FUEL: u64 = 20_000;
/// Bytes copied for one unit of fuel.
const BYTES_PER_FUEL: u64 = 8;
/// Longest path, sensor or prefix name that is looked at.
const NAME_MAX_BYTES: usize = 64;
/// Most random bytes of one call; a trap beyond.
const RANDOM_MAX_BYTES: usize = 4096;

/// The interpreter; each guest gets an engine of its own, since wasmi frees code only with its engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wasmi;

fn engine() -> Engine {
    let mut config = Config::default();
    config
        .consume_fuel(true)
        .compilation_mode(CompilationMode::Eager)
        .set_max_recursion_depth(RECURSION_MAX)
        .set_max_stack_height(STACK_MAX_BYTES)
        .set_max_cached_stacks(1)
        .wasm_tail_call(false)
        .wasm_multi_memory(false)
        .allow_start_fn(false)
        .ignore_custom_sections(true);
    Engine::new(&config)
}

fn invalid(error: &impl fmt::Display) -> LoadError {
    let text: String = error.to_string();
    LoadError::Invalid(text.lines().next().unwrap_or_default().chars().take(200).collect())
}

impl Interpreter for Wasmi {
    fn check(&self, wasm: &[u8], space: &SpaceSpec, has_path: bool) -> Result<(), LoadError> {
        let module = Module::new(&engine(), wasm).map_err(|e| invalid(&e))?;
        for import in module.imports() {
            abi::check_import(import.module(), import.name(), space, has_path)?;
        }
        let is_call = |export: Export| match module.get_export(export.name()) {
            None => Some(false),
            Some(ExternType::Func(ty)) if ty.params().is_empty() && ty.results() == [ValType::I32] => {
                Some(true)
            }
            Some(_) => None,
        };
        for export in [Export::OnInit, Export::OnProcess, Export::OnClose] {
            match is_call(export) {
                None => {
                    return Err(LoadError::Export(format!(
                        "its export {} is not a function () -> i32",
                        export.name()
                    )));
                }
                Some(false) if export == Export::OnProcess => {
                    return Err(LoadError::Export("it does not export on_process".into()));
                }
                Some(_) => {}
            }
        }
        match module.get_export("memory") {
            Some(ExternType::Memory(memory))
                if memory.minimum().saturating_mul(65_536) <= u64::from(space.memory_bytes) =>
            {
                Ok(())
            }
            Some(ExternType::Memory(_)) => Err(LoadError::Export(format!(
                "it needs more memory to start than its resources.memoryKiB of {}",
                space.memory_bytes / 1024
            ))),
            _ => Err(LoadError::Export("it does not export its memory as `memory`".into())),
        }
    }

    fn instantiate(
        &self,
        wasm: &[u8],
        context: Context,
        memory_bytes: u32,
    ) -> Result<Box<dyn Guest>, LoadError> {
        let engine = engine();
        let module = Module::new(&engine, wasm).map_err(|e| invalid(&e))?;
        let mut linker = Linker::new(&engine);
        link_imports(&mut linker).map_err(|e| invalid(&e))?;
        let limiter = Limiter { memory_bytes_max: memory_bytes as usize, tables_fixed: false };
        let mut store = Store::new(&engine, Host { context, limiter, memory: None });
        store.limiter(|host| &mut host.limiter);
        let instance = linker.instantiate_and_start(&mut store, &module).map_err(|e| invalid(&e))?;
        let memory = instance.get_memory(&store, "memory");
        let host = store.data_mut();
        host.limiter.tables_fixed = true;
        host.memory = memory;
        Ok(Box::new(WasmiGuest { store, instance, call: Call::None, result: [Val::I32(0)] }))
    }
}

/// What imports act on.
struct Host {
    context: Context,
    limiter: Limiter,
    /// The guest's memory, once it is instantiated.
    memory: Option<Memory>,
}

/// Bounds on memory and tables; tables may not grow once the guest exists, since wasmi 2.0 does not resume a
/// `table.grow` that ran out of fuel where it was.
struct Limiter {
    memory_bytes_max: usize,
    tables_fixed: bool,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> Result<bool, LimiterError> {
        Ok(desired <= self.memory_bytes_max)
    }
    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> Result<bool, LimiterError> {
        Ok(!self.tables_fixed && desired <= crate::budget::TABLE_ENTRIES_MAX)
    }
    fn instances(&self) -> usize {
        1
    }
    fn tables(&self) -> usize {
        4
    }
    fn memories(&self) -> usize {
        1
    }
}

enum Call {
    None,
    Fresh(Func),
    OutOfFuel(ResumableCallOutOfFuel),
    Yielded(ResumableCallHostTrap),
}

struct WasmiGuest {
    store: Store<Host>,
    instance: Instance,
    call: Call,
    result: [Val; 1],
}

impl Guest for WasmiGuest {
    fn call(&mut self, export: Export) -> bool {
        match self.instance.get_func(&self.store, export.name()) {
            Some(function) => {
                self.call = Call::Fresh(function);
                true
            }
            None => false,
        }
    }

    fn run(&mut self, fuel: u64) -> (Step, u64) {
        let required = if let Call::OutOfFuel(call) = &self.call { call.required_fuel() } else { 0 };
        let granted = fuel.max(required);
        let outcome =
            self.store.set_fuel(granted).and_then(|()| match std::mem::replace(&mut self.call, Call::None) {
                Call::None => Ok(ResumableCall::Finished),
                Call::Fresh(function) => function.call_resumable(&mut self.store, &[], &mut self.result),
                Call::OutOfFuel(call) => call.resume(&mut self.store, &mut self.result),
                Call::Yielded(call) => call.resume(&mut self.store, &[], &mut self.result),
            });
        let step = match outcome {
            Ok(ResumableCall::Finished) => Step::Returned(self.result[0].i32().unwrap_or(0)),
            Ok(ResumableCall::OutOfFuel(call)) => {
                self.call = Call::OutOfFuel(call);
                Step::Preempted
            }
            Ok(ResumableCall::HostTrap(call)) if call.host_error().downcast_ref::<Yield>().is_some() => {
                self.call = Call::Yielded(call);
                Step::Preempted
            }
            Ok(ResumableCall::HostTrap(call)) => Step::Trapped(call.into_host_error().to_string()),
            Err(error) => Step::Trapped(error.to_string()),
        };
        (step, granted - self.store.get_fuel().unwrap_or(0).min(granted))
    }

    fn context(&mut self) -> &mut Context {
        &mut self.store.data_mut().context
    }
}

/// How `sys.yield` leaves the guest.
#[derive(Debug)]
struct Yield;

impl fmt::Display for Yield {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("yield")
    }
}

impl HostError for Yield {}

type Env<'a> = Caller<'a, Host>;

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

fn link_imports(linker: &mut Linker<Host>) -> Result<(), LinkerError> {
    link_sys(linker)?;
    link_net(linker)?;
    link_data(linker)?;
    linker.func_wrap(
        "sensors",
        "read",
        |mut env: Env<'_>, name: u32, size: u32, buffer: u32, room: u32| {
            let name = bytes(&mut env, name, size, NAME_MAX_BYTES)?;
            let reading = env.data_mut().context.sensor_read(&name);
            answer(&mut env, reading, buffer, room)
        },
    )?;
    Ok(())
}

fn link_sys(linker: &mut Linker<Host>) -> Result<(), LinkerError> {
    linker.func_wrap(
        "sys",
        "log",
        |mut env: Env<'_>, level: i32, text: u32, size: u32| -> Result<(), Error> {
            let text = bytes(&mut env, text, size, limits::LOG_LINE_SIZE_MAX_BYTES)?;
            env.data_mut().context.log(LogLevel::from_number(level), &text);
            Ok(())
        },
    )?;
    linker.func_wrap("sys", "time_ms", |env: Env<'_>| env.data().context.unix_ms() as i64)?;
    linker.func_wrap("sys", "now_us", |env: Env<'_>| env.data().context.now.as_micros() as i64)?;
    linker.func_wrap("sys", "sleep", |mut env: Env<'_>, ms: u32| {
        let until = env.data().context.now + std::time::Duration::from_millis(u64::from(ms));
        env.data_mut().context.sleep_until = Some(until);
    })?;
    linker.func_wrap("sys", "yield", |_: Env<'_>| -> Result<(), Error> { Err(Error::host(Yield)) })?;
    linker.func_wrap("sys", "self_emit", |mut env: Env<'_>, data: u32, size: u32| -> Result<i32, Error> {
        let payload = bytes(&mut env, data, size, limits::MESSAGE_SIZE_MAX_BYTES)?;
        Ok(status(env.data_mut().context.self_emit(&payload)))
    })?;
    linker.func_wrap("sys", "random", |mut env: Env<'_>, buffer: u32, size: u32| -> Result<(), Error> {
        let mut random = bytes(&mut env, buffer, size, RANDOM_MAX_BYTES)?;
        if random.len() > RANDOM_MAX_BYTES {
            return Err(Error::new("sys.random gives at most 4096 bytes at once"));
        }
        env.data_mut().context.rng.fill(&mut random);
        answer(&mut env, Ok(random), buffer, size).map(drop)
    })?;
    Ok(())
}

fn link_net(linker: &mut Linker<Host>) -> Result<(), LinkerError> {
    linker.func_wrap(
        "net",
        "emit_to",
        |mut env: Env<'_>, path: u32, path_size: u32, data: u32, size: u32| {
            let (memory, context) = parts(&mut env)?;
            let path = slice(memory, path, path_size, NAME_MAX_BYTES)?;
            let payload = slice(memory, data, size, limits::MESSAGE_SIZE_MAX_BYTES)?;
            let fuel = 2 * CALL_FUEL + (path.len() + payload.len()) as u64 / BYTES_PER_FUEL;
            let status = status(context.emit_to(path, payload));
            charge(&mut env, fuel)?;
            Ok::<i32, Error>(status)
        },
    )?;
    linker.func_wrap("net", "recv_next", |mut env: Env<'_>, buffer: u32, room: u32| {
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
    linker.func_wrap("net", "recv_path", |mut env: Env<'_>, buffer: u32, room: u32| {
        let path = env.data().context.mailbox.path().map(|path| path.as_str().as_bytes().to_vec());
        answer(&mut env, path.ok_or(Refusal::NotFound), buffer, room)
    })?;
    linker.func_wrap("net", "undelivered", |mut env: Env<'_>, buffer: u32, room: u32| {
        let notice = env.data_mut().context.next_undelivered();
        answer(&mut env, notice, buffer, room)
    })?;
    Ok(())
}

fn link_data(linker: &mut Linker<Host>) -> Result<(), LinkerError> {
    linker.func_wrap(
        "data",
        "get",
        |mut env: Env<'_>, key: u32, key_size: u32, buffer: u32, room: u32| {
            let key = bytes(&mut env, key, key_size, DATA_KEY_MAX_BYTES)?;
            charge(&mut env, STORE_FUEL)?;
            let value = env.data().context.data_get(&key);
            answer(&mut env, value, buffer, room)
        },
    )?;
    linker.func_wrap(
        "data",
        "list",
        |mut env: Env<'_>, prefix: u32, prefix_size: u32, buffer: u32, room: u32| {
            let prefix = bytes(&mut env, prefix, prefix_size, DATA_KEY_MAX_BYTES)?;
            charge(&mut env, STORE_FUEL)?;
            let list = env.data().context.data_list(&prefix, room as usize);
            answer(&mut env, list, buffer, room)
        },
    )?;
    linker.func_wrap("data", "put", |mut env: Env<'_>, key: u32, key_size: u32, value: u32, size: u32| {
        let key = bytes(&mut env, key, key_size, DATA_KEY_MAX_BYTES)?;
        let value = bytes(&mut env, value, size, DATA_VALUE_MAX_BYTES)?;
        Ok::<i32, Error>(status(env.data_mut().context.data_write(key, Some(value))))
    })?;
    linker.func_wrap("data", "delete", |mut env: Env<'_>, key: u32, key_size: u32| {
        let key = bytes(&mut env, key, key_size, DATA_KEY_MAX_BYTES)?;
        Ok::<i32, Error>(status(env.data_mut().context.data_write(key, None)))
    })?;
    Ok(())
}
