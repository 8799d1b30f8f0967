//! How a request reaches the driver: one interface, and a backend for each place where the driver can run.
//!
//! A request owns its buffers from submission to completion, because the driver moves data straight between them and the network.
//! It completes exactly once; what the caller learns is the exact NTSTATUS and Information of the IRP.

use crate::{Error, abi::NtStatus};
use std::{sync::Arc, time::Duration};

pub mod agent;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod lab;
#[cfg(windows)]
pub mod windows;

/// How a request ended.
#[derive(Debug)]
#[must_use = "a completion carries the request's status and its data"]
pub struct Completion {
    /// The IRP's final status, as the driver gave it.
    pub status: NtStatus,
    /// The IRP's Information: bytes written to or taken from the buffer.
    pub information: usize,
    /// The buffer given at submission, at its full length.
    pub buffer: Vec<u8>,
}

/// A place where the driver runs, seen from one process.
pub trait Device: Send + Sync {
    /// Opens the device. All handles that one process opens belong to one client.
    ///
    /// # Errors
    /// The device is absent, or does not admit the caller.
    fn open(&self) -> Result<Handle, Error>;
}

/// What a backend's handle can do. [`Handle`] is the interface to use.
pub trait HandleBackend: Send + Sync {
    /// See [`Handle::submit`].
    fn submit(&self, code: u32, input: &[u8], buffer: Vec<u8>) -> Request;
    /// See [`Handle::cancel_all`].
    fn cancel_all(&self);
    /// See [`Handle::close`].
    fn close(&self);
}

/// What a backend's request can do. [`Request`] is the interface to use.
pub trait RequestBackend: Send + Sync {
    /// See [`Request::is_complete`].
    fn is_complete(&self) -> bool;
    /// Waits up to `timeout` and takes the completion. Not called again after it gave one.
    fn wait(&mut self, timeout: Duration) -> Option<Completion>;
    /// See [`Request::cancel`].
    fn cancel(&self);
    /// See [`Request::on_completion`].
    fn on_completion(&mut self, observer: Observer);
}

/// What is run at a request's completion, in a thread of the backend's: it neither waits nor calls the device.
pub type Observer = Box<dyn FnOnce() + Send>;

/// An open handle. Clones share it; it closes with [`Handle::close`] or with its last clone.
#[derive(Clone)]
pub struct Handle(Arc<dyn HandleBackend>);

impl Handle {
    /// Wraps a backend's handle.
    #[must_use]
    pub fn new(backend: impl HandleBackend + 'static) -> Self {
        Self(Arc::new(backend))
    }

    /// Issues a request: control code, input, and the buffer that the request's method reads or writes. A request that the system
    /// refuses at once is a completed one.
    #[must_use = "a dropped request is cancelled"]
    pub fn submit(&self, code: u32, input: &[u8], buffer: Vec<u8>) -> Request {
        self.0.submit(code, input, buffer)
    }

    /// Cancels every request issued through this handle (`CancelIoEx` without a request). Each still completes once.
    pub fn cancel_all(&self) {
        self.0.cancel_all();
    }

    /// Closes the handle, whoever else holds a clone of it. Pending requests end, and their completions can still be awaited.
    pub fn close(&self) {
        self.0.close();
    }
}

/// A request on its way. Dropping one that is pending cancels it.
pub struct Request(State);

enum State {
    Issued(Box<dyn RequestBackend>),
    Taken,
}

impl Request {
    /// Wraps a backend's request.
    #[must_use]
    pub fn new(backend: impl RequestBackend + 'static) -> Self {
        Self(State::Issued(Box::new(backend)))
    }

    /// Whether the completion has come.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        match &self.0 {
            State::Issued(backend) => backend.is_complete(),
            State::Taken => true,
        }
    }

    /// Waits up to `timeout` for the completion and takes it: the one that gets it is the only one.
    #[must_use = "a completion is handed out once"]
    pub fn wait(&mut self, timeout: Duration) -> Option<Completion> {
        match &mut self.0 {
            State::Issued(backend) => {
                let completion = backend.wait(timeout)?;
                self.0 = State::Taken;
                Some(completion)
            }
            State::Taken => None,
        }
    }

    /// Asks for the request to be cancelled (`CancelIoEx`). It still completes once, with whatever comes first.
    pub fn cancel(&self) {
        if let State::Issued(backend) = &self.0 {
            backend.cancel();
        }
    }

    /// Has `observer` run at the completion, so that one thread can wait for many requests; at once if it has come already. Set at most
    /// once. A request that is dropped before may forget it.
    pub fn on_completion(&mut self, observer: impl FnOnce() + Send + 'static) {
        match &mut self.0 {
            State::Issued(backend) => backend.on_completion(Box::new(observer)),
            State::Taken => observer(),
        }
    }
}

