//! The engine behind a trait, so that another can stand beside it.

use crate::{context::Context, start};
use std::{fmt, sync::Arc};
use zhost_base::SpaceSpec;
use zhost_exchange::Refusal;

/// The functions a guest exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// The function that the start section names; called once, before all others.
    Begin,
    /// Called once, before those below; optional. What a compiler puts there for a library's own set-up.
    Initialize,
    /// Called once, first; optional.
    OnInit,
    /// Called whenever there is work; required, or [`Self::Start`].
    OnProcess,
    /// A program's main function: a space that does not export `on_process` runs it once and has then ended.
    Start,
    /// Called once, last; optional.
    OnClose,
}

impl Export {
    /// The exported name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Begin => start::EXPORT,
            Self::Initialize => "_initialize",
            Self::Start => "_start",
            Self::OnInit => "on_init",
            Self::OnProcess => "on_process",
            Self::OnClose => "on_close",
        }
    }

    /// Whether it gives a code.
    pub(crate) fn has_code(self) -> bool {
        !matches!(self, Self::Begin | Self::Initialize | Self::Start)
    }
}

/// What became of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The fuel is used up, or the guest yielded; it goes on at the next slice.
    Preempted,
    /// The guest waits within the call; it goes on after [`Guest::answer`].
    Waiting,
    /// The guest ended itself with this code.
    Exited(i32),
    /// The call returned.
    Returned(i32),
    /// The call trapped, for this reason; the guest is dead.
    Trapped(String),
}

/// Why a module cannot become a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// Not a valid module.
    Invalid(String),
    /// It imports what does not exist.
    UnknownImport {
        /// Module and function.
        import: String,
    },
    /// It imports what its manifest does not declare.
    Undeclared {
        /// Module and function.
        import: String,
        /// What it would have to declare.
        capability: String,
    },
    /// It needs something that the interpreter does not have; what, and how to do without.
    Unsupported(&'static str),
    /// It lacks an export, or has it with the wrong type.
    Export(String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(reason) => write!(f, "its WASM is not valid: {reason}"),
            Self::Unsupported(what) => f.write_str(what),
            Self::UnknownImport { import } => write!(f, "it imports {import}, which no zhost offers"),
            Self::Undeclared { import, capability } => {
                write!(f, "it imports {import} but does not declare {capability}")
            }
            Self::Export(reason) => write!(f, "{reason}"),
        }
    }
}

/// An engine.
pub trait Interpreter: Send {
    /// Checks that `wasm` can be a guest of this space, which is an end of a path or not, without running it.
    fn check(&self, wasm: &[u8], space: &SpaceSpec, has_path: bool) -> Result<(), LoadError>;

    /// Compiles a module that has been checked.
    fn load(&self, wasm: &[u8]) -> Result<Arc<dyn Program>, LoadError>;
}

/// A compiled module, from which many guests can be made.
pub trait Program: Send + Sync {
    /// Makes a guest with at most `memory_bytes` of linear memory.
    fn instantiate(&self, context: Context, memory_bytes: u32) -> Result<Box<dyn Guest>, LoadError>;
}

/// An instance of a module.
pub trait Guest: Send {
    /// Begins a call; `false` when the guest does not have that export. A call under way is dropped.
    fn call(&mut self, export: Export) -> bool;

    /// Runs the call for a slice of `fuel`; gives what became of it, and the fuel it used.
    fn run(&mut self, fuel: u64) -> (Step, u64);

    /// Gives a waiting guest what it waits for.
    fn answer(&mut self, answer: Result<Vec<u8>, Refusal>);

    /// Bytes of its linear memory.
    fn memory_bytes(&self) -> u64;

    /// The guest's side of the world.
    fn context(&mut self) -> &mut Context;
}
