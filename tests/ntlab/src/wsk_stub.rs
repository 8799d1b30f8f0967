//! Stands in for `wsk` until the provider is there.

use crate::call::Stopped;
use crate::exports::Export;

/// What the provider keeps for a machine.
#[derive(Debug, Default)]
pub struct State;

impl State {
    /// Reports what a driver that has unloaded left behind.
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "a stub")]
    pub(crate) fn check_unload(&self) -> Result<(), Stopped> {
        Ok(())
    }

    /// Ends the network thread.
    #[expect(clippy::unused_self, reason = "a stub")]
    pub(crate) fn stop(&self) {}
}

/// What netio.sys exports.
pub fn exports() -> Vec<Export> {
    Vec::new()
}
