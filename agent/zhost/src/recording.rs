//! Recordings on flash: what the node of this start is told, and of the start before.
//!
//! In the data directory `recording` is of this start and `recording.before` of the last one that was recorded; an empty file
//! `record` says that an operator wants them. Both are private, as they hold what was opened with the cluster's keys.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use zhost_base::limits::{RECORDING_MAX_BYTES, RECORDING_PIECE_MAX_BYTES};
use zhost_control::protocol::{RecordingOrder, RecordingPiece, Reply};
use zhost_node::Tape;

fn recording(data_dir: &Path, is_former: bool) -> PathBuf {
    data_dir.join(if is_former { "recording.before" } else { "recording" })
}

fn wish(data_dir: &Path) -> PathBuf {
    data_dir.join("record")
}

/// A tape for this start, if the settings or an operator want one. A zhost without its recording is better than none.
pub fn tape(data_dir: &Path, is_set: bool) -> Option<Tape> {
    if !is_set && !wish(data_dir).exists() {
        return None;
    }
    let file = recording(data_dir, false);
    let _ = fs::rename(&file, recording(data_dir, true));
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file) {
        Ok(opened) => {
            log::info!("recording what happens to {}", file.display());
            Some(bounded(opened, RECORDING_MAX_BYTES))
        }
        Err(error) => {
            log::warn!("recording to {}: {error}; going on without", file.display());
            None
        }
    }
}

/// Writes to a file until so much is written, or it fails.
fn bounded(mut file: impl Write + 'static, size_max_bytes: u64) -> Tape {
    let mut room = size_max_bytes;
    Box::new(move |bytes| {
        let Some(rest) = room.checked_sub(bytes.len() as u64) else {
            log::warn!(
                "the recording has {size_max_bytes} bytes: nothing more is recorded until the next start"
            );
            return false;
        };
        room = rest;
        file.write_all(bytes).inspect_err(|error| log::warn!("recording ends: {error}")).is_ok()
    })
}

/// Does what an operator wants of the recordings.
pub fn carry_out(data_dir: &Path, order: RecordingOrder) -> Reply {
    let done = match order {
        RecordingOrder::Start => File::create(wish(data_dir)).map(|_| {
            let next = "every start is recorded from the next one on; `zctl board restart` makes one";
            Reply::Said(next.into())
        }),
        RecordingOrder::Stop => forget(&wish(data_dir))
            .map(|()| Reply::Said("nothing more is recorded; what was is kept until you pull it".into())),
        RecordingOrder::Read { is_former, offset } => {
            read(&recording(data_dir, is_former), offset).map(Reply::Recording)
        }
    };
    done.unwrap_or_else(|error| match (order, error.kind()) {
        (RecordingOrder::Read { .. }, io::ErrorKind::NotFound) => {
            let next = "nothing was recorded here; `zctl board record start`, then `zctl board restart`";
            Reply::Refused(next.into())
        }
        _ => Reply::Refused(format!("the recording in {}: {error}", data_dir.display())),
    })
}

fn forget(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn read(file: &Path, offset: u64) -> io::Result<RecordingPiece> {
    let mut file = File::open(file)?;
    let size_bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(RECORDING_PIECE_MAX_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(RecordingPiece { size_bytes, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::RefCell, os::unix::fs::MetadataExt, rc::Rc};

    struct Shared(Rc<RefCell<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_tape_ends_before_it_outgrows_its_limit() {
        let written = Rc::default();
        let mut tape = bounded(Shared(Rc::clone(&written)), 10);
        assert!(tape(b"12345") && tape(b"67890"));
        assert!(!tape(b"x"));
        assert_eq!(*written.borrow(), b"1234567890");
    }

    #[test]
    fn an_operator_starts_pulls_and_stops() {
        let dir = std::env::temp_dir().join(format!("zhost-recording-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let pull = |is_former, offset| carry_out(&dir, RecordingOrder::Read { is_former, offset });
        assert!(tape(&dir, false).is_none());
        assert!(matches!(pull(false, 0), Reply::Refused(reason) if reason.contains("record start")));
        assert!(matches!(carry_out(&dir, RecordingOrder::Start), Reply::Said(_)));
        assert!(tape(&dir, false).is_some_and(|mut tape| tape(b"first")));
        assert!(tape(&dir, false).is_some_and(|mut tape| tape(b"the second")));
        let piece =
            |size_bytes, bytes: &[u8]| Reply::Recording(RecordingPiece { size_bytes, bytes: bytes.into() });
        assert_eq!((pull(true, 0), pull(false, 4)), (piece(5, b"first"), piece(10, b"second")));
        assert_eq!(pull(false, 100), piece(10, b""));
        assert_eq!(fs::metadata(recording(&dir, false)).unwrap().mode() & 0o777, 0o600);
        assert!(matches!(carry_out(&dir, RecordingOrder::Stop), Reply::Said(_)));
        assert!(matches!(carry_out(&dir, RecordingOrder::Stop), Reply::Said(_)), "twice");
        assert!(tape(&dir, false).is_none() && tape(&dir, true).is_some());
        fs::remove_dir_all(&dir).unwrap();
    }
}
