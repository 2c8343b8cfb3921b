//! The interpreter on wasmi: validated, fuel-metered, suspended and resumed at will.

use crate::{
    abi,
    context::Context,
    data::Data,
    imports::{self, Pause, Place},
    interpreter::{Export, Guest, Interpreter, LoadError, Program, Step},
    start,
    store::NoStore,
    unsupported,
};
use std::{fmt, sync::Arc};
use wasmi::{
    CompilationMode, Config, Engine, ExternType, Func, Instance, Linker, Memory, Module, OperatorCost,
    ResumableCall, ResumableCallHostTrap, ResumableCallOutOfFuel, Store, Val, ValType,
};
use wasmi_core::{LimiterError, ResourceLimiter};
use zhost_base::{Pid, Rng, SpaceKey, SpaceSpec};
use zhost_exchange::{NoDevices, Refusal};

const RECURSION_MAX: usize = 512;
const STACK_MAX_BYTES: usize = 256 * 1024;
/// Fuel after which the interpreter comes back to us, and is resumed: its `memory.grow` and `table.grow` each leave a
/// frame on the host's stack until then (wasmi pull request 1946), so that a guest that does nothing else would overflow
/// it. Coming back costs as much as some two hundred instructions.
const STRETCH_FUEL: u64 = 20_000;
/// Fuel of an instruction that leaves such a frame, of up to 192 bytes.
const GROW_FUEL: u8 = 255;
/// The most fuel that is needed before the interpreter can come back: it takes that of straight code at once. A bulk
/// instruction on 128 MB needs as much; whatever needs more is a trap.
const AT_ONCE_FUEL_MAX: u64 = 2_000_000;
/// Of the host's stack, a stretch takes no more than this, whatever the guest does: frames of all that two million units of
/// fuel can pay for have a megabyte and a half.
pub const STRETCH_STACK_BYTES: usize = 2 * 1024 * 1024;

/// The interpreter; each program gets an engine of its own, since wasmi frees code only with its engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wasmi;

