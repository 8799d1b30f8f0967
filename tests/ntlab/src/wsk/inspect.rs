//! Connections that arrive at a listening socket with callbacks: `WskAcceptEvent`, and conditional accept mode.
//!
//! One idea: the host has accepted a connection before anybody can inspect it, so what is inspected is kept here and nobody's
//! socket yet; to the peer a rejection is a reset.
//!
//! Source: *`WskAcceptEvent`*, *`WskInspectEvent`*, *`WskAbortEvent`*, *`WskInspectComplete`*, *`SO_CONDITIONAL_ACCEPT`*.

use std::net::SocketAddr;
use std::sync::Arc;

use wsk::sys;

use super::events::{self, Arrival, Callback, Callbacks, Events};
use super::option::values::Values;
use super::socket::{Category, Inner, New, Phase, Socket};
use super::status::{self, Status};
use super::transport::Host;
use super::{Provider, address};
use crate::call::Stopped;

/// Two places for addresses that last as long as a callback.
struct Addresses([[u64; 4]; 2]);

impl Addresses {
    fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        let mut places = Self([[0; 4]; 2]);
        for (place, found) in places.0.iter_mut().zip([local, remote]) {
            // SAFETY: 32 bytes hold every SOCKADDR.
            unsafe { address::write(place.as_mut_ptr().cast(), found) };
        }
        places
    }

    fn arguments(&self) -> [usize; 2] {
        [self.0[0].as_ptr() as usize, self.0[1].as_ptr() as usize]
    }
}

impl Socket {
    /// `WskInspectComplete`.
    pub fn inspect_complete(&self, provider: &Provider, id: u32, action: sys::InspectAction) -> Status {
        let mut inner = self.inner.lock();
        if inner.phase != Phase::Listening {
            return inner.phase.refusal();
        }
        if !inner.events.conditional || !matches!(action, sys::INSPECT_ACCEPT | sys::INSPECT_REJECT) {
            return status::INVALID_PARAMETER;
        }
        match inner.events.inspecting.remove(&id) {
            Some(arrival) => {
                decide(provider, &mut inner.events, arrival, action);
                drop(inner);
                provider.network().look_again(self.number);
                status::SUCCESS
            }
            // It has been dropped meanwhile: nothing is left to decide.
            None if (1..=inner.events.last_arrival).contains(&id) => status::SUCCESS,
            None => status::INVALID_PARAMETER,
        }
    }

    /// The next connection that may be accepted.
    pub fn next_arrival(inner: &mut Inner) -> std::io::Result<(Host, SocketAddr, Option<u32>)> {
        if inner.events.conditional {
            let next = inner.events.inspected.pop_front().ok_or(std::io::ErrorKind::WouldBlock)?;
            return Ok((next.host, next.from, Some(next.id)));
        }
        let host = inner.host.as_ref().ok_or(std::io::ErrorKind::NotConnected)?;
        host.accept().map(|(host, from)| (host, from, None))
    }

    /// Calls a listening socket's callbacks for what has arrived. The network thread's.
    pub fn indicate_arrivals(self: &Arc<Self>, provider: &Arc<Provider>) -> Result<(), Stopped> {
        while self.inspect_one(provider)? {}
        self.abort_some(provider)?;
        self.pump(provider);
        while self.accept_one(provider)? {}
        Ok(())
    }

    fn inspect_one(self: &Arc<Self>, provider: &Arc<Provider>) -> Result<bool, Stopped> {
        let mut inner = self.inner.lock();
        if !inner.events.conditional || inner.phase != Phase::Listening {
            return Ok(false);
        }
        let Some(Ok((host, from))) = inner.host.as_ref().map(Host::accept) else {
            return Ok(false);
        };
        let Some(callback) = self.begin(&mut inner, events::INSPECT, 1, "WskInspectEvent") else {
            return Ok(false);
        };
        let Ok(local) = host.local() else {
            drop(inner);
            self.finish(provider, &callback, |_| Ok(()))?;
            return Ok(true);
        };
        inner.events.last_arrival += 1;
        let id = inner.events.last_arrival;
        // The driver may complete the inspection before the callback has returned.
        inner.events.inspecting.insert(id, Arrival { id, host, from });
        drop(inner);
        let addresses = Addresses::new(local, from);
        let inspect_id = sys::InspectId { key: self.object() as usize, serial_number: id };
        let [at, peer] = addresses.arguments();
        let action = self.call(provider, &callback, None, &[at, peer, (&raw const inspect_id) as usize])?;
        if !matches!(action, sys::INSPECT_REJECT | sys::INSPECT_ACCEPT | sys::INSPECT_PEND) {
            return Err(self.wrong_answer(&callback, action));
        }
        self.finish(provider, &callback, |inner| {
            if action != sys::INSPECT_PEND
                && let Some(arrival) = inner.events.inspecting.remove(&id)
            {
                decide(provider, &mut inner.events, arrival, action);
            }
            Ok(())
        })?;
        Ok(true)
    }

