//! The balance at the end: everything that was taken is given back.

use crate::{
    Client, Error,
    abi::{Kind, Ledger},
    backend::Backend,
};
use serde::Serialize;
use std::{
    thread,
    time::{Duration, Instant},
};

/// How long the teardowns of processes that ended may take.
const PATIENCE: Duration = Duration::from_secs(45);
/// How often the ledger is asked meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// What the ledger says when nobody does anything any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Balance {
    /// Requests taken since the driver was loaded.
    pub taken: u64,
    /// Of those, completed.
    pub completed: u64,
    /// Of those, cancelled.
    pub cancelled: u64,
    /// References left.
    pub references: u64,
    /// Sockets left.
    pub sockets: u64,
    /// Clients, this one apart.
    pub clients: u64,
    /// Whether the driver is registered as a WSK client.
    pub registered: bool,
    /// Teardowns since the driver was loaded.
    pub teardowns: u64,
    /// Pool that the driver has allocated: blocks and bytes; before the load, and now.
    pub pool: Option<Pool>,
}

/// Pool in use, before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Pool {
    pub blocks_before: usize,
    pub bytes_before: usize,
    pub blocks: usize,
    pub bytes: usize,
}

impl Balance {
    fn read(ledger: &Ledger) -> Self {
        let sum = |of: fn(&crate::abi::Tally) -> u64| {
            // The ledger request that asks is not over, and so not counted.
            Kind::ALL.iter().filter_map(|&kind| ledger.driver_requests.get(kind as usize)).map(of).sum()
        };
        Self {
            taken: sum(|tally| tally.taken),
            completed: sum(|tally| tally.completed),
            cancelled: sum(|tally| tally.cancelled),
            references: ledger.driver_references.iter().map(|&references| u64::from(references)).sum(),
            sockets: ledger.driver_sockets,
            clients: u64::from(ledger.clients).saturating_sub(1),
            registered: ledger.registered != 0,
            teardowns: ledger.teardowns,
            pool: None,
        }
    }

    /// Whether everything was given back.
    pub fn is_even(&self) -> bool {
        self.taken == self.completed
            && (self.references, self.sockets, self.clients) == (0, 0, 0)
            && !self.registered
            && self.pool.is_none_or(|pool| pool.blocks <= pool.blocks_before)
    }

    /// What was not given back, for a person.
    pub fn lacking(&self) -> String {
        let mut parts = Vec::new();
        let mut part = |count: u64, what: &str| {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        };
        part(self.taken.saturating_sub(self.completed), "requests not completed");
        part(self.references, "references");
        part(self.sockets, "sockets");
        part(self.clients, "other clients");
        part(self.registered.into(), "registration as a WSK client");
        if let Some(pool) = self.pool {
            part(pool.blocks.saturating_sub(pool.blocks_before) as u64, "pool blocks more than before");
        }
        parts.join(", ")
    }
}

/// Checks that no other client uses the driver: its requests would be counted too.
pub(super) fn alone(client: &Client) -> Result<(), Error> {
    let others = client.ledger()?.clients.saturating_sub(1);
    if others == 0 {
        return Ok(());
    }
    Err(Error::unexpected(
        "see that nobody else uses the driver",
        format!("there are {others} other clients; end them"),
    ))
}

/// Waits until everything was given back, and tells what the ledger says then, or after [`PATIENCE`].
pub(super) fn settle(client: &Client, pool: Option<(&Backend, (usize, usize))>) -> Result<Balance, Error> {
    let begun = Instant::now();
    loop {
        let mut balance = Balance::read(&client.ledger()?);
        balance.pool = pool.and_then(|(backend, (blocks_before, bytes_before))| {
            let (blocks, bytes) = backend.pool_in_use()?;
            Some(Pool { blocks_before, bytes_before, blocks, bytes })
        });
        if balance.is_even() || begun.elapsed() > PATIENCE {
            return Ok(balance);
        }
        thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Tally;
    use zerocopy::FromZeros;

    #[test]
    fn a_balance_is_even_when_all_was_given_back() {
        let mut ledger = Ledger::new_zeroed();
        ledger.clients = 1;
        ledger.driver_requests[Kind::Send as usize] = Tally { taken: 5, completed: 5, cancelled: 2 };
        assert!(Balance::read(&ledger).is_even());
        assert_eq!(Balance::read(&ledger).lacking(), "");
    }

    #[test]
    fn a_balance_that_is_not_even_names_what_is_lacking() {
        let mut ledger = Ledger::new_zeroed();
        ledger.clients = 2;
        ledger.registered = 1;
        ledger.driver_sockets = 3;
        ledger.driver_requests[Kind::Send as usize] = Tally { taken: 5, completed: 4, cancelled: 2 };
        let mut balance = Balance::read(&ledger);
        balance.pool = Some(Pool { blocks_before: 4, bytes_before: 100, blocks: 6, bytes: 300 });
        assert!(!balance.is_even());
        assert_eq!(
            balance.lacking(),
            "1 requests not completed, 3 sockets, 1 other clients, 1 registration as a WSK client, 2 pool blocks more than before"
        );
    }
}
