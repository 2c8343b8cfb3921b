//! What modules may need and no zhost has, said so that their author knows what to do.

use wasmi::ExternType;

/// How validation complains about a proposal that is switched off, and what to do without it.
const FEATURES: [(&[&str], &str); 9] = [
    (
        &["threads", "shared memor", "atomic"],
        "it uses threads or shared memory, which no zhost has: compile it without them (clang: without -pthread and \
         -matomics; Rust: without +atomics), and let several spaces do what several threads would",
    ),
    (
        &["memory64", "64-bit memor"],
        "its memory is addressed with 64 bits, which no zhost has: compile it for wasm32",
    ),
    (
        &["exceptions"],
        "it uses WASM exceptions, which no zhost has: compile it without them (clang: -fno-exceptions)",
    ),
    (
        &["gc ", "array types", "struct types", "heap types", "function references", "function-references"],
        "it uses garbage-collected or typed references, which no zhost has: Rust, C, Go, zig and AssemblyScript do without",
    ),
    (
        &["tail call"],
        "it uses tail calls, which no zhost has: compile it without them (clang: -mno-tail-call; \
         Rust: without +tail-call)",
    ),
    (
        &["simd"],
        "it uses SIMD instructions, which no zhost has: compile it without them (clang: -mno-simd128; Rust: without \
         +simd128; AssemblyScript: without --enable simd)",
    ),
    (
        &["multi-memory", "multiple memories", "multi-memor"],
        "it has several memories, and no zhost gives a space more than one",
    ),
    (&["grow the table"], "its tables have more than 10,000 entries, which no zhost gives to a space"),
    (&["component"], "it is a WASM component: package the core module inside it"),
];

/// What to say of an error of validation that names a feature.
pub(crate) fn feature(error: &str) -> Option<&'static str> {
    let error = error.to_lowercase();
    let named = |(words, _): &&(&[&str], &str)| words.iter().any(|word| error.contains(word));
    FEATURES.iter().find(named).map(|(_, what)| *what)
}

/// What to say of an import that no capability unlocks.
pub(crate) fn import(module: &str, name: &str, ty: &ExternType) -> Option<&'static str> {
    match (ty, module, name) {
        (ExternType::Memory(_), ..) => Some(
            "it imports its memory; have it made inside and exported as `memory` (clang: without -Wl,--import-memory; \
             AssemblyScript: without --importMemory)",
        ),
        (ExternType::Table(_), ..) => {
            Some("it imports a table; have it made inside (clang: without -Wl,--import-table)")
        }
        (ExternType::Func(_), "env", "abort") => Some(
            "it imports env.abort, which no zhost offers; AssemblyScript does without when told --use abort=",
        ),
        (ExternType::Func(_), "env", "seed") => Some(
            "it imports env.seed, which no zhost offers; tell AssemblyScript --use seed=FILE/FUNCTION, a function of \
                 yours that asks sys.random",
        ),
        _ => None,
    }
}
