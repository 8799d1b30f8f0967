//! The buffers of a request: the process' memory, and what the I/O manager makes of it as the method says.

use super::RawIoctl;
use crate::call::Stopped;
use crate::irp;
use crate::machine::Inner;
use crate::mdl;
use crate::nt::{IRP, PVOID};
use crate::pool::Kind;
use crate::rules;
use crate::status::NtStatus;

pub(super) const METHOD_BUFFERED: u32 = 0;
pub(super) const METHOD_IN_DIRECT: u32 = 1;
pub(super) const METHOD_OUT_DIRECT: u32 = 2;
pub(super) const METHOD_NEITHER: u32 = 3;

/// Memory of a process that the driver reaches: in a pool block, so that going beyond it faults.
#[derive(Default)]
struct UserMemory {
    address: usize,
    length: usize,
    /// The memory itself when it is not in a pool block.
    own: Vec<u8>,
}

impl UserMemory {
    fn new(machine: &Inner, mut bytes: Vec<u8>) -> Self {
        let length = bytes.len();
        if length == 0 || !machine.options.special_pool {
            return Self { address: bytes.as_mut_ptr() as usize, length, own: bytes };
        }
        let kind = Kind { zeroed: true, internal: true, ..Kind::default() };
        let block = machine.pool.allocate(length, u32::from_le_bytes(*b"User"), kind);
        assert!(!block.is_null(), "memory for a request");
        // SAFETY: the block is new and `length` long.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), block.cast(), length) };
        Self { address: block as usize, length, own: Vec::new() }
    }

    /// The bytes, at the end of the request.
    fn take(&mut self, machine: &Inner) -> Result<Vec<u8>, Stopped> {
        if !self.own.is_empty() || self.length == 0 {
            return Ok(std::mem::take(&mut self.own));
        }
        // SAFETY: the block is live and `length` long.
        let bytes = unsafe { std::slice::from_raw_parts(self.address as *const u8, self.length) }.to_vec();
        machine.pool.free_internal(self.address)?;
        Ok(bytes)
    }
}

/// What belongs to the IRP and goes at its end.
#[derive(Default)]
pub(super) struct Buffers {
    method: u32,
    input: UserMemory,
    output: UserMemory,
    output_length: usize,
    system: usize,
    mdl: usize,
    /// `IRP_MJ_WRITE`: nothing comes back.
    pub(super) write: bool,
    /// What the memory of `METHOD_IN_DIRECT` held, and must hold at the end.
    invariant: Vec<u8>,
}

impl Buffers {
    /// Describes the buffers in the IRP as the method of the control code says.
    pub(super) fn prepare(machine: &Inner, irp: &IRP, raw: RawIoctl, process: PVOID) -> Self {
        let method = raw.code & 3;
        let (input_length, output_length) = (raw.input_length as usize, raw.output_length as usize);
        let input = raw.input.unwrap_or_default();
        let mut output = raw.output.unwrap_or_default();
        output.truncate(output_length);
        let mut buffers = Self { method, output_length, ..Self::default() };
        let system_length = match method {
            METHOD_BUFFERED => input_length.max(output_length),
            METHOD_NEITHER => 0,
            _ => input_length,
        };
        if system_length != 0 {
            let kind = Kind { zeroed: false, internal: true, ..Kind::default() };
            let system = machine.pool.allocate(system_length, u32::from_le_bytes(*b"IoSB"), kind);
            assert!(!system.is_null(), "memory for a system buffer");
            let given = input.len().min(input_length);
            // SAFETY: the block is new and at least `given` long.
            unsafe { std::ptr::copy_nonoverlapping(input.as_ptr(), system.cast(), given) };
            irp.SystemBuffer.set(system);
            buffers.system = system as usize;
        }
        match method {
            METHOD_BUFFERED => {
                buffers.output = UserMemory { length: 0, ..UserMemory::default() };
                irp.UserBuffer.set(std::ptr::null_mut());
            }
            METHOD_NEITHER => {
                buffers.input = UserMemory::new(machine, input);
                buffers.output = UserMemory::new(machine, output);
                irp.UserBuffer.set(buffers.output.address as PVOID);
            }
            _ => {
                if method == METHOD_IN_DIRECT {
                    buffers.invariant.clone_from(&output);
                }
                buffers.output = UserMemory::new(machine, output);
                if buffers.output.length != 0 {
                    let mdl = mdl::for_user_memory(machine, buffers.output.address, buffers.output.length, process);
                    irp.MdlAddress.set(mdl);
                    buffers.mdl = mdl as usize;
                }
            }
        }
        buffers
    }

    /// The input's address in the process, which `METHOD_NEITHER` passes on.
    pub(super) fn user_input(&self) -> Option<usize> {
        (self.method == METHOD_NEITHER).then_some(self.input.address)
    }

    /// Judges what the driver made of the buffers, and gives back what was allocated; what the process gets.
    pub(super) fn end(
        mut self,
        machine: &Inner,
        irp: &IRP,
        status: NtStatus,
        information: usize,
    ) -> Result<Vec<u8>, Stopped> {
        let limit = self.output_length;
        if self.method != METHOD_NEITHER && !status.is_error() && information > limit {
            let message = format!("Information is {information}, the output buffer has {limit} bytes");
            return Err(rules::record(&rules::INFORMATION_BEYOND_BUFFER, message, irp::events(irp)));
        }
        let mut output = self.output.take(machine)?;
        self.input.take(machine)?;
        if self.method == METHOD_IN_DIRECT && output != self.invariant {
            let offset = output.iter().zip(&self.invariant).take_while(|(now, before)| now == before).count();
            let message = format!("the memory that the process passed to be read was modified at offset {offset}");
            return Err(rules::record(&rules::INVARIANT_MDL, message, irp::events(irp)));
        }
        if self.method == METHOD_BUFFERED && !status.is_error() && information != 0 {
            // SAFETY: the system buffer is at least as long as the output buffer, and `information` is no more.
            output = unsafe { std::slice::from_raw_parts(self.system as *const u8, information) }.to_vec();
        } else if self.method == METHOD_OUT_DIRECT {
            output.truncate(if status.is_error() { 0 } else { information });
        }
        if self.write {
            output.clear();
        }
        for block in [self.system, self.mdl] {
            if block != 0 {
                machine.pool.free_internal(block)?;
            }
        }
        Ok(output)
    }
}
