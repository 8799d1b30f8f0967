//! `wskctl agent`: another process's requests, made by this one.

use crate::{Error, backend::Choice, device::agent};
use std::io;

pub(super) fn run(choice: &Choice) -> Result<(), Error> {
    let backend = choice.open()?;
    agent::serve(backend.device(), io::stdin().lock(), io::stdout())
        .map_err(|error| Error::host("serve another process", error))?;
    backend.finish_clean()
}
