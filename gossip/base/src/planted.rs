//! Bugs planted on purpose, to see whether the simulator finds them. Where assertions of debugging are off, as in every
//! agent that is shipped, there are none and the questions cost nothing. (It is no feature: with one, everything
//! would be compiled twice, with and without.)

/// A mistake somebody could have made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// Placements are taken in whatever version they have.
    SkipFence = 1,
    /// A stream delivers again what it has already delivered.
    ForgetDelivered,
    /// A zhost does not count its starts.
    ReuseGeneration,
    /// A zhost votes for whoever asks, as often as it is asked.
    VoteTwice,
    /// A document counts as durable though it never reaches the flash.
    ForgetFlash,
    /// What was under way when a way was lost is not sent again.
    LoseOnReroute,
    /// A deleted registry row leaves no tombstone.
    ForgetTombstone,
    /// Messages that did not arrive are not reported to their sender.
    KeepQuiet,
    /// A space goes on when its placement says it is elsewhere.
    IgnoreMove,
    /// An accused zhost does not refute.
    NeverRefute,
    /// A write is acknowledged before the replicas have it.
    AcknowledgeEarly,
    /// Any zhost may become the one that writes, whether it has the data or not.
    Usurp,
    /// A replica obeys whoever writes to it.
    ObeyAnybody,
    /// A spawned space whose parent is gone meanwhile is left alone.
    OrphanSpawned,
    /// A spawned space goes on when its topology has another version.
    OutliveVersion,
    /// A super does not remember to whom it has granted a name a moment ago.
    ForgetGrants,
    /// A space that ends does not give its names back.
    KeepNames,
    /// What is bound to another space stays so when it was told of its end.
    KeepTies,
    /// Who is bound to the spaces of a zhost is not told that it is lost.
    ForgetTies,
    /// Only one zhost keeps a package that it does not run.
    KeepOneCopy,
    /// A package is let go when its topology is stopped.
    DropStopped,
    /// A board takes up an agent while another tries it.
    TryTogether,
    /// A board takes up an agent that has failed on another.
    IgnoreFailure,
    /// A board keeps an agent before it has found the cluster with it.
    KeepUntried,
    /// Data of deleted topologies stays where it was.
    KeepWaste,
    /// A deleted topology is forgotten although a zhost that is away has not heard of it.
    ForgetEarly,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::SkipFence,
        Self::ForgetDelivered,
        Self::ReuseGeneration,
        Self::VoteTwice,
        Self::ForgetFlash,
        Self::LoseOnReroute,
        Self::ForgetTombstone,
        Self::KeepQuiet,
        Self::IgnoreMove,
        Self::NeverRefute,
        Self::AcknowledgeEarly,
        Self::Usurp,
        Self::ObeyAnybody,
        Self::OrphanSpawned,
        Self::OutliveVersion,
        Self::ForgetGrants,
        Self::KeepNames,
        Self::KeepTies,
        Self::ForgetTies,
        Self::KeepOneCopy,
        Self::DropStopped,
        Self::TryTogether,
        Self::IgnoreFailure,
        Self::KeepUntried,
        Self::KeepWaste,
        Self::ForgetEarly,
    ];

    /// Whether it takes hundreds of seeds to find it, and so a soak.
    pub fn is_rare(self) -> bool {
        matches!(self, Self::ObeyAnybody | Self::IgnoreFailure)
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::SkipFence => "skip-fence",
            Self::ForgetDelivered => "forget-delivered",
            Self::ReuseGeneration => "reuse-generation",
            Self::VoteTwice => "vote-twice",
            Self::ForgetFlash => "forget-flash",
            Self::LoseOnReroute => "lose-on-reroute",
            Self::ForgetTombstone => "forget-tombstone",
            Self::KeepQuiet => "keep-quiet",
            Self::IgnoreMove => "ignore-move",
            Self::NeverRefute => "never-refute",
            Self::AcknowledgeEarly => "acknowledge-early",
            Self::Usurp => "usurp",
            Self::ObeyAnybody => "obey-anybody",
            Self::OrphanSpawned => "orphan-spawned",
            Self::OutliveVersion => "outlive-version",
            Self::ForgetGrants => "forget-grants",
            Self::KeepNames => "keep-names",
            Self::KeepTies => "keep-ties",
            Self::ForgetTies => "forget-ties",
            Self::KeepOneCopy => "keep-one-copy",
            Self::DropStopped => "drop-stopped",
            Self::TryTogether => "try-together",
            Self::IgnoreFailure => "ignore-failure",
            Self::KeepUntried => "keep-untried",
            Self::KeepWaste => "keep-waste",
            Self::ForgetEarly => "forget-early",
        }
    }
}

#[cfg(debug_assertions)]
mod planted_one {
    use super::Bug;
    use core::sync::atomic::{AtomicU8, Ordering};

    static PLANTED: AtomicU8 = AtomicU8::new(0);

    /// Plants a bug in the whole process, or takes it out again.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.store(bug.map_or(0, |bug| bug as u8), Ordering::Relaxed);
    }

    /// Whether this bug is planted.
    pub fn has(bug: Bug) -> bool {
        PLANTED.load(Ordering::Relaxed) == bug as u8
    }
}

#[cfg(debug_assertions)]
pub use planted_one::{has, plant};

/// Whether this bug is planted.
#[cfg(not(debug_assertions))]
pub const fn has(_: Bug) -> bool {
    false
}
