//! The interpreter on wasmi: validated, fuel-metered, suspended and resumed at will.

use crate::{
    abi,
    context::{Context, Limiter, LogLevel, Refusal},
    interpreter::{Export, Guest, Interpreter, LoadError, Step},
};
use std::fmt;
use wasmi::{
    AsContext, Caller, CompilationMode, Config, Engine, Error, Extern, ExternType, Func, Instance, Linker,
    Memory, Module, ResumableCall, ResumableCallHostTrap, ResumableCallOutOfFuel, Store, TrapCode, Val,
    ValType,
    errors::{HostError, LinkerError},
};
use wasmi_core::{LimiterError, ResourceLimiter};
use zhost_base::SpaceSpec;

const RECURSION_MAX: usize = 512;
const STACK_MAX_BYTES: usize = 256 * 1024;

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
        mut context: Context,
        memory_bytes: u32,
    ) -> Result<Box<dyn Guest>, LoadError> {
        let engine = engine();
        let module = Module::new(&engine, wasm).map_err(|e| invalid(&e))?;
        let mut linker = Linker::new(&engine);
        link_imports(&mut linker).map_err(|e| invalid(&e))?;
        context.limiter = Limiter { memory_bytes_max: memory_bytes as usize, tables_fixed: false };
        let mut store = Store::new(&engine, context);
        store.limiter(|context| &mut context.limiter);
        let instance = linker.instantiate_and_start(&mut store, &module).map_err(|e| invalid(&e))?;
        store.data_mut().limiter.tables_fixed = true;
        Ok(Box::new(WasmiGuest { store, instance, call: Call::None, result: [Val::I32(0)] }))
    }
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
    store: Store<Context>,
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

    fn run(&mut self, fuel: u64) -> Step {
        let required = if let Call::OutOfFuel(call) = &self.call { call.required_fuel() } else { 0 };
        let outcome = self.store.set_fuel(fuel.max(required)).and_then(|()| {
            match std::mem::replace(&mut self.call, Call::None) {
                Call::None => Ok(ResumableCall::Finished),
                Call::Fresh(function) => function.call_resumable(&mut self.store, &[], &mut self.result),
                Call::OutOfFuel(call) => call.resume(&mut self.store, &mut self.result),
                Call::Yielded(call) => call.resume(&mut self.store, &[], &mut self.result),
            }
        });
        match outcome {
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
        }
    }

    fn memory_bytes(&self) -> usize {
        let memory = self.instance.get_export(&self.store, "memory").and_then(Extern::into_memory);
        memory.map_or(0, |memory| memory.data(&self.store).len())
    }

    fn context(&mut self) -> &mut Context {
        self.store.data_mut()
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

type Env<'a> = Caller<'a, Context>;

fn memory(env: &Env<'_>) -> Result<Memory, Error> {
    env.get_export("memory")
        .and_then(Extern::into_memory)
        .ok_or_else(|| Error::from(TrapCode::MemoryOutOfBounds))
}

/// The guest's bytes at `pointer`.
fn bytes(env: &Env<'_>, pointer: u32, size: u32) -> Result<Vec<u8>, Error> {
    let memory = memory(env)?;
    let data = memory.data(env.as_context());
    let range = pointer as usize..(pointer as usize).saturating_add(size as usize);
    data.get(range).map(<[u8]>::to_vec).ok_or_else(|| TrapCode::MemoryOutOfBounds.into())
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
            memory(env)?
                .write(env, pointer as usize, &content)
                .map_err(|_| Error::from(TrapCode::MemoryOutOfBounds))?;
            Ok(content.len() as i32)
        }
        Err(refusal) => Ok(refusal as i32),
    }
}

fn status(result: Result<(), Refusal>) -> i32 {
    result.map_or_else(|refusal| refusal as i32, |()| 0)
}

fn link_imports(linker: &mut Linker<Context>) -> Result<(), LinkerError> {
    link_sys(linker)?;
    link_net(linker)?;
    link_data(linker)?;
    linker.func_wrap(
        "sensors",
        "read",
        |mut env: Env<'_>, name: u32, size: u32, buffer: u32, room: u32| {
            let name = bytes(&env, name, size)?;
            let reading = env.data_mut().sensor_read(&name);
            answer(&mut env, reading, buffer, room)
        },
    )?;
    Ok(())
}

