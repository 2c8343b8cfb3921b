//! What is not tested on a computer that lacks something: said, written down, and an error where nothing may be left out.

use crate::Outcome;
use std::{env, fs::File, io::Write, path::Path};

/// Names the file in which is written down what was not tested; `cargo xtask test` shows it at its end.
pub const NOT_RUN: &str = "ZHOST_NOT_RUN";

/// Whether nothing may be left out.
pub fn is_ci() -> bool {
    env::var_os("CI").is_some()
}

/// Something is not tested here, and why. An error in CI; elsewhere it is said.
pub fn do_without(what: &str) -> Outcome {
    note(what, is_ci(), env::var_os(NOT_RUN).as_deref().map(Path::new))
}

/// The same, told whether that is allowed and where it is written down.
pub fn note(what: &str, is_ci: bool, file: Option<&Path>) -> Outcome {
    if is_ci {
        return Err(format!("{what}; CI leaves nothing out"));
    }
    eprintln!("did not run: {what}");
    let Some(file) = file else { return Ok(()) };
    let open = File::options().create(true).append(true).open(file);
    open.and_then(|mut file| writeln!(file, "{what}")).map_err(|e| format!("{}: {e}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::note;
    use std::fs;

    #[test]
    fn what_is_left_out_is_an_error_in_ci_and_written_down_elsewhere() {
        let file = std::env::temp_dir().join(format!("zhost-without-{}", std::process::id()));
        assert!(note("no root", true, Some(&file)).unwrap_err().contains("no root"));
        assert!(!file.exists());
        note("no root", false, Some(&file)).unwrap();
        note("no zig", false, Some(&file)).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "no root\nno zig\n");
        fs::remove_file(file).unwrap();
    }
}
