//! The address that a STUN server sees (RFC 8489): one Binding request for each address family.
//!
//! The request leaves from a socket of its own, so the port in the answer is not the node's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use super::{External, Ports, Request, Trouble, left};

/// The default port (section 13).
const PORT: u16 = 3478;
/// The wait for the first answer, which doubles with each repetition (section 6.2.1).
const FIRST_WAIT: Duration = Duration::from_millis(500);
const TRIES: u32 = 3;
/// Of a name's addresses, so many are tried.
const ADDRS_MAX: usize = 4;

const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const MAPPED_ADDRESS: u16 = 0x0001;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;

/// The address that `server` sees this machine at. The name is resolved as the operating system does.
pub(super) fn external(request: &Request, server: &str) -> Result<External, Trouble> {
    let unresolved = || Trouble::Unresolved(server.to_owned());
    let ends_in_port = server.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let is_bare_ipv6 = server.parse::<Ipv6Addr>().is_ok();
    let addrs: Vec<SocketAddr> = if ends_in_port && !is_bare_ipv6 {
        server.to_socket_addrs().map_err(|_| unresolved())?.collect()
    } else {
        (server.trim_matches(['[', ']']), PORT).to_socket_addrs().map_err(|_| unresolved())?.collect()
    };
    let mut trouble = unresolved();
    for addr in addrs.into_iter().take(ADDRS_MAX) {
        match request.permits(addr.ip()).and_then(|()| ask(addr)) {
            Ok(ip) => return Ok(External::new("STUN", Some(ip), Ports::default())),
            Err(why) => trouble = why,
        }
    }
    Err(trouble)
}

fn ask(server: SocketAddr) -> Result<IpAddr, Trouble> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    let mut transaction = [0; 12];
    getrandom::fill(&mut transaction).map_err(std::io::Error::from)?;
    let request = [&BINDING_REQUEST[..], &[0, 0], &MAGIC_COOKIE, &transaction].concat();
    let mut wait = FIRST_WAIT;
    for _ in 0..TRIES {
        socket.send(&request)?;
        let deadline = Instant::now() + wait;
        while let Some(time) = left(deadline) {
            socket.set_read_timeout(Some(time))?;
            let mut buffer = [0; 1280];
            let Ok(n) = socket.recv(&mut buffer) else { break };
            // Others than the answer are passed over.
            if let Some(ip) = read(&buffer[..n], &transaction) {
                return Ok(ip);
            }
        }
        wait *= 2;
    }
    Err(Trouble::Silent(server))
}

/// The address in a success response to that transaction: XOR-MAPPED-ADDRESS, or MAPPED-ADDRESS of old servers.
fn read(message: &[u8], transaction: &[u8; 12]) -> Option<IpAddr> {
    let (head, rest) = message.split_first_chunk::<20>()?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    if head[..2] != BINDING_SUCCESS || head[4..8] != MAGIC_COOKIE || head[8..] != *transaction {
        return None;
    }
    let mut attributes = rest.get(..length)?;
    let mut plain = None;
    while let Some((head, rest)) = attributes.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = rest.get(..length)?;
        match u16::from_be_bytes([head[0], head[1]]) {
            XOR_MAPPED_ADDRESS => return address(value, Some(transaction)),
            MAPPED_ADDRESS => plain = address(value, None),
            _ => {}
        }
        // Values are padded to four bytes.
        attributes = rest.get(length.next_multiple_of(4)..)?;
    }
    plain
}

/// A zero byte, the family, the port, and the address, which is masked with the cookie and the transaction.
fn address(value: &[u8], transaction: Option<&[u8; 12]>) -> Option<IpAddr> {
    let mask = transaction.map_or([0; 16], |transaction| {
        let mut mask = [0; 16];
        mask[..4].copy_from_slice(&MAGIC_COOKIE);
        mask[4..].copy_from_slice(transaction);
        mask
    });
    let ip = value.get(4..)?;
    match (*value.get(1)?, ip.len()) {
        (1, 4) => {
            let ip: [u8; 4] = ip.try_into().ok()?;
            Some(IpAddr::V4(std::array::from_fn::<u8, 4, _>(|i| ip[i] ^ mask[i]).into()))
        }
        (2, 16) => {
            let ip: [u8; 16] = ip.try_into().ok()?;
            Some(IpAddr::V6(std::array::from_fn::<u8, 16, _>(|i| ip[i] ^ mask[i]).into()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::tests::request;

    /// A server on loopback that tells each client the address 5.6.7.8, after a message that is none.
    fn server() -> SocketAddr {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let at = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            while let Ok((20, from)) = socket.recv_from(&mut buffer) {
                socket.send_to(b"nothing", from).unwrap();
                // An attribute of odd length, as servers send their names, then the address.
                let software = [0x80, 0x22, 0, 3, b'a', b'b', b'c', 0];
                let ip = [5 ^ 0x21, 6 ^ 0x12, 7 ^ 0xa4, 8 ^ 0x42];
                let mapped = [&[0, 0x20, 0, 8, 0, 1, 0, 0][..], &ip].concat();
                let head = [&BINDING_SUCCESS[..], &[0, 20], &buffer[4..20]].concat();
                socket.send_to(&[head, software.to_vec(), mapped].concat(), from).unwrap();
            }
        });
        at
    }

    #[test]
    fn the_address_that_the_server_sees_is_read() {
        let server = server().to_string();
        let external = external(&request(&format!("stun:{server}")), &server).unwrap();
        assert_eq!(external, External { by: "STUN", ip: Some([5, 6, 7, 8].into()), udp: None, tcp: None });
    }

    #[test]
    fn a_server_that_the_filter_forbids_is_not_contacted() {
        for server in ["10.0.0.1", "10.0.0.1:3478", "[2001:db8::1]:3478", "2001:db8::1"] {
            let trouble = external(&request("any"), server).unwrap_err();
            assert!(matches!(trouble, Trouble::Filtered(_)), "{server}: {trouble}");
        }
    }

    #[test]
    fn the_answers_of_ipv6_and_of_old_servers_are_read() {
        let transaction = *b"transactions";
        let head = |length: u8| [&BINDING_SUCCESS[..], &[0, length], &MAGIC_COOKIE, &transaction].concat();
        let plain = [head(12), vec![0, 1, 0, 8, 0, 1, 1, 1, 5, 6, 7, 8]].concat();
        assert_eq!(read(&plain, &transaction), Some([5, 6, 7, 8].into()));
        let ip: Ipv6Addr = "2a00::5".parse().unwrap();
        let mask = [&MAGIC_COOKIE[..], &transaction].concat();
        let masked: Vec<u8> = ip.octets().iter().zip(&mask).map(|(ip, mask)| ip ^ mask).collect();
        let six = [head(24), vec![0, 0x20, 0, 20, 0, 2, 1, 1], masked].concat();
        assert_eq!(read(&six, &transaction), Some(ip.into()));
        for end in 0..six.len() {
            assert_eq!(read(&six[..end], &transaction), None, "cut at {end}");
        }
        assert_eq!(read(&six, b"another one!"), None);
    }
}
