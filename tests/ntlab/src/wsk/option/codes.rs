//! The numbers of options and I/O control operations, as ws2def.h, ws2ipdef.h, tcpip headers and wsk.h have them.

/// `SOL_SOCKET`.
pub const SOL_SOCKET: u32 = 0xffff;
/// `SO_REUSEADDR`.
pub const SO_REUSEADDR: u32 = 0x0004;
/// `SO_EXCLUSIVEADDRUSE`.
pub const SO_EXCLUSIVEADDRUSE: u32 = !SO_REUSEADDR;
/// `SO_KEEPALIVE`.
pub const SO_KEEPALIVE: u32 = 0x0008;
/// `SO_BROADCAST`.
pub const SO_BROADCAST: u32 = 0x0020;
/// `SO_SNDBUF`.
pub const SO_SNDBUF: u32 = 0x1001;
/// `SO_RCVBUF`.
pub const SO_RCVBUF: u32 = 0x1002;
/// `SO_ERROR`.
pub const SO_ERROR: u32 = 0x1007;
/// `SO_TYPE`.
pub const SO_TYPE: u32 = 0x1008;
/// `SO_CONDITIONAL_ACCEPT`.
pub const SO_CONDITIONAL_ACCEPT: u32 = 0x3002;
/// `SO_WSK_SECURITY`.
pub const SO_WSK_SECURITY: u32 = 0x4001;
/// `SO_WSK_EVENT_CALLBACK`.
pub const SO_WSK_EVENT_CALLBACK: u32 = 0x4002;

/// `IPPROTO_IP`, as a level.
pub const IPPROTO_IP: u32 = 0;
/// `IP_TOS`.
pub const IP_TOS: u32 = 3;
/// `IP_TTL`.
pub const IP_TTL: u32 = 4;
/// `IP_MULTICAST_TTL`.
pub const IP_MULTICAST_TTL: u32 = 10;
/// `IP_MULTICAST_LOOP`.
pub const IP_MULTICAST_LOOP: u32 = 11;
/// `IP_DONTFRAGMENT`.
pub const IP_DONTFRAGMENT: u32 = 14;

/// `IPPROTO_IPV6`, as a level.
pub const IPPROTO_IPV6: u32 = 41;
/// `IPV6_UNICAST_HOPS`.
pub const IPV6_UNICAST_HOPS: u32 = 4;
/// `IPV6_MULTICAST_HOPS`.
pub const IPV6_MULTICAST_HOPS: u32 = 10;
/// `IPV6_MULTICAST_LOOP`.
pub const IPV6_MULTICAST_LOOP: u32 = 11;
/// `IPV6_DONTFRAG`.
pub const IPV6_DONTFRAG: u32 = 14;
/// `IPV6_V6ONLY`.
pub const IPV6_V6ONLY: u32 = 27;

/// `IPPROTO_TCP`, as a level.
pub const IPPROTO_TCP: u32 = 6;
/// `TCP_NODELAY`.
pub const TCP_NODELAY: u32 = 1;
/// `TCP_KEEPIDLE`, once called `TCP_KEEPALIVE`: seconds.
pub const TCP_KEEPIDLE: u32 = 3;
/// `TCP_MAXRT`: seconds.
pub const TCP_MAXRT: u32 = 5;
/// `TCP_KEEPCNT`.
pub const TCP_KEEPCNT: u32 = 16;
/// `TCP_KEEPINTVL`: seconds.
pub const TCP_KEEPINTVL: u32 = 17;

/// `IPPROTO_UDP`, as a level.
pub const IPPROTO_UDP: u32 = 17;
/// `UDP_NOCHECKSUM`.
pub const UDP_NOCHECKSUM: u32 = 1;

/// `SIO_WSK_SET_REMOTE_ADDRESS`.
pub const SIO_WSK_SET_REMOTE_ADDRESS: u32 = 0x8f00_0001;
/// `SIO_WSK_REGISTER_EXTENSION`.
pub const SIO_WSK_REGISTER_EXTENSION: u32 = 0xcf00_0002;
/// `SIO_WSK_QUERY_IDEAL_SEND_BACKLOG`.
pub const SIO_WSK_QUERY_IDEAL_SEND_BACKLOG: u32 = 0x4f00_0003;
/// `SIO_WSK_QUERY_RECEIVE_BACKLOG`.
pub const SIO_WSK_QUERY_RECEIVE_BACKLOG: u32 = 0x4f00_0004;
/// `SIO_WSK_QUERY_INSPECT_ID`.
pub const SIO_WSK_QUERY_INSPECT_ID: u32 = 0x4f00_0005;
/// `SIO_WSK_SET_SENDTO_ADDRESS`.
pub const SIO_WSK_SET_SENDTO_ADDRESS: u32 = 0x8f00_0006;
/// `SIO_ADDRESS_LIST_QUERY`.
pub const SIO_ADDRESS_LIST_QUERY: u32 = 0x4800_0016;
/// `SIO_ADDRESS_LIST_CHANGE`.
pub const SIO_ADDRESS_LIST_CHANGE: u32 = 0x2800_0017;
