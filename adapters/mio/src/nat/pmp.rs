//! NAT-PMP (RFC 6886): the external address and one mapping for each transport, two messages of UDP each.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::{External, Ports, Request, Transport, Trouble, gateway, left};

/// The wait for the first answer, which doubles with each repetition (section 3.1, which has nine of them).
const FIRST_WAIT: Duration = Duration::from_millis(250);
const TRIES: u32 = 4;
/// The bit that tells an answer from a request.
const ANSWER: u8 = 128;
/// The wait for the answer to a removal.
const REMOVAL_WAIT: Duration = Duration::from_millis(500);

/// Mappings at a gateway.
#[derive(Debug)]
pub(super) struct Mapped {
    gateway: SocketAddr,
    internal: [(Transport, u16); 2],
}

impl Mapped {
    /// Removes the mappings (section 3.4), each by one request. A gateway that does not answer in time lets them lapse.
    pub(super) fn remove(self) {
        let Ok(socket) = open(self.gateway) else { return };
        for (transport, port) in self.internal.into_iter().filter(|(_, port)| *port != 0) {
            let request = map_request(transport, port, 0, 0);
            if socket.send(&request).is_ok() {
                let _ = receive(&socket, request[1], Instant::now() + REMOVAL_WAIT);
            }
        }
    }
}

/// Maps the ports at `gateway`, or at the default gateway.
pub(super) fn map(request: &Request, gateway: Option<Ipv4Addr>) -> Result<(Mapped, External), Trouble> {
    let candidates = gateway.map_or_else(gateway::candidates, |ip| vec![ip]);
    let mut trouble = Trouble::NoGateway;
    for ip in candidates {
        match map_at(request, ip) {
            Ok(done) => return Ok(done),
            Err(why) => trouble = why,
        }
    }
    Err(trouble)
}

fn map_at(request: &Request, gateway: Ipv4Addr) -> Result<(Mapped, External), Trouble> {
    request.permits(gateway.into())?;
    let gateway = SocketAddr::from((gateway, request.pmp_port));
    let socket = open(gateway)?;
    let answer = exchange::<12>(&socket, gateway, &[0, 0])?;
    let ip = Ipv4Addr::from([answer[8], answer[9], answer[10], answer[11]]);
    let mut ports = Ports::default();
    let internal = [(Transport::Udp, request.udp), (Transport::Tcp, request.tcp)];
    for (transport, port) in internal.into_iter().filter(|(_, port)| *port != 0) {
        let lifetime = u32::try_from(request.lifetime.as_secs()).unwrap_or(u32::MAX);
        let answer = exchange::<16>(&socket, gateway, &map_request(transport, port, port, lifetime))?;
        let external = u16::from_be_bytes([answer[10], answer[11]]);
        match transport {
            Transport::Udp => ports.udp = Some(external),
            Transport::Tcp => ports.tcp = Some(external),
        }
    }
    Ok((Mapped { gateway, internal }, External::new("NAT-PMP", Some(IpAddr::V4(ip)), ports)))
}

fn open(gateway: SocketAddr) -> Result<UdpSocket, Trouble> {
    // Of several addresses, the one that the route to the gateway has: packets to loopback come from loopback.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(gateway)?;
    Ok(socket)
}

const fn map_request(transport: Transport, internal: u16, external: u16, lifetime_secs: u32) -> [u8; 12] {
    let op = match transport {
        Transport::Udp => 1,
        Transport::Tcp => 2,
    };
    let ([a, b], [c, d], [e, f, g, h]) = (internal.to_be_bytes(), external.to_be_bytes(), lifetime_secs.to_be_bytes());
    [0, op, 0, 0, a, b, c, d, e, f, g, h]
}

