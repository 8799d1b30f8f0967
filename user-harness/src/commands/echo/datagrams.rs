//! Each datagram goes back to where it came from.

use super::Told;
use crate::{
    Error, Operation, Received, Sent, Socket, abi::MAX_DATAGRAM, commands::session::Session, inbox::Wake,
    output::Output,
};
use std::{collections::HashMap, time::Duration};

/// How many receives are posted, and how many sends may be on their way.
const IN_FLIGHT: usize = 16;

/// What is pending.
enum Pending {
    Receive(Operation<Received>),
    Send(Operation<Sent>),
}

/// Serves so many datagrams, or until Ctrl-C.
pub(super) fn serve(session: &mut Session, socket: &Socket, most: u64, output: &mut Output) -> Result<(), Error> {
    let mut pending = HashMap::new();
    for _ in 0..IN_FLIGHT {
        receive(session, socket, &mut pending);
    }
    let (mut datagrams, mut bytes) = (0, 0);
    while datagrams < most {
        let number = match session.inbox.wait(&session.backend)? {
            Wake::Interrupt => break,
            Wake::Ended(number) => number,
            Wake::Input(_) | Wake::InputEnd(_) => continue,
        };
        match pending.remove(&number) {
            Some(Pending::Receive(mut receive)) => {
                let Received { data, address, .. } = receive.wait(Duration::ZERO)?;
                output.emit(&Told::Datagram { address: format!("{address:?}"), bytes: data.len() })?;
                let mut send = socket.begin_send_to(data, address);
                let number = session.inbox.watch(&mut send);
                pending.insert(number, Pending::Send(send));
            }
            Some(Pending::Send(mut send)) => {
                bytes += send.wait(Duration::ZERO)?.bytes as u64;
                datagrams += 1;
                receive(session, socket, &mut pending);
            }
            None => {}
        }
    }
    output.emit(&Told::Summary { connections: 0, datagrams, bytes })
}

fn receive(session: &mut Session, socket: &Socket, pending: &mut HashMap<u64, Pending>) {
    let mut receive = socket.begin_receive_from(MAX_DATAGRAM as usize);
    let number = session.inbox.watch(&mut receive);
    pending.insert(number, Pending::Receive(receive));
}
