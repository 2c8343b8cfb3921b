//! Guest SDK: a space in ten lines.
//!
//! ```ignore
//! #![no_std]
//! use zspace::{Space, space, sys};
//!
//! struct Hello;
//!
//! impl Space for Hello {
//!     fn init() -> Result<Self, i32> {
//!         Ok(Self)
//!     }
//!     fn process(&mut self) -> i32 {
//!         sys::log(sys::Level::Info, "hello");
//!         sys::sleep_ms(1000);
//!         0
//!     }
//! }
//! space!(Hello);
//! ```
//!
//! The imports behind these functions, and what unlocks them, are documented in `agent/runtime/ABI.md`.

#![no_std]

#[cfg(not(target_arch = "wasm32"))]
extern crate std;

pub mod actuators;
pub mod audio;
pub mod data;
#[cfg(target_arch = "wasm32")]
mod imports;
pub mod net;
pub mod proc;
pub mod sensors;
#[cfg(not(target_arch = "wasm32"))]
pub mod stage;
pub mod sys;
mod text;
#[cfg(any(feature = "postcard", feature = "json"))]
pub mod typed;

pub use text::Text;

#[cfg(not(target_arch = "wasm32"))]
use stage::imports;

use core::cell::RefCell;

/// A space: what it does first, again and again, and last.
pub trait Space: Sized {
    /// Called once, first. An error code refuses the start.
    fn init() -> Result<Self, i32>;

    /// Called whenever there is work: a message, the end of a sleep. 0 means go on; anything else asks to be stopped.
    fn process(&mut self) -> i32;

    /// Called once, last; bounded in time.
    fn close(&mut self) {}
}

/// Why an import refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such path, key, sensor, space or message.
    NotFound,
    /// Not now; try again.
    TryAgain,
    /// Larger than allowed, or than the buffer.
    TooLarge,
    /// Not declared in the manifest.
    Denied,
    /// The device, the flash or the other space failed.
    Failed,
    /// No answer in time; whether the other did it, nobody knows.
    TimedOut,
    /// Somebody else has it.
    Taken,
    /// No room left for it.
    Full,
}

impl Refusal {
    /// As imports return it.
    #[cfg(not(target_family = "wasm"))]
    fn code(self) -> i32 {
        -1 - self as i32
    }
}

/// A result of an import as its Rust form: the size or 0, or the refusal.
fn outcome(result: i32) -> Result<usize, Refusal> {
    match result {
        -1 => Err(Refusal::NotFound),
        -2 => Err(Refusal::TryAgain),
        -3 => Err(Refusal::TooLarge),
        -4 => Err(Refusal::Denied),
        -6 => Err(Refusal::TimedOut),
        -7 => Err(Refusal::Taken),
        -8 => Err(Refusal::Full),
        size => usize::try_from(size).map_err(|_| Refusal::Failed),
    }
}

/// Where [`space!`] keeps the space between calls.
#[doc(hidden)]
pub struct Slot<S>(RefCell<Option<S>>);

// SAFETY: a guest has one thread.
unsafe impl<S> Sync for Slot<S> {}

impl<S: Space> Slot<S> {
    #[doc(hidden)]
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    #[doc(hidden)]
    pub fn init(&self) -> i32 {
        match S::init() {
            Ok(space) => {
                *self.0.borrow_mut() = Some(space);
                0
            }
            Err(code) => code,
        }
    }

    #[doc(hidden)]
    pub fn process(&self) -> i32 {
        self.0.borrow_mut().as_mut().map_or(1, Space::process)
    }

    #[doc(hidden)]
    pub fn close(&self) -> i32 {
        if let Some(space) = self.0.borrow_mut().as_mut() {
            space.close();
        }
        0
    }
}

impl<S: Space> Default for Slot<S> {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes a type the space of this module.
#[macro_export]
macro_rules! space {
    ($space:ty) => {
        static SPACE: $crate::Slot<$space> = $crate::Slot::new();
        #[unsafe(no_mangle)]
        extern "C" fn on_init() -> i32 {
            SPACE.init()
        }
        #[unsafe(no_mangle)]
        extern "C" fn on_process() -> i32 {
            SPACE.process()
        }
        #[unsafe(no_mangle)]
        extern "C" fn on_close() -> i32 {
            SPACE.close()
        }
    };
}

/// A panic is a trap; the runtime reports it and restarts the space.
#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
