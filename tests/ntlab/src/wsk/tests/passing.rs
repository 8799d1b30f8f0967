//! A request's own IRP, passed on to WSK.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use wsk::sys;

use super::super::status;
use super::{Client, Sock, each_seed, run};
use crate::NtStatus;
use crate::nt;

const RECEIVE: u32 = 0x8000_2002; // METHOD_OUT_DIRECT
const SEND: u32 = 0x8000_2005; // METHOD_IN_DIRECT
const WAIT: Duration = Duration::from_secs(20);

crate::imports! {
    fn IoCreateDevice(
        driver: *mut nt::DRIVER_OBJECT, extension: u32, name: *const nt::UNICODE_STRING, kind: u32, characteristics: u32,
        exclusive: u8, device: *mut *mut nt::DEVICE_OBJECT,
    ) -> i32;
    fn IoCreateSymbolicLink(link: *const nt::UNICODE_STRING, target: *const nt::UNICODE_STRING) -> i32;
    fn IoDeleteSymbolicLink(link: *const nt::UNICODE_STRING) -> i32;
    fn IoDeleteDevice(device: *mut nt::DEVICE_OBJECT);
    fn IofCompleteRequest(irp: *mut nt::IRP, boost: i8);
}

thread_local! {
    /// The device that DriverEntry made on this thread.
    static DEVICE: Cell<*mut nt::DEVICE_OBJECT> = const { Cell::new(null_mut()) };
}

/// The socket that requests go to: its address, kept in the device's extension.
fn socket_of(device: *mut nt::DEVICE_OBJECT) -> &'static AtomicUsize {
    // SAFETY: the device lives while the driver gets requests for it, and was made with an extension of this size.
    let device = unsafe { &*device };
    // SAFETY: the device was made with an extension that begins with this word.
    unsafe { &*device.DeviceExtension.get().cast() }
}

fn wide(text: &str) -> (Vec<u16>, nt::UNICODE_STRING) {
    let mut units: Vec<u16> = text.encode_utf16().collect();
    let length = u16::try_from(units.len() * 2).unwrap();
    let string = nt::UNICODE_STRING { Length: length, MaximumLength: length, Buffer: units.as_mut_ptr() };
    (units, string)
}

extern "win64" fn succeed(_device: *mut nt::DEVICE_OBJECT, irp: *mut nt::IRP) -> i32 {
    // SAFETY: the IRP is the driver's until it completes it.
    unsafe { &*irp }.set_status(status::SUCCESS, 0);
    IofCompleteRequest(irp, 0);
    status::SUCCESS
}

/// Called on success, error and cancel, as the documentation has it for an IRP of a higher driver.
extern "win64" fn passed(_device: *mut nt::DEVICE_OBJECT, irp: *mut nt::IRP, _context: usize) -> i32 {
    // SAFETY: the IRP is the driver's again during the routine.
    let irp = unsafe { &*irp };
    if irp.PendingReturned.get() != 0 {
        // SAFETY: the current location is the driver's own.
        let location = unsafe { &*irp.current() };
        location.Control.set(location.Control.get() | nt::SL_PENDING_RETURNED); // IoMarkIrpPending
    }
    status::SUCCESS
}

extern "win64" fn control(device: *mut nt::DEVICE_OBJECT, irp: *mut nt::IRP) -> i32 {
    let socket = Sock { object: socket_of(device).load(Ordering::SeqCst) as *mut sys::Socket, family: sys::AF_INET };
    // SAFETY: the IRP is the driver's until it passes it on.
    let packet = unsafe { &*irp };
    // SAFETY: the current location is the driver's own.
    let location = unsafe { &*packet.current() };
    let (code, length) = (location.io_control_code(), location.output_length());
    let mut buffer = sys::Buf { mdl: packet.MdlAddress.get().cast(), offset: 0, length };
    // Every second request has no completion routine: what it comes to goes straight to the I/O manager.
    if length % 2 == 0 {
        // SAFETY: the device's StackSize leaves a location for the next driver.
        let next = unsafe { &*packet.next() };
        let always = nt::SL_INVOKE_ON_SUCCESS | nt::SL_INVOKE_ON_ERROR | nt::SL_INVOKE_ON_CANCEL;
        next.set_completion(passed as *const () as usize, null_mut(), always);
    } else {
        location.Control.set(location.Control.get() | nt::SL_PENDING_RETURNED);
    }
    let table = socket.connection();
    let returned = if code == RECEIVE {
        // SAFETY: the arguments are those of WskReceive; the provider reads the WSK_BUF during the call.
        unsafe { table.receive.unwrap()(socket.object, &raw mut buffer, 0, irp.cast()) }
    } else {
        // SAFETY: the arguments are those of WskSend.
        unsafe { table.send.unwrap()(socket.object, &raw mut buffer, 0, irp.cast()) }
    };
    if length % 2 == 0 { returned } else { status::PENDING }
}

