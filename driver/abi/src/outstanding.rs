//! What has not ended yet: pending requests, and what the driver waits for, each with its age (contract: ).

use crate::{Kind, Provider, SocketHandle};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Something that has not ended yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Outstanding {
    /// The socket that it is about; 0 if there is none, or none with a handle.
    pub socket: SocketHandle,
    /// The process whose client it belongs to; 0 if it is the driver's own.
    pub process: u32,
    /// How long it has been so, milliseconds.
    pub age: u32,
    /// Who waits: a [`Waiter`]'s number.
    pub waiter: u8,
    /// What for: an [`Awaited`]'s number.
    pub awaited: u8,
    /// The provider's number, or [`Outstanding::NONE`].
    pub provider: u8,
    /// Of a request, its [`Kind`]'s place in [`Kind::ALL`]; otherwise [`Outstanding::NONE`].
    pub kind: u8,
    /// Zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<Outstanding>() == 24);
const _: () = assert!(Kind::ALL.len() < Outstanding::NONE as usize);

macro_rules! numbered {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal, $text:literal;)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum $name { $($(#[$variant_doc])* $variant = $number),* }

        impl $name {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The one with this number.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }

            /// Its name, for people.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }
    )*};
}

numbered! {
    /// Who waits.
    Waiter {
        /// A caller, whose request is pending.
        Caller = 0, "caller";
        /// A startup that was not answered yet.
        Startup = 1, "startup";
        /// A teardown: the last cleanup, or what a dead client left.
        Teardown = 2, "teardown";
        /// The close of a socket.
        Close = 3, "close";
        /// The worker, and with it everything that it is to do.
        Worker = 4, "worker";
    }
    /// What is waited for.
    Awaited {
        /// The end of a request of that kind: WSK has it, or it waits in the driver.
        Request = 0, "request";
        /// The WSK provider is to become ready (`WskCaptureProviderNPI`).
        Provider = 1, "provider";
        /// `WskDeregister` is to return.
        Deregistration = 2, "deregistration";
        /// A call of WSK's on the socket is to return: it can't be closed before.
        Call = 3, "call";
        /// `WskCloseSocket` is to complete.
        CloseSocket = 4, "close of the socket";
        /// Sends from before a graceful close are to end.
        Sends = 5, "sends";
        /// `WskDisconnect` is to complete.
        Disconnect = 6, "disconnect";
        /// The peer is to end its side of the connection.
        PeerClose = 7, "peer's close";
        /// The worker is to come by.
        Worker = 8, "worker";
        /// A teardown of the same provider is to end, or that of a dead client.
        Teardown = 9, "teardown";
    }
}

impl Outstanding {
    /// No provider; no kind.
    pub const NONE: u8 = u8::MAX;

    /// Who waits.
    #[must_use]
    pub const fn waiter(&self) -> Option<Waiter> {
        Waiter::from_number(self.waiter)
    }

    /// What for.
    #[must_use]
    pub const fn awaited(&self) -> Option<Awaited> {
        Awaited::from_number(self.awaited)
    }

    /// Of a request, what it is counted as.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        Kind::ALL.get(usize::from(self.kind)).copied()
    }

    /// The provider that it belongs to.
    #[must_use]
    pub const fn provider(&self) -> Option<Provider> {
        Provider::from_number(self.provider as u32)
    }
}

/// Input of `LedgerPending`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PendingQuery {
    /// [`PendingQuery::OWN`] or [`PendingQuery::ALL`]; another one is `WSAEINVAL`.
    pub scope: u32,
    /// Zero.
    pub reserved: u32,
}

impl PendingQuery {
    /// This client's requests.
    pub const OWN: u32 = 0;
    /// Every client's requests.
    pub const ALL: u32 = 1;
}

/// What the output of `LedgerPending` begins with. As many [`Outstanding`]s follow as `listed` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PendingList {
    /// Requests that were pending.
    pub total: u32,
    /// Of those, how many follow: as many as the output has room for.
    pub listed: u32,
}

impl PendingList {
    /// Reads an output of `LedgerPending`. None if it is not whole.
    #[must_use]
    pub fn read(output: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = Self::read_from_prefix(output).ok()?;
        let length = usize::try_from(head.listed).ok()?.checked_mul(size_of::<Outstanding>())?;
        rest.get(..length).map(|entries| (head, entries))
    }

    /// The entries that [`read`](Self::read) found.
    pub fn entries(bytes: &[u8]) -> impl Iterator<Item = Outstanding> {
        bytes.chunks_exact(size_of::<Outstanding>()).filter_map(|bytes| Outstanding::read_from_bytes(bytes).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_back_as_far_as_it_says() {
        let entry = Outstanding { age: 7, kind: Kind::Send as u8, ..Outstanding::default() };
        let mut bytes = PendingList { total: 9, listed: 2 }.as_bytes().to_vec();
        bytes.extend(entry.as_bytes());
        assert_eq!(PendingList::read(&bytes), None, "an entry is missing");
        bytes.extend(entry.as_bytes());
        let (head, entries) = PendingList::read(&bytes).unwrap();
        assert_eq!((head.total, head.listed), (9, 2));
        assert!(PendingList::entries(entries).eq([entry, entry]));
        assert_eq!(entry.kind(), Some(Kind::Send));
    }

    #[test]
    fn every_number_reads_back() {
        for &waiter in Waiter::ALL {
            assert_eq!(Waiter::from_number(waiter as u8), Some(waiter));
        }
        for &awaited in Awaited::ALL {
            assert_eq!(Awaited::from_number(awaited as u8), Some(awaited));
        }
        assert_eq!((Waiter::from_number(99), Awaited::from_number(99)), (None, None));
    }
}
