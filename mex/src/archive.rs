//! The ZIP layer: files by name, and nothing that two readers could understand differently.
//!
//! Archives written here end in a comment with the SHA-256 of everything before the end record; when it is present
//! it must match. ZIP leaves bits that no field covers (padding in compressed data, unused attributes), and a flip in
//! one of those must not pass unnoticed either.

use crate::error::MexError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    io::{Cursor, Read, Write},
};
use zhost_base::limits::{MEX_FILES_MAX, MEX_SIZE_MAX_BYTES, MEX_UNPACKED_MAX_BYTES};
use zip::{CompressionMethod, DateTime, System, ZipArchive, ZipWriter, write::SimpleFileOptions};

const END_RECORD_SIZE_BYTES: usize = 22;
const COMMENT_PREFIX: &str = "zhost-mex-sha256:";

/// The files of an archive.
pub type Files = BTreeMap<String, Vec<u8>>;

fn archive_error(reason: impl ToString) -> MexError {
    MexError::Archive(reason.to_string())
}

/// A file of a UI space, as the archive holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asset {
    /// The bytes in the archive.
    pub stored: Vec<u8>,
    /// Whether they are deflated (RFC 1951).
    pub is_deflated: bool,
    /// Size of the content.
    pub size_bytes: u32,
    /// CRC-32 of the content.
    pub crc32: u32,
}

impl Asset {
    /// Size of the content as a gzip member, of which see [`Self::gzip`].
    const GZIP_FRAME_BYTES: usize = 18;

    /// The content as one member of a gzip file (RFC 1952), if it is deflated.
    pub fn gzip(&self) -> Option<Vec<u8>> {
        if !self.is_deflated {
            return None;
        }
        let mut member = Vec::with_capacity(self.stored.len() + Self::GZIP_FRAME_BYTES);
        // Deflate, no flags, no time, no hint, from an unknown system.
        member.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
        member.extend_from_slice(&self.stored);
        member.extend_from_slice(&self.crc32.to_le_bytes());
        member.extend_from_slice(&self.size_bytes.to_le_bytes());
        Some(member)
    }

    /// The content; empty if it cannot be inflated, which a verified package rules out.
    pub fn plain(&self) -> Vec<u8> {
        if !self.is_deflated {
            return self.stored.clone();
        }
        let mut content = Vec::with_capacity(self.size_bytes as usize);
        let inflated = flate2::read::DeflateDecoder::new(&*self.stored);
        match inflated.take(u64::from(self.size_bytes)).read_to_end(&mut content) {
            Ok(_) => content,
            Err(_) => Vec::new(),
        }
    }
}

/// Reads the files whose names begin with `prefix` as they are stored, by the rest of their names. For an archive that
/// [`read`] accepts.
pub fn read_stored(bytes: &[u8], prefix: &str) -> Result<BTreeMap<String, Asset>, MexError> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(archive_error)?;
    let mut assets = BTreeMap::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index_raw(index).map_err(archive_error)?;
        let name = entry.name().map_err(archive_error)?.into_owned();
        let Some(name) = name.strip_prefix(prefix) else { continue };
        let mut stored = Vec::with_capacity(usize::try_from(entry.compressed_size()).unwrap_or(0));
        entry.read_to_end(&mut stored).map_err(archive_error)?;
        let size_bytes = u32::try_from(entry.size()).map_err(archive_error)?;
        let is_deflated = entry.compression() == CompressionMethod::Deflated;
        assets.insert(name.to_owned(), Asset { stored, is_deflated, size_bytes, crc32: entry.crc32() });
    }
    Ok(assets)
}

/// Reads all files of `bytes`.
pub fn read(bytes: &[u8]) -> Result<Files, MexError> {
    if bytes.len() > MEX_SIZE_MAX_BYTES {
        return Err(MexError::TooLarge { size_bytes: bytes.len() });
    }
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(archive_error)?;
    check_frame(bytes, &archive)?;
    if archive.len() > MEX_FILES_MAX {
        return Err(MexError::Bomb(format!(
            "it holds {} files, at most {MEX_FILES_MAX} are allowed",
            archive.len()
        )));
    }
    if archive.has_duplicate_names() {
        return Err(archive_error("a file name occurs twice"));
    }
    archive.validate_header_consistency().map_err(archive_error)?;
    let directory_start = archive.central_directory_start();
    let mut files = Files::new();
    let mut spans = Vec::new();
    let mut room = MEX_UNPACKED_MAX_BYTES;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(archive_error)?;
        let name = checked_name(&entry)?;
        let start = entry.data_start().ok_or_else(|| archive_error("a file has no data"))?;
        spans.push((entry.header_start(), start.saturating_add(entry.compressed_size())));
        let size = entry.size();
        room = room.checked_sub(size).ok_or_else(|| {
            MexError::Bomb(format!("more than {MEX_UNPACKED_MAX_BYTES} bytes, reached at {name}"))
        })?;
        let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        entry.by_ref().take(size + 1).read_to_end(&mut content).map_err(archive_error)?;
        if content.len() as u64 != size {
            return Err(archive_error(format!("{name} does not have the size its header says")));
        }
        files.insert(name, content);
    }
    check_gapless(spans, directory_start)?;
    Ok(files)
}