extern "win64" fn entry(driver: *mut nt::DRIVER_OBJECT, _path: *const nt::UNICODE_STRING) -> i32 {
    let (_device_units, device_name) = wide(r"\Device\Passing");
    let (_link_units, link_name) = wide(r"\DosDevices\Passing");
    let mut device = null_mut();
    let created = IoCreateDevice(driver, 8, &raw const device_name, 0x8000, 0, 0, &raw mut device);
    assert_eq!(created, status::SUCCESS);
    assert_eq!(IoCreateSymbolicLink(&raw const link_name, &raw const device_name), status::SUCCESS);
    DEVICE.set(device);
    // SAFETY: the device was just made.
    unsafe { &*device }.StackSize.set(2);
    // SAFETY: the system passes the driver's object.
    let object = unsafe { &*driver };
    for major in [nt::IRP_MJ_CREATE, nt::IRP_MJ_CLEANUP, nt::IRP_MJ_CLOSE] {
        object.MajorFunction[usize::from(major)].set(succeed as *const () as usize);
    }
    object.MajorFunction[usize::from(nt::IRP_MJ_DEVICE_CONTROL)].set(control as *const () as usize);
    object.DriverUnload.set(unload as *const () as usize);
    status::SUCCESS
}

extern "win64" fn unload(driver: *mut nt::DRIVER_OBJECT) {
    let (_units, link) = wide(r"\DosDevices\Passing");
    IoDeleteSymbolicLink(&raw const link);
    // SAFETY: the system passes the driver's object.
    let object = unsafe { &*driver };
    IoDeleteDevice(object.DeviceObject.get());
}

fn pair(client: &Client) -> (Sock, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = client.connected(listener.local_addr().unwrap());
    (socket, listener.accept().unwrap().0)
}

#[test]
fn a_requests_own_irp_carries_data_and_is_cancelled_in_wsk() {
    each_seed(|machine| {
        let driver = machine.load_builtin(entry);
        driver.start().unwrap();
        let process = machine.process();
        let handle = process.open(r"\\.\Passing").unwrap();
        let (client, socket, mut program) = run(machine, || {
            let client = Client::new();
            let (socket, program) = pair(&client);
            socket_of(DEVICE.get()).store(socket.object as usize, Ordering::SeqCst);
            (client, socket, program)
        });
        for length in [10, 11] {
            let receive = handle.ioctl(RECEIVE, &[], vec![0; length]);
            program.write_all(b"to kernel").unwrap();
            let completion = receive.wait(WAIT).expect("data has arrived");
            assert_eq!((completion.status, completion.information), (NtStatus::SUCCESS, 9));
            assert_eq!(completion.output, b"to kernel");

            let send = handle.ioctl(SEND, &[], vec![7; length]);
            assert_eq!(send.wait(WAIT).map(|completion| completion.status), Some(NtStatus::SUCCESS));
            let mut seen = vec![0; length];
            program.read_exact(&mut seen).unwrap();
            assert_eq!(seen, vec![7; length]);

            let receive = handle.ioctl(RECEIVE, &[], vec![0; length]);
            assert!(!receive.is_complete());
            assert!(receive.cancel());
            let completion = receive.wait(WAIT).expect("it was cancelled");
            assert_eq!((completion.status, completion.information), (NtStatus::CANCELLED, 0));
        }
        let last = handle.ioctl(RECEIVE, &[], vec![0; 4]);
        run(machine, || {
            socket.close();
            client.end();
        });
        assert_eq!(last.wait(WAIT).map(|completion| completion.status), Some(NtStatus::CANCELLED));
        assert_eq!(handle.close(), NtStatus::SUCCESS);
        process.exit();
        driver.unload().unwrap();
    });
}
