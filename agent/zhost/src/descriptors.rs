//! How the descriptors that the process may have are shared out, so that strangers never take those of members.

use crate::web;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use zhost_base::limits::{LINKS_MAX, LINKS_UNPROVED_MAX};

/// For what the agent has open itself: sockets, the store, devices, files while they are read.
const OWN: usize = 28;
/// More are not asked for.
const WANTED: usize = OWN + LINKS_MAX + web::CONNECTIONS_MAX;
/// The least of anything, however few there are.
const LEAST: usize = 4;

/// How many connections there may be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Links with other zhosts, those on which nobody has proved yet who is there included.
    pub links: usize,
    /// Of these, the latter.
    pub strangers: usize,
    /// Browsers.
    pub browsers: usize,
}

impl Budget {
    /// Asks for as many descriptors as are needed, and shares out what there is.
    pub fn of_this_process() -> Self {
        let limit = getrlimit(Resource::Nofile);
        let wanted = limit.maximum.map_or(WANTED as u64, |maximum| maximum.min(WANTED as u64));
        let mut current = limit.current.unwrap_or(u64::MAX);
        if current < wanted {
            let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
            current = setrlimit(Resource::Nofile, raised).map_or(current, |()| wanted);
        }
        let budget = Self::of(usize::try_from(current).unwrap_or(usize::MAX));
        if budget.links < LINKS_MAX {
            log::warn!(
                "with {current} open files there is room for {} links and {} browsers; allow {WANTED} (LimitNOFILE, ulimit -n)",
                budget.links,
                budget.browsers
            );
        }
        budget
    }

    /// A quarter each for strangers and browsers, if there are few; the rest is for members.
    fn of(descriptors: usize) -> Self {
        let room = descriptors.saturating_sub(OWN);
        let browsers = (room / 4).clamp(LEAST, web::CONNECTIONS_MAX);
        let strangers = (room / 4).clamp(LEAST, LINKS_UNPROVED_MAX);
        let links = room.saturating_sub(browsers).clamp(2 * LEAST, LINKS_MAX);
        Self { links, strangers, browsers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_at_least_half_of_what_there_is_beside_our_own() {
        assert_eq!(Budget::of(48), Budget { links: 15, strangers: 5, browsers: 5 });
        assert_eq!(
            Budget::of(1024),
            Budget { links: LINKS_MAX, strangers: LINKS_UNPROVED_MAX, browsers: web::CONNECTIONS_MAX }
        );
        for descriptors in OWN + 3 * LEAST..2000 {
            let Budget { links, strangers, browsers } = Budget::of(descriptors);
            assert!(OWN + links + browsers <= descriptors, "{descriptors}");
            assert!(links >= 2 * strangers, "{descriptors}");
        }
        assert_eq!(Budget::of(0), Budget { links: 8, strangers: 4, browsers: 4 });
    }
}
