//! What may be called at `DISPATCH_LEVEL`.

use crate::failure::{Failure, ensure, refused};
use crate::network::{LIMIT, Network};
use wsk::{Buffer, Datagram, Error, Family, Listener, MayCall, Shutdown, Socket, SocketOption, Stream};

const DISPATCH_LEVEL: u8 = 2;

unsafe extern "C" {
    fn KfRaiseIrql(irql: u8) -> u8;
    fn KeLowerIrql(irql: u8);
}

/// The processor is at `DISPATCH_LEVEL` while the value exists.
struct Raised {
    before: u8,
    may_call: MayCall,
}

impl Raised {
    fn new() -> Self {
        // SAFETY: from PASSIVE_LEVEL up.
        let before = unsafe { KfRaiseIrql(DISPATCH_LEVEL) };
        // SAFETY: at DISPATCH_LEVEL, in DriverEntry.
        Self { before, may_call: unsafe { MayCall::assume() } }
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        // SAFETY: to where `new` came from.
        unsafe { KeLowerIrql(self.before) };
    }
}

/// Everything that does not take a `Passive` is called there.
pub fn at_dispatch_level(network: &Network) -> Result<(), Failure> {
    network.capture()?;
    let client = &network.client;
    let (stream, accepted) = network.connection(Family::V4)?;
    let (listener, address) = network.listener(Family::V4)?;
    let raised = Raised::new();
    let call = raised.may_call;
    ensure(client.is_served() && client.outstanding() != 0)?;
    drop((Listener::open(client, Family::V4, call)?, Datagram::open(client, Family::V6, call)?));
    let opened = Stream::open_with_events(client, Family::V4, |_| (), call)?;
    let sent = accepted.stream.send(Buffer::try_from_bytes(b"up there")?, call)?;
    let receive = stream.receive(Buffer::try_new(8)?, call)?;
    let accept = listener.accept(call)?;
    refused(listener.accept(call), Error::Busy)?;
    let address_of = stream.local_address(call)?;
    stream.peer_address(call)?.then(drop).map_err(|(error, _)| error)?;
    drop(stream.set_option(SocketOption::NO_DELAY, 1, call)?);
    drop(stream.option(SocketOption::NO_DELAY, call)?);
    accept.cancel();
    drop(accept);
    drop(accepted.stream.receive(Buffer::try_new(8)?, call)?);
    listener.close(call);
    refused(listener.accept(call), Error::Closed)?;
    drop(raised);
    let passive = network.passive;
    network.outcome(sent)?.result?;
    ensure(network.outcome(receive)?.result? != 0)?;
    address_of.finish(LIMIT, passive)?;
    listener.wait_closed(LIMIT, passive)?;
    let opened = opened.finish(LIMIT, passive)?;
    let raised = Raised::new();
    drop(opened.bind(&address, raised.may_call)?);
    drop(accepted.stream.shut_down(Shutdown::Abort, raised.may_call)?);
    drop((opened, accepted, stream));
    drop(raised);
    Ok(())
}
