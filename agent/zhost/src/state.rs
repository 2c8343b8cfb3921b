//! What a zhost has on flash: its identity and its store, opened at the start. What is damaged is set aside and said, and the
//! zhost begins without it: nobody may be there to put it right.

use crate::files;
use redb::backends::FileBackend;
use std::{
    fs::{self, OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use zhost_exchange::StoreError;
use zhost_link::Identity;
use zhost_node::Recovered;
use zhost_runtime::RedbStore;

const IDENTITY_FILE: &str = "identity.key";
const STORE_FILE: &str = "zhost.redb";

/// What a zhost begins with.
pub struct State {
    pub identity: Identity,
    pub store: RedbStore<FileBackend>,
    pub recovered: Recovered,
}

/// Why a zhost cannot begin, with the file's name.
type Reason = String;

/// Opens what is in the data directory, or makes it; only one agent at a time can.
pub fn open(data_dir: &Path) -> Result<State, Reason> {
    let identity_file = data_dir.join(IDENTITY_FILE);
    let found = find_identity(&identity_file).map_err(|e| format!("{}: {e}", identity_file.display()))?;
    let (store, recovered) = open_store(&data_dir.join(STORE_FILE), found.is_some())?;
    let identity = match found {
        Some(identity) => identity,
        // Last, so that who has one has had a store, too.
        None => new_identity(&identity_file).map_err(|e| format!("{}: {e}", identity_file.display()))?,
    };
    Ok(State { identity, store, recovered })
}

fn new_identity(file: &Path) -> io::Result<Identity> {
    let private = files::random()?;
    files::write_secret(file, &private)?;
    Ok(Identity::from_private(private))
}

/// The identity of earlier starts. One that cannot be read is set aside.
fn find_identity(file: &Path) -> io::Result<Option<Identity>> {
    if let Ok(metadata) = fs::metadata(file)
        && metadata.permissions().mode() & 0o077 != 0
    {
        // Our own file, perhaps out of a backup that kept no modes.
        fs::set_permissions(file, Permissions::from_mode(0o600))?;
        log::warn!(
            "{}: others could read it, which is put right (mode 600); if somebody did, remove the file, and this zhost \
             becomes another",
            file.display()
        );
    }
    match files::read_secret(file) {
        Ok(private) => Ok(Some(Identity::from_private(private))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            let aside = files::set_aside(file)?;
            log::error!(
                "{}: {error}: the identity of this zhost is lost (set aside as {}); it goes on as another, and joins anew. \
                 Its former self stays on the roster as dead: `zctl cluster remove` takes it off",
                file.display(),
                aside.display()
            );
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The store and what is in it. One that cannot be read is set aside, and an empty one takes its place.
fn open_store(file: &Path, was_here: bool) -> Result<(RedbStore<FileBackend>, Recovered), Reason> {
    let failed = |error: StoreError| match error {
        StoreError::InUse => format!(
            "another zhost runs in this folder ({} is in use): end it, or give this one a data-dir of its own",
            file.display()
        ),
        error => format!("{}: {error}", file.display()),
    };
    let opened = match try_open(file, was_here) {
        Err(StoreError::Damaged(reason)) => {
            let aside = files::set_aside(file).map_err(|e| format!("{}: {e}", file.display()))?;
            log::error!(
                "{}: {reason}: the store of this zhost is lost (set aside as {}). With it go what it knew of topologies, its \
                 packages, the data of its spaces, and for whom it voted; it begins with nothing, and learns what others know",
                file.display(),
                aside.display()
            );
            try_open(file, was_here)
        }
        opened => opened,
    };
    let (store, recovered) = opened.map_err(failed)?;
    if recovered.has_lost() {
        log::warn!(
            "this zhost has been here before, and its store does not know: it waits for its cluster, and does not vote \
             until others have told what it may have forgotten"
        );
    }
    Ok((store, recovered))
}

fn try_open(file: &Path, was_here: bool) -> Result<(RedbStore<FileBackend>, Recovered), StoreError> {
    let path: PathBuf = file.to_owned();
    let store = RedbStore::open(move || {
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        FileBackend::new(opened).map_err(io::Error::other)
    })?;
    let recovered = Recovered::boot(&store, was_here)?;
    Ok((store, recovered))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that goes with the test.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("zhost-state-{name}-{}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        fn file(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn start(&self) -> Result<State, Reason> {
            open(&self.0)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_first_start_has_lost_nothing_and_the_next_is_the_same_zhost() {
        let dir = Dir::new("first");
        let first = dir.start().unwrap();
        assert!(!first.recovered.has_lost());
        let id = first.identity.zhost_id();
        let error = dir.start().err().unwrap();
        assert!(error.contains("another zhost runs in this folder"), "{error}");
        drop(first);
        let second = dir.start().unwrap();
        assert_eq!((second.identity.zhost_id(), second.recovered.has_lost()), (id, false));
    }

    #[test]
    fn a_store_that_is_no_store_is_set_aside_and_the_loss_is_remembered() {
        for content in [&b"a note to myself"[..], b"", &[0; 4096]] {
            let dir = Dir::new("store");
            let id = dir.start().unwrap().identity.zhost_id();
            fs::write(dir.file(STORE_FILE), content).unwrap();
            let second = dir.start().unwrap();
            assert_eq!((second.identity.zhost_id(), second.recovered.has_lost()), (id, true));
            drop(second);
            assert!(dir.start().unwrap().recovered.has_lost(), "a restart makes nothing good");
            assert_eq!(dir.file("zhost.redb.damaged-1").exists(), !content.is_empty());
        }
    }

    #[test]
    fn an_identity_that_cannot_be_read_is_set_aside_and_another_takes_its_place() {
        let dir = Dir::new("identity");
        let mut seen = vec![dir.start().unwrap().identity.zhost_id()];
        for round in 0..4 {
            fs::write(dir.file(IDENTITY_FILE), ["", "nonsense"][round % 2]).unwrap();
            let state = dir.start().unwrap();
            assert!(!seen.contains(&state.identity.zhost_id()) && !state.recovered.has_lost());
            seen.push(state.identity.zhost_id());
        }
        let aside = fs::read_dir(&dir.0).unwrap().flatten();
        let aside = aside.filter(|entry| entry.file_name().to_string_lossy().contains("damaged")).count();
        assert_eq!(aside, 2, "a bounded number of them");
    }

    #[test]
    fn a_key_that_others_could_read_is_put_right() {
        let dir = Dir::new("mode");
        let id = dir.start().unwrap().identity.zhost_id();
        fs::set_permissions(dir.file(IDENTITY_FILE), Permissions::from_mode(0o644)).unwrap();
        assert_eq!(dir.start().unwrap().identity.zhost_id(), id);
        let mode = fs::metadata(dir.file(IDENTITY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
