//! Our Hello: encoded once for all sessions, and checked before the first one.

use alloc::vec::Vec;
use core::fmt;

use crate::limits;
use crate::wire::p2p::{Capability, CapabilityTable, Hello};

/// Our Hello, and the table by which messages get their ids.
#[derive(Clone, Debug)]
pub struct LocalHello {
    hello: Hello,
    payload: Vec<u8>,
    table: CapabilityTable,
}

/// Why a Hello cannot be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum InvalidHello {
    /// No peer reads more than [`limits::HELLO_BYTES_MAX`].
    TooLarge,
    /// A capability whose number of messages is not in the table.
    Unregistered(Capability),
}

impl fmt::Display for InvalidHello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("the Hello is too large"),
            Self::Unregistered(capability) => write!(f, "{capability} is offered but not registered"),
        }
    }
}

impl core::error::Error for InvalidHello {}

impl LocalHello {
    /// Our Hello, and the table by which messages get their ids.
    ///
    /// # Errors
    /// If peers could not read it, or it offers what the table does not know.
    pub fn new(hello: Hello, table: CapabilityTable) -> Result<Self, InvalidHello> {
        if let Some(unknown) = hello.capabilities.iter().find(|offered| table.length(**offered).is_none()) {
            return Err(InvalidHello::Unregistered(*unknown));
        }
        let payload = hello.encode();
        if payload.len() > limits::HELLO_BYTES_MAX || hello.capabilities.len() > limits::CAPABILITIES_MAX {
            return Err(InvalidHello::TooLarge);
        }
        Ok(Self { hello, payload, table })
    }

    /// Another Hello with the same table, for the sessions that begin from now on.
    ///
    /// # Errors
    /// As [`LocalHello::new`].
    pub fn with(&self, hello: Hello) -> Result<Self, InvalidHello> {
        Self::new(hello, self.table.clone())
    }

    /// The message.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// The capabilities that can be shared.
    pub fn table(&self) -> &CapabilityTable {
        &self.table
    }

    /// The message, encoded.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }
}
