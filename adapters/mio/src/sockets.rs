//! The sockets that a driver owns from its start: the poll, one UDP socket, one TCP listener. They are bound before the node is
//! made, because its record has their ports.
//!
//! Knows addresses and families, and no machine.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Interest, Poll, Token};
use peerless::netfilter::canonical;
use socket2::{Domain, Protocol, Socket, Type};

use crate::fault;

pub(crate) const WAKER: Token = Token(0);
pub(crate) const UDP: Token = Token(1);
pub(crate) const TCP: Token = Token(2);
/// The first token of streams.
pub(crate) const STREAMS: usize = 3;

/// The most attempts to find one port that is free for both sockets.
const EQUAL_PORT_TRIES: usize = 8;

/// The size of the operating system's queue of streams to accept; a usual value of servers.
const BACKLOG: i32 = 1024;

/// Where to listen.
///
/// A port of 0 takes any that is free; ask [`Sockets`] which one it became. The unspecified IPv6 address `[::]` serves
/// IPv4 as well; on a machine without IPv6 it stands for `0.0.0.0`. Any other address is bound as it is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listen {
    /// For discv4 datagrams; `None` for a node without discovery.
    pub udp: Option<SocketAddr>,
    /// For RLPx streams; `None` for a node that only dials.
    pub tcp: Option<SocketAddr>,
}

impl Listen {
    /// Both at one address and port.
    pub const fn at(addr: SocketAddr) -> Self {
        Self { udp: Some(addr), tcp: Some(addr) }
    }

    /// Both on every address of the machine, IPv4 and IPv6.
    pub const fn any(port: u16) -> Self {
        Self::at(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port))
    }
}

/// Why a driver cannot start.
#[derive(Debug)]
pub enum BindError {
    /// The operating system refuses an event queue.
    Poll(io::Error),
    /// The UDP socket cannot be bound.
    Udp(SocketAddr, io::Error),
    /// The TCP listener cannot be bound.
    Tcp(SocketAddr, io::Error),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (protocol, addr, error) = match self {
            Self::Poll(error) => return write!(f, "no event queue from the operating system: {error}"),
            Self::Udp(addr, error) => ("UDP", addr, error),
            Self::Tcp(addr, error) => ("TCP", addr, error),
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

// The message includes the operating system's error, so there is no `source`: a chain of messages would repeat it.
impl std::error::Error for BindError {}

/// Wakes a sleeping [`Driver::turn`](crate::Driver::turn) from another thread; a turn that has not slept yet will not sleep.
#[derive(Clone, Debug)]
pub struct Waker(Arc<mio::Waker>);

impl Waker {
    /// Ends the sleep of the present or the next turn.
    ///
    /// # Errors
    /// If the operating system refuses, which it usually does not.
    pub fn wake(&self) -> io::Result<()> {
        self.0.wake()
    }
}

/// Bound sockets, not yet read from.
#[derive(Debug)]
pub struct Sockets {
    pub(crate) poll: Poll,
    waker: Waker,
    udp: Option<(UdpSocket, SocketAddr)>,
    tcp: Option<(TcpListener, SocketAddr)>,
}

impl Sockets {
    /// Binds the sockets of `listen`. If both ports are 0, they become equal if possible.
    ///
    /// # Errors
    /// If an address is taken, foreign or forbidden, or the process has no more files.
    pub fn bind(listen: &Listen) -> Result<Self, BindError> {
        let (Some(udp), Some(tcp)) = (listen.udp, listen.tcp) else { return Self::bind_exactly(listen) };
        if (udp.port(), tcp.port()) == (0, 0) {
            for _ in 0..EQUAL_PORT_TRIES {
                let chosen = Self::bind_exactly(&Listen { udp: None, tcp: Some(tcp) })?;
                let Some(port) = chosen.tcp_addr().map(|addr| addr.port()) else { break };
                drop(chosen);
                let equal =
                    Listen { udp: Some(SocketAddr::new(udp.ip(), port)), tcp: Some(SocketAddr::new(tcp.ip(), port)) };
                if let Ok(sockets) = Self::bind_exactly(&equal) {
                    return Ok(sockets);
                }
            }
        }
        Self::bind_exactly(listen)
    }

    fn bind_exactly(listen: &Listen) -> Result<Self, BindError> {
        let poll = Poll::new().map_err(BindError::Poll)?;
        let waker = mio::Waker::new(poll.registry(), WAKER).map_err(BindError::Poll)?;
        let mut sockets = Self { poll, waker: Waker(Arc::new(waker)), udp: None, tcp: None };
        if let Some(addr) = listen.udp {
            sockets.udp = Some(sockets.open_udp(addr).map_err(|error| BindError::Udp(addr, error))?);
        }
        if let Some(addr) = listen.tcp {
            sockets.tcp = Some(sockets.open_tcp(addr).map_err(|error| BindError::Tcp(addr, error))?);
        }
        Ok(sockets)
    }

    /// The address of the UDP socket, with the real port.
    pub fn udp_addr(&self) -> Option<SocketAddr> {
        self.udp.as_ref().map(|(_, addr)| *addr)
    }

    /// The address of the listener, with the real port.
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().map(|(_, addr)| *addr)
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Sends one datagram, or drops it.
    pub(crate) fn send(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let Some((udp, local)) = &self.udp else { return Err(io::ErrorKind::NotConnected.into()) };
        let to = match (local, to) {
            // A socket of both families has IPv4 addresses mapped to IPv6.
            (SocketAddr::V6(_), SocketAddr::V4(v4)) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
            _ => to,
        };
        udp.send_to(bytes, to).map(|_| ())
    }

    /// Receives one datagram, cut to the buffer's size, from a canonical address.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let Some((udp, _)) = &self.udp else { return Err(io::ErrorKind::WouldBlock.into()) };
        udp.recv_from(buffer).map(|(n, from)| (n, canonical(from)))
    }

    /// Accepts one stream, from a canonical address.
    pub(crate) fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let Some((tcp, _)) = &self.tcp else { return Err(io::ErrorKind::WouldBlock.into()) };
        tcp.accept().map(|(stream, from)| (stream, canonical(from)))
    }

