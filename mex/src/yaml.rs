//! Bounded reading of YAML from strangers.

use crate::error::MexError;
use serde::de::DeserializeOwned;

/// Size of one YAML file in a package.
const YAML_SIZE_MAX_BYTES: usize = 256 * 1024;

/// Reads `bytes` as a `T`; no anchors, aliases, merge keys or duplicate keys.
pub fn read<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T, MexError> {
    let error = |reason: String| MexError::Yaml { file: file.into(), reason };
    if bytes.len() > YAML_SIZE_MAX_BYTES {
        return Err(error(format!("has more than {YAML_SIZE_MAX_BYTES} bytes")));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 16,
            max_nodes: 20_000,
            max_events: 60_000,
            max_aliases: 0,
            max_anchors: 0,
            max_documents: 1,
            max_merge_keys: 0,
            max_total_scalar_bytes: YAML_SIZE_MAX_BYTES,
        },
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_slice_with_options(bytes, options).map_err(|e| error(first_line(&e.to_string())))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(300).collect()
}
