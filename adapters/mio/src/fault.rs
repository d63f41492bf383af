//! The meaning of the operating system's errors. The only file that knows their numbers.

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

/// Whether the process or the system is out of files, buffers, watches or memory, so that an immediate retry fails too.
pub(crate) fn is_exhausted(error: &Error) -> bool {
    error.kind() == ErrorKind::OutOfMemory || error.raw_os_error().is_some_and(|code| os::EXHAUSTED.contains(&code))
}

/// Whether the system does not support the address family, or has no address of it.
pub(crate) fn is_family_missing(error: &Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(os::NO_SUCH_FAMILY)
}

/// Whether an error concerns one earlier datagram or one stream in the queue, and not the socket: ICMP messages, and streams
/// that were reset before they were accepted.
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

/// The fault of a stream for an error.
pub(crate) fn of(error: &Error) -> IoFault {
    if is_exhausted(error) {
        return IoFault::Exhausted;
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => IoFault::Refused,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => IoFault::Reset,
        ErrorKind::TimedOut => IoFault::TimedOut,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => IoFault::Unreachable,
        // On a dial: all local ports towards that address are in use.
        ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable | ErrorKind::WouldBlock => IoFault::Exhausted,
        _ if is_family_missing(error) => IoFault::Unreachable,
        _ => IoFault::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_their_words() {
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
    fn numbers_without_a_kind_are_known() {
        assert_eq!(of(&Error::from_raw_os_error(libc::EMFILE)), IoFault::Exhausted);
        assert_eq!(of(&Error::from_raw_os_error(libc::ENFILE)), IoFault::Exhausted);
        assert_eq!(of(&Error::from_raw_os_error(libc::EAFNOSUPPORT)), IoFault::Unreachable);
        assert_eq!(of(&Error::from_raw_os_error(libc::ENETUNREACH)), IoFault::Unreachable);
    }
}
