//! The meaning of the operating system's errors. No other file has their numbers.

use std::io::{Error, ErrorKind};

use peerless::contract::IoFault;

#[cfg(unix)]
mod os {
    pub(super) const EXHAUSTED: &[i32] = &[libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::ENOSPC];
    pub(super) const NO_SUCH_FAMILY: i32 = libc::EAFNOSUPPORT;
}

#[cfg(not(unix))]
mod os {
    // WSAEMFILE, WSAENOBUFS; WSAEAFNOSUPPORT.
    pub(super) const EXHAUSTED: &[i32] = &[10024, 10055];
    pub(super) const NO_SUCH_FAMILY: i32 = 10047;
}

/// Whether the host has no more files, buffers, watches or memory. Another try at once fails as well.
pub(crate) fn is_exhausted(error: &Error) -> bool {
    error.kind() == ErrorKind::OutOfMemory || error.raw_os_error().is_some_and(|code| os::EXHAUSTED.contains(&code))
}

/// Whether the host does not support the address's family, or has no address of it.
pub(crate) fn is_family_missing(error: &Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(os::NO_SUCH_FAMILY)
}

/// Whether an error is that of one datagram or of one stream not yet accepted, while the socket itself works: ICMP messages
/// about an earlier datagram, streams that were reset in the backlog.
pub(crate) fn is_passing(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Interrupted
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::PermissionDenied
            | ErrorKind::TimedOut
    )
}

/// The fault that a machine is told for a stream's error.
pub(crate) fn of(error: &Error) -> IoFault {
    if is_exhausted(error) {
        return IoFault::Exhausted;
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => IoFault::Refused,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => IoFault::Reset,
        ErrorKind::TimedOut => IoFault::TimedOut,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => IoFault::Unreachable,
        // Of a dial: every local port towards that address is taken.
        ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable | ErrorKind::WouldBlock => IoFault::Exhausted,
        _ if is_family_missing(error) => IoFault::Unreachable,
        _ => IoFault::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_its_fault() {
        for (kind, fault) in [
            (ErrorKind::ConnectionRefused, IoFault::Refused),
            (ErrorKind::BrokenPipe, IoFault::Reset),
            (ErrorKind::TimedOut, IoFault::TimedOut),
            (ErrorKind::NetworkUnreachable, IoFault::Unreachable),
            (ErrorKind::AddrNotAvailable, IoFault::Exhausted),
            (ErrorKind::OutOfMemory, IoFault::Exhausted),
            (ErrorKind::InvalidInput, IoFault::Other),
        ] {
            assert_eq!(of(&kind.into()), fault, "{kind}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn error_numbers_without_a_kind_are_recognised() {
        assert_eq!(of(&Error::from_raw_os_error(libc::EMFILE)), IoFault::Exhausted);
        assert_eq!(of(&Error::from_raw_os_error(libc::ENFILE)), IoFault::Exhausted);
        assert_eq!(of(&Error::from_raw_os_error(libc::EAFNOSUPPORT)), IoFault::Unreachable);
        assert_eq!(of(&Error::from_raw_os_error(libc::ENETUNREACH)), IoFault::Unreachable);
    }
}
