//! The sockets that a driver owns from its start: the poll, UDP sockets, TCP listeners. Bound before the machine is made,
//! because the machine tells others its ports.
//!
//! Knows addresses, families and ids, and nothing of machines.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Interest, Poll, Registry, Token};
use peerless::contract::SocketId;
use peerless::netfilter::{Extent, Reach, canonical};
use socket2::{Protocol, Type};

use crate::fault;
use crate::listen::{BindError, Listen, SOCKETS_MAX, open};

const WAKER: usize = 0;
/// The first UDP socket's token; the others follow in the order of their ids.
const UDP: usize = WAKER + 1;
/// The first listener's token; the others follow in the order of their ids.
const TCP: usize = UDP + FAMILIES * SOCKETS_MAX;
/// The first stream's token.
pub(crate) const STREAMS: usize = TCP + FAMILIES * SOCKETS_MAX;

/// Addresses for documentation (RFC 5737, RFC 3849), to which the default routes lead.
const TEST_IPV4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);
const TEST_IPV6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), 9);

/// Sockets of one id: one of each address family at most.
const FAMILIES: usize = 2;

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

/// The sockets of one id, the wanted family first.
#[derive(Debug)]
struct Group<S> {
    members: Vec<Bound<S>>,
    /// The member that is read first: each in turn, so that neither family starves the other.
    first: usize,
}

impl<S> Group<S> {
    /// Binds the addresses. Of several, those of a family that this machine lacks are left out, and a port of 0 becomes the one
    /// that the first has.
    fn open(
        addrs: &[SocketAddr],
        mut open: impl FnMut(usize, SocketAddr) -> io::Result<Bound<S>>,
    ) -> Result<Self, (SocketAddr, io::Error)> {
        let mut members: Vec<Bound<S>> = Vec::new();
        let mut missing = None;
        for (at, addr) in addrs.iter().enumerate() {
            let port = match members.first() {
                Some(first) if addr.port() == 0 => first.local.port(),
                _ => addr.port(),
            };
            let addr = SocketAddr::new(addr.ip(), port);
            match open(at, addr) {
                Ok(bound) => members.push(bound),
                Err(error) if addrs.len() > 1 && addr.ip().is_unspecified() && fault::is_family_missing(&error) => {
                    missing = Some((addr, error));
                }
                Err(error) => return Err((addr, error)),
            }
        }
        match missing {
            Some(missing) if members.is_empty() => Err(missing),
            _ => Ok(Self { members, first: 0 }),
        }
    }

    fn local(&self) -> Option<SocketAddr> {
        self.members.first().map(|member| member.local)
    }

    fn locals(&self) -> impl Iterator<Item = SocketAddr> {
        self.members.iter().map(|member| member.local)
    }

    fn is_readable(&self) -> bool {
        self.members.iter().any(|member| member.is_readable)
    }

    /// The result of the first member, beginning with another one each time, that is readable and has one.
    fn next<T>(&mut self, mut take: impl FnMut(&mut Bound<S>) -> Option<T>) -> Option<T> {
        let count = self.members.len();
        for step in 0..count {
            let at = (self.first + step) % count;
            let member = self.members.get_mut(at).filter(|member| member.is_readable);
            if let Some(result) = member.and_then(&mut take) {
                self.first = at + 1;
                return Some(result);
            }
        }
        None
    }
}

/// What an edge is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    Waker,
    /// A UDP socket: its id, and its place in the group.
    Udp(usize, usize),
    /// A listener, likewise.
    Tcp(usize, usize),
    Stream,
}

