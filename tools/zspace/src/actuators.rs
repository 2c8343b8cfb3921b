//! What the board can move or switch: each needs `actuators.<name>`, and belongs to one space at a time.

use crate::{Refusal, imports::actuators, outcome};

/// An actuator that is ours until this is dropped.
#[derive(Debug)]
pub struct Lock<'a>(&'a str);

/// Takes an actuator; [`Refusal::Taken`] while another space has it.
pub fn lock(name: &str) -> Result<Lock<'_>, Refusal> {
    outcome(actuators::lock(name.as_ptr(), name.len())).map(|_| Lock(name))
}

impl Lock<'_> {
    /// Gives a command in the device's own format; its answer is in `buffer`.
    pub fn command<'a>(&self, command: &[u8], buffer: &'a mut [u8]) -> Result<&'a [u8], Refusal> {
        let (name, place) = (self.0, (buffer.as_mut_ptr(), buffer.len()));
        let command = (command.as_ptr(), command.len());
        let size =
            outcome(actuators::command(name.as_ptr(), name.len(), command.0, command.1, place.0, place.1))?;
        buffer.get(..size).ok_or(Refusal::Failed)
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        actuators::release(self.0.as_ptr(), self.0.len());
    }
}
