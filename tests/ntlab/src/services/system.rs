//! What a driver asks about the system, and what it wants to be told.

use std::cell::Cell;

use crate::documented;
use crate::exports::{Export, bindings, routines};
use crate::machine;
use crate::nt::{DEVICE_OBJECT, PVOID, UNICODE_STRING};
use crate::rtl::text;
use crate::rules;
use crate::status::NtStatus;
use crate::thread::this;

/// What the machine's Windows says of its version.
fn version() -> (u32, u32, u32) {
    (10, 0, machine::current().options.windows)
}

const SHUTDOWN: &str = "shutdown notification of device";
const WMI: &str = "WMI registration of device";
const PROCESS: &str = "process notification routine";

/// `RTL_OSVERSIONINFOW`, without the service pack's name behind it.
#[repr(C)]
struct VersionInformation {
    size: u32,
    major: u32,
    minor: u32,
    build: u32,
    platform: u32,
}

extern "win64" fn rtl_get_version(information: &mut VersionInformation) -> i32 {
    const NT: u32 = 2;
    (information.major, information.minor, information.build) = version();
    information.platform = NT;
    NtStatus::SUCCESS.0
}

extern "win64" fn ps_get_version(
    major: *mut u32,
    minor: *mut u32,
    build: *mut u32,
    _service_pack: *mut UNICODE_STRING,
) -> u8 {
    let found = version();
    for (place, value) in [(major, found.0), (minor, found.1), (build, found.2)] {
        if !place.is_null() {
            // SAFETY: the driver vouches for the place.
            unsafe { place.write(value) };
        }
    }
    0
}

fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(64)).min(64)
}

extern "win64" fn active_processor_count(affinity: *mut u64) -> u32 {
    if !affinity.is_null() {
        // SAFETY: the driver vouches for the place.
        unsafe { affinity.write(u64::MAX >> (64 - processors())) };
    }
    processors()
}

extern "win64" fn active_processor_count_ex(_group: u16) -> u32 {
    processors()
}

extern "win64" fn current_processor(number: *mut [u8; 4]) -> u32 {
    // SAFETY: sched_getcpu has no preconditions.
    let processor = unsafe { libc::sched_getcpu() };
    let processor = u32::try_from(processor).unwrap_or(0) % processors();
    if !number.is_null() {
        // SAFETY: the driver vouches for the place.
        unsafe { number.write([0, 0, u8::try_from(processor).unwrap_or(0), 0]) };
    }
    processor
}

extern "win64" fn system_routine_address(name: *const UNICODE_STRING) -> PVOID {
    const KERNEL: [&str; 2] = ["ntoskrnl.exe", "hal.dll"];
    let name = text(name);
    let windows = machine::current().options.windows;
    // Only the kernel and the HAL are looked at, and only what this Windows has is there.
    let found = bindings()
        .get(&*name)
        .filter(|binding| KERNEL.contains(&binding.module) && !documented::is_newer(&name, windows));
    found.map_or(std::ptr::null_mut(), |binding| binding.address as PVOID)
}

extern "win64" fn register_shutdown(device: *mut DEVICE_OBJECT) -> i32 {
    let machine = machine::current();
    if machine.fails_allocation() {
        return NtStatus::INSUFFICIENT_RESOURCES.0;
    }
    machine.device(device);
    machine.services.register(device as usize, SHUTDOWN);
    NtStatus::SUCCESS.0
}

extern "win64" fn unregister_shutdown(device: *mut DEVICE_OBJECT) {
    machine::current().services.unregister(device as usize);
}

/// The routine is noted, not called: the lab's processes come and go without it.
extern "win64" fn set_process_notify(routine: usize, remove: u8) -> i32 {
    let services = &machine::current().services;
    let done = if remove != 0 { services.unregister(routine) } else { services.register(routine, PROCESS) };
    if done { NtStatus::SUCCESS.0 } else { NtStatus::INVALID_PARAMETER.0 }
}

extern "win64" fn uuid_create(uuid: &Cell<[u64; 2]>) -> i32 {
    let machine = machine::current();
    let (low, high) = (machine.random(), machine.random());
    // A random one: version 4 in the third group, variant 1 in the fourth.
    uuid.set([low & 0x0fff_ffff_ffff_ffff | 4 << 60, high & !0xc0 | 0x80]);
    NtStatus::SUCCESS.0
}

extern "win64" fn set_completion_routine_ex(
    device: *mut DEVICE_OBJECT,
    irp: &crate::nt::IRP,
    routine: usize,
    context: PVOID,
    on_success: u8,
    on_error: u8,
    on_cancel: u8,
) -> i32 {
    use crate::nt::{SL_INVOKE_ON_CANCEL, SL_INVOKE_ON_ERROR, SL_INVOKE_ON_SUCCESS};
    machine::current().device(device);
    if irp.CurrentLocation.get() <= 1 {
        let caller = machine::current().describe_code(this().caller.get());
        rules::violate(&rules::NO_STACK_LOCATION, format!("IoSetCompletionRoutineEx by {caller}"), Vec::new());
    }
    let bits = [(on_success, SL_INVOKE_ON_SUCCESS), (on_error, SL_INVOKE_ON_ERROR), (on_cancel, SL_INVOKE_ON_CANCEL)];
    let control = bits.iter().filter(|(wanted, _)| *wanted != 0).fold(0, |all, (_, bit)| all | bit);
    // SAFETY: a location is free, as checked above.
    unsafe { &*irp.next() }.set_completion(routine, context, control);
    NtStatus::SUCCESS.0
}

/// The registration is noted; nobody sends the driver WMI requests.
extern "win64" fn wmi_registration(device: usize, action: u32) -> i32 {
    const REGISTER: u32 = 1;
    const DEREGISTER: u32 = 2;
    const REREGISTER: u32 = 3;
    const UPDATE: u32 = 4;
    const ACTION: u32 = 0xffff;
    let services = &machine::current().services;
    let done = match action & ACTION {
        REGISTER => services.register(device, WMI),
        DEREGISTER => services.unregister(device),
        REREGISTER | UPDATE => true,
        _ => false,
    };
    if done { NtStatus::SUCCESS.0 } else { NtStatus::INVALID_PARAMETER.0 }
}

pub(super) fn exports() -> Vec<Export> {
    routines!["ntoskrnl.exe";
        HIGH: KeQueryActiveProcessorCount => active_processor_count,
            KeQueryActiveProcessorCountEx => active_processor_count_ex,
            KeGetCurrentProcessorNumberEx => current_processor;
        DISPATCH: IoSetCompletionRoutineEx => set_completion_routine_ex;
        PASSIVE: RtlGetVersion => rtl_get_version, PsGetVersion => ps_get_version,
            MmGetSystemRoutineAddress => system_routine_address, ExUuidCreate => uuid_create,
            IoWMIRegistrationControl => wmi_registration,
            IoRegisterShutdownNotification => register_shutdown,
            IoUnregisterShutdownNotification => unregister_shutdown,
            PsSetCreateProcessNotifyRoutine => set_process_notify,
            PsSetCreateProcessNotifyRoutineEx => set_process_notify;
    ]
}
