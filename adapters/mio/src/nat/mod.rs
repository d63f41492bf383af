//! Reaching a node behind a NAT: port mappings by the gateway (UPnP, NAT-PMP), and the external address by STUN.
//!
//! A [`Mapper`] works on a thread of its own, because a gateway may take seconds to answer. It renews mappings before they
//! lapse, and removes them at its end. Its news become `Command::SetAddresses`: see [`External`].
//!
//! What the address filter forbids is not contacted. UPnP is by hand: the crate for it brings an HTTP client whose
//! licence the workspace refuses, and the protocol needs one request form and one answer. NAT-PMP and STUN are two
//! messages each.

mod gateway;
mod http;
mod pmp;
mod stun;
mod upnp;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use peerless::contract::Addresses;
use peerless::netfilter::{NetFilter, Scope, scope};

use crate::sockets::Waker;

/// How to learn the external address, and how to map ports to it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Method {
    /// The first of NAT-PMP and UPnP that answers.
    Any,
    /// Mappings by UPnP (Internet Gateway Device, versions 1 and 2).
    Upnp,
    /// Mappings by NAT-PMP (RFC 6886), by the gateway at this address or the default gateway.
    Pmp(Option<Ipv4Addr>),
    /// The address that a STUN server sees (RFC 8489), at `HOST` or `HOST:PORT`. No ports are mapped.
    Stun(String),
}

/// `any`, `upnp`, `pmp`, `pmp:IP`, `stun:HOST` or `stun:HOST:PORT`.
impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, place) = text.split_once(':').map_or((text, None), |(kind, place)| (kind, Some(place)));
        match (kind.to_ascii_lowercase().as_str(), place) {
            ("any", None) => Ok(Self::Any),
            ("upnp", None) => Ok(Self::Upnp),
            ("pmp", None) => Ok(Self::Pmp(None)),
            ("pmp", Some(ip)) => {
                let ip = ip.parse().map_err(|_| format!("{ip:?} is not the IPv4 address of a gateway"))?;
                Ok(Self::Pmp(Some(ip)))
            }
            ("stun", Some(server)) if !server.is_empty() => Ok(Self::Stun(server.to_owned())),
            ("stun", _) => Err("stun needs a server: stun:HOST or stun:HOST:PORT".to_owned()),
            _ => Err(format!("{text:?} is none of any, upnp, pmp, pmp:IP, stun:HOST")),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Upnp => f.write_str("upnp"),
            Self::Pmp(None) => f.write_str("pmp"),
            Self::Pmp(Some(ip)) => write!(f, "pmp:{ip}"),
            Self::Stun(server) => write!(f, "stun:{server}"),
        }
    }
}

/// What a [`Mapper`] is to do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The UDP port to map; 0 for none.
    pub udp: u16,
    /// The TCP port to map; 0 for none.
    pub tcp: u16,
    /// Gateways and servers that may be contacted.
    pub filter: NetFilter,
    /// Where UPnP looks for a gateway: the multicast address of SSDP.
    pub ssdp: SocketAddr,
    /// The port of NAT-PMP.
    pub pmp_port: u16,
    /// How long a mapping holds.
    pub lifetime: Duration,
    /// The time until it is renewed.
    pub refresh: Duration,
    /// The time until a failed attempt is repeated.
    pub retry: Duration,
}

impl Request {
    /// A request with geth's times: mappings for ten minutes, renewed after eight.
    pub fn new(method: Method, udp: u16, tcp: u16, filter: NetFilter) -> Self {
        Self {
            method,
            udp,
            tcp,
            filter,
            ssdp: SocketAddr::from(([239, 255, 255, 250], 1900)),
            pmp_port: 5351,
            lifetime: Duration::from_secs(600),
            refresh: Duration::from_secs(480),
            retry: Duration::from_secs(60),
        }
    }

    fn permits(&self, ip: IpAddr) -> Result<(), Trouble> {
        if self.filter.permits(ip) { Ok(()) } else { Err(Trouble::Filtered(ip)) }
    }
}

/// What a gateway or a server has told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct External {
    /// The protocol.
    pub by: &'static str,
    /// The gateway's external address, if it is one of the Internet: behind a second NAT it is not.
    pub ip: Option<IpAddr>,
    /// The external UDP port, if it was mapped.
    pub udp: Option<u16>,
    /// The external TCP port, if it was mapped.
    pub tcp: Option<u16>,
}

impl External {
    fn new(by: &'static str, ip: Option<IpAddr>, ports: Ports) -> Self {
        let is_global = |ip: &IpAddr| scope(*ip) == Scope::Global;
        Self { by, ip: ip.filter(is_global), udp: ports.udp, tcp: ports.tcp }
    }

