//! The sockets that a driver owns from its start: the poll, UDP sockets, TCP listeners. Bound before the machine is made,
//! because the machine tells others its ports.
//!
//! Knows addresses, families and ids, and nothing of machines.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Interest, Poll, Registry, Token};
use peerless::contract::SocketId;
use peerless::netfilter::canonical;
use socket2::{Protocol, Type};

use crate::fault;
use crate::listen::{BindError, Listen, SOCKETS_MAX, open};

const WAKER: usize = 0;
/// The first UDP socket's token; the others follow in the order of their ids.
const UDP: usize = WAKER + 1;
/// The first listener's token; the others follow in the order of their ids.
const TCP: usize = UDP + SOCKETS_MAX;
/// The first stream's token.
pub(crate) const STREAMS: usize = TCP + SOCKETS_MAX;

/// Attempts to find one port that is free for both UDP and TCP.
const EQUAL_PORT_TRIES: usize = 8;

/// Connections that the operating system may hold for us until they are accepted: the value that most servers have.
const BACKLOG: i32 = 1024;

/// Wakes a sleeping [`Driver::turn`](crate::Driver::turn) from another thread. If the driver does not sleep, its next
/// sleep ends at once.
#[derive(Clone, Debug)]
pub struct Waker(Arc<mio::Waker>);

impl Waker {
    /// Ends the present or the next sleep.
    ///
    /// # Errors
    /// If the operating system refuses, which it has no usual reason for.
    pub fn wake(&self) -> io::Result<()> {
        self.0.wake()
    }
}

/// A UDP socket or a listener.
#[derive(Debug)]
struct Bound<S> {
    io: S,
    /// With the real port.
    local: SocketAddr,
    /// A read or an accept may give something. Set by an edge, cleared by the driver.
    is_readable: bool,
}

impl<S> Bound<S> {
    const fn new(io: S, local: SocketAddr) -> Self {
        Self { io, local, is_readable: false }
    }
}

/// What an edge is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    Waker,
    /// The place of a UDP socket, which is its id.
    Udp(usize),
    /// The place of a listener, which is its id.
    Tcp(usize),
    Stream,
}

impl Source {
    const fn of(token: Token) -> Self {
        match token.0 {
            WAKER => Self::Waker,
            token @ UDP..TCP => Self::Udp(token - UDP),
            token @ TCP..STREAMS => Self::Tcp(token - TCP),
            _ => Self::Stream,
        }
    }
}

/// Bound sockets, not yet read from.
#[derive(Debug)]
pub struct Sockets {
    pub(crate) poll: Poll,
    waker: Waker,
    /// In the order of their ids.
    udp: Vec<Bound<UdpSocket>>,
    /// In the order of their ids.
    tcp: Vec<Bound<TcpListener>>,
}

impl Sockets {
    /// Binds what `listen` asks for. A UDP socket and a listener of the same id that may both have any port have the same
    /// one, if it can be found.
    ///
    /// # Errors
    /// If an address is taken, foreign or forbidden, the process has no more files, or there are too many sockets.
    pub fn bind(listen: &Listen) -> Result<Self, BindError> {
        if listen.udp.len().max(listen.tcp.len()) > SOCKETS_MAX {
            return Err(BindError::TooMany);
        }
        let poll = Poll::new().map_err(BindError::Poll)?;
        let waker = mio::Waker::new(poll.registry(), Token(WAKER)).map_err(BindError::Poll)?;
        let mut sockets = Self { poll, waker: Waker(Arc::new(waker)), udp: Vec::new(), tcp: Vec::new() };
        for id in 0..listen.udp.len().max(listen.tcp.len()) {
            sockets.bind_pair(listen, id)?;
        }
        Ok(sockets)
    }

    /// Binds the UDP socket and the listener of one id.
    fn bind_pair(&mut self, listen: &Listen, id: usize) -> Result<(), BindError> {
        let registry = self.poll.registry();
        let udp = |addr| open_udp(registry, id, &listen.udp, addr).map_err(|error| BindError::Udp(addr, error));
        let tcp = |addr| open_tcp(registry, id, &listen.tcp, addr).map_err(|error| BindError::Tcp(addr, error));
        let wanted = (listen.udp.get(id).copied(), listen.tcp.get(id).copied());
        if let (Some(udp_addr), Some(tcp_addr)) = wanted
            && (udp_addr.port(), tcp_addr.port()) == (0, 0)
        {
            for _ in 0..EQUAL_PORT_TRIES {
                let listener = tcp(tcp_addr)?;
                if let Ok(socket) = udp(SocketAddr::new(udp_addr.ip(), listener.local.port())) {
                    self.udp.push(socket);
                    self.tcp.push(listener);
                    return Ok(());
                }
            }
        }
        self.udp.extend(wanted.0.map(udp).transpose()?);
        self.tcp.extend(wanted.1.map(tcp).transpose()?);
        Ok(())
    }