impl Source {
    const fn of(token: Token) -> Self {
        match token.0 {
            WAKER => Self::Waker,
            token @ UDP..TCP => Self::Udp((token - UDP) / FAMILIES, (token - UDP) % FAMILIES),
            token @ TCP..STREAMS => Self::Tcp((token - TCP) / FAMILIES, (token - TCP) % FAMILIES),
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
    udp: Vec<Group<UdpSocket>>,
    /// In the order of their ids.
    tcp: Vec<Group<TcpListener>>,
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

    /// Binds the UDP sockets and the listeners of one id. Where any port may be taken, another one is tried if one that all can
    /// have is not found at once.
    fn bind_pair(&mut self, listen: &Listen, id: usize) -> Result<(), BindError> {
        let wanted = [listen.udp.get(id), listen.tcp.get(id)].map(|addr| addr.copied());
        let is_any = wanted.iter().flatten().any(|addr| addr.port() == 0);
        let has_equal_ports = wanted.iter().all(|addr| addr.is_some_and(|addr| addr.port() == 0));
        for attempt in 0..EQUAL_PORT_TRIES {
            let is_last = attempt + 1 == EQUAL_PORT_TRIES;
            match self.try_pair(listen, id, has_equal_ports && !is_last) {
                Err(BindError::Udp(_, error) | BindError::Tcp(_, error))
                    if is_any && !is_last && error.kind() == io::ErrorKind::AddrInUse => {}
                result => return result,
            }
        }
        Ok(())
    }

    fn try_pair(&mut self, listen: &Listen, id: usize, has_equal_ports: bool) -> Result<(), BindError> {
        let registry = self.poll.registry();
        let wanted = |all: &[SocketAddr]| all.get(id).map(|addr| listen.addrs(all, id, *addr));
        let tcp = wanted(&listen.tcp).map(|addrs| {
            let open = |at, addr| open_tcp(registry, FAMILIES * id + at, addr);
            Group::open(&addrs, open).map_err(|(addr, error)| BindError::Tcp(addr, error))
        });
        let tcp = tcp.transpose()?;
        let equal_port = tcp.as_ref().filter(|_| has_equal_ports).and_then(Group::local).map(|addr| addr.port());
        let udp = wanted(&listen.udp).map(|mut addrs| {
            addrs.iter_mut().for_each(|addr| addr.set_port(equal_port.unwrap_or(addr.port())));
            let open = |at, addr| open_udp(registry, FAMILIES * id + at, addr);
            Group::open(&addrs, open).map_err(|(addr, error)| BindError::Udp(addr, error))
        });
        self.udp.extend(udp.transpose()?);
        self.tcp.extend(tcp);
        Ok(())
    }

    /// The address where the main UDP socket receives, with the real port. If it has one of each family, the first.
    pub fn udp_addr(&self) -> Option<SocketAddr> {
        self.udp.first().and_then(Group::local)
    }

    /// The address where the main listener accepts, with the real port. If it has one of each family, the first.
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        self.tcp.first().and_then(Group::local)
    }

    /// The addresses where all UDP sockets receive, with the real ports.
    pub fn udp_addrs(&self) -> impl Iterator<Item = (SocketId, SocketAddr)> {
        self.udp_ids().zip(&self.udp).flat_map(|(id, group)| group.locals().map(move |addr| (id, addr)))
    }

    /// The addresses where all listeners accept, with the real ports.
    pub fn tcp_addrs(&self) -> impl Iterator<Item = (SocketId, SocketAddr)> {
        self.tcp_ids().zip(&self.tcp).flat_map(|(id, group)| group.locals().map(move |addr| (id, addr)))
    }

    /// The addresses that this machine can reach from here now: of the families of the UDP sockets (of both, if there are none),
    /// all if there is a route to the Internet, otherwise those of this machine and its networks. While neither family has
    /// such a route, both count as if they had one. Sends nothing.
    pub fn reach(&self) -> Reach {
        let has = |is_ipv4| self.udp.is_empty() || self.udp_addrs().any(|(_, addr)| addr.is_ipv4() == is_ipv4);
        let routed = [has_route(TEST_IPV4), has_route(TEST_IPV6)];
        let is_offline = ![true, false].into_iter().zip(routed).any(|(is_ipv4, is_routed)| is_routed && has(is_ipv4));
        let extent = |is_ipv4, is_routed| match (has(is_ipv4), is_routed || is_offline) {
            (false, _) => Extent::None,
            (true, false) => Extent::Local,
            (true, true) => Extent::Global,
        };
        Reach { ip4: extent(true, routed[0]), ip6: extent(false, routed[1]) }
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
            Source::Udp(id, at) => {
                let socket = self.udp.get_mut(id).and_then(|group| group.members.get_mut(at));
                socket.map(|socket| &mut socket.is_readable)
            }
            Source::Tcp(id, at) => {
                let listener = self.tcp.get_mut(id).and_then(|group| group.members.get_mut(at));
                listener.map(|listener| &mut listener.is_readable)
            }
            Source::Waker | Source::Stream => None,
        };
        if let Some(readable) = readable {
            *readable = true;
        }
        source
    }

