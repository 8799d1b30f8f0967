//! `wskclient.sys`: a Winsock Kernel (WSK) client with the startup and cleanup lifecycles of Winsock and its providers.
//!
//! One idea: whatever a request starts is owned by something that ends it. A request's way:
//!
//! ```text
//! DeviceIoControl ─▶ dispatch ─▶ request (decode) ─▶ client ─▶ table (a socket's gate) ─▶ operation (pending set)
//!     ─▶ WSK, with the request's own IRP and MDL ─▶ completion routine ─▶ claim ─▶ the IRP completes ─▶ unlinked
//! ```
//!
//! | module | subject |
//! |---|---|
//! | `device`, `parameters` | the device, its security, its name; what the service's key says |
//! | `driver` | what there is once: clients, the registration with WSK |
//! | `dispatch`, `request` | from an IRP to a valid request |
//! | `process`, `client`, `target`, `instance` | processes, and the providers that they start: startup, cleanup, teardown |
//! | `table`, `socket`, `operation`, `accept`, `datagram`, `options`, `events`, `requests` | sockets by handle, their lives, and what is asked of them |
//! | `names` | look-ups |
//! | `queue`, `cancel`, `quota` | IRPs that wait in the driver, why requests are cancelled, and what a client may hold at once |
//! | `worker`, `watchdog`, `rundown` | the one thread, who looks after it, and whoever else is in the image |
//! | `ledger`, `outstanding`, `trace` | what is held, what is pending, what the driver waits for, and what it tells |
//! | `irp`, `nt`, `lock`, `list`, `clock`, `system` | the kernel, in Rust's terms |
#![no_std]

extern crate alloc;
extern crate wdk_panic;

mod accept;
mod cancel;
mod client;
mod clock;
mod datagram;
mod device;
mod dispatch;
mod driver;
mod events;
mod instance;
mod irp;
mod ledger;
mod list;
mod lock;
mod names;
mod nt;
mod operation;
mod options;
mod outstanding;
mod parameters;
mod process;
mod queue;
mod quota;
mod request;
mod requests;
mod rundown;
mod socket;
mod startup;
mod system;
mod table;
mod target;
mod trace;
mod watchdog;
mod worker;

use device::{Device, SymbolicLink};
use parameters::Parameters;
use wdk_alloc::WdkAllocator;
use wdk_sys::{DRIVER_OBJECT, NTSTATUS, PCUNICODE_STRING};
use wsk::Passive;
use wskclient_abi::STATUS_SUCCESS;

#[global_allocator]
static ALLOCATOR: WdkAllocator = WdkAllocator;

/// What `DriverEntry` builds, rung by rung. Fields are dropped in this order: the ladder down is the ladder up, reversed.
struct Ladder {
    _link: SymbolicLink,
    _worker: worker::Thread,
    _watching: watchdog::Watching,
    _rundown: rundown::Rundown,
    device: Device,
    _trace: trace::Provider,
}

impl Ladder {
    /// # Safety
    /// `registry_path` is what the I/O manager gave `DriverEntry`.
    unsafe fn climb(
        driver: &mut DRIVER_OBJECT,
        registry_path: PCUNICODE_STRING,
        passive: Passive,
    ) -> Result<Self, NTSTATUS> {
        clock::find(passive);
        let trace = trace::Provider::register(passive);
        // SAFETY: the caller's promise.
        let parameters = unsafe { Parameters::read(registry_path, passive) };
        let device = Device::create(driver, parameters, passive)?;
        // SAFETY: the worker is in the device's extension, and the device is dropped after this; the thread, which comes later, before.
        let rundown = unsafe { rundown::Rundown::new(&device.state().worker, passive) };
        // SAFETY: the state is in the device's extension, and the device is dropped after this.
        let watching = unsafe { watchdog::Watching::start(device.state(), passive) };
        // SAFETY: the worker is in the device's extension, and the device is dropped after this.
        let worker = unsafe { worker::Thread::start(&device.state().worker, passive) }?;
        let link = SymbolicLink::create(&device, passive)?;
        dispatch::fill(&mut driver.MajorFunction);
        driver.DriverUnload = Some(unload);
        Ok(Self { _link: link, _worker: worker, _watching: watching, _rundown: rundown, device, _trace: trace })
    }
}

impl Ladder {
    fn tell_unload(&self) {
        let state = self.device.state();
        trace::unload_begun(state.clients(), u32::try_from(state.teardowns()).unwrap_or(u32::MAX));
    }
}

/// The ladder, from `DriverEntry` to `DriverUnload`: the only two that touch it, each once.
static LADDER: spin::Mutex<Option<Ladder>> = spin::Mutex::new(None);

/// The system loads the driver.
///
/// # Safety
/// Called by the I/O manager, once, with the driver's own object.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, registry_path: PCUNICODE_STRING) -> NTSTATUS {
    // SAFETY: the I/O manager calls DriverEntry at PASSIVE_LEVEL.
    let passive = unsafe { Passive::assume() };
    // SAFETY: the I/O manager's path.
    match unsafe { Ladder::climb(driver, registry_path, passive) } {
        Ok(ladder) => {
            trace::loaded(dispatch::version().driver, &ladder.device.state().parameters);
            *LADDER.lock() = Some(ladder);
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

/// The system unloads the driver: no handle is open. The worker ends what teardowns are still under way.
unsafe extern "C" fn unload(_driver: *mut DRIVER_OBJECT) {
    let ladder = LADDER.lock().take();
    if let Some(ladder) = &ladder {
        ladder.tell_unload();
    }
    drop(ladder);
}
