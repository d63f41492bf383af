//! One question to one server: over UDP, and over TCP if the answer does not fit.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use peerless::contract::QueryFault;

use super::message::{Kind, Reply, question, reply};

/// Bytes of the largest answer that is read: an entry of a list has 2 KiB, and stands beside few others.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// Packets that are looked at for the answer to one question: others are forged, or late.
const PACKETS_MAX: usize = 64;

/// Asks one server one question. `Ok(None)`: it did not answer in time.
///
/// # Errors
/// If the question cannot be asked.
pub(super) fn ask(server: SocketAddr, name: &str, kind: Kind, deadline: Instant) -> Result<Option<Reply>, QueryFault> {
    let udp = over_udp(server, name, kind, deadline, true)?;
    let udp = match udp {
        // It does not know extensions.
        Some(Reply::NotUnderstood) => over_udp(server, name, kind, deadline, false)?,
        other => other,
    };
    match udp {
        Some(Reply::Cut) => over_tcp(server, name, kind, deadline),
        other => Ok(other),
    }
}

/// A random id: with the random port of the socket, a forger has 30 bits to guess.
fn random_id() -> Result<u16, QueryFault> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(|_| QueryFault::Failed)?;
    Ok(u16::from_ne_bytes(id))
}

fn over_udp(
    server: SocketAddr,
    name: &str,
    kind: Kind,
    deadline: Instant,
    extended: bool,
) -> Result<Option<Reply>, QueryFault> {
    let id = random_id()?;
    let bytes = question(id, name, kind, extended)?;
    // A connected socket takes no packet of another source. Its port is of the operating system's choice, which is random.
    let exchange = || {
        let socket = UdpSocket::bind(own_address(server.ip()))?;
        socket.connect(server)?;
        socket.send(&bytes)?;
        let mut buffer = [0; ANSWER_BYTES_MAX];
        for _ in 0..PACKETS_MAX {
            socket.set_read_timeout(Some(left(deadline)?))?;
            let len = socket.recv(&mut buffer)?;
            if let Some(reply) = reply(&buffer[..len], id, name, kind) {
                return Ok(reply);
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    };
    Ok(unless_silent(exchange()))
}

fn over_tcp(server: SocketAddr, name: &str, kind: Kind, deadline: Instant) -> Result<Option<Reply>, QueryFault> {
    let id = random_id()?;
    let bytes = question(id, name, kind, false)?;
    let exchange = || {
        let mut stream = TcpStream::connect_timeout(&server, left(deadline)?)?;
        let len = u16::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        stream.set_write_timeout(Some(left(deadline)?))?;
        stream.write_all(&[&len.to_be_bytes()[..], &bytes].concat())?;
        let mut len = [0; 2];
        fill(&mut stream, &mut len, deadline)?;
        let len = usize::from(u16::from_be_bytes(len));
        if len > ANSWER_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut answer = vec![0; len];
        fill(&mut stream, &mut answer, deadline)?;
        // Of a stream there is no other answer to wait for.
        Ok(match reply(&answer, id, name, kind) {
            None | Some(Reply::Cut) => Reply::Failed,
            Some(reply) => reply,
        })
    };
    Ok(unless_silent(exchange()))
}

/// Reads as many bytes as there is room for, in as many pieces as they come.
fn fill(stream: &mut TcpStream, mut buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
    while !buffer.is_empty() {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => buffer = &mut buffer[n..],
        }
    }
    Ok(())
}

/// `None` if time was up; another error counts as an answer that is a failure, because the next server is asked at once.
fn unless_silent(result: io::Result<Reply>) -> Option<Reply> {
    match result {
        Ok(reply) => Some(reply),
        Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => None,
        Err(_) => Some(Reply::Failed),
    }
}

/// The time until the deadline; an error if it has passed.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// The address to ask from. A server of this machine is asked by way of loopback alone.
fn own_address(server: IpAddr) -> SocketAddr {
    let ip = match server {
        IpAddr::V4(ip) if ip.is_loopback() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_loopback() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(ip, 0)
}