    /// Drops what the peer has given up before it was accepted.
    fn abort_some(self: &Arc<Self>, provider: &Arc<Provider>) -> Result<(), Stopped> {
        loop {
            let mut inner = self.inner.lock();
            let events = &mut inner.events;
            if events.inspecting.is_empty() && events.inspected.is_empty() {
                return Ok(());
            }
            provider.network().look_again(self.number);
            let gone = |arrival: &Arrival| {
                arrival.host.peer_ended(false).is_some() && arrival.host.peek(1).is_ok_and(|b| b.is_empty())
            };
            let pending = events.inspecting.values().find(|arrival| gone(arrival)).map(|arrival| arrival.id);
            let reset = events.inspecting.values().chain(&events.inspected);
            let Some(id) = pending.or_else(|| {
                reset.into_iter().find(|arrival| arrival.host.peer_ended(false) == Some(true)).map(|arrival| arrival.id)
            }) else {
                return Ok(());
            };
            events.inspecting.remove(&id);
            events.inspected.retain(|arrival| arrival.id != id);
            let Some(callback) = self.begin(&mut inner, events::INSPECT, 2, "WskAbortEvent") else {
                continue;
            };
            drop(inner);
            let inspect_id = sys::InspectId { key: self.object() as usize, serial_number: id };
            self.tell(provider, &callback, None, &[(&raw const inspect_id) as usize])?;
        }
    }

    fn accept_one(self: &Arc<Self>, provider: &Arc<Provider>) -> Result<bool, Stopped> {
        let mut inner = self.inner.lock();
        if inner.phase != Phase::Listening || !inner.lanes[0].is_empty() || !inner.events.has(events::ACCEPT) {
            return Ok(false);
        }
        let Some(callback) = self.begin(&mut inner, events::ACCEPT, 0, "WskAcceptEvent") else {
            return Ok(false);
        };
        let inherited = inner.events.enabled & events::OF_CONNECTION;
        let made = Self::next_arrival(&mut inner)
            .and_then(|arrival| self.make_accepted(provider, arrival, Callbacks::default(), inner.options.inherited()));
        drop(inner);
        let Ok(accepted) = made else {
            self.finish(provider, &callback, |_| Ok(()))?;
            return Ok(false);
        };
        self.offer(provider, &callback, &accepted, inherited)?;
        Ok(true)
    }

    fn offer(
        self: &Arc<Self>,
        provider: &Arc<Provider>,
        callback: &Callback,
        accepted: &Arc<Self>,
        inherited: u32,
    ) -> Result<(), Stopped> {
        let (local, remote) = {
            let inner = accepted.inner.lock();
            (inner.local, inner.remote)
        };
        let nowhere = SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 0);
        let addresses = Addresses::new(local.unwrap_or(nowhere), remote.unwrap_or(nowhere));
        let [at, peer] = addresses.arguments();
        let mut given = Callbacks::default();
        let places = [(&raw mut given.context) as usize, (&raw mut given.table) as usize];
        let arguments = [at, peer, accepted.object() as usize, places[0], places[1]];
        match self.call(provider, callback, Some(0), &arguments)? {
            status::SUCCESS => {
                let mut inner = accepted.inner.lock();
                inner.events.callbacks = given;
                inner.events.enabled |= inherited & !inner.events.fixed;
            }
            status::REQUEST_NOT_ACCEPTED => accepted.discard(provider, &mut accepted.inner.lock()),
            other => return Err(self.wrong_answer(callback, other)),
        }
        provider.network().look_again(accepted.number);
        self.finish(provider, callback, |_| Ok(()))
    }

    /// Makes the driver's socket for a connection that has arrived.
    pub fn make_accepted(
        &self,
        provider: &Arc<Provider>,
        (host, from, id): (Host, SocketAddr, Option<u32>),
        callbacks: Callbacks,
        options: Values,
    ) -> std::io::Result<Arc<Self>> {
        let new = New {
            category: Category::Connection,
            family: self.family,
            tcp: true,
            client: Arc::clone(&self.client),
            phase: Phase::Connected,
            local: Some(host.local()?),
            remote: Some(from),
            callbacks,
            options,
            descriptor: None,
        };
        let socket = provider.add_socket(host, new)?;
        socket.inner.lock().events.inspect_id = id.map(|id| (self.object() as usize, id));
        Ok(socket)
    }
}

fn decide(provider: &Provider, events: &mut Events, arrival: Arrival, action: sys::InspectAction) {
    if action == sys::INSPECT_ACCEPT {
        events.inspected.push_back(arrival);
    } else {
        provider.totals.resets.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        arrival.host.reset();
    }
}
