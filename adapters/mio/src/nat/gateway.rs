//! The default gateway of this machine, where NAT-PMP is asked.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// The IPv4 gateways that may be the right one, the most probable first: the default route's, and the first address of the
/// private subnet that this machine is in.
pub(super) fn candidates() -> Vec<Ipv4Addr> {
    let route = std::fs::read_to_string("/proc/net/route").ok().and_then(|table| default_route(&table));
    let guess = local_address().filter(Ipv4Addr::is_private).map(|ip| {
        let [a, b, c, _] = ip.octets();
        Ipv4Addr::new(a, b, c, 1)
    });
    let mut found: Vec<_> = route.into_iter().chain(guess).collect();
    found.dedup();
    found
}

/// The gateway of the default route in the form of Linux: columns of hexadecimal numbers in the byte order of the machine.
fn default_route(table: &str) -> Option<Ipv4Addr> {
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let (destination, gateway) = (columns.next()?, columns.next()?);
        let gateway = u32::from_str_radix(gateway, 16).ok()?;
        (destination == "00000000" && gateway != 0).then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
    })
}

/// The address from which this machine would send to the Internet. Sends nothing: connecting a UDP socket only chooses
/// a route.
fn local_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address for documentation, which the default route serves.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_is_found_in_the_table() {
        let number = u32::from_ne_bytes([192, 168, 1, 254]);
        let table = format!(
            "Iface\tDestination\tGateway\tFlags\neth0\t0001A8C0\t00000000\t0001\neth0\t00000000\t{number:08X}\t0003\n"
        );
        assert_eq!(default_route(&table), Some(Ipv4Addr::new(192, 168, 1, 254)));
        for none in ["", "Iface\n", "Iface\neth0\n", "Iface\neth0\t00000000\t00000000\n", "Iface\nx\t00000000\tzz\n"] {
            assert_eq!(default_route(none), None, "{none:?}");
        }
    }
}
