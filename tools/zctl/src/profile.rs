//! Which cluster is meant: addresses and keys, from the command line or a profile.

use crate::{
    address::{self, ADDRESSES_MAX, Resolved},
    carrier::Cable,
    commands::Options,
    files, keys,
};
use serde::Deserialize;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};
use zhost_link::Identity;

/// Size of a profile.
const PROFILE_MAX_BYTES: usize = 64 * 1024;

/// What is needed to talk to a cluster.
pub struct Profile {
    /// The way to the cluster.
    pub reach: Reach,
    /// The secret of control sessions.
    pub control_secret: [u8; 32],
    /// The operator's key.
    pub operator: Identity,
}

/// How a zhost is reached.
pub enum Reach {
    /// Over the network: zhosts to ask.
    Network(Vec<Resolved>),
    /// Over a serial cable: the one at its end.
    Serial(Cable),
}

/// A profile as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProfileFile {
    /// Where zhosts are.
    #[serde(default)]
    pub zhosts: Vec<String>,
    /// Relative to the profile's own directory.
    pub control_secret_file: PathBuf,
    /// Likewise.
    pub operator_key_file: PathBuf,
}

impl ProfileFile {
    /// Reads a profile; its files are then as seen from here.
    pub fn read(file: &Path) -> Result<Self, String> {
        let bytes = files::read(file, "a profile", PROFILE_MAX_BYTES).map_err(|e| format!("profile {e}"))?;
        let error = |reason: &dyn std::fmt::Display| format!("profile {}: {reason}", file.display());
        let text = String::from_utf8(bytes).map_err(|_| error(&"it is no text"))?;
        let mut profile: Self = serde_saphyr::from_str(&text).map_err(|e| error(&e.without_snippet()))?;
        let dir = file.parent().unwrap_or(Path::new("."));
        profile.control_secret_file = dir.join(profile.control_secret_file);
        profile.operator_key_file = dir.join(profile.operator_key_file);
        Ok(profile)
    }
}

impl Profile {
    /// Puts the profile together.
    pub fn gather(options: &Options) -> Result<Self, String> {
        let profile = ProfileFile::read(&find(options)?)?;
        let reach = match &options.serial {
            Some(cable) => Reach::Serial(cable.clone()),
            None => Reach::Network(address::resolve(&places(options, &profile)?)),
        };
        Ok(Self {
            reach,
            control_secret: keys::read(&profile.control_secret_file)?,
            operator: Identity::from_private(keys::read(&profile.operator_key_file)?),
        })
    }
}

impl Reach {
    /// The addresses of all zhosts that are named, each once, with what was written.
    pub fn addresses(resolved: &[Resolved]) -> Vec<(SocketAddr, &str)> {
        let mut all: Vec<(SocketAddr, &str)> = Vec::new();
        for place in resolved {
            for address in place.addresses.iter().flatten() {
                if all.len() < ADDRESSES_MAX && all.iter().all(|(known, _)| known != address) {
                    all.push((*address, &place.written));
                }
            }
        }
        all
    }
}

/// Where zhosts are, by the command line or else by the profile; all of it makes sense.
pub fn places(options: &Options, profile: &ProfileFile) -> Result<Vec<String>, String> {
    let places = if options.zhost.is_empty() { &profile.zhosts } else { &options.zhost };
    if places.is_empty() {
        return Err(
            "no zhosts to ask: name them in the profile (`zhosts: [192.168.1.10]`) or with --zhost".into()
        );
    }
    if places.len() > ADDRESSES_MAX {
        return Err(format!("{} zhosts are named; at most {ADDRESSES_MAX} are asked", places.len()));
    }
    places.iter().try_for_each(|place| address::parse(place).map(drop))?;
    Ok(places.clone())
}

/// The profile that is meant.
pub fn find(options: &Options) -> Result<PathBuf, String> {
    if let Some(file) = &options.profile {
        return Ok(file.clone());
    }
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config/zctl.yaml"));
    let places = [Some(PathBuf::from(".zhost/zctl.yaml")), home];
    places.into_iter().flatten().find(|file| file.exists()).ok_or_else(|| {
        "no profile: name one with --profile, or write ~/.config/zctl.yaml with zhosts, control-secret-file and \
         operator-key-file (`cargo xtask cluster up` writes one for a cluster on this computer)"
            .into()
    })
}
