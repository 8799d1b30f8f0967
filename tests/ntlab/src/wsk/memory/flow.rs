//! What is under way to one end: a stream's pieces, or datagrams.
//!
//! One idea: a piece is received by itself, never together with the next, so the lengths of receives depend on the pieces alone.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

/// A piece of a stream.
struct Piece {
    due: u64,
    bytes: VecDeque<u8>,
    /// All of it has been sent, or all that the sender has for now.
    whole: bool,
}

/// The stream that comes to an end.
#[derive(Default)]
pub struct Stream {
    pieces: VecDeque<Piece>,
    /// Pieces at the front that have arrived.
    arrived: usize,
    /// When the peer's FIN arrives.
    fin: Option<u64>,
    fin_arrived: bool,
    /// What comes behind everything is not a FIN but a reset.
    resets: bool,
}

impl Stream {
    /// Bytes that the sender has handed over and nobody has received.
    pub fn held(&self) -> usize {
        self.pieces.iter().map(|piece| piece.bytes.len()).sum()
    }

    /// More of the last piece, or a new one; `whole` if the piece ends here.
    pub fn push(&mut self, due: u64, bytes: &[u8], whole: bool) {
        match self.pieces.back_mut() {
            Some(last) if !last.whole => {
                last.bytes.extend(bytes);
                last.whole = whole;
            }
            last => {
                let due = last.map_or(due, |last| due.max(last.due));
                self.pieces.push_back(Piece { due, bytes: bytes.iter().copied().collect(), whole });
            }
        }
    }

    /// The FIN, behind everything.
    pub fn end(&mut self, due: u64) {
        if let Some(last) = self.pieces.back_mut() {
            last.whole = true;
        }
        self.fin = Some(self.pieces.back().map_or(due, |last| due.max(last.due)));
    }

    /// A reset, behind everything.
    pub fn end_with_reset(&mut self, due: u64) {
        self.end(due);
        self.resets = true;
    }

    /// Lets arrive what is due; true if that is anything.
    pub fn deliver(&mut self, now: u64) -> bool {
        let before = (self.arrived, self.fin_arrived);
        while self.pieces.get(self.arrived).is_some_and(|piece| piece.whole && piece.due <= now) {
            self.arrived += 1;
        }
        self.fin_arrived |= self.arrived == self.pieces.len() && self.fin.is_some_and(|due| due <= now);
        before != (self.arrived, self.fin_arrived)
    }

    pub fn next_due(&self) -> Option<u64> {
        let piece = self.pieces.get(self.arrived).filter(|piece| piece.whole).map(|piece| piece.due);
        piece.or(self.fin.filter(|_| !self.fin_arrived))
    }

    /// The FIN has arrived, and everything before it has been received.
    pub fn has_ended(&self) -> bool {
        self.pieces.is_empty() && self.is_fin_here()
    }

    /// The FIN has arrived.
    pub fn is_fin_here(&self) -> bool {
        self.fin_arrived && !self.resets
    }

    /// A reset has arrived.
    pub fn is_reset_here(&self) -> bool {
        self.fin_arrived && self.resets
    }

    /// A reset has arrived, and everything before it has been received.
    pub fn is_reset_next(&self) -> bool {
        self.pieces.is_empty() && self.is_reset_here()
    }

    /// Bytes that have arrived.
    pub fn waiting(&self) -> usize {
        self.pieces.iter().take(self.arrived).map(|piece| piece.bytes.len()).sum()
    }

    /// At most `most` bytes of the first piece, if it has arrived; they stay, or are taken.
    pub fn read(&mut self, most: usize, take: bool) -> Option<Vec<u8>> {
        if self.arrived == 0 {
            return None;
        }
        let piece = self.pieces.front_mut()?;
        let count = most.min(piece.bytes.len());
        if !take {
            return Some(piece.bytes.iter().take(count).copied().collect());
        }
        let bytes = piece.bytes.drain(..count).collect();
        if piece.bytes.is_empty() {
            self.pieces.pop_front();
            self.arrived -= 1;
        }
        Some(bytes)
    }

    /// A reset: nothing is under way any more.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.arrived = 0;
    }
}

/// A datagram that has been sent.
struct Datagram {
    due: u64,
    bytes: Vec<u8>,
    from: SocketAddr,
}

/// What one sender has sent.
#[derive(Default)]
struct Sender {
    /// Datagrams so far, lost ones included.
    count: u64,
    /// By how late they are to come and then by their number: a datagram comes when no later one can overtake it.
    waiting: BTreeMap<(u64, u64), Datagram>,
}

/// The datagrams that come to an end.
#[derive(Default)]
pub struct Datagrams {
    senders: BTreeMap<u64, Sender>,
    /// Those whose order is settled.
    under_way: VecDeque<Datagram>,
    arrived: VecDeque<(Vec<u8>, SocketAddr)>,
}

impl Datagrams {
    /// The `number`th datagram of `sender`, counted from 1, which up to `behind` later ones overtake.
    pub fn push(&mut self, (sender, number): (u64, u64), behind: u64, due: u64, bytes: &[u8], from: SocketAddr) {
        let sender = self.senders.entry(sender).or_default();
        sender.waiting.insert((number + behind, number), Datagram { due, bytes: bytes.to_vec(), from });
    }

    /// The sender has sent so many, which settles the order of some.
    pub fn count(&mut self, sender: u64, count: u64) {
        let sender = self.senders.entry(sender).or_default();
        sender.count = count;
        while let Some(entry) = sender.waiting.first_entry().filter(|entry| entry.key().0 <= count) {
            self.under_way.push_back(entry.remove());
        }
    }

    pub fn waits_to_be_overtaken(&self) -> bool {
        self.senders.values().any(|sender| !sender.waiting.is_empty())
    }

    /// Nobody sends any more: what waits to be overtaken comes.
    pub fn flush(&mut self, now: u64) {
        for sender in self.senders.values_mut() {
            while let Some((_, datagram)) = sender.waiting.pop_first() {
                self.under_way.push_back(Datagram { due: now, ..datagram });
            }
        }
    }

    /// Lets arrive what is due, in the order in which it was settled; true if that is anything.
    pub fn deliver(&mut self, now: u64) -> bool {
        let mut any = false;
        while let Some(next) = self.under_way.pop_front_if(|next| next.due <= now) {
            self.arrived.push_back((next.bytes, next.from));
            any = true;
        }
        any
    }

    pub fn next_due(&self) -> Option<u64> {
        self.under_way.front().map(|next| next.due)
    }

    pub fn pop(&mut self) -> Option<(Vec<u8>, SocketAddr)> {
        self.arrived.pop_front()
    }
}
