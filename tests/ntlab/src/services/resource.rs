//! Executive resources: many readers or one writer, recursively.
//!
//! Models "Introduction to ERESOURCE Routines". What holds a resource is kept beside it, so that its owner can be told.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::call::{Stopped, or_escape};
use crate::exports::{Export, routines};
use crate::machine;
use crate::nt::PVOID;
use crate::rules;
use crate::thread::this;

#[derive(Default)]
struct Held {
    /// How often its owner holds it, for each thread.
    owners: HashMap<usize, usize>,
    exclusive: bool,
}

/// The resources of a machine, by address.
#[derive(Default)]
pub(super) struct Resources {
    held: Mutex<HashMap<usize, Held>>,
    change: Condvar,
}

impl Resources {
    /// Resources that were not deleted, one line each.
    pub(super) fn live(&self) -> Vec<String> {
        self.held.lock().keys().map(|resource| format!("resource {resource:#x}")).collect()
    }
}

fn missing(resource: PVOID) -> ! {
    rules::violate(&rules::BAD_OBJECT, format!("{resource:p} is no resource"), Vec::new())
}

extern "win64" fn initialize(resource: PVOID) -> i32 {
    const SIZE: usize = 104;
    let machine = machine::current();
    machine.require_resident(resource as usize, "a resource");
    // SAFETY: the driver vouches for the resource; if it is not there, the fault is its own.
    unsafe { resource.cast::<u8>().write_bytes(0, SIZE) };
    machine.services.resources.held.lock().insert(resource as usize, Held::default());
    0
}

extern "win64" fn delete(resource: PVOID) -> i32 {
    let found = machine::current().services.resources.held.lock().remove(&(resource as usize));
    match found.map(|held| held.owners.is_empty()) {
        Some(true) => 0,
        Some(false) => rules::violate(&rules::BAD_OBJECT, format!("{resource:p} is deleted while held"), Vec::new()),
        None => missing(resource),
    }
}

/// Takes the resource if it can be had; an error when there is none.
fn try_take(held: &mut HashMap<usize, Held>, resource: usize, exclusive: bool) -> Result<bool, ()> {
    let thread = this().token();
    let held = held.get_mut(&resource).ok_or(())?;
    let mine = held.owners.contains_key(&thread);
    let alone = held.owners.is_empty() || (mine && held.exclusive);
    if !(alone || (!exclusive && !held.exclusive)) {
        return Ok(false);
    }
    if held.owners.is_empty() {
        held.exclusive = exclusive;
    }
    *held.owners.entry(thread).or_default() += 1;
    Ok(true)
}

fn acquire(resource: PVOID, wait: u8, exclusive: bool) -> u8 {
    let machine = machine::current();
    let resources = &machine.services.resources;
    let outcome = {
        let mut held = resources.held.lock();
        loop {
            match try_take(&mut held, resource as usize, exclusive) {
                Ok(false) if wait != 0 && !machine.is_stopped() => {
                    machine.give_turn_up();
                    resources.change.wait_for(&mut held, Duration::from_millis(10));
                }
                outcome => break outcome,
            }
        }
    };
    match outcome {
        Ok(taken) if taken || wait == 0 => u8::from(taken),
        Ok(_) => or_escape(Err(Stopped)),
        Err(()) => missing(resource),
    }
}

extern "win64" fn acquire_exclusive(resource: PVOID, wait: u8) -> u8 {
    acquire(resource, wait, true)
}

extern "win64" fn acquire_shared(resource: PVOID, wait: u8) -> u8 {
    acquire(resource, wait, false)
}

extern "win64" fn release(resource: PVOID) {
    let machine = machine::current();
    let resources = &machine.services.resources;
    let released = {
        let mut held = resources.held.lock();
        let thread = this().token();
        held.get_mut(&(resource as usize)).is_some_and(|held| {
            let Some(count) = held.owners.get_mut(&thread) else { return false };
            *count -= 1;
            if *count == 0 {
                held.owners.remove(&thread);
            }
            true
        })
    };
    if !released {
        rules::violate(&rules::LOCK_NOT_OWNED, format!("the thread does not hold {resource:p}"), Vec::new());
    }
    resources.change.notify_all();
}

fn is_held(resource: PVOID, exclusive: bool) -> usize {
    let machine = machine::current();
    let held = machine.services.resources.held.lock();
    let Some(held) = held.get(&(resource as usize)) else { return 0 };
    if exclusive && !held.exclusive { 0 } else { held.owners.get(&this().token()).copied().unwrap_or(0) }
}

extern "win64" fn is_exclusive(resource: PVOID) -> u8 {
    u8::from(is_held(resource, true) != 0)
}

extern "win64" fn is_shared(resource: PVOID) -> u32 {
    u32::try_from(is_held(resource, false)).unwrap_or(u32::MAX)
}

pub(super) fn exports() -> Vec<Export> {
    routines!["ntoskrnl.exe";
        DISPATCH: ExInitializeResourceLite => initialize, ExReleaseResourceLite => release,
            ExIsResourceAcquiredExclusiveLite => is_exclusive, ExIsResourceAcquiredSharedLite => is_shared;
        APC: ExDeleteResourceLite => delete, ExAcquireResourceExclusiveLite => acquire_exclusive,
            ExAcquireResourceSharedLite => acquire_shared;
    ]
}
