//! A mebibyte out and back through a kernel socket, both directions at once.

use crate::{Error, Socket};
use std::thread;

/// How many bytes the demo echoes.
pub(super) const BYTES: usize = 1 << 20;
/// How many of them one request carries.
const CHUNK: usize = 64 << 10;

/// Sends [`BYTES`] bytes in one thread and receives their echo in this one. Gives the CRC-32, which is the same both ways.
pub(super) fn run(socket: &Socket, seed: u64) -> Result<u32, Error> {
    let data = pattern(seed);
    let sent = crc32fast::hash(&data);
    let received = thread::scope(|scope| {
        let sender = scope.spawn(|| send(socket, &data));
        let received = receive(socket);
        sender.join().unwrap_or_else(|_| Err(Error::unexpected("the echo's sender", "its thread panicked")))?;
        received
    })?;
    if received != sent {
        let difference = format!("CRC-32 {sent:08x} went out, {received:08x} came back");
        return Err(Error::unexpected("the echo's checksum", difference));
    }
    Ok(received)
}

fn send(socket: &Socket, data: &[u8]) -> Result<(), Error> {
    for chunk in data.chunks(CHUNK) {
        let sent = socket.send(chunk.to_vec())?.bytes;
        if sent != chunk.len() {
            return Err(Error::unexpected("echo: send", format!("{sent} of {} bytes were taken", chunk.len())));
        }
    }
    Ok(())
}

fn receive(socket: &Socket) -> Result<u32, Error> {
    let mut hasher = crc32fast::Hasher::new();
    let mut left = BYTES;
    while left > 0 {
        let data = socket.receive(left.min(CHUNK))?;
        if data.is_empty() {
            return Err(Error::unexpected("echo: receive", format!("the stream ended {left} bytes early")));
        }
        hasher.update(&data);
        left -= data.len();
    }
    Ok(hasher.finalize())
}

/// Bytes that no shift or repetition leaves unchanged (xorshift64*).
fn pattern(seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes()
    });
    words.take(BYTES / 8).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_is_the_seeds_and_has_its_length() {
        assert_eq!(pattern(1).len(), BYTES);
        assert_eq!(pattern(1), pattern(1));
        assert_ne!(crc32fast::hash(&pattern(1)), crc32fast::hash(&pattern(3)));
    }
}