    /// The address where the main UDP socket receives, with the real port.
    pub fn udp_addr(&self) -> Option<SocketAddr> {
        self.udp.first().map(|socket| socket.local)
    }

    /// The address where the main listener accepts, with the real port.
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        self.tcp.first().map(|listener| listener.local)
    }

    /// The addresses where all UDP sockets receive, with the real ports.
    pub fn udp_addrs(&self) -> impl Iterator<Item = (SocketId, SocketAddr)> {
        self.udp_ids().zip(self.udp.iter().map(|socket| socket.local))
    }

    /// The addresses where all listeners accept, with the real ports.
    pub fn tcp_addrs(&self) -> impl Iterator<Item = (SocketId, SocketAddr)> {
        self.tcp_ids().zip(self.tcp.iter().map(|listener| listener.local))
    }

    /// The ids of all UDP sockets.
    pub(crate) fn udp_ids(&self) -> impl Iterator<Item = SocketId> + use<> {
        ids(self.udp.len())
    }

    /// The ids of all listeners.
    pub(crate) fn tcp_ids(&self) -> impl Iterator<Item = SocketId> + use<> {
        ids(self.tcp.len())
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Notes an edge, and tells what it is about.
    pub(crate) fn note(&mut self, edge: &mio::event::Event) -> Source {
        let source = Source::of(edge.token());
        let readable = match source {
            Source::Udp(place) => self.udp.get_mut(place).map(|socket| &mut socket.is_readable),
            Source::Tcp(place) => self.tcp.get_mut(place).map(|listener| &mut listener.is_readable),
            Source::Waker | Source::Stream => None,
        };
        if let Some(readable) = readable {
            *readable = true;
        }
        source
    }

    /// Whether a UDP socket may have a datagram.
    pub(crate) fn has_datagrams(&self) -> bool {
        self.udp.iter().any(|socket| socket.is_readable)
    }

    /// Whether a listener may have a stream.
    pub(crate) fn has_streams(&self) -> bool {
        self.tcp.iter().any(|listener| listener.is_readable)
    }

    /// Sends one datagram; it may be lost here as anywhere.
    pub(crate) fn send(&self, socket: SocketId, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let Some(socket) = self.udp.get(usize::from(socket.0)) else { return Err(io::ErrorKind::NotConnected.into()) };
        let to = match (socket.local, to) {
            // A socket of both families takes IPv4 addresses in their IPv6 form.
            (SocketAddr::V6(_), SocketAddr::V4(v4)) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
            _ => to,
        };
        socket.io.send_to(bytes, to).map(|_| ())
    }

    /// Receives one datagram, cut to the buffer's size, from a canonical address. `None` until the next edge.
    pub(crate) fn receive(&mut self, socket: SocketId, buffer: &mut [u8]) -> Option<io::Result<(usize, SocketAddr)>> {
        let socket = self.udp.get_mut(usize::from(socket.0)).filter(|socket| socket.is_readable)?;
        let result = socket.io.recv_from(buffer).map(|(n, from)| (n, canonical(from)));
        socket.is_readable = result.as_ref().map_or_else(fault::is_passing, |_| true);
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) { None } else { Some(result) }
    }

    /// Accepts one stream, from a canonical address. `None` until the next edge. After an error the listener remains
    /// readable: the stream is still in its backlog, and no edge will tell of it again.
    pub(crate) fn accept(&mut self, listener: SocketId) -> Option<io::Result<(TcpStream, SocketAddr)>> {
        let listener = self.tcp.get_mut(usize::from(listener.0)).filter(|listener| listener.is_readable)?;
        let result = listener.io.accept().map(|(stream, from)| (stream, canonical(from)));
        listener.is_readable = !result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        listener.is_readable.then_some(result)
    }
}

fn ids(count: usize) -> impl Iterator<Item = SocketId> {
    (0..=u8::MAX).take(count).map(SocketId)
}

fn open_udp(registry: &Registry, id: usize, all: &[SocketAddr], addr: SocketAddr) -> io::Result<Bound<UdpSocket>> {
    let mut udp = UdpSocket::from_std(open(all, addr, Type::DGRAM, Protocol::UDP)?.into());
    registry.register(&mut udp, Token(UDP + id), Interest::READABLE)?;
    let local = udp.local_addr()?;
    Ok(Bound::new(udp, local))
}