    fn open_udp(&self, addr: SocketAddr) -> io::Result<(UdpSocket, SocketAddr)> {
        let socket = or_v4(addr, |addr| open(addr, Type::DGRAM, Protocol::UDP))?;
        let mut udp = UdpSocket::from_std(socket.into());
        self.poll.registry().register(&mut udp, UDP, Interest::READABLE)?;
        let local = udp.local_addr()?;
        Ok((udp, local))
    }

    fn open_tcp(&self, addr: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
        let socket = or_v4(addr, |addr| open(addr, Type::STREAM, Protocol::TCP))?;
        socket.listen(BACKLOG)?;
        let mut tcp = TcpListener::from_std(socket.into());
        self.poll.registry().register(&mut tcp, TCP, Interest::READABLE)?;
        let local = tcp.local_addr()?;
        Ok((tcp, local))
    }
}

fn open(addr: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    // A node that restarts finds its old connections in TIME_WAIT. On Windows the option would share the port instead.
    if cfg!(unix) && kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// Retries with the unspecified IPv4 address in place of IPv6's on a system without IPv6.
fn or_v4<T>(addr: SocketAddr, open: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    match open(addr) {
        Err(error) if addr.ip() == Ipv6Addr::UNSPECIFIED && fault::is_family_missing(&error) => {
            open(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), addr.port()))
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpStream, UdpSocket};
    use std::time::{Duration, Instant};

    use peerless_tests::skip::has_ipv6;

    use super::*;

    fn retry<T>(mut attempt: impl FnMut() -> io::Result<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match attempt() {
                Ok(value) => return value,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_unspecified_address_serves_both_families() {
        let sockets = Sockets::bind(&Listen::any(0)).unwrap();
        let (udp, tcp) = (sockets.udp_addr().unwrap().port(), sockets.tcp_addr().unwrap().port());
        assert!(udp != 0 && tcp != 0);
        for host in ["127.0.0.1", "::1"] {
            let host: IpAddr = host.parse().unwrap();
            if host.is_ipv6() && !has_ipv6() {
                continue;
            }
            let peer = UdpSocket::bind((host, 0)).unwrap();
            peer.send_to(b"ping", (host, udp)).unwrap();
            let mut buffer = [0; 2048];
            let (n, from) = retry(|| sockets.receive(&mut buffer));
            assert_eq!((&buffer[..n], from), (&b"ping"[..], peer.local_addr().unwrap()), "canonical");
            sockets.send(from, b"pong").unwrap();
            peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            assert_eq!(peer.recv(&mut buffer).unwrap(), 4);

            let stream = TcpStream::connect((host, tcp)).unwrap();
            let (_, from) = retry(|| sockets.accept());
            assert_eq!(from, stream.local_addr().unwrap());
        }
    }

    #[test]
    fn a_taken_port_is_a_clear_error() {
        let taken = Sockets::bind(&Listen::at("127.0.0.1:0".parse().unwrap())).unwrap();
        let error = Sockets::bind(&Listen { udp: taken.udp_addr(), tcp: None }).unwrap_err();
        let addr = taken.udp_addr().unwrap();
        assert!(matches!(error, BindError::Udp(at, _) if at == addr));
        let text = error.to_string();
        assert!(text.starts_with(&format!("cannot listen on UDP {addr}: ")), "{text}");
        assert!(text.ends_with("choose another port, or 0 for any"), "{text}");
        let error = Sockets::bind(&Listen { udp: None, tcp: taken.tcp_addr() }).unwrap_err();
        assert!(matches!(error, BindError::Tcp(_, ref error) if error.kind() == io::ErrorKind::AddrInUse), "{error}");
    }

    #[test]
    fn a_foreign_address_is_a_clear_error() {
        let error = Sockets::bind(&Listen { udp: None, tcp: Some("192.0.2.1:0".parse().unwrap()) }).unwrap_err();
        assert!(error.to_string().ends_with("this machine does not have that address"), "{error}");
    }
}
