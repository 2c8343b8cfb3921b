//! What is said of a panic that was caught.

use alloc::{format, string::String};
use core::any::Any;

/// What a panic said.
pub fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a word")
}

/// The same as a sentence.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    format!("it panicked: {}", panic_message(panic))
}