fn open_tcp(registry: &Registry, id: usize, all: &[SocketAddr], addr: SocketAddr) -> io::Result<Bound<TcpListener>> {
    let socket = open(all, addr, Type::STREAM, Protocol::TCP)?;
    socket.listen(BACKLOG)?;
    let mut tcp = TcpListener::from_std(socket.into());
    registry.register(&mut tcp, Token(TCP + id), Interest::READABLE)?;
    let local = tcp.local_addr()?;
    Ok(Bound::new(tcp, local))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, TcpStream, UdpSocket};
    use std::time::{Duration, Instant};

    use mio::Events;
    use peerless_tests::skip::has_ipv6;

    use super::*;

    /// Polls until `attempt` gives something.
    fn until<T>(sockets: &mut Sockets, mut attempt: impl FnMut(&mut Sockets) -> Option<io::Result<T>>) -> T {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut events = Events::with_capacity(16);
        loop {
            if let Some(result) = attempt(sockets) {
                return result.unwrap();
            }
            assert!(Instant::now() < deadline, "nothing arrived");
            sockets.poll.poll(&mut events, Some(Duration::from_millis(100))).unwrap();
            for edge in &events {
                sockets.note(edge);
            }
        }
    }

    /// Whether a datagram sent to `udp` and a stream dialled to `tcp` come with that id and a canonical address, and the
    /// datagram's answer comes from where it was sent to.
    fn serves(sockets: &mut Sockets, id: SocketId, udp: SocketAddr, tcp: SocketAddr) {
        let peer = UdpSocket::bind((udp.ip(), 0)).unwrap();
        peer.send_to(b"ping", udp).unwrap();
        let mut buffer = [0; 2048];
        let (n, from) = until(sockets, |sockets| sockets.receive(id, &mut buffer));
        assert_eq!((&buffer[..n], from), (&b"ping"[..], peer.local_addr().unwrap()), "canonical");
        sockets.send(id, from, b"pong").unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(peer.recv_from(&mut buffer).unwrap(), (4, udp));

        let stream = TcpStream::connect(tcp).unwrap();
        let (_, from) = until(sockets, |sockets| sockets.accept(id));
        assert_eq!(from, stream.local_addr().unwrap());
    }

    #[test]
    fn the_unspecified_address_serves_both_families() {
        let mut sockets = Sockets::bind(&Listen::any(0)).unwrap();
        let (udp, tcp) = (sockets.udp_addr().unwrap().port(), sockets.tcp_addr().unwrap().port());
        assert!(udp != 0 && udp == tcp, "one port for both");
        for host in ["127.0.0.1", "::1"] {
            let host: IpAddr = host.parse().unwrap();
            if host.is_ipv4() || has_ipv6() {
                serves(&mut sockets, SocketId::MAIN, (host, udp).into(), (host, tcp).into());
            }
        }
    }

    #[test]
    fn each_family_can_have_its_own_socket_at_one_port() {
        if !has_ipv6() {
            return;
        }
        let v4: IpAddr = "0.0.0.0".parse().unwrap();
        let chosen = Sockets::bind(&Listen::at((v4, 0).into())).unwrap().udp_addr().unwrap().port();
        let mut sockets = Sockets::bind(&Listen::at((v4, chosen).into()).and(Listen::any(chosen).udp[0])).unwrap();
        let ids: Vec<_> = sockets.udp_addrs().map(|(id, addr)| (id, addr.is_ipv6(), addr.port())).collect();
        assert_eq!(ids, [(SocketId::MAIN, false, chosen), (SocketId(1), true, chosen)]);
        for (id, host) in [(SocketId::MAIN, "127.0.0.1"), (SocketId(1), "::1")] {
            let addr = (host.parse::<IpAddr>().unwrap(), chosen).into();
            serves(&mut sockets, id, addr, addr);
        }
        let v4_peer = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(sockets.send(SocketId(1), v4_peer, b"x").is_err(), "not of that family");
    }

    #[test]
    fn every_socket_has_its_id() {
        let any = "127.0.0.1:0".parse().unwrap();
        let mut sockets = Sockets::bind(&Listen::at(any).and(any).and_udp(any)).unwrap();
        let udp: Vec<_> = sockets.udp_addrs().collect();
        let tcp: Vec<_> = sockets.tcp_addrs().collect();
        assert_eq!(udp.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(tcp.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(
            (sockets.udp_addr(), sockets.tcp_addr()),
            (Some(udp[0].1), Some(tcp[0].1)),
            "the main ones are first"
        );
        for ((id, udp), (_, tcp)) in udp.iter().zip(&tcp) {
            assert_eq!(udp.port(), tcp.port(), "one port for both");
            serves(&mut sockets, *id, *udp, *tcp);
        }
    }

    #[test]
    fn sources_are_told_apart_by_their_tokens() {
        for (token, source) in [
            (WAKER, Source::Waker),
            (UDP, Source::Udp(0)),
            (UDP + 255, Source::Udp(255)),
            (TCP, Source::Tcp(0)),
            (TCP + 255, Source::Tcp(255)),
            (STREAMS, Source::Stream),
            (usize::MAX, Source::Stream),
        ] {
            assert_eq!(Source::of(Token(token)), source, "{token}");
        }
    }
}
