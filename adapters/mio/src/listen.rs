//! Where to listen: the addresses, how they are bound, and why that fails.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

/// Sockets of each kind: as many as a `SocketId` can tell apart.
pub(crate) const SOCKETS_MAX: usize = 1 << u8::BITS;

/// The addresses to listen on.
///
/// The first UDP socket and the first listener have the id [`SocketId::MAIN`]; the next ones have the ids 1, 2 and so on,
/// each kind for itself. A port of 0 takes any that is free; ask [`Sockets`](crate::Sockets) for it.
///
/// [`SocketId::MAIN`]: peerless::contract::SocketId::MAIN
///
/// The unspecified IPv6 address `[::]` stands for `0.0.0.0` as well, unless a socket of the same kind has an IPv4 address: there
/// are two sockets then, one for each family, at one port and with one id. A family that the machine lacks is left out. Any
/// other address is bound as it is given.
///
/// What is sent with an id leaves from its socket of the destination's family.
///
/// ```
/// use peerless_mio::Listen;
///
/// // One socket of each kind and family, at one port.
/// let _ = Listen::any(30303);
/// // One for each family with ids of their own, and one more UDP socket for another protocol.
/// let v4 = Listen::at(([127, 0, 0, 1], 30303).into());
/// let _ = v4.and(([0, 0, 0, 0, 0, 0, 0, 1], 30303).into()).and_udp(([127, 0, 0, 1], 9000).into());
/// // None: for a node that only dials, and has no discovery.
/// let _ = Listen::default();
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Listen {
    /// The UDP sockets' addresses, for discovery as a rule.
    pub udp: Vec<SocketAddr>,
    /// The listeners' addresses, for RLPx as a rule.
    pub tcp: Vec<SocketAddr>,
    /// The address of the other family for the main UDP socket and the main listener, at the same ports.
    pub beside: Option<IpAddr>,
}

impl Listen {
    /// A UDP socket and a listener at one address and port.
    pub fn at(addr: SocketAddr) -> Self {
        Self::default().and(addr)
    }

    /// A UDP socket and a listener on every address of the machine, IPv4 and IPv6.
    pub fn any(port: u16) -> Self {
        Self::at(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port))
    }

    /// One more UDP socket and one more listener, at one address and port.
    #[must_use]
    pub fn and(self, addr: SocketAddr) -> Self {
        self.and_udp(addr).and_tcp(addr)
    }

    /// The main UDP socket and the main listener at an address of the other family too, under the same id.
    #[must_use]
    pub fn beside(mut self, ip: IpAddr) -> Self {
        self.beside = Some(ip);
        self
    }

    /// The addresses that the socket of that id is bound to. `all` are those of its kind.
    pub(crate) fn addrs(&self, all: &[SocketAddr], id: usize, addr: SocketAddr) -> Vec<SocketAddr> {
        let is_any = addr.ip() == Ipv6Addr::UNSPECIFIED && !all.iter().any(SocketAddr::is_ipv4);
        let other = match self.beside.filter(|ip| id == 0 && ip.is_ipv4() != addr.is_ipv4()) {
            None if is_any => Some(Ipv4Addr::UNSPECIFIED.into()),
            other => other,
        };
        std::iter::once(addr).chain(other.map(|ip| SocketAddr::new(ip, addr.port()))).collect()
    }

    /// One more UDP socket.
    #[must_use]
    pub fn and_udp(mut self, addr: SocketAddr) -> Self {
        self.udp.push(addr);
        self
    }

    /// One more listener.
    #[must_use]
    pub fn and_tcp(mut self, addr: SocketAddr) -> Self {
        self.tcp.push(addr);
        self
    }
}

/// Why a driver cannot start.
///
/// The message holds the operating system's error. [`source`](std::error::Error::source) is therefore `None`: programs
/// that print a chain of errors would print it twice.
#[derive(Debug)]
#[non_exhaustive]
pub enum BindError {
    /// The operating system gives no event queue.
    Poll(io::Error),
    /// The UDP socket cannot be bound.
    Udp(SocketAddr, io::Error),
    /// The TCP listener cannot be bound.
    Tcp(SocketAddr, io::Error),
    /// More than 256 sockets of one kind.
    TooMany,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (protocol, addr, error) = match self {
            Self::Poll(error) => return write!(f, "no event queue from the operating system: {error}"),
            Self::Udp(addr, error) => ("UDP", addr, error),
            Self::Tcp(addr, error) => ("TCP", addr, error),
            Self::TooMany => return write!(f, "more than {SOCKETS_MAX} sockets of one kind"),
        };
        write!(f, "cannot listen on {protocol} {addr}: {error}")?;
        match error.kind() {
            io::ErrorKind::AddrInUse => f.write_str("; is another node running? choose another port, or 0 for any"),
            io::ErrorKind::PermissionDenied => f.write_str("; ports below 1024 need privileges"),
            io::ErrorKind::AddrNotAvailable => f.write_str("; this machine does not have that address"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for BindError {}

/// Binds a socket of one family.
pub(crate) fn open(addr: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A node that restarts finds its old connections in TIME_WAIT. On Windows the option would share the port instead.
    if cfg!(unix) && kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&addr.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;
    use crate::Sockets;

    fn loopback() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    #[test]
    fn a_taken_port_is_a_clear_error() {
        let taken = Sockets::bind(&Listen::at(loopback())).unwrap();
        let addr = taken.udp_addr().unwrap();
        let error = Sockets::bind(&Listen::default().and_udp(addr)).unwrap_err();
        assert!(matches!(error, BindError::Udp(at, _) if at == addr));
        let text = error.to_string();
        assert!(text.starts_with(&format!("cannot listen on UDP {addr}: ")), "{text}");
        assert!(text.ends_with("; is another node running? choose another port, or 0 for any"), "{text}");
        let error = Sockets::bind(&Listen::default().and_tcp(taken.tcp_addr().unwrap())).unwrap_err();
        assert!(matches!(error, BindError::Tcp(_, ref error) if error.kind() == io::ErrorKind::AddrInUse), "{error}");
    }

    #[test]
    fn a_chain_of_errors_says_address_in_use_once() {
        let addr = loopback();
        for error in [
            BindError::Poll(io::ErrorKind::AddrInUse.into()),
            BindError::Udp(addr, io::ErrorKind::AddrInUse.into()),
            BindError::Tcp(addr, io::ErrorKind::AddrInUse.into()),
        ] {
            let chain = std::iter::successors(Some(&error as &dyn Error), |error| (*error).source());
            let line = chain.map(ToString::to_string).collect::<Vec<_>>().join(": ");
            assert_eq!(line.matches("address in use").count(), 1, "{line}");
        }
    }

    #[test]
    fn a_foreign_address_is_a_clear_error() {
        let error = Sockets::bind(&Listen::default().and_tcp("192.0.2.1:0".parse().unwrap())).unwrap_err();
        assert!(error.to_string().ends_with("; this machine does not have that address"), "{error}");
    }

    #[test]
    fn more_sockets_than_ids_are_refused() {
        let listen = Listen { udp: vec![loopback(); SOCKETS_MAX + 1], ..Listen::default() };
        let error = Sockets::bind(&listen).unwrap_err();
        assert_eq!(error.to_string(), "more than 256 sockets of one kind");
    }

    #[test]
    fn listening_on_nothing_is_possible() {
        let sockets = Sockets::bind(&Listen::default()).unwrap();
        assert_eq!((sockets.udp_addr(), sockets.tcp_addr()), (None, None));
    }
}