fn engine() -> Engine {
    let mut config = Config::default();
    config
        .consume_fuel(true)
        .operator_cost(OperatorCost {
            memory_grow: GROW_FUEL,
            table_grow: GROW_FUEL,
            ..OperatorCost::default()
        })
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

fn linker(engine: &Engine) -> Result<Linker<Host>, LoadError> {
    let mut linker = Linker::new(engine);
    imports::link(&mut linker).map_err(|e| invalid(&e))?;
    Ok(linker)
}

fn invalid(error: &impl fmt::Display) -> LoadError {
    let text: String = error.to_string();
    if let Some(what) = unsupported::feature(&text) {
        return LoadError::Unsupported(what);
    }
    LoadError::Invalid(text.lines().next().unwrap_or_default().chars().take(200).collect())
}

impl Interpreter for Wasmi {
    fn check(&self, wasm: &[u8], space: &SpaceSpec, has_path: bool) -> Result<(), LoadError> {
        let engine = engine();
        let module = Module::new(&engine, &start::prepare(wasm).0).map_err(|e| invalid(&e))?;
        for import in module.imports() {
            if let Some(what) = unsupported::import(import.module(), import.name(), import.ty()) {
                return Err(LoadError::Unsupported(what));
            }
            abi::check_import(import.module(), import.name(), space, has_path)?;
        }
        let exports = [
            Export::Begin,
            Export::Initialize,
            Export::OnInit,
            Export::OnProcess,
            Export::Start,
            Export::OnClose,
        ];
        for export in exports {
            let (results, form) =
                if export.has_code() { (&[ValType::I32][..], "() -> i32") } else { (&[][..], "()") };
            let is_typed = match module.get_export(export.name()) {
                None => continue,
                Some(ExternType::Func(ty)) => ty.params().is_empty() && ty.results() == results,
                Some(_) => false,
            };
            if !is_typed {
                let reason = format!("its export {} is not a function {form}", export.name());
                return Err(LoadError::Export(reason));
            }
        }
        let has = |export: Export| module.get_export(export.name()).is_some();
        if !has(Export::OnProcess) && !has(Export::Start) {
            return Err(LoadError::Export("it exports neither on_process nor _start".into()));
        }
        match module.get_export("memory") {
            Some(ExternType::Memory(memory))
                if memory.minimum().saturating_mul(65_536) <= u64::from(space.memory_bytes) =>
            {
                // Types of imports, and what the module puts into memory and tables, show when it becomes a guest.
                let mut store = Store::new(&engine, Host::nobody(space)?);
                store.limiter(|host| &mut host.limiter);
                linker(&engine)?.instantiate_and_start(&mut store, &module).map(drop).map_err(|e| invalid(&e))
            }
            Some(ExternType::Memory(_)) => Err(LoadError::Export(format!(
                "it needs more memory to start than its resources.memoryKiB of {}",
                space.memory_bytes / 1024
            ))),
            _ => Err(LoadError::Export("it does not export its memory as `memory`".into())),
        }
    }

    fn load(&self, wasm: &[u8]) -> Result<Arc<dyn Program>, LoadError> {
        let engine = engine();
        let (wasm, has_start) = start::prepare(wasm);
        let module = Module::new(&engine, &wasm).map_err(|e| invalid(&e))?;
        let linker = linker(&engine)?;
        Ok(Arc::new(WasmiProgram { engine, module, linker, has_start }))
    }
}

struct WasmiProgram {
    engine: Engine,
    module: Module,
    linker: Linker<Host>,
    /// Whether it has a start section.
    has_start: bool,
}

impl Program for WasmiProgram {
    fn instantiate(&self, context: Context, memory_bytes: u32) -> Result<Box<dyn Guest>, LoadError> {
        let mut store = Store::new(&self.engine, Host::new(context, memory_bytes));
        store.limiter(|host| &mut host.limiter);
        let instance =
            self.linker.instantiate_and_start(&mut store, &self.module).map_err(|e| invalid(&e))?;
        let memory = instance.get_memory(&store, "memory");
        let host = store.data_mut();
        host.limiter.tables_fixed = true;
        host.memory = memory;
        let result = [Val::I32(0)];
        let has_start = self.has_start;
        Ok(Box::new(WasmiGuest { store, instance, has_start, call: Call::None, has_code: true, result }))
    }
}

/// What imports act on.
pub(crate) struct Host {
    pub context: Context,
    limiter: Limiter,
    /// The guest's memory, once it is instantiated.
    pub memory: Option<Memory>,
}

impl Host {
    fn new(context: Context, memory_bytes: u32) -> Self {
        let limiter = Limiter { memory_bytes_max: memory_bytes as usize, tables_fixed: false };
        Self { context, limiter, memory: None }
    }

    /// Of a guest that will never run.
    fn nobody(spec: &SpaceSpec) -> Result<Self, LoadError> {
        let key = SpaceKey { topology: zhost_mex::topology_id(&spec.name), space: spec.name.clone() };
        let data = Data::open(Arc::new(NoStore), &key, 0, false).map_err(|e| invalid(&e))?;
        let identity = (key, Pid::default());
        let devices = Arc::new(NoDevices::default());
        let memory_bytes = spec.memory_bytes;
        let context = Context::new(identity, spec.clone(), data, devices, Rng::from_number(0));
        Ok(Self::new(context, memory_bytes))
    }
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
    /// Left to come back with the result of the import, if it has one.
    Paused(ResumableCallHostTrap, Option<i32>),
    /// Left to come back with an answer, which belongs there.
    Waiting(ResumableCallHostTrap, Place),
}

struct WasmiGuest {
    store: Store<Host>,
    instance: Instance,
    has_start: bool,
    call: Call,
    /// Whether the present call gives a code.
    has_code: bool,
    result: [Val; 1],
}

impl WasmiGuest {
    /// Runs the call until so much fuel is used, or more if it cannot go on with less.
    fn run_stretch(&mut self, fuel: u64) -> (Step, u64) {
        let required = if let Call::OutOfFuel(call) = &self.call { call.required_fuel() } else { 0 };
        if required > AT_ONCE_FUEL_MAX {
            self.call = Call::None;
            return (Step::Trapped("it needs too much fuel at once".into()), 0);
        }
        let granted = fuel.max(required);
        let results = if self.has_code { &mut self.result[..] } else { &mut [] };
        let outcome =
            self.store.set_fuel(granted).and_then(|()| match std::mem::replace(&mut self.call, Call::None) {
                Call::None => Ok(ResumableCall::Finished),
                Call::Fresh(function) => function.call_resumable(&mut self.store, &[], results),
                Call::OutOfFuel(call) => call.resume(&mut self.store, results),
                Call::Paused(call, None) => call.resume(&mut self.store, &[], results),
                Call::Paused(call, Some(code)) => call.resume(&mut self.store, &[Val::I32(code)], results),
                waiting @ Call::Waiting(..) => {
                    self.call = waiting;
                    Ok(ResumableCall::Finished)
                }
            });
        if let Call::Waiting(..) = self.call {
            return (Step::Waiting, 0);
        }
        let step = match outcome {
            Ok(ResumableCall::Finished) => Step::Returned(self.result[0].i32().unwrap_or(0)),
            Ok(ResumableCall::OutOfFuel(call)) => {
                self.call = Call::OutOfFuel(call);
                Step::Preempted
            }
            Ok(ResumableCall::HostTrap(call)) => match call.host_error().downcast_ref::<Pause>().copied() {
                Some(Pause::Yield(code)) => {
                    self.call = Call::Paused(call, code);
                    Step::Preempted
                }
                Some(Pause::Wait(place)) => {
                    self.call = Call::Waiting(call, place);
                    Step::Waiting
                }
                Some(Pause::Exit(code)) => Step::Exited(code),
                None => Step::Trapped(call.into_host_error().to_string()),
            },
            Err(error) => Step::Trapped(error.to_string()),
        };
        (step, granted - self.store.get_fuel().unwrap_or(0).min(granted))
    }
}

impl Guest for WasmiGuest {
    fn call(&mut self, export: Export) -> bool {
        // An export that only has the name is nobody's start section.
        let is_there = export != Export::Begin || self.has_start;
        match self.instance.get_func(&self.store, export.name()).filter(|_| is_there) {
            Some(function) => {
                self.call = Call::Fresh(function);
                self.has_code = export.has_code();
                self.result = [Val::I32(0)];
                true
            }
            None => false,
        }
    }

    fn run(&mut self, fuel: u64) -> (Step, u64) {
        let mut burnt = 0;
        loop {
            let (step, used) = self.run_stretch((fuel - burnt).min(STRETCH_FUEL));
            burnt += used;
            let goes_on = matches!(self.call, Call::OutOfFuel(_)) && burnt < fuel;
            if step != Step::Preempted || !goes_on {
                return (step, burnt);
            }
        }
    }

    fn answer(&mut self, answer: Result<Vec<u8>, Refusal>) {
        self.call = match std::mem::replace(&mut self.call, Call::None) {
            Call::Waiting(call, place) => {
                let memory = self.store.data().memory;
                let memory = memory.map_or(&mut [][..], |memory| memory.data_mut(&mut self.store));
                Call::Paused(call, Some(place.fill(memory, answer)))
            }
            other => other,
        };
    }

    fn memory_bytes(&self) -> u64 {
        let memory = self.store.data().memory;
        memory.map_or(0, |memory| memory.data(&self.store).len() as u64)
    }

    fn context(&mut self) -> &mut Context {
        &mut self.store.data_mut().context
    }
}