/// The end record is the last thing, the directory stands right before it, and the checksum matches.
fn check_frame(bytes: &[u8], archive: &ZipArchive<Cursor<&[u8]>>) -> Result<(), MexError> {
    let comment = archive.comment();
    let end = bytes
        .len()
        .checked_sub(END_RECORD_SIZE_BYTES + comment.len())
        .ok_or_else(|| archive_error("it is cut"))?;
    let (before, record) = bytes.split_at(end);
    let comment_size = usize::from(u16::from_le_bytes([record[20], record[21]]));
    if archive.offset() != 0 || !record.starts_with(b"PK\x05\x06") || comment_size != comment.len() {
        return Err(archive_error("there are bytes before or behind it"));
    }
    let word = |at: usize| {
        u64::from(u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]))
    };
    if word(16) != archive.central_directory_start() || word(16) + word(12) != end as u64 {
        return Err(archive_error("its directory is not where it should be"));
    }
    match comment {
        [] => Ok(()),
        _ if comment == checksum_comment(before, &record[..20]).as_bytes() => Ok(()),
        _ => Err(MexError::Checksum),
    }
}

fn checksum_comment(before: &[u8], record: &[u8]) -> String {
    let hash = Sha256::new().chain_update(before).chain_update(record).finalize();
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{COMMENT_PREFIX}{hex}")
}

/// The entry's name, if it is a plain file in a plain place.
fn checked_name(entry: &zip::read::ZipFile<'_, Cursor<&[u8]>>) -> Result<String, MexError> {
    let name = entry.name().map_err(archive_error)?.into_owned();
    let plain_part = |part: &str| !part.is_empty() && part != "." && part != "..";
    let plain = name.split('/').all(plain_part)
        && name
            .chars()
            .all(|c| c.is_ascii_graphic() && !matches!(c, '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|'))
        && name.len() <= 200;
    if !plain || entry.is_symlink() || entry.is_dir() {
        return Err(MexError::Path(name.chars().take(200).collect()));
    }
    if entry.encrypted() {
        return Err(archive_error(format!("{name} is encrypted")));
    }
    match entry.compression() {
        CompressionMethod::Stored | CompressionMethod::Deflated => Ok(name),
        other => Err(archive_error(format!("{name} is compressed with {other}, which is not read here"))),
    }
}

fn check_gapless(mut spans: Vec<(u64, u64)>, directory_start: u64) -> Result<(), MexError> {
    spans.sort_unstable();
    let reached = spans.into_iter().try_fold(0, |at, (start, end)| (start == at).then_some(end));
    match reached {
        Some(end) if end == directory_start => Ok(()),
        _ => Err(archive_error("there are bytes between its files")),
    }
}

/// Writes `files` so that the same files always give the same bytes.
pub fn write(files: &Files) -> Result<Vec<u8>, MexError> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(6))
        .last_modified_time(DateTime::DEFAULT)
        .system(System::Unix)
        .unix_permissions(0o644);
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(name.as_str(), options).map_err(archive_error)?;
        writer.write_all(content).map_err(archive_error)?;
    }
    let mut bytes = writer.finish().map_err(archive_error)?.into_inner();
    append_checksum(&mut bytes);
    Ok(bytes)
}

fn append_checksum(bytes: &mut Vec<u8>) {
    let end = bytes.len() - END_RECORD_SIZE_BYTES;
    let comment = checksum_comment(&bytes[..end], &bytes[end..end + 20]);
    bytes.truncate(end + 20);
    bytes.extend_from_slice(&(comment.len() as u16).to_le_bytes());
    bytes.extend_from_slice(comment.as_bytes());
}