/// A request that ended at submission.
pub(crate) struct Refused(Option<Completion>);

impl Refused {
    /// A request that completes at once with `status` and no data.
    pub(crate) fn request(status: NtStatus, buffer: Vec<u8>) -> Request {
        Request::new(Self(Some(Completion { status, information: 0, buffer })))
    }
}

impl RequestBackend for Refused {
    fn is_complete(&self) -> bool {
        true
    }

    fn wait(&mut self, _timeout: Duration) -> Option<Completion> {
        self.0.take()
    }

    fn cancel(&self) {}

    fn on_completion(&mut self, observer: Observer) {
        observer();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A device that opens, and whose requests come back with their input appended to their buffer.
    struct Mirror;

    impl Device for Mirror {
        fn open(&self) -> Result<Handle, Error> {
            Ok(Handle::new(MirrorHandle))
        }
    }

    struct MirrorHandle;

    impl HandleBackend for MirrorHandle {
        fn submit(&self, code: u32, input: &[u8], mut buffer: Vec<u8>) -> Request {
            buffer.extend(input);
            Refused::request(code.cast_signed(), buffer)
        }

        fn cancel_all(&self) {}

        fn close(&self) {}
    }

    /// A device that takes its time, and counts what it was asked for.
    struct Slow(Arc<AtomicU32>);

    impl Device for Slow {
        fn open(&self) -> Result<Handle, Error> {
            Ok(Handle::new(Self(self.0.clone())))
        }
    }

    impl Slow {
        fn count(&self) {
            std::thread::sleep(Duration::from_millis(20));
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl HandleBackend for Slow {
        fn submit(&self, _code: u32, _input: &[u8], buffer: Vec<u8>) -> Request {
            self.count();
            Refused::request(0, buffer)
        }

        fn cancel_all(&self) {
            self.count();
        }

        fn close(&self) {
            self.count();
        }
    }

    #[test]
    fn what_an_agent_is_asked_for_is_done_when_the_call_returns() {
        let (input, asks) = std::io::pipe().unwrap();
        let (answers, output) = std::io::pipe().unwrap();
        let count = Arc::new(AtomicU32::new(0));
        let device = Slow(count.clone());
        let server = std::thread::spawn(move || agent::serve(&device, input, output));
        let process = agent::Agent::over(asks, answers);
        let handle = process.open().unwrap();
        let request = handle.submit(0, &[], Vec::new());
        assert_eq!(count.load(Ordering::SeqCst), 1, "the request is issued");
        handle.cancel_all();
        assert_eq!(count.load(Ordering::SeqCst), 2, "the requests are cancelled");
        handle.close();
        assert_eq!(count.load(Ordering::SeqCst), 3, "the handle is closed");
        drop((request, handle, process));
        server.join().unwrap().unwrap();
    }

    #[test]
    fn an_agents_requests_come_back_as_the_device_completes_them() {
        let (input, asks) = std::io::pipe().unwrap();
        let (answers, output) = std::io::pipe().unwrap();
        let server = std::thread::spawn(move || agent::serve(&Mirror, input, output));
        let process = agent::Agent::over(asks, answers);
        let handle = process.open().unwrap();
        let (sender, told) = std::sync::mpsc::channel();
        let mut requests: Vec<_> =
            (0_u8..50).map(|number| handle.submit(number.into(), &[number], vec![0; 3])).collect();
        for (number, request) in requests.iter_mut().enumerate() {
            let sender = sender.clone();
            request.on_completion(move || sender.send(number).unwrap());
        }
        let mut numbers: Vec<_> = told.iter().take(50).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..50), "each observer is run once");
        for (number, mut request) in (0_u8..).zip(requests) {
            let completion = request.wait(Duration::ZERO).expect("the observer was told");
            assert_eq!((completion.status, completion.buffer), (number.into(), vec![0, 0, 0, number]));
        }
        drop(handle);
        process.exit();
        server.join().unwrap().unwrap();
    }

    #[test]
    fn a_completion_is_handed_out_once() {
        let mut request = Refused::request(-1, vec![1, 2]);
        assert!(request.is_complete());
        let completion = request.wait(Duration::ZERO).expect("it is complete");
        assert_eq!((completion.status, completion.buffer.as_slice()), (-1, &[1, 2][..]));
        assert!(request.wait(Duration::ZERO).is_none());
    }
}
