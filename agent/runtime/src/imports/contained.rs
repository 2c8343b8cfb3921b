//! A panic in what a guest calls (a driver, a store) ends that guest and nobody else. It must not get any further than here:
//! the interpreter's own functions cannot be unwound, so it would end the agent.

use super::Env;
use crate::wasmi_engine::Host;
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};
use wasmi::{Error, Linker, WasmRet, WasmTy, errors::LinkerError};
use zhost_base::panic_text;

/// Where imports are made known.
pub(super) struct Imports<'a>(pub &'a mut Linker<Host>);

impl Imports<'_> {
    /// Makes a function known; its panic is a trap.
    pub fn func_wrap<P, R>(
        &mut self,
        module: &str,
        name: &str,
        import: impl Import<P, R>,
    ) -> Result<(), LinkerError> {
        import.link(self.0, module, name)
    }
}

/// A function with parameters `P` that guests can call.
pub(super) trait Import<P, R> {
    fn link(self, linker: &mut Linker<Host>, module: &str, name: &str) -> Result<(), LinkerError>;
}

/// The space ends, and what the panic left behind in its context with it.
#[cold]
fn trap(panic: Box<dyn Any + Send>) -> Error {
    Error::new(format!("the host failed: {}", panic_text(panic.as_ref())))
}

macro_rules! import {
    ($($parameter:ident)*) => {
        impl<F, R, $($parameter,)*> Import<($($parameter,)*), R> for F
        where
            F: Fn(Env<'_>, $($parameter),*) -> R + Send + Sync + 'static,
            R: WasmRet,
            Result<R::Ok, Error>: WasmRet,
            $($parameter: WasmTy,)*
        {
            #[allow(non_snake_case)]
            fn link(self, linker: &mut Linker<Host>, module: &str, name: &str) -> Result<(), LinkerError> {
                let contained = move |env: Env<'_>, $($parameter: $parameter),*| -> Result<R::Ok, Error> {
                    let called = catch_unwind(AssertUnwindSafe(|| self(env, $($parameter),*)));
                    called.map_err(trap)?.into_fallible()
                };
                linker.func_wrap(module, name, contained).map(drop)
            }
        }
    };
}

import!();
import!(A);
import!(A B);
import!(A B C);
import!(A B C D);
import!(A B C D E);
import!(A B C D E G);
import!(A B C D E G H);
