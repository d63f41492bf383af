//! The wire over UDP sockets of the operating system.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use peerless::time::UnixTime;

use crate::wire::{Address, Local, Received, Unavailable, Wire};

/// Room for a datagram, above the protocols' 1280 bytes, so that a larger one is seen.
const DATAGRAM_BYTES: usize = 2048;
/// The pause between two looks at several sockets.
const LOOK_INTERVAL: Duration = Duration::from_micros(500);

/// UDP sockets at one or two local addresses.
#[derive(Debug)]
pub struct Sockets {
    addresses: [Option<IpAddr>; 2],
    open: Vec<(UdpSocket, SocketAddr)>,
    start: Instant,
}

impl Sockets {
    /// Sockets at `first`, and at `second` for cases about the source address.
    pub fn new(first: IpAddr, second: Option<IpAddr>) -> Self {
        Self { addresses: [Some(first), second], open: Vec::new(), start: Instant::now() }
    }

    /// Sockets for a node at `target`. Without `first`, the address from which this machine sends to the node; without
    /// `second`, 127.0.0.2 if the first one is 127.0.0.1, else none.
    ///
    /// # Errors
    /// If this machine has no route to the node.
    pub fn to(target: SocketAddr, first: Option<IpAddr>, second: Option<IpAddr>) -> std::io::Result<Self> {
        let first = match first {
            Some(first) => first,
            None => source_of(target)?,
        };
        let default = (first == Ipv4Addr::LOCALHOST).then_some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));
        Ok(Self::new(first, second.or(default)))
    }

    /// Takes a datagram that has come to any socket.
    fn look(&self, buffer: &mut [u8]) -> Option<Received> {
        for (i, (socket, _)) in self.open.iter().enumerate() {
            loop {
                match socket.recv_from(buffer) {
                    Ok((n, from)) => return Some(Received { at: Local(i), from, bytes: buffer[..n].to_vec() }),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // An ICMP message about an earlier datagram.
                    Err(_) => {}
                }
            }
        }
        None
    }
}

/// The address from which the operating system sends to `target`. Sends nothing.
fn source_of(target: SocketAddr) -> std::io::Result<IpAddr> {
    let any = match target {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip())
}

impl Wire for Sockets {
    fn open(&mut self, address: Address) -> Result<Local, Unavailable> {
        let ip = self.addresses[address as usize].ok_or_else(|| {
            Unavailable("there is no second local address of this family; --listen2 names one".to_owned())
        })?;
        let failed = |error: std::io::Error| Unavailable(format!("no socket at {ip}: {error}"));
        let socket = UdpSocket::bind((ip, 0)).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let addr = socket.local_addr().map_err(failed)?;
        self.open.push((socket, addr));
        Ok(Local(self.open.len() - 1))
    }

    fn addr(&self, local: Local) -> SocketAddr {
        self.open[local.0].1
    }

    fn send(&mut self, from: Local, to: SocketAddr, bytes: &[u8]) {
        let _ = self.open[from.0].0.send_to(bytes, to);
    }

    fn receive(&mut self, within: Duration) -> Option<Received> {
        let deadline = Instant::now() + within;
        let mut buffer = [0; DATAGRAM_BYTES];
        loop {
            if let Some(received) = self.look(&mut buffer) {
                return Some(received);
            }
            let rest = deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return None;
            }
            std::thread::sleep(rest.min(LOOK_INTERVAL));
        }
    }

    fn close(&mut self) {
        self.open.clear();
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn unix(&self) -> UnixTime {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixTime::from_micros(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX))
    }
}
