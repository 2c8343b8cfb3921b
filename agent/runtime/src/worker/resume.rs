//! What a worker does when the node has lost what was under way between the two: each space is told that nobody knows what
//! came of that, and the node how the spaces are.

use super::Worker;
use crate::{actor::Until, context::Context, mailbox::Kind};
use zhost_base::SpaceKey;
use zhost_exchange::{Changes, Exit, Presence, Refusal, Undelivered, WorkerEvent};

impl Context {
    /// Of all messages under way nobody knows what comes of them. Nothing more goes along paths until their targets are
    /// named anew.
    fn lose_messages(&mut self) {
        for path in &mut self.paths {
            let unknown = path.lose();
            if unknown > 0 {
                let undelivered = Undelivered { lost: 0, unknown };
                self.undelivered.entry(path.name.clone()).or_default().add(undelivered);
            }
        }
        for (pid, under_way) in std::mem::take(&mut self.correspondents) {
            let undelivered = Undelivered { lost: 0, unknown: under_way.messages };
            self.unsent.entry(pid).or_default().add(undelivered);
        }
    }
}

impl Worker {
    /// Tells a space that what it had under way with others is lost, and the node how the space is.
    pub(super) fn resume(&mut self, key: SpaceKey, number: u32) {
        let presence = self.presence(&key, number);
        let is_meant = |(ended, start, _): &&(SpaceKey, u32, Exit)| (ended, *start) == (&key, number);
        if let Some((_, _, exit)) = self.ended.iter().rfind(is_meant) {
            self.events.push_back(WorkerEvent::Exited(key.clone(), number, exit.clone()));
        }
        if let (Presence::Running(_), Some(site)) = (presence, self.sites.get(&key)) {
            self.events.push_back(WorkerEvent::Serves(key.clone(), number, site.assets.clone()));
        }
        let mut given_up = None;
        if self.is_there(&key, number)
            && let Some(task) = self.tasks.get_mut(&key)
        {
            let context = task.guest.context();
            context.lose_messages();
            let asked = context.waiting.filter(|waiting| waiting.until == Until::Answer);
            given_up = asked.map(|asked| asked.serial);
            if given_up.is_some() {
                self.answer(&key, given_up, Err(Refusal::TimedOut));
            }
            self.wake_if_refused(&key);
            self.enqueue(&key);
        }
        self.events.push_back(WorkerEvent::Resumed(key, number, presence, given_up));
    }

    fn presence(&mut self, key: &SpaceKey, number: u32) -> Presence {
        if self.launches.iter().any(|launch| launch.key == *key && launch.pid.number == number) {
            return Presence::Starting;
        }
        if self.sites.get(key).is_some_and(|site| site.number == number) {
            return Presence::Running(0);
        }
        match self.tasks.get_mut(key).filter(|task| task.pid.number == number) {
            None => Presence::Gone,
            Some(task) if task.has_begun() => {
                Presence::Running(task.guest.context().mailbox.unreported(Kind::Path))
            }
            Some(_) => Presence::Starting,
        }
    }

    /// Tells the node again which write a space waits for.
    pub(super) fn tell_write(&mut self, key: SpaceKey, number: u32) {
        let is_stored = !self.storing.contains(&key);
        let task = self.tasks.get(&key).filter(|task| task.pid.number == number && task.settling.is_some());
        if let Some(task) = task.filter(|_| is_stored) {
            self.events.push_back(WorkerEvent::Wrote(key, number, task.commits, Changes::default()));
        }
    }
}
