//! Services of the kernel that drivers stand on besides the I/O manager's: queues, lists, locks, registry, text.

mod csq;
mod lists;
mod lookaside;
mod mutex;
mod registry;
mod removal;
mod resource;
mod rundown;
mod se_exports;
mod shared_lock;
mod system;
mod text;

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::exports::Export;

pub use registry::RegistryValue;
pub(crate) use registry::service_key;
pub(crate) use text::format;

/// What a machine keeps for its drivers.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) registry: registry::Registry,
    resources: resource::Resources,
    /// What has to be given back before unload, by address: lookaside lists, notifications.
    registered: Mutex<BTreeMap<usize, &'static str>>,
}

impl State {
    /// What drivers have not given back, one line each.
    pub(crate) fn live(&self) -> Vec<String> {
        let registered = self.registered.lock();
        let mut live: Vec<String> = registered.iter().map(|(address, what)| format!("{what} {address:#x}")).collect();
        live.extend(self.resources.live());
        live
    }

    /// Notes something that has to be given back; false when it is there already.
    fn register(&self, address: usize, what: &'static str) -> bool {
        self.registered.lock().insert(address, what).is_none()
    }

    /// Gives it back; false when it is not there.
    fn unregister(&self, address: usize) -> bool {
        self.registered.lock().remove(&address).is_some()
    }
}

pub(crate) fn exports() -> Vec<Export> {
    let lists = [
        csq::exports(),
        lists::exports(),
        lookaside::exports(),
        mutex::exports(),
        registry::exports(),
        removal::exports(),
        resource::exports(),
        rundown::exports(),
        se_exports::exports(),
        shared_lock::exports(),
        system::exports(),
        text::exports(),
    ];
    lists.into_iter().flatten().collect()
}