/// Sends a request until its answer of `N` bytes comes.
fn exchange<const N: usize>(socket: &UdpSocket, gateway: SocketAddr, request: &[u8]) -> Result<[u8; N], Trouble> {
    let mut wait = FIRST_WAIT;
    for _ in 0..TRIES {
        socket.send(request)?;
        if let Some((answer, n)) = receive(socket, request[1], Instant::now() + wait) {
            return match (u16::from_be_bytes([answer[2], answer[3]]), answer[..n].first_chunk()) {
                (0, Some(answer)) => Ok(*answer),
                (0, None) => Err(Trouble::Malformed("too short")),
                (code, _) => Err(Trouble::Refused(code)),
            };
        }
        wait *= 2;
    }
    Err(Trouble::Silent(gateway))
}

/// The next answer to a request of that kind, with its length, which is four bytes at least. Answers to others are passed over.
fn receive(socket: &UdpSocket, op: u8, deadline: Instant) -> Option<([u8; 16], usize)> {
    let mut buffer = [0; 16];
    loop {
        socket.set_read_timeout(Some(left(deadline)?)).ok()?;
        let n = socket.recv(&mut buffer).ok()?;
        if n >= 4 && buffer[0] == 0 && buffer[1] == op | ANSWER {
            return Some((buffer, n));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::nat::tests::request;

    /// A mapping that a gateway was asked for.
    pub(crate) type Asked = (u8, u16, u32);

    /// A gateway on loopback, whose external address is 5.6.7.8 and which gives each port the number that is 1,000 higher, until
    /// its socket is dropped. Returns its port and the mappings it was asked for.
    pub(crate) fn gateway(result: u16) -> (u16, Arc<Mutex<Vec<Asked>>>) {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            while let Ok((n, from)) = socket.recv_from(&mut buffer) {
                let [high, low] = result.to_be_bytes();
                let head = [0, buffer[1] | ANSWER, high, low, 0, 0, 0, 9];
                // An answer to something else comes first, as one that was late.
                socket.send_to(&[0, 0x83, 0, 0], from).unwrap();
                if n == 2 {
                    socket.send_to(&[&head[..], &[5, 6, 7, 8]].concat(), from).unwrap();
                    continue;
                }
                let internal = u16::from_be_bytes([buffer[4], buffer[5]]);
                let lifetime = u32::from_be_bytes(*buffer[8..].first_chunk().unwrap());
                log.lock().unwrap().push((buffer[1], internal, lifetime));
                let external = (internal + 1000).to_be_bytes();
                socket
                    .send_to(&[&head[..], &internal.to_be_bytes(), &external, &buffer[8..12]].concat(), from)
                    .unwrap();
            }
        });
        (port, asked)
    }

    #[test]
    fn ports_are_mapped_and_unmapped() {
        let (pmp_port, asked) = gateway(0);
        let request = Request { pmp_port, ..request("pmp:127.0.0.1") };
        let (mapped, external) = map(&request, Some(Ipv4Addr::LOCALHOST)).unwrap();
        let ip = Some([5, 6, 7, 8].into());
        assert_eq!(external, External { by: "NAT-PMP", ip, udp: Some(31303), tcp: Some(31304) });
        mapped.remove();
        assert_eq!(*asked.lock().unwrap(), [(1, 30303, 600), (2, 30304, 600), (1, 30303, 0), (2, 30304, 0)]);
    }

    #[test]
    fn a_refusal_is_told_with_its_code() {
        let (pmp_port, _) = gateway(2);
        let request = Request { pmp_port, ..request("pmp:127.0.0.1") };
        let trouble = map(&request, Some(Ipv4Addr::LOCALHOST)).unwrap_err();
        assert_eq!(trouble.to_string(), "refused with code 2");
    }

    #[test]
    fn a_gateway_that_the_filter_forbids_is_not_contacted() {
        let trouble = map(&request("pmp"), Some(Ipv4Addr::new(10, 0, 0, 1))).unwrap_err();
        assert!(matches!(trouble, Trouble::Filtered(_)), "{trouble}");
    }

    #[test]
    fn a_silent_gateway_is_given_up() {
        let silent = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let request = Request { pmp_port: silent.local_addr().unwrap().port(), ..request("pmp") };
        let trouble = map(&request, Some(Ipv4Addr::LOCALHOST)).unwrap_err();
        assert!(matches!(trouble, Trouble::Silent(_)), "{trouble}");
    }
}
