//! Who called whom in a driver: its stack, unwound by the unwind data that x64 images carry.
//!
//! One idea: a stack is noted as addresses, which is cheap enough for every allocation, and read when something is shown.
//! Only drivers' frames are followed: a stack ends where the lab called the driver. Models "x64 exception handling".

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use pe_unwind_info::x86_64::{FunctionTableEntries, Register, UnwindState, XmmRegister};

use crate::machine::Inner;
use crate::thread::{Thread, this};

/// Frames that are noted; deeper stacks are cut.
const MOST: usize = 12;

/// The registers that a stack is unwound from.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Start {
    pub(crate) instruction: usize,
    pub(crate) stack: usize,
    pub(crate) base: usize,
}

/// Return addresses in drivers, the innermost first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Frames {
    addresses: [usize; MOST],
    count: usize,
}

impl Frames {
    fn push(&mut self, address: usize) {
        self.addresses[self.count] = address;
        self.count += 1;
    }

    pub(crate) fn as_slice(&self) -> &[usize] {
        &self.addresses[..self.count]
    }
}

/// Where an image is, and its function table (`.pdata`). Read by threads and signal handlers without a lock.
#[derive(Default)]
pub(crate) struct Code {
    start: AtomicUsize,
    size: AtomicUsize,
    table: AtomicUsize,
    table_size: AtomicUsize,
}

impl Code {
    /// Whether an image is known here.
    pub(crate) fn is_free(&self) -> bool {
        self.size.load(Ordering::Relaxed) == 0
    }

    /// Knows an image whose function table is at (address, size).
    pub(crate) fn set(&self, start: usize, size: usize, table: (usize, usize)) {
        self.start.store(start, Ordering::Relaxed);
        self.table.store(table.0, Ordering::Relaxed);
        self.table_size.store(table.1, Ordering::Relaxed);
        self.size.store(size, Ordering::Release);
    }

    /// Forgets the image at `start`, if it is this one.
    pub(crate) fn forget(&self, start: usize) {
        if self.start.load(Ordering::Relaxed) == start {
            self.size.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn contains(&self, address: usize) -> bool {
        address.wrapping_sub(self.start.load(Ordering::Relaxed)) < self.size.load(Ordering::Acquire)
    }

    /// The caller's instruction and registers, from those of `state`.
    fn step(&self, state: &mut State, instruction: usize) -> Option<usize> {
        let (start, size) = (self.start.load(Ordering::Relaxed), self.size.load(Ordering::Relaxed));
        let (table, length) = (self.table.load(Ordering::Relaxed), self.table_size.load(Ordering::Relaxed));
        if length == 0 {
            return None;
        }
        // SAFETY: the table is part of the image, which stays mapped and readable while it is known here.
        let table = FunctionTableEntries::parse(unsafe { std::slice::from_raw_parts(table as *const u8, length) });
        let memory = |rva: u32| {
            let rva = rva as usize;
            // SAFETY: the rest of the image from `rva` on is one mapping; only unwind data and code are looked at, which
            // are readable: what is discarded runs no more.
            (rva < size).then(|| unsafe { std::slice::from_raw_parts((start + rva) as *const u8, size - rva) })
        };
        let next = table.unwind_frame(state, memory, u32::try_from(instruction - start).ok()?)?;
        usize::try_from(next).ok()
    }
}

/// Registers during unwinding. Memory is read only between the start and the end of the thread's stack.
struct State {
    registers: [u64; 16],
    low: usize,
    high: usize,
}

impl UnwindState for State {
    fn read_register(&mut self, register: Register) -> u64 {
        self.registers[register as usize]
    }

    fn read_stack(&mut self, address: u64) -> Option<u64> {
        let address = usize::try_from(address).ok()?;
        if address < self.low || address >= self.high || !address.is_multiple_of(8) {
            return None;
        }
        // SAFETY: the range is part of this thread's stack: from a driver's frame to the recovery point above it.
        Some(unsafe { (address as *const u64).read_volatile() })
    }

    fn write_register(&mut self, register: Register, value: u64) {
        self.registers[register as usize] = value;
    }

    fn write_xmm_register(&mut self, _: XmmRegister, _: u128) {}
}

impl Thread {
    /// The end of the part of the stack on which driver code runs; 0 when none does.
    pub(crate) fn stack_end(&self) -> usize {
        // SAFETY: null or the innermost recovery point of this thread, which is on its stack.
        unsafe { self.frame.get().as_ref() }.map_or(0, |frame| frame.rsp)
    }
}

impl Inner {
    /// The driver's frames that led to the call, or to the fault, that this thread is in.
    pub(crate) fn frames(&self) -> Frames {
        let (thread, mut frames) = (this(), Frames::default());
        if thread.depth.get() == 0 {
            return frames;
        }
        let Start { mut instruction, stack, base } = thread.start.get();
        if self.code_of(instruction).is_none() {
            // The routine ended in a jump into the kernel, and left no frame.
            let routine = thread.shared().routine.load(Ordering::Relaxed);
            if self.in_driver(routine) {
                frames.push(routine);
            }
            return frames;
        }
        let mut state = State { registers: [0; 16], low: stack, high: thread.stack_end() };
        state.registers[Register::RSP as usize] = stack as u64;
        state.registers[Register::RBP as usize] = base as u64;
        let before = thread.inspects.replace(true);
        while frames.count < MOST {
            let Some(code) = self.code_of(instruction) else { break };
            frames.push(instruction);
            let Some(caller) = code.step(&mut state, instruction) else { break };
            instruction = caller;
        }
        thread.inspects.set(before);
        frames
    }
}

/// Every stack that was noted, once, by its number.
#[derive(Default)]
pub(crate) struct Stacks(Mutex<Known>);

#[derive(Default)]
struct Known {
    numbers: HashMap<Frames, u32>,
    all: Vec<Frames>,
}

impl Stacks {
    /// The number of a stack.
    pub(crate) fn number(&self, frames: Frames) -> u32 {
        let mut known = self.0.lock();
        if let Some(&number) = known.numbers.get(&frames) {
            return number;
        }
        let number = u32::try_from(known.all.len()).unwrap_or(u32::MAX);
        known.all.push(frames);
        known.numbers.insert(frames, number);
        number
    }

    /// The stack with a number.
    pub(crate) fn get(&self, number: u32) -> Frames {
        self.0.lock().all.get(number as usize).copied().unwrap_or_default()
    }
}

impl Inner {
    /// Notes the driver's stack; where nothing is known of it, the caller of the export alone.
    pub(crate) fn note_stack(&self) -> u32 {
        let mut frames = self.frames();
        if frames.count == 0 {
            frames.push(this().caller.get());
        }
        self.stacks.number(frames)
    }

    /// A noted stack, one line for each frame.
    pub(crate) fn describe_stack(&self, number: u32) -> Vec<String> {
        self.stacks.get(number).as_slice().iter().map(|&address| self.describe_code(address)).collect()
    }

    /// A noted stack: a line that begins with `what` for the innermost frame, and one for each frame that called it.
    pub(crate) fn describe_calls(&self, what: &str, number: u32) -> Vec<String> {
        let frames = self.stacks.get(number);
        let mut places = frames.as_slice().iter().map(|&address| self.describe_code(address));
        let first = places.next().unwrap_or_else(|| "the kernel".to_owned());
        std::iter::once(format!("{what} {first}")).chain(places.map(|place| format!("  called by {place}"))).collect()
    }
}