    /// The addresses of a node that has `configured` ones, with what is known now.
    pub fn apply(&self, configured: Addresses) -> Addresses {
        let mut addresses = configured;
        if let Some(ip) = self.ip {
            addresses.set_ip(ip);
        }
        // A mapping is of IPv4: the ports of the IPv6 address stay.
        let (udp6, tcp6) = configured.ports(true);
        if let Some(udp) = self.udp.filter(|udp| *udp != configured.udp) {
            (addresses.udp, addresses.udp6) = (udp, Some(udp6));
        }
        if let Some(tcp) = self.tcp.filter(|tcp| *tcp != configured.tcp) {
            (addresses.tcp, addresses.tcp6) = (tcp, Some(tcp6));
        }
        addresses
    }
}

/// External ports of mappings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Ports {
    udp: Option<u16>,
    tcp: Option<u16>,
}

/// The transport of a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Transport {
    Udp,
    Tcp,
}

/// Why there is no mapping or address.
#[derive(Debug)]
#[non_exhaustive]
pub enum Trouble {
    /// No gateway was found.
    NoGateway,
    /// The filter forbids to contact it.
    Filtered(IpAddr),
    /// The server's name does not resolve, or to no address that can be contacted.
    Unresolved(String),
    /// No answer came in time.
    Silent(SocketAddr),
    /// It cannot be contacted.
    Io(io::Error),
    /// Its answer does not follow the protocol.
    Malformed(&'static str),
    /// It refuses, with its protocol's code.
    Refused(u16),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoGateway => f.write_str("no gateway found"),
            Self::Filtered(ip) => write!(f, "the address filter forbids {ip}"),
            Self::Unresolved(name) => write!(f, "{name} has no usable address"),
            Self::Silent(at) => write!(f, "no answer from {at}"),
            Self::Io(error) => write!(f, "{error}"),
            Self::Malformed(what) => write!(f, "malformed answer: {what}"),
            Self::Refused(code) => write!(f, "refused with code {code}"),
        }
    }
}

impl std::error::Error for Trouble {}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// News of a [`Mapper`].
#[derive(Debug)]
#[non_exhaustive]
pub enum News {
    /// The address or the ports are known, for the first time or changed.
    Known(External),
    /// There is none at the moment. What was known before no longer holds.
    Failed(Trouble),
}

/// A mapping that is renewed and removed.
#[derive(Debug)]
enum Mapping {
    Pmp(pmp::Mapped),
    Upnp(upnp::Mapped),
    None,
}

/// A thread that keeps the mappings. Dropping it ends the thread after what it is doing; [`Mapper::stop`] waits for that.
#[derive(Debug)]
pub struct Mapper {
    news: Receiver<News>,
    stop: Option<Sender<()>>,
    ended: Receiver<()>,
}

impl Mapper {
    /// Starts the thread, which wakes a driver after each item of news.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn start(request: Request, waker: Waker) -> io::Result<Self> {
        let (tell, news) = channel();
        let (stop, stopped) = channel();
        let (at_end, ended) = channel();
        std::thread::Builder::new().name("nat".into()).spawn(move || {
            run(&request, &stopped, |item| {
                let is_heard = tell.send(item).is_ok();
                // Without it, the news wait for the next turn.
                let _ = waker.wake();
                is_heard
            });
            let _ = at_end.send(());
        })?;
        Ok(Self { news, stop: Some(stop), ended })
    }

    /// Takes an item of news. Does not wait for one.
    pub fn poll(&mut self) -> Option<News> {
        self.news.try_recv().ok()
    }

    /// Removes the mappings and ends the thread. Returns whether it has ended within `limit`.
    pub fn stop(mut self, limit: Duration) -> bool {
        self.stop = None;
        self.ended.recv_timeout(limit).is_ok()
    }
}

/// Attempts and renews until it is stopped, then removes the mappings.
fn run(request: &Request, stopped: &Receiver<()>, mut tell: impl FnMut(News) -> bool) {
    let mut mapping = Mapping::None;
    let mut known = None;
    loop {
        let wait = match attempt(request, &mut mapping) {
            Ok(external) => {
                if known.replace(external) != Some(external) && !tell(News::Known(external)) {
                    break;
                }
                request.refresh
            }
            Err(trouble) => {
                known = None;
                if !tell(News::Failed(trouble)) {
                    break;
                }
                request.retry
            }
        };
        if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
            break;
        }
    }
    match mapping {
        Mapping::Pmp(mapped) => mapped.remove(),
        Mapping::Upnp(mapped) => mapped.remove(),
        Mapping::None => {}
    }
}

