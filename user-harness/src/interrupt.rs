//! Ctrl-C: noticed once for the whole process, asked for by whoever works long.

use crate::{Cause, Error, Exit, output::report};
use std::{
    sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

/// Whether the user wants the command to end. Copies are the same.
#[derive(Clone, Copy)]
pub(crate) struct Interrupt(&'static Shared);

#[derive(Default)]
struct Shared {
    observer: Mutex<Option<Box<dyn Fn() + Send>>>,
    pressed: Mutex<bool>,
    told: Condvar,
    /// What ends at once, if something does.
    at_once: Mutex<Option<&'static str>>,
}

impl Shared {
    fn observer(&self) -> MutexGuard<'_, Option<Box<dyn Fn() + Send>>> {
        self.observer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pressed(&self) -> MutexGuard<'_, bool> {
        self.pressed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at_once(&self) -> MutexGuard<'_, Option<&'static str>> {
        self.at_once.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interrupt {
    /// Watches from now on: Ctrl-C (or a request to end the process) no longer ends it by itself.
    ///
    /// # Errors
    /// The system does not let this process watch.
    pub fn watch() -> Result<Self, Error> {
        static SHARED: OnceLock<Result<Shared, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| {
            let press = || {
                if let Some(Ok(shared)) = SHARED.get() {
                    if let Some(what) = *shared.at_once() {
                        end_the_process(what);
                    }
                    let again = std::mem::replace(&mut *shared.pressed(), true);
                    if again {
                        // Whoever was asked to end does not: the system gives everything back.
                        std::process::exit(Exit::Interrupted as i32);
                    }
                    shared.told.notify_all();
                    if let Some(observer) = &*shared.observer() {
                        observer();
                    }
                }
            };
            ctrlc::set_handler(press).map(|()| Shared::default()).map_err(|error| error.to_string())
        });
        let failed = |why: &String| Error::host("watch for Ctrl-C", std::io::Error::other(why.clone()));
        shared.as_ref().map(Self).map_err(failed)
    }

    /// Whether Ctrl-C was pressed.
    pub fn is_pressed(self) -> bool {
        *self.0.pressed()
    }

    /// Has `observer` run, in a thread of its own, whenever Ctrl-C is pressed; the last one set is.
    pub fn observe(self, observer: impl Fn() + Send + 'static) {
        *self.0.observer() = Some(Box::new(observer));
    }

    /// Does `work`, during which Ctrl-C ends the process at once, as does one that nobody has taken before: the system closes its handles,
    /// and the driver gives everything back.
    pub fn ending_the_process<T>(self, what: &'static str, work: impl FnOnce() -> T) -> T {
        *self.0.at_once() = Some(what);
        if self.is_pressed() {
            end_the_process(what);
        }
        let done = work();
        *self.0.at_once() = None;
        done
    }

    /// Forgets that it was pressed. Pressing it twice without that ends the process at once.
    pub fn reset(self) {
        *self.0.pressed() = false;
    }

    /// Waits up to `timeout` for Ctrl-C, and tells whether it was pressed.
    pub fn wait(self, timeout: Duration) -> bool {
        let until = Instant::now().checked_add(timeout);
        let mut pressed = self.0.pressed();
        while !*pressed {
            let left = until.map_or(timeout, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            pressed = self.0.told.wait_timeout(pressed, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *pressed
    }

    /// The error of a command that Ctrl-C ended before its time.
    pub fn error(what: &str) -> Error {
        Error::new(what, Cause::Interrupted)
    }
}

fn end_the_process(what: &'static str) -> ! {
    report(&Interrupt::error(what));
    std::process::exit(Exit::Interrupted as i32)
}
