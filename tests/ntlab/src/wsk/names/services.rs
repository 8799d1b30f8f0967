//! The service names of the lab: those that drivers are likely to ask for, as IANA has them.

/// The protocols of a service.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    Both,
    Tcp,
    Udp,
}

const SERVICES: &[(&str, u16, Over)] = &[
    ("echo", 7, Over::Both),
    ("discard", 9, Over::Both),
    ("daytime", 13, Over::Both),
    ("chargen", 19, Over::Both),
    ("ftp-data", 20, Over::Tcp),
    ("ftp", 21, Over::Tcp),
    ("ssh", 22, Over::Tcp),
    ("telnet", 23, Over::Tcp),
    ("smtp", 25, Over::Tcp),
    ("time", 37, Over::Both),
    ("domain", 53, Over::Both),
    ("bootps", 67, Over::Udp),
    ("bootpc", 68, Over::Udp),
    ("tftp", 69, Over::Udp),
    ("http", 80, Over::Tcp),
    ("kerberos", 88, Over::Both),
    ("pop3", 110, Over::Tcp),
    ("ntp", 123, Over::Udp),
    ("imap", 143, Over::Tcp),
    ("snmp", 161, Over::Udp),
    ("ldap", 389, Over::Tcp),
    ("https", 443, Over::Tcp),
    ("microsoft-ds", 445, Over::Both),
    ("syslog", 514, Over::Udp),
    // One number, two services.
    ("exec", 512, Over::Tcp),
    ("biff", 512, Over::Udp),
];

impl Over {
    fn has(self, datagram: Option<bool>) -> bool {
        match datagram {
            None => true,
            Some(true) => self != Self::Tcp,
            Some(false) => self != Self::Udp,
        }
    }
}

/// The port of a service over datagrams, over streams, or over either.
pub fn port(service: &str, datagram: Option<bool>) -> Option<u16> {
    let wanted = |(name, _, over): &&(&str, u16, Over)| name.eq_ignore_ascii_case(service) && over.has(datagram);
    SERVICES.iter().find(wanted).map(|&(_, port, _)| port)
}

/// The service at a port.
pub fn name(port: u16, datagram: bool) -> Option<&'static str> {
    SERVICES.iter().find(|(_, at, over)| *at == port && over.has(Some(datagram))).map(|&(name, ..)| name)
}