/// Maps the ports, or renews their mappings.
fn attempt(request: &Request, mapping: &mut Mapping) -> Result<External, Trouble> {
    let pmp = |gateway: Option<Ipv4Addr>, mapping: &mut Mapping| {
        let (mapped, external) = pmp::map(request, gateway)?;
        *mapping = Mapping::Pmp(mapped);
        Ok(external)
    };
    let upnp = |mapping: &mut Mapping| {
        let (mapped, external) = match mapping {
            Mapping::Upnp(old) => old.renew(request).or_else(|_| upnp::map(request))?,
            _ => upnp::map(request)?,
        };
        *mapping = Mapping::Upnp(mapped);
        Ok(external)
    };
    match (&request.method, &mapping) {
        (Method::Stun(server), _) => stun::external(request, server),
        (Method::Pmp(gateway), _) => pmp(*gateway, mapping),
        (Method::Upnp, _) => upnp(mapping),
        // What has answered before comes first.
        (Method::Any, Mapping::Upnp(_)) => upnp(mapping).or_else(|_: Trouble| pmp(None, mapping)),
        (Method::Any, _) => pmp(None, mapping).or_else(|_: Trouble| upnp(mapping)),
    }
}

/// The time that is left until a deadline, or an error once it has passed.
fn left(deadline: Instant) -> Option<Duration> {
    deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Listen, Sockets};

    /// A request that contacts loopback addresses only.
    pub(crate) fn request(method: &str) -> Request {
        Request::new(method.parse().unwrap(), 30303, 30304, "127.0.0.0/8".parse().unwrap())
    }

    #[test]
    fn methods_are_read_and_written() {
        for text in ["any", "upnp", "pmp", "pmp:192.168.1.1", "stun:example.org", "stun:[::1]:3478"] {
            assert_eq!(text.parse::<Method>().unwrap().to_string(), text);
        }
        for bad in ["", "nat", "pmp:", "pmp:::1", "pmp:router", "stun", "stun:", "any:1", "upnp:1.2.3.4"] {
            assert!(bad.parse::<Method>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mapping_changes_the_ports_of_ipv4_only() {
        let mut configured = Addresses::default();
        (configured.udp, configured.tcp) = (30303, 30304);
        let known = External { by: "x", ip: Some([5, 6, 7, 8].into()), udp: Some(1), tcp: Some(30304) };
        let addresses = known.apply(configured);
        assert_eq!(addresses.ip4, Some([5, 6, 7, 8].into()));
        assert_eq!((addresses.ports(false), addresses.ports(true)), ((1, 30304), (30303, 30304)));
        let same = External { udp: Some(30303), ..known };
        assert_eq!((same.apply(configured).udp6, same.apply(configured).tcp6), (None, None));
    }

    #[test]
    fn the_external_address_of_a_gateway_behind_another_nat_is_not_used() {
        for (ip, is_used) in [([5, 6, 7, 8], true), ([192, 168, 0, 2], false), ([100, 64, 0, 2], false)] {
            assert_eq!(External::new("x", Some(ip.into()), Ports::default()).ip.is_some(), is_used);
        }
    }

    /// Waits for an item of news.
    fn news(mapper: &mut Mapper) -> News {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(news) = mapper.poll() {
                return news;
            }
            assert!(Instant::now() < deadline, "no news");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_mapper_maps_renews_wakes_the_driver_and_removes_at_its_end() {
        let (pmp_port, asked) = pmp::tests::gateway(0);
        let mut sockets = Sockets::bind(&Listen::default()).unwrap();
        let refresh = Duration::from_millis(20);
        let request = Request { pmp_port, refresh, ..request("pmp:127.0.0.1") };
        let mut mapper = Mapper::start(request, sockets.waker()).unwrap();
        sockets.poll.poll(&mut mio::Events::with_capacity(1), Some(Duration::from_secs(20))).unwrap();
        let News::Known(external) = news(&mut mapper) else { panic!("it fails") };
        assert_eq!((external.ip, external.udp, external.tcp), (Some([5, 6, 7, 8].into()), Some(31303), Some(31304)));
        let deadline = Instant::now() + Duration::from_secs(20);
        while asked.lock().unwrap().len() < 6 {
            assert!(Instant::now() < deadline, "the mappings are not renewed");
            std::thread::sleep(Duration::from_millis(5));
        }
        let more = mapper.poll();
        assert!(more.is_none(), "a renewal without a change is no news: {more:?}");
        assert!(mapper.stop(Duration::from_secs(20)));
        let asked = asked.lock().unwrap();
        assert_eq!(asked[asked.len() - 2..], [(1, 30303, 0), (2, 30304, 0)]);
    }

    #[test]
    fn a_failure_is_told_and_repeated() {
        let sockets = Sockets::bind(&Listen::default()).unwrap();
        let retry = Duration::from_millis(5);
        // Neither the default gateway nor the network's multicast address is permitted.
        for method in ["pmp:10.0.0.1", "upnp", "any", "stun:10.0.0.1"] {
            let mut mapper = Mapper::start(Request { retry, ..request(method) }, sockets.waker()).unwrap();
            for _ in 0..2 {
                let News::Failed(trouble) = news(&mut mapper) else { panic!("{method}") };
                assert!(matches!(trouble, Trouble::Filtered(_) | Trouble::NoGateway), "{method}: {trouble}");
            }
            assert!(mapper.stop(Duration::from_secs(20)));
        }
    }
}
