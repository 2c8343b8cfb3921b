//! One request, and several zhosts of which any may answer it.
//!
//! All are greeted at once. The request goes to one of those that answer, and to another only as long as nobody has
//! begun to hear it.

use crate::{Client, ClientError, Pace};
use std::time::Duration;
use zhost_base::{Instant, Rng};
use zhost_link::Identity;

/// How long those that are named first are waited for, when others answer sooner.
const HEAD_START: Duration = Duration::from_millis(150);

/// Why one of the zhosts does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// As the session ended.
    Session(ClientError),
    /// The way to it ends: nobody listens, or there is no such network.
    Unreachable(String),
}

struct Asked {
    client: Client,
    trouble: Option<Trouble>,
}

/// The request and where it stands.
pub struct Inquiry {
    pace: Pace,
    request: Vec<u8>,
    asked: Vec<Asked>,
    /// Who was given the request.
    chosen: Option<usize>,
    head_start_until: Instant,
    give_up_at: Instant,
}

impl Inquiry {
    /// Greets so many zhosts.
    pub fn new(
        now: Instant,
        pace: Pace,
        operator: &Identity,
        key: &[u8; 32],
        mut rng: Rng,
        zhosts: usize,
        request: Vec<u8>,
    ) -> Result<Self, ClientError> {
        if request.len() > zhost_base::limits::CONTROL_MESSAGE_MAX_BYTES {
            return Err(ClientError::TooLarge);
        }
        let client = |_| Client::new(now, pace, operator, key, rng.fork()).map_err(|_| ClientError::Silent);
        let clients = (0..zhosts).map(client).collect::<Result<Vec<_>, _>>()?;
        let asked = clients.into_iter().map(|client| Asked { client, trouble: None });
        Ok(Self {
            pace,
            request,
            asked: asked.collect(),
            chosen: None,
            head_start_until: now + HEAD_START,
            give_up_at: now + pace.answer_within,
        })
    }

    /// The zhost that hears the request, as soon as one does.
    pub fn heard(&self) -> Option<usize> {
        self.chosen.filter(|chosen| self.asked[*chosen].client.is_heard())
    }

    /// A datagram came from one of them.
    pub fn handle_datagram(&mut self, now: Instant, zhost: usize, datagram: &[u8]) {
        let is_wanted = self.heard().is_none_or(|heard| heard == zhost);
        if let Some(asked) = self.asked.get_mut(zhost).filter(|_| is_wanted) {
            asked.client.handle_datagram(now, datagram);
        }
        self.choose(now);
    }

    /// There is no way to one of them. One that heard the request already may be back soon.
    pub fn handle_unreachable(&mut self, now: Instant, zhost: usize, reason: String) {
        if self.heard() != Some(zhost) {
            self.fail(now, zhost, Trouble::Unreachable(reason));
        }
    }

    fn fail(&mut self, now: Instant, zhost: usize, trouble: Trouble) {
        if let Some(asked) = self.asked.get_mut(zhost) {
            asked.trouble = Some(trouble);
        }
        self.chosen = self.chosen.filter(|chosen| *chosen != zhost);
        self.choose(now);
    }

    /// Gives the request to the first that answered; as long as others before it may yet answer, they are waited for.
    fn choose(&mut self, now: Instant) {
        if self.chosen.is_some() || self.give_up_at <= now {
            return;
        }
        let hopeful = self.asked.iter().enumerate().filter(|(_, asked)| asked.trouble.is_none());
        let mut candidates =
            hopeful.filter(|(_, asked)| asked.client.is_answered() || now < self.head_start_until);
        let Some((index, _)) = candidates.next().filter(|(_, asked)| asked.client.is_answered()) else {
            return;
        };
        self.chosen = Some(index);
        // Its size was looked at when the inquiry began.
        let _ = self.asked[index].client.request(now, self.request.clone());
    }

    /// The line to the zhost is there again after a break.
    pub fn handle_line_back(&mut self, now: Instant) {
        self.give_up_at = self.give_up_at.max(now + self.pace.answer_within);
        self.asked.iter_mut().for_each(|asked| asked.client.handle_line_back(now));
    }

    /// Repeats what got lost. An error means that there is no use in waiting on: what is known of each zhost.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Vec<Trouble>> {
        if let Some(heard) = self.heard() {
            return self.asked[heard]
                .client
                .handle_timeout(now)
                .map_err(|error| vec![Trouble::Session(error)]);
        }
        let late = self.give_up_at <= now;
        for index in 0..self.asked.len() {
            let Asked { client, trouble } = &mut self.asked[index];
            let outcome = match (trouble.is_some(), client.is_answered()) {
                (true, _) => Ok(()),
                (_, false) => client.handle_timeout(now),
                _ if self.chosen == Some(index) => client.handle_timeout(now),
                // Who answered and is not asked yet has no reason to say more; when time is up, it need not.
                _ if late => Err(ClientError::Stranger),
                _ => Ok(()),
            };
            if let Err(error) = outcome {
                self.fail(now, index, Trouble::Session(error));
            }
        }
        self.choose(now);
        let troubles: Option<Vec<Trouble>> = self.asked.iter().map(|asked| asked.trouble.clone()).collect();
        troubles.map_or(Ok(()), Err)
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> (Instant, &'static str) {
        if let Some(heard) = self.heard() {
            return self.asked[heard].client.poll_timeout();
        }
        if self.asked.iter().all(|asked| asked.trouble.is_some()) {
            return (Instant::ZERO, "nobody is left");
        }
        let hopeful = self.asked.iter().enumerate().filter(|(index, asked)| {
            asked.trouble.is_none() && (!asked.client.is_answered() || self.chosen == Some(*index))
        });
        let waits = self.chosen.is_none() && self.asked.iter().any(|asked| asked.client.is_answered());
        let head_start = waits.then_some((self.head_start_until, "head start"));
        let timers = hopeful.map(|(_, asked)| asked.client.poll_timeout()).chain(head_start);
        timers.fold((self.give_up_at, "give up"), std::cmp::min)
    }

    /// The next datagram to send, and to whom.
    pub fn poll_datagram(&mut self) -> Option<(usize, Vec<u8>)> {
        let heard = self.heard();
        let wanted = |index: usize| heard.is_none_or(|heard| heard == index);
        let mut asked = self.asked.iter_mut().enumerate().filter(|(index, _)| wanted(*index));
        asked.find_map(|(index, asked)| Some((index, asked.client.poll_datagram()?)))
    }

    /// The reply, once.
    pub fn poll_reply(&mut self) -> Option<Vec<u8>> {
        let heard = self.heard()?;
        self.asked[heard].client.poll_reply()
    }

    /// Bytes of the request that arrived, and bytes in all.
    pub fn progress(&self) -> Option<(usize, usize)> {
        self.asked[self.chosen?].client.progress()
    }
}

#[cfg(test)]
mod tests;