    /// Whether a UDP socket may have a datagram.
    pub(crate) fn has_datagrams(&self) -> bool {
        self.udp.iter().any(Group::is_readable)
    }

    /// Whether a listener may have a stream.
    pub(crate) fn has_streams(&self) -> bool {
        self.tcp.iter().any(Group::is_readable)
    }

    /// Sends one datagram from the socket of its family; it may be lost here as anywhere.
    pub(crate) fn send(&self, socket: SocketId, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let group = self.udp.get(usize::from(socket.0)).ok_or(io::ErrorKind::NotConnected)?;
        let socket = group.members.iter().find(|socket| socket.local.is_ipv4() == to.is_ipv4());
        socket.ok_or(io::ErrorKind::AddrNotAvailable)?.io.send_to(bytes, to).map(|_| ())
    }

    /// Receives one datagram, cut to the buffer's size, from a canonical address. `None` until the next edge.
    pub(crate) fn receive(&mut self, socket: SocketId, buffer: &mut [u8]) -> Option<io::Result<(usize, SocketAddr)>> {
        self.udp.get_mut(usize::from(socket.0))?.next(|socket| {
            let result = socket.io.recv_from(buffer).map(|(n, from)| (n, canonical(from)));
            socket.is_readable = result.as_ref().map_or_else(fault::is_passing, |_| true);
            if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                None
            } else {
                Some(result)
            }
        })
    }

    /// Accepts one stream, from a canonical address. `None` until the next edge. After an error the listener remains
    /// readable: the stream is still in its backlog, and no edge will tell of it again.
    pub(crate) fn accept(&mut self, listener: SocketId) -> Option<io::Result<(TcpStream, SocketAddr)>> {
        self.tcp.get_mut(usize::from(listener.0))?.next(|listener| {
            let result = listener.io.accept().map(|(stream, from)| (stream, canonical(from)));
            listener.is_readable = !result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
            listener.is_readable.then_some(result)
        })
    }
}

fn ids(count: usize) -> impl Iterator<Item = SocketId> {
    (0..=u8::MAX).take(count).map(SocketId)
}

/// Whether there is a route to an address: connecting a UDP socket only looks for one.
fn has_route(to: SocketAddr) -> bool {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    std::net::UdpSocket::bind((any, 0)).is_ok_and(|socket| socket.connect(to).is_ok())
}

fn open_udp(registry: &Registry, place: usize, addr: SocketAddr) -> io::Result<Bound<UdpSocket>> {
    let mut udp = UdpSocket::from_std(open(addr, Type::DGRAM, Protocol::UDP)?.into());
    registry.register(&mut udp, Token(UDP + place), Interest::READABLE)?;
    let local = udp.local_addr()?;
    Ok(Bound::new(udp, local))
}

