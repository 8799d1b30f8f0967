//! The words for options, I/O controls and events, as Winsock's headers have them: typed in the shell, written in scenarios.

use crate::abi::{Events, SocketControl, SocketOption};

/// Options.
pub(crate) const OPTIONS: [(&str, SocketOption); 9] = [
    ("SO_REUSEADDR", SocketOption::ReuseAddress),
    ("SO_EXCLUSIVEADDRUSE", SocketOption::ExclusiveAddress),
    ("SO_KEEPALIVE", SocketOption::KeepAlive),
    ("SO_LINGER", SocketOption::Linger),
    ("SO_SNDBUF", SocketOption::SendBuffer),
    ("SO_RCVBUF", SocketOption::ReceiveBuffer),
    ("SO_TYPE", SocketOption::Type),
    ("TCP_NODELAY", SocketOption::NoDelay),
    ("IPV6_V6ONLY", SocketOption::V6Only),
];

/// I/O controls.
pub(crate) const CONTROLS: [(&str, SocketControl); 2] =
    [("FIONREAD", SocketControl::BytesToReceive), ("SIO_IDEAL_SEND_BACKLOG_QUERY", SocketControl::IdealSendBacklog)];

/// Events, each a bit of a mask.
pub(crate) const EVENTS: [(&str, u32); 4] =
    [("read", Events::READ), ("accept", Events::ACCEPT), ("connect", Events::CONNECT), ("close", Events::CLOSE)];

fn name_in<T: PartialEq>(words: &[(&'static str, T)], of: &T) -> &'static str {
    words.iter().find(|(_, value)| value == of).map_or("?", |(name, _)| *name)
}

pub(crate) fn option_name(option: SocketOption) -> &'static str {
    name_in(&OPTIONS, &option)
}

pub(crate) fn control_name(control: SocketControl) -> &'static str {
    name_in(&CONTROLS, &control)
}

/// The names of a mask's events.
pub(crate) fn event_names(mask: u32) -> Vec<&'static str> {
    EVENTS.iter().filter(|(_, event)| mask & event != 0).map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_control_and_event_has_a_name() {
        assert!(SocketOption::EVERY.iter().all(|&option| option_name(option) != "?"));
        assert!(SocketControl::EVERY.iter().all(|&control| control_name(control) != "?"));
        assert_eq!(event_names(Events::EVERY).len(), EVENTS.len());
        assert_eq!(EVENTS.iter().fold(0, |mask, (_, event)| mask | event), Events::EVERY);
    }
}
