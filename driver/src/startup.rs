//! A valid startup, and what it answers.

use crate::irp::Irp;
use crate::quota::Limits;
use crate::table::MAX_SOCKETS;
use crate::target::Target;
use wdk_sys::NTSTATUS;
use wskclient_abi::{
    CatalogEntry, HIGHEST_VERSION, MAX_DATAGRAM, NamespaceEntry, Provider, Startup, StartupReply, WinsockVersion,
    WsaError,
};

/// A valid startup.
pub struct StartupRequest {
    /// What is started.
    pub target: Target,
    /// The version that is negotiated.
    pub version: WinsockVersion,
    entry: CatalogEntry,
    namespace: NamespaceEntry,
}

impl StartupRequest {
    /// Decodes and validates (contract: WSA-3, WSP-2, NSP-2).
    pub fn decode(irp: &Irp) -> Result<Self, NTSTATUS> {
        let input: Startup = irp.input()?;
        irp.output_fits::<StartupReply>()?;
        Self::of(&input).map_err(WsaError::status)
    }

    fn of(input: &Startup) -> Result<Self, WsaError> {
        let provider = Provider::from_number(input.provider).ok_or(WsaError::Invalid)?;
        if input.reserved != 0 || input.reserved2 != 0 {
            return Err(WsaError::Invalid);
        }
        let target = Target::named(provider, &input.guid)?;
        let entry = if target.policy().takes_catalog_id {
            *CatalogEntry::find(input.catalog_id).ok_or(WsaError::Invalid)?
        } else if input.catalog_id == 0 {
            CatalogEntry::default()
        } else {
            return Err(WsaError::Invalid);
        };
        let namespace = match target {
            Target::Namespace(namespace) => namespace.entry(),
            _ => NamespaceEntry::default(),
        };
        let version = match target.policy().lowest_version {
            Some(lowest) => input.version.negotiate(lowest).ok_or(WsaError::VersionNotSupported)?,
            None if input.version == WinsockVersion(0) => HIGHEST_VERSION,
            None => return Err(WsaError::Invalid),
        };
        Ok(Self { target, version, entry, namespace })
    }

    /// The answer, with so many references and the limits of each client.
    pub fn reply(&self, references: u32, limits: &Limits) -> StartupReply {
        const TEXT: &[u8] = b"wskclient: Winsock over WSK";
        let mut description = [0; 64];
        for (place, byte) in description.iter_mut().zip(TEXT) {
            *place = *byte;
        }
        StartupReply {
            version: self.version,
            highest_version: HIGHEST_VERSION,
            max_sockets: limits.sockets.min(MAX_SOCKETS),
            max_datagram: MAX_DATAGRAM,
            references,
            entry: self.entry,
            description,
            namespace: self.namespace,
        }
    }
}
