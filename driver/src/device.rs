//! The device, its state, and its name.

use crate::driver::Driver;
use crate::parameters::Parameters;
use core::ptr::{NonNull, null_mut};
use wdk_sys::{
    DACL_SECURITY_INFORMATION, DEVICE_OBJECT, DRIVER_OBJECT, FILE_DEVICE_SECURE_OPEN, HANDLE, NTSTATUS,
    OBJ_KERNEL_HANDLE, UNICODE_STRING, WRITE_DAC, ntddk,
};
use wsk::Passive;
use wskclient_abi::DEVICE_TYPE;

/// UTF-16 of an ASCII text, at compile time.
const fn utf16<const N: usize>(text: &str) -> [u16; N] {
    let (bytes, mut units, mut index) = (text.as_bytes(), [0; N], 0);
    while index < N {
        units[index] = bytes[index] as u16;
        index += 1;
    }
    units
}

const DEVICE_NAME_TEXT: &str = r"\Device\WskClient";
const LINK_NAME_TEXT: &str = r"\??\WskClient";
static DEVICE_NAME: [u16; DEVICE_NAME_TEXT.len()] = utf16(DEVICE_NAME_TEXT);
static LINK_NAME: [u16; LINK_NAME_TEXT.len()] = utf16(LINK_NAME_TEXT);

fn unicode(units: &'static [u16]) -> UNICODE_STRING {
    let bytes = u16::try_from(size_of_val(units)).unwrap_or(0);
    UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: units.as_ptr().cast_mut() }
}

/// `D:P(A;;FA;;;SY)(A;;FA;;;BA)` as a self-relative security descriptor: all access for SYSTEM and administrators, none for anybody
/// else (contract: X-8).
#[repr(C, align(4))]
struct SecurityDescriptor([u8; 72]);

#[rustfmt::skip]
static SECURITY: SecurityDescriptor = SecurityDescriptor([
    // SECURITY_DESCRIPTOR_RELATIVE: revision, control (DACL present and protected, self-relative), owner, group, SACL, DACL.
    1, 0, 0x04, 0x90,  0, 0, 0, 0,  0, 0, 0, 0,  0, 0, 0, 0,  20, 0, 0, 0,
    // ACL: revision, size 52, two entries.
    2, 0, 52, 0, 2, 0, 0, 0,
    // ACCESS_ALLOWED_ACE of 20 bytes, FILE_ALL_ACCESS, S-1-5-18 (SYSTEM).
    0, 0, 20, 0,  0xFF, 0x01, 0x1F, 0x00,  1, 1, 0, 0, 0, 0, 0, 5,  18, 0, 0, 0,
    // ACCESS_ALLOWED_ACE of 24 bytes, FILE_ALL_ACCESS, S-1-5-32-544 (administrators).
    0, 0, 24, 0,  0xFF, 0x01, 0x1F, 0x00,  1, 2, 0, 0, 0, 0, 0, 5,  32, 0, 0, 0,  0x20, 0x02, 0, 0,
]);

/// The device, with the driver's state in its extension. Dropping it deletes the device.
///
/// # Invariants
/// - The device is ours and its extension holds a constructed [`Driver`].
pub struct Device(NonNull<DEVICE_OBJECT>);

// SAFETY: a device object belongs to no thread.
unsafe impl Send for Device {}

impl Device {
    /// Creates the device. Nobody can open it before `DriverEntry` has returned, so its security is there before its first user.
    ///
    /// # Errors
    /// What the system answers; nothing is left behind.
    pub fn create(driver: &mut DRIVER_OBJECT, parameters: Parameters, _: Passive) -> Result<Self, NTSTATUS> {
        const { assert!(align_of::<Driver>() <= 16, "an extension is aligned to 16 bytes") };
        let mut name = unicode(&DEVICE_NAME);
        let mut device: *mut DEVICE_OBJECT = null_mut();
        let extension = u32::try_from(size_of::<Driver>()).unwrap_or(0);
        // SAFETY: PASSIVE_LEVEL by the token; everything pointed to is alive during the call.
        let status = unsafe {
            ntddk::IoCreateDevice(
                driver,
                extension,
                &raw mut name,
                DEVICE_TYPE,
                FILE_DEVICE_SECURE_OPEN,
                0,
                &raw mut device,
            )
        };
        let Some(device) = NonNull::new(device).filter(|_| status == 0) else {
            return Err(status);
        };
        // SAFETY: a new device has an extension of the size asked for.
        let state: *mut Driver = unsafe { (*device.as_ptr()).DeviceExtension.cast() };
        // SAFETY: nonpaged, aligned, nobody else's.
        unsafe { state.write(Driver::new(parameters)) };
        // INVARIANT: constructed just now.
        let device = Self(device);
        // A request's own IRP goes on to WSK: it needs one more stack location.
        // SAFETY: ours, and nobody has opened it.
        unsafe { (*device.0.as_ptr()).StackSize = 2 };
        device.secure()?;
        Ok(device)
    }

    /// Sets the security descriptor. (`IoCreateDeviceSecure` does the same from a static library, which no free SDK has.)
    fn secure(&self) -> Result<(), NTSTATUS> {
        let mut handle: HANDLE = null_mut();
        // SAFETY: our device; kernel mode; no object type asked for.
        let status = unsafe {
            ntddk::ObOpenObjectByPointer(
                self.0.as_ptr().cast(),
                OBJ_KERNEL_HANDLE,
                null_mut(),
                WRITE_DAC,
                null_mut(),
                crate::nt::KERNEL_MODE,
                &raw mut handle,
            )
        };
        if status != 0 {
            return Err(status);
        }
        let descriptor = (&raw const SECURITY).cast_mut().cast();
        // SAFETY: a valid self-relative descriptor, which the call only reads.
        let status = unsafe { ntddk::ZwSetSecurityObject(handle, DACL_SECURITY_INFORMATION, descriptor) };
        // SAFETY: our own handle, closed once.
        unsafe { crate::nt::close_handle(handle) };
        if status == 0 { Ok(()) } else { Err(status) }
    }

    /// The driver's state.
    pub fn state(&self) -> &'static Driver {
        // SAFETY: ours (invariant).
        unsafe { crate::driver::of_device(self.0) }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: ours (invariant).
        let state: *mut Driver = unsafe { (*self.0.as_ptr()).DeviceExtension.cast() };
        // SAFETY: the worker has stopped and nobody has the device open: nobody uses the state.
        unsafe { state.drop_in_place() };
        // SAFETY: ours (invariant), deleted once.
        unsafe { ntddk::IoDeleteDevice(self.0.as_ptr()) };
    }
}

/// The name by which user mode opens the device. Dropping it deletes the name.
pub struct SymbolicLink(());

impl SymbolicLink {
    /// Creates the name.
    ///
    /// # Errors
    /// What the system answers.
    pub fn create(_: &Device, _: Passive) -> Result<Self, NTSTATUS> {
        let (mut link, mut name) = (unicode(&LINK_NAME), unicode(&DEVICE_NAME));
        // SAFETY: PASSIVE_LEVEL by the token; both strings are alive during the call.
        let status = unsafe { ntddk::IoCreateSymbolicLink(&raw mut link, &raw mut name) };
        if status == 0 { Ok(Self(())) } else { Err(status) }
    }
}

impl Drop for SymbolicLink {
    fn drop(&mut self) {
        let mut link = unicode(&LINK_NAME);
        // SAFETY: dropped in `DriverEntry` or `DriverUnload`, at PASSIVE_LEVEL; the name is ours.
        let _gone_or_never_there = unsafe { ntddk::IoDeleteSymbolicLink(&raw mut link) };
    }
}
