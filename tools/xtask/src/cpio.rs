//! The archive a kernel starts from ("newc", kernel: Documentation/driver-api/early-userspace/buffer-format.rst). The
//! same files give the same bytes: all belong to root and are of no time.

/// An archive in the making.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

/// What an entry is.
pub enum Entry<'a> {
    /// A directory.
    Directory,
    /// A file with these permissions.
    File(&'a [u8], u32),
    /// A character device.
    Device(u32, u32),
}

impl Archive {
    /// Adds an entry; the directories it is in come first.
    pub fn add(&mut self, name: &str, entry: &Entry<'_>) {
        let (mode, content, (major, minor)) = match *entry {
            Entry::Directory => (0o040_755, [].as_slice(), (0, 0)),
            Entry::File(content, mode) => (0o100_000 | mode, content, (0, 0)),
            Entry::Device(major, minor) => (0o020_600, [].as_slice(), (major, minor)),
        };
        self.entries += 1;
        let name_size = name.len() as u32 + 1;
        let fields = [self.entries, mode, 0, 0, 1, 0, content.len() as u32, 0, 0, major, minor, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entries = 0;
        self.add("TRAILER!!!", &Entry::File(&[], 0));
        self.bytes
    }
}
