//! Fetches what a zhost has recorded, piece by piece.

use crate::{profile::Profile, session};
use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::Path};
use zhost_base::limits::RECORDING_MAX_BYTES;
use zhost_control::protocol::{RecordingOrder, RecordingPiece, Reply, Request};

/// Fetches a recording into a private file; says what to do with it.
pub fn pull(profile: &Profile, is_former: bool, output: &Path, progress: bool) -> Result<String, String> {
    let ask = |offset| {
        let request = Request::Recording(RecordingOrder::Read { is_former, offset });
        match session::ask(profile, &request, false)? {
            Reply::Recording(piece) => Ok(piece),
            Reply::Refused(reason) => Err(reason),
            _ => Err("its answer makes no sense; do versions differ?".to_owned()),
        }
    };
    let first: RecordingPiece = ask(0)?;
    // One that is being written grows meanwhile: as much of it as there was.
    let size_bytes = first.size_bytes.min(RECORDING_MAX_BYTES);
    let complain = |error: std::io::Error| format!("{}: {error}", output.display());
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(output).map_err(complain)?;
    let bar = session::progress_bar(size_bytes as usize, progress);
    let (mut piece, mut offset) = (first.bytes, 0);
    while !piece.is_empty() {
        file.write_all(&piece).map_err(complain)?;
        offset += piece.len() as u64;
        bar.set_position(offset);
        if offset >= size_bytes {
            break;
        }
        piece = ask(offset)?.bytes;
    }
    bar.finish_and_clear();
    let name = output.display();
    Ok(format!("{offset} bytes in {name}; `cargo xtask replay {name}` tells a zhost again what happened"))
}
