//! Messages that wait for a guest.

use std::collections::VecDeque;
use zhost_base::{Batch, Name, ZhostId};

/// Where messages came from, for those who give credit back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sender {
    /// The zhost of the sending space.
    pub zhost: ZhostId,
    /// The window there that the messages belong to.
    pub window: u32,
}

/// Messages that arrived together.
#[derive(Debug)]
pub(crate) struct Letters {
    /// The space that sent them; `None` if the guest itself did.
    from: Option<Name>,
    sender: Sender,
    path: Name,
    payloads: Batch,
    /// Where in `payloads` the next one begins.
    position: usize,
    /// Messages and bytes taken out and not reported yet.
    taken: (u32, u32),
}

/// Messages that a guest took out of its mailbox.
#[derive(Debug)]
pub(crate) struct Consumed {
    pub from: Name,
    pub sender: Sender,
    pub path: Name,
    pub messages: u32,
    pub bytes: u32,
}

impl Letters {
    pub fn new(from: Option<Name>, sender: Sender, path: Name, payloads: Batch) -> Self {
        Self { from, sender, path, payloads, position: 0, taken: (0, 0) }
    }

    fn take_consumed(&mut self) -> Option<Consumed> {
        let (messages, bytes) = std::mem::take(&mut self.taken);
        let from = self.from.clone().filter(|_| messages > 0)?;
        Some(Consumed { from, sender: self.sender, path: self.path.clone(), messages, bytes })
    }
}

/// A mailbox. Who fills it bounds it, by credit.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    letters: VecDeque<Letters>,
    /// Messages the guest sent to itself.
    own: usize,
    consumed: Vec<Consumed>,
    /// Of the message taken last.
    path: Option<Name>,
}

impl Mailbox {
    pub fn push(&mut self, letters: Letters) {
        if letters.payloads.is_empty() {
            return;
        }
        if letters.from.is_none() {
            self.own += letters.payloads.len();
        }
        self.letters.push_back(letters);
    }

    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// How many messages of the guest to itself wait.
    pub fn own(&self) -> usize {
        self.own
    }

    /// The path of the message taken last.
    pub fn path(&self) -> Option<&Name> {
        self.path.as_ref()
    }

    /// The next message.
    pub fn peek(&self) -> Option<&[u8]> {
        let letters = self.letters.front()?;
        letters.payloads.at(letters.position)
    }

    /// Takes the message out that [`Self::peek`] shows.
    pub fn advance(&mut self) {
        let Some(letters) = self.letters.front_mut() else { return };
        let Some(payload) = letters.payloads.at(letters.position) else { return };
        if letters.position == 0 {
            self.path = Some(letters.path.clone());
        }
        letters.taken.0 += 1;
        letters.taken.1 = letters.taken.1.saturating_add(payload.len() as u32);
        letters.position = letters.payloads.after(letters.position, payload);
        if letters.from.is_none() {
            self.own -= 1;
        }
        if letters.payloads.at(letters.position).is_none() {
            self.consumed.extend(letters.take_consumed());
            self.letters.pop_front();
        }
    }

    /// What was taken out since this was asked last.
    pub fn take_consumed(&mut self) -> Vec<Consumed> {
        let current = self.letters.front_mut().and_then(Letters::take_consumed);
        self.consumed.extend(current);
        std::mem::take(&mut self.consumed)
    }
}
