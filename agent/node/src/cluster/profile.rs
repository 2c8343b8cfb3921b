//! What a zhost says of itself: who it is, where it is reached, what it offers.

use crate::{config::NodeConfig, facts::Facts};
use zhost_base::{
    Name, WEB_CAPABILITY,
    limits::{CAPABILITIES_MAX, CAPABILITIES_SIZE_MAX_BYTES},
};
use zhost_gossip::row::Profile;

/// Of names, in the order in which they matter, those that a zhost can say; and how many it cannot.
fn that_fit(names: impl Iterator<Item = Name>) -> (Vec<Name>, usize) {
    let (mut said, mut size, mut left_out) = (Vec::new(), 0, 0);
    for name in names {
        if said.contains(&name) {
            continue;
        }
        let with_it = size + name.as_str().len() + 1;
        if said.len() < CAPABILITIES_MAX && with_it <= CAPABILITIES_SIZE_MAX_BYTES {
            size = with_it;
            said.push(name);
        } else {
            left_out += 1;
        }
    }
    said.sort();
    (said, left_out)
}

impl Facts {
    /// What this zhost says of itself, and how many of its devices it cannot name.
    pub(crate) fn own_profile(&self, config: &NodeConfig, started_unix_ms: u64) -> (Profile, usize) {
        let base = zhost_exchange::BASE_CAPABILITIES.iter().copied();
        let web = config.web_addr.map(|_| WEB_CAPABILITY);
        // What every zhost offers comes first.
        let base = base.chain(web).filter_map(|name| name.parse().ok());
        let (capabilities, left_out) = that_fit(base.chain(config.capabilities.iter().cloned()));
        let profile = Profile {
            name: config.name.clone(),
            region: config.region.clone(),
            kind: config.kind.clone(),
            control_addr: config.control_addr,
            web_addr: config.web_addr,
            // Who does not know the cluster yet is no candidate that others should wait for.
            eligible: config.eligible && self.ready,
            runs_spaces: config.runs_spaces,
            blank: self.lost.data,
            rival_addr: self.rival_addr(),
            memory_bytes: config.memory_bytes,
            started_unix_ms,
            agent: config.version.clone(),
            capabilities,
        };
        (profile, left_out)
    }
}

/// What an operator should know of devices that cannot be named.
pub(crate) fn describe_left_out(devices: usize) -> String {
    format!(
        "{devices} devices are not offered: a zhost can name {CAPABILITIES_MAX} capabilities, in \
         {CAPABILITIES_SIZE_MAX_BYTES} bytes"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_and_what_comes_first_stays() {
        let name = |index: usize| format!("sensors.d{index}").parse::<Name>().unwrap();
        let (said, left_out) = that_fit((0..40).map(name));
        assert_eq!((said.len(), left_out), (CAPABILITIES_MAX, 40 - CAPABILITIES_MAX));
        assert!((0..CAPABILITIES_MAX).all(|index| said.contains(&name(index))));
        let long = |index: usize| format!("sensors.a-name-of-32-letters-{index:03}").parse::<Name>().unwrap();
        let (said, left_out) = that_fit((0..32).map(long));
        assert_eq!(
            (said.len(), left_out),
            (CAPABILITIES_SIZE_MAX_BYTES / 33, 32 - CAPABILITIES_SIZE_MAX_BYTES / 33)
        );
        assert_eq!(that_fit([name(1), name(1)].into_iter()), (vec![name(1)], 0));
    }
}
