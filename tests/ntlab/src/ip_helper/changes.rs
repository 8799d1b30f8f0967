//! Notifications: `NotifyIpInterfaceChange` and its like, until `CancelMibChangeNotify2`.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use wsk::sys::{AF_INET, AddressFamily};

use super::rows::{ForwardRow, InterfaceRow, UnicastRow};
use super::{ANY, State, families};
use crate::call::{self, Stopped, or_escape};
use crate::machine::{self, Machine};
use crate::rules;
use crate::status::NtStatus;

/// `MibParameterNotification`.
const CHANGED: usize = 0;
/// `MibInitialNotification`.
const INITIAL: usize = 3;
/// How often a cancellation, which waits for a callback, looks whether the machine has stopped.
const SLICE: Duration = Duration::from_millis(50);

/// What a driver can be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// An IP interface has changed.
    Interface,
    /// A unicast address has changed.
    Address,
    /// A route has changed.
    Route,
}

/// A driver that wants to be told.
pub struct Notification {
    of: Change,
    family: AddressFamily,
    callback: usize,
    context: usize,
    /// Calls that have not returned.
    running: usize,
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let callback = machine::current().describe_code(self.callback);
        write!(f, "IP Helper notification of {:?} changes, callback {callback}", self.of)
    }
}

impl State {
    fn add(&self, notification: Notification) -> usize {
        let handle = self.last.fetch_add(8, Ordering::Relaxed) + 0x1_0000_0008;
        self.notifications.lock().insert(handle, notification);
        handle
    }

    /// Calls back. No lock is held meanwhile.
    fn tell(&self, handle: usize, row: usize, kind: usize) -> Result<(), Stopped> {
        let (callback, context) = {
            let mut notifications = self.notifications.lock();
            let Some(found) = notifications.get_mut(&handle) else {
                return Ok(());
            };
            found.running += 1;
            (found.callback, found.context)
        };
        let outcome = call::driver("an IP Helper callback", callback, &[context, row, kind]).map(drop);
        if let Some(found) = self.notifications.lock().get_mut(&handle) {
            found.running -= 1;
        }
        self.returned.notify_all();
        outcome
    }

    fn tell_all(&self, of: Change) -> Result<(), Stopped> {
        let wanted: Vec<_> = {
            let notifications = self.notifications.lock();
            let found = notifications.iter().filter(|(_, each)| each.of == of);
            found.map(|(&handle, each)| (handle, each.family)).collect()
        };
        for (handle, family) in wanted {
            let family = families(family).and_then(|families| families.first()).copied().unwrap_or(AF_INET);
            let address = |pointer: *const u8| pointer as usize;
            match of {
                Change::Interface => {
                    let row = InterfaceRow::of(family);
                    self.tell(handle, address((&raw const row).cast()), CHANGED)?;
                }
                Change::Address => {
                    let row = UnicastRow::of(family);
                    self.tell(handle, address((&raw const row).cast()), CHANGED)?;
                }
                Change::Route => {
                    let row = ForwardRow::of(family);
                    self.tell(handle, address((&raw const row).cast()), CHANGED)?;
                }
            }
        }
        Ok(())
    }
}

impl Machine {
    /// Tells drivers that have asked for it (`NotifyIpInterfaceChange` and its like) of a change.
    pub fn change_interfaces(&self, change: Change) {
        // A machine that has stopped calls nobody.
        let _ = call::guard(&self.inner, || self.inner.ip_helper.tell_all(change)).and_then(|told| told);
    }
}

fn notify(of: Change, family: AddressFamily, callback: usize, context: usize, initial: u8, place: *mut usize) -> i32 {
    let machine = machine::current();
    if ![ANY].contains(&family) && families(family).is_none() || callback == 0 || place.is_null() {
        return NtStatus::INVALID_PARAMETER.0;
    }
    if machine.fails_allocation() {
        return NtStatus::NO_MEMORY.0;
    }
    let handle = machine.ip_helper.add(Notification { of, family, callback, context, running: 0 });
    // SAFETY: the driver passes a place for the handle.
    unsafe { place.write(handle) };
    if initial != 0 {
        or_escape(machine.ip_helper.tell(handle, 0, INITIAL));
    }
    NtStatus::SUCCESS.0
}

pub extern "win64" fn notify_interface(
    family: AddressFamily,
    callback: usize,
    context: usize,
    initial: u8,
    place: *mut usize,
) -> i32 {
    notify(Change::Interface, family, callback, context, initial, place)
}

pub extern "win64" fn notify_address(
    family: AddressFamily,
    callback: usize,
    context: usize,
    initial: u8,
    place: *mut usize,
) -> i32 {
    notify(Change::Address, family, callback, context, initial, place)
}

pub extern "win64" fn notify_route(
    family: AddressFamily,
    callback: usize,
    context: usize,
    initial: u8,
    place: *mut usize,
) -> i32 {
    notify(Change::Route, family, callback, context, initial, place)
}

/// Ends a notification, once its callback has returned.
pub extern "win64" fn cancel(handle: usize) -> i32 {
    let machine = machine::current();
    let outcome = (|| {
        let mut notifications = machine.ip_helper.notifications.lock();
        while notifications.get(&handle).is_some_and(|found| found.running != 0) {
            machine.give_turn_up();
            machine.ip_helper.returned.wait_for(&mut notifications, SLICE);
            if machine.is_stopped() {
                return Err(Stopped);
            }
        }
        if notifications.remove(&handle).is_some() {
            return Ok(());
        }
        drop(notifications);
        let message = format!("CancelMibChangeNotify2 got {handle:#x}, which is no notification of IP Helper");
        Err(rules::record(&rules::BAD_OBJECT, message, Vec::new()))
    })();
    or_escape(outcome);
    NtStatus::SUCCESS.0
}
