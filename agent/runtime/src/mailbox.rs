//! What waits for a guest: messages, calls, signals, readings.

use std::collections::VecDeque;
use zhost_base::{Batch, Name, Pid};
use zhost_exchange::{Consumed, Origin};

/// What sort of mail something is; guests see the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message along a path.
    Path = 0,
    /// A message of the guest to itself.
    Own = 1,
    /// A message to the guest's pid.
    Direct = 2,
    /// A call, to be replied to.
    Call = 3,
    /// A linked space ended; the content is the reason.
    Exit = 4,
    /// A monitored space ended; the content is the reason.
    Down = 5,
    /// A monitored zhost died; the content is its name.
    ZhostDown = 6,
    /// A global name is lost; the content is the name.
    NameLost = 7,
    /// A reading of a subscribed sensor.
    Reading = 8,
    /// Something was recognised.
    Event = 9,
}

impl Kind {
    fn is_signal(self) -> bool {
        matches!(self, Self::Exit | Self::Down | Self::ZhostDown | Self::NameLost)
    }
}

/// Mail that arrived together.
#[derive(Debug)]
pub(crate) struct Letters {
    kind: Kind,
    origin: Origin,
    /// The path, the sensor or the event.
    label: Option<Name>,
    payloads: Batch,
    /// Where in `payloads` the next one begins.
    position: usize,
    /// Messages and bytes taken out and not reported yet.
    taken: (u32, u32),
}

impl Letters {
    pub fn new(kind: Kind, origin: Origin, label: Option<Name>, payloads: Batch) -> Self {
        Self { kind, origin, label, payloads, position: 0, taken: (0, 0) }
    }

    fn unreported(&self) -> u32 {
        let mut position = self.position;
        let mut count = self.taken.0;
        while let Some(payload) = self.payloads.at(position) {
            position = self.payloads.after(position, payload);
            count += 1;
        }
        count
    }

    fn take_consumed(&mut self) -> Option<Consumed> {
        let (messages, bytes) = std::mem::take(&mut self.taken);
        let counts = matches!(self.origin, Origin::Path(..) | Origin::Direct(_) | Origin::Call(..));
        (messages > 0 && counts).then(|| Consumed {
            origin: self.origin.clone(),
            path: self.label.clone(),
            messages,
            bytes,
        })
    }
}

/// The message taken last.
#[derive(Debug)]
struct Last {
    kind: Kind,
    origin: Origin,
    label: Option<Name>,
}

/// A mailbox. Who fills it bounds it: by credit, or by what a guest may subscribe to.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    letters: VecDeque<Letters>,
    /// Messages of the guest to itself.
    own: usize,
    /// Of ends of spaces and zhosts, and of lost names.
    signals: usize,
    consumed: Vec<Consumed>,
    last: Option<Last>,
}

impl Mailbox {
    pub fn push(&mut self, letters: Letters) {
        if letters.payloads.is_empty() {
            return;
        }
        if letters.kind == Kind::Own {
            self.own += letters.payloads.len();
        }
        self.signals += usize::from(letters.kind.is_signal());
        self.letters.push_back(letters);
    }

    /// How many ends of spaces and zhosts, and lost names, wait.
    pub fn signals(&self) -> usize {
        self.signals
    }

    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// How many messages of the guest to itself wait.
    pub fn own(&self) -> usize {
        self.own
    }

    /// How many messages of that kind were not reported as consumed.
    pub fn unreported(&self, kind: Kind) -> u32 {
        self.letters.iter().filter(|letters| letters.kind == kind).map(Letters::unreported).sum()
    }

    /// How much mail of that kind and label waits.
    pub fn count(&self, kind: Kind, label: Option<&Name>) -> usize {
        self.letters.iter().filter(|l| l.kind == kind && l.label.as_ref() == label).count()
    }

    /// The path, sensor or event of the message taken last.
    pub fn label(&self) -> Option<&Name> {
        self.last.as_ref()?.label.as_ref()
    }

    /// What the message taken last was.
    pub fn kind(&self) -> Option<Kind> {
        self.last.as_ref().map(|last| last.kind)
    }

    /// Whom the message taken last came from, or tells of.
    pub fn sender(&self) -> Option<Pid> {
        match self.last.as_ref()?.origin {
            Origin::Path(_, sender) => Some(sender.pid),
            Origin::Direct(pid) | Origin::Call(pid, _) | Origin::Signal(pid) => Some(pid),
            Origin::Nobody => None,
        }
    }

    /// The caller and number of the call taken last, once.
    pub fn take_call(&mut self) -> Option<(Pid, u32)> {
        let last = self.last.as_mut()?;
        let Origin::Call(pid, serial) = last.origin else { return None };
        last.origin = Origin::Signal(pid);
        Some((pid, serial))
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
            let Letters { kind, origin, label, .. } = &*letters;
            self.last = Some(Last { kind: *kind, origin: origin.clone(), label: label.clone() });
        }
        letters.taken.0 += 1;
        letters.taken.1 = letters.taken.1.saturating_add(payload.len() as u32);
        letters.position = letters.payloads.after(letters.position, payload);
        if letters.kind == Kind::Own {
            self.own -= 1;
        }
        self.signals -= usize::from(letters.kind.is_signal());
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
