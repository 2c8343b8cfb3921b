//! The scenarios that are run over many seeds.

use crate::{
    family, loss, panics, purge, rollout,
    scenario::{self, Report},
    vault,
};
use clap::ValueEnum;
use zhost_base::planted::Bug;

/// What happens to a simulated site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Scenario {
    /// Counters that send messages to stores, under all sorts of mishaps.
    Faults,
    /// A space with replicated data whose board dies again and again.
    Vault,
    /// Spaces that spawn, link, monitor and name each other, under all sorts of mishaps.
    Family,
    /// Topologies that are submitted, deleted and submitted again, while boards are away.
    Purge,
    /// New agents for boards, good ones and bad ones, under mishaps.
    Rollout,
    /// A zhost of which little or nothing gets through in one direction, for a minute or two.
    Loss,
    /// All sorts of mishaps, and parts of zhosts that panic.
    Panics,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Faults, Self::Vault, Self::Family, Self::Purge, Self::Rollout, Self::Loss, Self::Panics];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Faults => "faults",
            Self::Vault => "vault",
            Self::Family => "family",
            Self::Purge => "purge",
            Self::Rollout => "rollout",
            Self::Loss => "loss",
            Self::Panics => "panics",
        }
    }

    /// Runs it; the vault has boards of its own.
    pub fn run(self, seed: u64, zhosts: usize, verbose: bool) -> Report {
        match self {
            Self::Faults => scenario::faults(seed, zhosts, verbose),
            Self::Vault => vault::run(seed, vault::MISHAPS, verbose).report,
            Self::Family => family::run(seed, zhosts, verbose),
            Self::Purge => purge::run(seed, zhosts, verbose),
            Self::Rollout => rollout::run(seed, zhosts, verbose),
            Self::Loss => loss::run(seed, zhosts, verbose),
            Self::Panics => panics::run(seed, zhosts, verbose),
        }
    }

    /// Where a planted bug is looked for.
    pub fn that_finds(bug: Bug) -> Self {
        match bug {
            Bug::AcknowledgeEarly | Bug::Usurp | Bug::ObeyAnybody => Self::Vault,
            Bug::OrphanSpawned
            | Bug::OutliveVersion
            | Bug::ForgetGrants
            | Bug::KeepNames
            | Bug::KeepTies
            | Bug::ForgetTies => Self::Family,
            Bug::KeepOneCopy | Bug::DropStopped | Bug::KeepWaste | Bug::ForgetEarly => Self::Purge,
            Bug::TryTogether | Bug::IgnoreFailure | Bug::KeepUntried => Self::Rollout,
            _ => Self::Faults,
        }
    }
}

/// Seeds that ever failed: what they found is fixed, and stays so.
const FAILED_SEEDS: &str = include_str!("../failed-seeds.txt");

/// Seeds of one scenario at one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// What happens.
    pub scenario: Scenario,
    /// Boards in the cluster.
    pub zhosts: usize,
    /// The seeds.
    pub seeds: Seeds,
}

/// Seeds, such as `0..500` or `17` or `3,17,0..100`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeds(pub Vec<u64>);

impl std::str::FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| format!("{text:?} is not a seed"));
        let mut seeds = Vec::new();
        for part in text.split(',') {
            match part.split_once("..") {
                Some((from, to)) => seeds.extend(number(from)?..number(to)?),
                None => seeds.push(number(part)?),
            }
        }
        Ok(Self(seeds))
    }
}

/// The seeds that ever failed.
///
/// # Errors
///
/// The line that makes no sense.
pub fn failed() -> Result<Vec<Series>, String> {
    let lines = FAILED_SEEDS.lines().map(|line| line.split('#').next().unwrap_or("").trim());
    lines.filter(|line| !line.is_empty()).map(series).collect()
}

/// A line such as `faults 7 0,6,36`.
fn series(line: &str) -> Result<Series, String> {
    let mut words = line.split_whitespace();
    let (Some(name), Some(zhosts), Some(seeds), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(format!("{line:?} is not a scenario, a number of zhosts, and seeds"));
    };
    let scenario = Scenario::ALL.into_iter().find(|scenario| scenario.name() == name);
    Ok(Series {
        scenario: scenario.ok_or_else(|| format!("there is no scenario {name:?}"))?,
        zhosts: zhosts.parse().map_err(|_| format!("{zhosts:?} is not a number of zhosts"))?,
        seeds: seeds.parse()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_failed_seeds_say_scenario_size_and_seeds() {
        let wanted = Series { scenario: Scenario::Faults, zhosts: 3, seeds: Seeds(vec![4, 5, 9]) };
        assert_eq!(series("faults 3 4..6,9"), Ok(wanted));
        for bad in ["faults 3", "fault 3 4", "faults x 4", "faults 3 4 5", "faults 3 4;5"] {
            assert!(series(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_seeds_that_ever_failed_can_be_read() {
        assert!(failed().unwrap().iter().map(|series| series.seeds.0.len()).sum::<usize>() >= 25);
    }

    #[test]
    fn every_scenario_has_its_name() {
        for scenario in Scenario::ALL {
            assert_eq!(Scenario::from_str(scenario.name(), false), Ok(scenario));
        }
    }
}
