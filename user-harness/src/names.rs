//! Look-ups, as `GetAddrInfoExW` and `GetNameInfoW` make them.

use crate::{
    Cause, Client, Error, Operation, Reply,
    abi::{Address, AddressList, AddressToName, AddressToNameReply, Guid, Ioctl, NameToAddresses, ResolvedAddress},
    device::Completion,
};
use zerocopy::{FromBytes, FromZeros};

/// How many addresses a look-up has room for at first.
const ROOM: usize = 16;

/// What addresses are wanted. The default asks for nothing.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'a> {
    /// The host's name, or an address as a number.
    pub node: Option<&'a str>,
    /// The service's name, or a port as a number.
    pub service: Option<&'a str>,
    /// Some of [`hints::NAME_FLAGS`](crate::abi::hints::NAME_FLAGS).
    pub flags: u32,
    /// `AF_INET`, `AF_INET6`, or 0 for both.
    pub family: u16,
    /// `SOCK_STREAM`, `SOCK_DGRAM`, or 0 for any.
    pub socket_type: u16,
    /// `IPPROTO_TCP`, `IPPROTO_UDP`, or 0 for any.
    pub protocol: u32,
}

/// The addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// How many there are. More than in `addresses` if the reply had no room for all.
    pub found: usize,
    /// The addresses.
    pub addresses: Vec<ResolvedAddress>,
    /// The host's canonical name, if it was asked for.
    pub canonical_name: String,
}

/// The names of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The host's name, or its address as a number.
    pub node: String,
    /// The service's name, or the port as a number.
    pub service: String,
}

impl Client {
    /// Asks a namespace provider for addresses.
    ///
    /// ```no_run
    /// # fn look_up(client: &wskctl::Client) -> Result<(), wskctl::Error> {
    /// use wskctl::{Wanted, abi::Namespace};
    ///
    /// let dns = Namespace::Dns.guid();
    /// let started = client.startup_namespace(dns)?;
    /// let wanted = Wanted { node: Some("localhost"), service: Some("http"), ..Wanted::default() };
    /// for found in client.resolve(dns, &wanted)?.addresses {
    ///     println!("{:?}", found.address);
    /// }
    /// started.cleanup()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `WSANOTINITIALISED` when the provider is not started; `WSAHOST_NOT_FOUND`; `WSA_NOT_ENOUGH_MEMORY`.
    pub fn resolve(&self, provider: Guid, wanted: &Wanted<'_>) -> Result<Resolved, Error> {
        let resolved = self.begin_resolve(provider, wanted, ROOM).call()?;
        if resolved.found == resolved.addresses.len() {
            return Ok(resolved);
        }
        self.begin_resolve(provider, wanted, resolved.found).call()
    }

    /// Starts to ask for addresses, with room for so many.
    pub fn begin_resolve(&self, provider: Guid, wanted: &Wanted<'_>, room: usize) -> Operation<Resolved> {
        let mut input = NameToAddresses { provider, ..NameToAddresses::new_zeroed() };
        input.flags = wanted.flags;
        input.family = wanted.family;
        input.socket_type = wanted.socket_type;
        input.protocol = wanted.protocol;
        input.node_length = put(&mut input.node, wanted.node);
        input.service_length = put(&mut input.service, wanted.service);
        let buffer = vec![0; size_of::<AddressList>() + room * size_of::<ResolvedAddress>()];
        let asked: Vec<&str> = [wanted.node, wanted.service].into_iter().flatten().collect();
        self.begin(Ioctl::NameToAddresses, &input, buffer, format!("look {} up", asked.join(" and ")))
    }

    /// Asks a namespace provider for the names of an address and its port.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn names_of(&self, provider: Guid, address: Address, flags: u32) -> Result<Named, Error> {
        self.begin_names_of(provider, address, flags).call()
    }

    /// Starts to ask for the names of an address.
    pub fn begin_names_of(&self, provider: Guid, address: Address, flags: u32) -> Operation<Named> {
        let input = AddressToName { provider, address, flags };
        let buffer = vec![0; size_of::<AddressToNameReply>()];
        self.begin(Ioctl::AddressToName, &input, buffer, format!("look {address:?} up"))
    }
}

/// Writes a text where it goes, as far as there is room; its whole length, which the driver refuses if it is too long.
fn put(place: &mut [u16], text: Option<&str>) -> u16 {
    let units: Vec<u16> = text.unwrap_or_default().encode_utf16().collect();
    for (place, unit) in place.iter_mut().zip(&units) {
        *place = *unit;
    }
    u16::try_from(units.len()).unwrap_or(u16::MAX)
}

fn text(units: &[u16], length: u16) -> String {
    String::from_utf16_lossy(units.get(..length.into()).unwrap_or(units))
}

impl Reply for Resolved {
    fn decode(_client: &Client, completion: Completion) -> Result<Self, Cause> {
        let answered = completion.information;
        let malformed = || Cause::Malformed { expected: size_of::<AddressList>(), answered };
        let answer = completion.buffer.get(..answered).ok_or_else(malformed)?;
        let (list, rest) = AddressList::ref_from_prefix(answer).map_err(|_| malformed())?;
        let addresses = <[ResolvedAddress]>::ref_from_bytes(rest).map_err(|_| malformed())?;
        if addresses.len() != list.returned as usize {
            return Err(malformed());
        }
        let canonical_name = text(&list.canonical_name, list.canonical_name_length);
        Ok(Self { found: list.found as usize, addresses: addresses.to_vec(), canonical_name })
    }
}

impl Reply for Named {
    fn decode(_client: &Client, completion: Completion) -> Result<Self, Cause> {
        let answered = completion.information;
        let malformed = || Cause::Malformed { expected: size_of::<AddressToNameReply>(), answered };
        let answer = completion.buffer.get(..answered).ok_or_else(malformed)?;
        let reply = AddressToNameReply::read_from_bytes(answer).map_err(|_| malformed())?;
        Ok(Self { node: text(&reply.node, reply.node_length), service: text(&reply.service, reply.service_length) })
    }
}