fn open_tcp(registry: &Registry, place: usize, addr: SocketAddr) -> io::Result<Bound<TcpListener>> {
    let socket = open(addr, Type::STREAM, Protocol::TCP)?;
    socket.listen(BACKLOG)?;
    let mut tcp = TcpListener::from_std(socket.into());
    registry.register(&mut tcp, Token(TCP + place), Interest::READABLE)?;
    let local = tcp.local_addr()?;
    Ok(Bound::new(tcp, local))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpStream, UdpSocket};
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
    fn the_unspecified_address_has_one_socket_for_each_family_at_one_port() {
        if !has_ipv6() {
            return;
        }
        let sockets = Sockets::bind(&Listen::any(0)).unwrap();
        let port = sockets.udp_addr().unwrap().port();
        let expected = ["::", "0.0.0.0"].map(|ip| (SocketId::MAIN, (ip.parse::<IpAddr>().unwrap(), port).into()));
        assert!(sockets.udp_addrs().eq(expected) && sockets.tcp_addrs().eq(expected), "{sockets:?}");
    }

    #[test]
    fn a_family_without_a_socket_is_not_reached() {
        for (listen, ip4, ip6) in [("127.0.0.1:0", true, false), ("[::1]:0", false, true)] {
            if ip6 && !has_ipv6() {
                continue;
            }
            let reach = Sockets::bind(&Listen::at(listen.parse().unwrap())).unwrap().reach();
            assert_eq!((reach.permits([127, 0, 0, 1].into()), reach.permits("::1".parse().unwrap())), (ip4, ip6));
        }
        let without = Sockets::bind(&Listen::default()).unwrap().reach();
        assert!(without.permits([127, 0, 0, 1].into()) && without.permits("::1".parse().unwrap()));
    }

    #[test]
    fn a_flood_on_one_family_does_not_starve_the_other() {
        if !has_ipv6() {
            return;
        }
        let mut sockets = Sockets::bind(&Listen::any(0)).unwrap();
        let port = sockets.udp_addr().unwrap().port();
        let [v4, v6] = ["127.0.0.1", "::1"].map(|ip| UdpSocket::bind((ip, 0)).unwrap());
        (0..50).for_each(|_| _ = v6.send_to(b"flood", ("::1", port)).unwrap());
        v4.send_to(b"ping", ("127.0.0.1", port)).unwrap();
        let mut buffer = [0; 16];
        let mut received =
            |sockets: &mut Sockets| until(sockets, |sockets| sockets.receive(SocketId::MAIN, &mut buffer)).1;
        // Both have something to read before the first is read: loopback delivers at once.
        let mut events = Events::with_capacity(16);
        sockets.poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
        events.iter().for_each(|edge| _ = sockets.note(edge));
        let first_two = [received(&mut sockets), received(&mut sockets)];
        assert!(first_two.iter().any(SocketAddr::is_ipv4), "{first_two:?}");
    }

    #[test]
    fn a_main_socket_can_have_one_address_of_each_family() {
        if !has_ipv6() {
            return;
        }
        let listen = Listen::at("127.0.0.1:0".parse().unwrap()).beside("::1".parse().unwrap());
        let mut sockets = Sockets::bind(&listen).unwrap();
        let udp: Vec<_> = sockets.udp_addrs().collect();
        assert_eq!(
            udp.iter().map(|(id, addr)| (*id, addr.ip().is_loopback())).collect::<Vec<_>>(),
            [(SocketId::MAIN, true); 2]
        );
        for (_, addr) in udp {
            serves(&mut sockets, SocketId::MAIN, addr, addr);
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
            (UDP, Source::Udp(0, 0)),
            (UDP + 1, Source::Udp(0, 1)),
            (UDP + 511, Source::Udp(255, 1)),
            (TCP, Source::Tcp(0, 0)),
            (TCP + 510, Source::Tcp(255, 0)),
            (STREAMS, Source::Stream),
            (usize::MAX, Source::Stream),
        ] {
            assert_eq!(Source::of(Token(token)), source, "{token}");
        }
    }
}