fn link_sys(linker: &mut Linker<Context>) -> Result<(), LinkerError> {
    linker.func_wrap(
        "sys",
        "log",
        |mut env: Env<'_>, level: i32, text: u32, size: u32| -> Result<(), Error> {
            let text = bytes(&env, text, size)?;
            env.data_mut().log(LogLevel::from_number(level), &text);
            Ok(())
        },
    )?;
    linker.func_wrap("sys", "time_ms", |env: Env<'_>| env.data().unix_ms() as i64)?;
    linker.func_wrap("sys", "now_us", |env: Env<'_>| env.data().now.as_micros() as i64)?;
    linker.func_wrap("sys", "sleep", |mut env: Env<'_>, ms: u32| {
        let until = env.data().now + std::time::Duration::from_millis(u64::from(ms));
        env.data_mut().sleep_until = Some(until);
    })?;
    linker.func_wrap("sys", "yield", |_: Env<'_>| -> Result<(), Error> { Err(Error::host(Yield)) })?;
    linker.func_wrap("sys", "self_emit", |mut env: Env<'_>, data: u32, size: u32| -> Result<i32, Error> {
        let payload = bytes(&env, data, size)?;
        Ok(status(env.data_mut().self_emit(payload)))
    })?;
    linker.func_wrap("sys", "random", |mut env: Env<'_>, buffer: u32, size: u32| -> Result<(), Error> {
        let mut random = bytes(&env, buffer, size)?;
        env.data_mut().rng.fill(&mut random);
        answer(&mut env, Ok(random), buffer, size).map(drop)
    })?;
    Ok(())
}

fn link_net(linker: &mut Linker<Context>) -> Result<(), LinkerError> {
    linker.func_wrap(
        "net",
        "emit_to",
        |mut env: Env<'_>, path: u32, path_size: u32, data: u32, size: u32| {
            let path = bytes(&env, path, path_size)?;
            let payload = bytes(&env, data, size)?;
            Ok::<i32, Error>(status(env.data_mut().emit_to(&path, payload)))
        },
    )?;
    linker.func_wrap("net", "recv_next", |mut env: Env<'_>, buffer: u32, room: u32| {
        let payload = env.data_mut().recv_next(room as usize);
        answer(&mut env, payload, buffer, room)
    })?;
    linker.func_wrap("net", "recv_path", |mut env: Env<'_>, buffer: u32, room: u32| {
        let path = env.data().current_path.clone().map(|path| path.as_str().as_bytes().to_vec());
        answer(&mut env, path.ok_or(Refusal::NotFound), buffer, room)
    })?;
    Ok(())
}

fn link_data(linker: &mut Linker<Context>) -> Result<(), LinkerError> {
    linker.func_wrap(
        "data",
        "get",
        |mut env: Env<'_>, key: u32, key_size: u32, buffer: u32, room: u32| {
            let key = bytes(&env, key, key_size)?;
            let value = env.data().data_get(&key);
            answer(&mut env, value, buffer, room)
        },
    )?;
    linker.func_wrap(
        "data",
        "list",
        |mut env: Env<'_>, prefix: u32, prefix_size: u32, buffer: u32, room: u32| {
            let prefix = bytes(&env, prefix, prefix_size)?;
            let list = env.data().data_list(&prefix, room as usize);
            answer(&mut env, list, buffer, room)
        },
    )?;
    linker.func_wrap("data", "put", |mut env: Env<'_>, key: u32, key_size: u32, value: u32, size: u32| {
        let (key, value) = (bytes(&env, key, key_size)?, bytes(&env, value, size)?);
        Ok::<i32, Error>(status(env.data_mut().data_write(key, Some(value))))
    })?;
    linker.func_wrap("data", "delete", |mut env: Env<'_>, key: u32, key_size: u32| {
        let key = bytes(&env, key, key_size)?;
        Ok::<i32, Error>(status(env.data_mut().data_write(key, None)))
    })?;
    Ok(())
}
