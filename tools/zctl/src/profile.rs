//! Which cluster is meant: addresses and keys, from the command line or a profile.

use crate::{carrier::Cable, commands::Options, keys};
use serde::Deserialize;
use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
};
use zhost_link::Identity;

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
    /// Over the network: zhosts to ask, in this order.
    Network(Vec<SocketAddr>),
    /// Over a serial cable: the one at its end.
    Serial(Cable),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ProfileFile {
    #[serde(default)]
    zhosts: Vec<String>,
    control_secret_file: PathBuf,
    operator_key_file: PathBuf,
}

impl Profile {
    /// Puts the profile together; paths in it are relative to its own directory.
    pub fn gather(options: &Options) -> Result<Self, String> {
        let file = find(options)?;
        let error = |reason: &dyn std::fmt::Display| format!("profile {}: {reason}", file.display());
        let text = std::fs::read_to_string(&file).map_err(|e| error(&e))?;
        let profile: ProfileFile = serde_saphyr::from_str(&text).map_err(|e| error(&e.without_snippet()))?;
        let dir = file.parent().unwrap_or(Path::new("."));
        let zhosts = if options.zhost.is_empty() { &profile.zhosts } else { &options.zhost };
        let reach = match &options.serial {
            Some(cable) => Reach::Serial(cable.clone()),
            None => Reach::Network(zhosts.iter().map(|text| resolve(text)).collect::<Result<_, _>>()?),
        };
        Ok(Self {
            reach,
            control_secret: keys::read(&dir.join(profile.control_secret_file))?,
            operator: Identity::from_private(keys::read(&dir.join(profile.operator_key_file))?),
        })
    }
}

fn find(options: &Options) -> Result<PathBuf, String> {
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

fn resolve(text: &str) -> Result<SocketAddr, String> {
    let mut found = text
        .to_socket_addrs()
        .map_err(|e| format!("{text:?} is not an address such as 192.168.1.10:9000: {e}"))?;
    found.next().ok_or_else(|| format!("{text:?} has no address"))
}
