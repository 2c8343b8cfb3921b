//! What this zhost says of itself in the registry, and what its flash has lost.

use super::Node;
use crate::{
    cluster::profile::describe_left_out,
    disk::{DiskRequest, Lost, Purpose, lost_write},
    output::Level,
};
use zhost_base::{Instant, Name};
use zhost_gossip::row::{Row, RowKey};

impl Node {
    /// The machine has other devices.
    pub(super) fn handle_capabilities(&mut self, now: Instant, capabilities: Vec<Name>) {
        self.log(Level::Info, "the devices of this zhost have changed".into());
        self.config.capabilities = capabilities;
        self.write_profile(now);
    }

    pub(super) fn write_profile(&mut self, now: Instant) {
        let (profile, left_out) = self.facts.own_profile(&self.config, self.unix_ms(self.started_at));
        if left_out > 0 {
            self.log(Level::Warn, describe_left_out(left_out));
        }
        self.set_row(now, RowKey::Profile, Row::Profile(profile));
    }

    /// Enough others have told their terms: we vote again.
    pub(crate) fn regain_vote(&mut self, now: Instant) {
        let text = "the others have told which terms are past: voting again".to_owned();
        self.log(Level::Info, text);
        self.set_lost(now, Lost { votes: false, ..self.facts.lost });
        self.refresh_losses(now);
    }

    pub(super) fn refresh_losses(&mut self, now: Instant) {
        if let Some(lost) = self.facts.regained() {
            self.set_lost(now, lost);
        }
    }

    fn set_lost(&mut self, now: Instant, lost: Lost) {
        self.facts.lost = lost;
        self.disk(DiskRequest::Commit(vec![lost_write(lost)]), Purpose::Nothing);
        self.write_profile(now);
    }
}
