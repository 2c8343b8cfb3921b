//! A module's start section, as an export.
//!
//! The interpreter runs a start function while it makes the instance: at once, where it can neither be given its turns
//! nor be ended. So the section is taken out, and what it names is exported and called like everything else.

use std::borrow::Cow;

/// The export that stands for the start section.
pub(crate) const EXPORT: &str = "zhost:start";

const MAGIC_AND_VERSION_BYTES: usize = 8;
const CUSTOM_SECTION: u8 = 0;
const EXPORT_SECTION: u8 = 7;
const START_SECTION: u8 = 8;
/// In the entry of an export: what is exported is a function.
const FUNCTION: u8 = 0;

/// The module with its start function exported instead; `None` if it has no start section, or one where none may be:
/// the interpreter then says what is wrong.
pub(crate) fn as_export(wasm: &[u8]) -> Option<Vec<u8>> {
    let (mut at, mut exports) = (MAGIC_AND_VERSION_BYTES, None);
    loop {
        let (id, body, end) = section(wasm, at)?;
        match id {
            CUSTOM_SECTION | 1..EXPORT_SECTION => {}
            EXPORT_SECTION => exports = Some((at, body, end)),
            START_SECTION => {
                let (exports_at, exports_body, exports_end) = exports?;
                let entries = with_entry(&wasm[exports_body..exports_end], wasm.get(body..end)?)?;
                let mut module = wasm.get(..exports_at)?.to_vec();
                module.push(EXPORT_SECTION);
                write_number(&mut module, entries.len() as u32);
                module.extend_from_slice(&entries);
                module.extend_from_slice(wasm.get(exports_end..at)?);
                module.extend_from_slice(wasm.get(end..)?);
                return Some(module);
            }
            _ => return None,
        }
        at = end;
    }
}

/// The module as the interpreter is given it, and whether a start function is among its exports.
pub(crate) fn prepare(wasm: &[u8]) -> (Cow<'_, [u8]>, bool) {
    match as_export(wasm) {
        Some(module) => (Cow::Owned(module), true),
        None => (Cow::Borrowed(wasm), false),
    }
}

/// The section at `at`: its id, where its body begins, and where it ends.
fn section(wasm: &[u8], at: usize) -> Option<(u8, usize, usize)> {
    let id = *wasm.get(at)?;
    let (size, read) = read_number(wasm.get(at + 1..)?)?;
    let body = at + 1 + read;
    let end = body.checked_add(size as usize).filter(|end| *end <= wasm.len())?;
    Some((id, body, end))
}

/// The body of an export section with one more entry, for the function of this number.
fn with_entry(exports: &[u8], function: &[u8]) -> Option<Vec<u8>> {
    let (count, read) = read_number(exports)?;
    let mut entries = Vec::with_capacity(exports.len() + EXPORT.len() + function.len() + 4);
    write_number(&mut entries, count.checked_add(1)?);
    entries.extend_from_slice(&exports[read..]);
    write_number(&mut entries, EXPORT.len() as u32);
    entries.extend_from_slice(EXPORT.as_bytes());
    entries.push(FUNCTION);
    // A body with more than a number in it would run into what follows.
    (read_number(function)?.1 == function.len()).then(|| entries.extend_from_slice(function))?;
    Some(entries)
}

/// A number of 32 bits in LEB128, and how many bytes it has.
fn read_number(bytes: &[u8]) -> Option<(u32, usize)> {
    let mut number = 0_u64;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((u32::try_from(number).ok()?, index + 1));
        }
    }
    None
}

fn write_number(to: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(text: &str) -> Vec<u8> {
        wat::parse_str(text).unwrap()
    }

    /// With this many exports and longer bodies than one byte can tell.
    fn with_exports(count: usize, start: &str) -> Vec<u8> {
        let exports: String =
            (0..count).map(|n| format!(r#"(func (export "f{n}") (result i32) (i32.const {n}))"#)).collect();
        module(&format!(
            r#"(module (memory (export "memory") 1) (func $s) {exports} {start} (data (i32.const 0) "x"))"#
        ))
    }

    #[test]
    fn the_start_function_becomes_an_export_and_nothing_else_changes() {
        for count in [0, 1, 126, 127, 128, 3000] {
            let exported = as_export(&with_exports(count, "(start $s)")).unwrap();
            let by_hand = with_exports(count, &format!(r#"(export "{EXPORT}" (func $s))"#));
            assert_eq!(exported, by_hand, "{count} exports");
        }
    }

    #[test]
    fn what_has_no_start_section_stays_as_it_is() {
        assert_eq!(as_export(&with_exports(2, "")), None);
        assert_eq!(as_export(b"\0asm\x01\0\0\0"), None);
        assert_eq!(as_export(b""), None);
    }

    #[test]
    fn damage_is_left_to_the_interpreter() {
        let sound = with_exports(3, "(start $s)");
        let start_at = sound.windows(3).position(|bytes| bytes == [START_SECTION, 1, 0]).unwrap();
        // A start section that holds more than one number.
        let mut long = sound.clone();
        long.splice(start_at..start_at + 3, [START_SECTION, 2, 0, 0]);
        assert_eq!(as_export(&long), None);
        // A start section before the exports, and one without any.
        let mut early = sound.clone();
        let section = early.splice(start_at..start_at + 3, []).collect::<Vec<u8>>();
        early.splice(8..8, section);
        assert_eq!(as_export(&early), None);
        assert_eq!(as_export(&module("(module (func $s) (start $s))")), None);
        // Whatever is cut off or flipped: no panic.
        for end in 0..sound.len() {
            as_export(&sound[..end]);
            for bit in 0..8 {
                let mut damaged = sound.clone();
                damaged[end] ^= 1_u8 << bit;
                as_export(&damaged);
            }
        }
    }
}
