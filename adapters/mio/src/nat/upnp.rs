//! Mappings by UPnP (UPnP Device Architecture 1.1; Internet Gateway Device, versions 1 and 2): a search by SSDP, the
//! gateway's description, and SOAP requests to its service for WAN connections.
//!
//! Only the host that has answered the search is contacted further: an answer that names another one is passed over.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::http::Client;
use super::{External, Ports, Request, Transport, Trouble, gateway, left};

/// The time for answers to a search: gateways spread theirs over the two seconds that it names.
const SEARCH_TIME: Duration = Duration::from_millis(2500);
/// A gateway's devices and services are nested three levels deep; deeper ones are not looked at.
const XML_NODES_MAX: u32 = 20_000;
/// External ports that are tried where the wanted one is taken.
const OTHER_PORTS: usize = 3;

/// The code of a gateway that has only mappings without end.
const ONLY_PERMANENT_LEASES: u16 = 725;
/// The code of a port that is taken.
const CONFLICT: u16 = 718;

/// The service of a gateway that maps ports.
#[derive(Clone, Debug)]
struct Service {
    at: SocketAddr,
    path: String,
    kind: String,
}

/// Mappings at a gateway.
#[derive(Clone, Debug)]
pub(super) struct Mapped {
    service: Service,
    ports: Ports,
}

impl Mapped {
    /// Renews the mappings, at the same external ports if they are free.
    pub(super) fn renew(&self, request: &Request) -> Result<(Self, External), Trouble> {
        map_at(request, &self.service, self.ports)
    }

    /// Removes the mappings. Those that cannot be removed lapse.
    pub(super) fn remove(self) {
        for (protocol, port) in [("UDP", self.ports.udp), ("TCP", self.ports.tcp)] {
            if let Some(port) = port {
                let arguments = format!(
                    "<NewRemoteHost></NewRemoteHost><NewExternalPort>{port}</NewExternalPort>\
                     <NewProtocol>{protocol}</NewProtocol>"
                );
                let _ = self.service.call("DeletePortMapping", |_| arguments.clone());
            }
        }
    }
}

/// Searches a gateway and maps the ports.
pub(super) fn map(request: &Request) -> Result<(Mapped, External), Trouble> {
    let mut trouble = Trouble::NoGateway;
    for location in search(request)? {
        let done = find_service(&location).and_then(|service| map_at(request, &service, Ports::default()));
        match done {
            Ok(done) => return Ok(done),
            Err(why) => trouble = why,
        }
    }
    Err(trouble)
}

/// The place of a gateway's description.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Location {
    at: SocketAddr,
    path: String,
}

impl Location {
    /// Reads `http://IP:PORT/PATH`. Names are not resolved.
    fn parse(url: &str) -> Option<Self> {
        let rest = url.trim().strip_prefix("http://")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let at = host.parse().or_else(|_| host.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 80))).ok()?;
        Some(Self { at, path: format!("/{path}") })
    }
}

/// Gateways that answer a search.
fn search(request: &Request) -> Result<Vec<Location>, Trouble> {
    // A multicast reaches the own network, which is where the default gateway is.
    let reached = gateway::candidates().into_iter().map(IpAddr::V4).any(|ip| request.permits(ip).is_ok());
    if !(request.ssdp.ip().is_multicast() && reached) {
        request.permits(request.ssdp.ip())?;
    }
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    for version in [1, 2] {
        let message = format!(
            "M-SEARCH * HTTP/1.1\r\nHOST: {}\r\nMAN: \"ssdp:discover\"\r\nMX: 2\r\n\
             ST: urn:schemas-upnp-org:device:InternetGatewayDevice:{version}\r\n\r\n",
            request.ssdp,
        );
        socket.send_to(message.as_bytes(), request.ssdp)?;
    }
    let mut found = Vec::new();
    let mut deadline = Instant::now() + SEARCH_TIME;
    let mut buffer = [0; 2048];
    while let Some(time) = left(deadline) {
        socket.set_read_timeout(Some(time))?;
        let Ok((n, from)) = socket.recv_from(&mut buffer) else { break };
        if let Some(location) = read_location(&buffer[..n])
            && location.at.ip() == from.ip()
            && request.permits(from.ip()).is_ok()
            && !found.contains(&location)
        {
            // Others that answer at about the same time may be the right one.
            deadline = deadline.min(Instant::now() + Duration::from_millis(200));
            found.push(location);
        }
    }
    Ok(found)
}

fn read_location(answer: &[u8]) -> Option<Location> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    head.parse(answer).ok().filter(httparse::Status::is_complete)?;
    let header = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("location"))?;
    Location::parse(std::str::from_utf8(header.value).ok()?)
}

/// Reads a gateway's description, and takes its first service for WAN connections.
fn find_service(location: &Location) -> Result<Service, Trouble> {
    let answer = Client::connect(location.at)?.request("GET", &location.path, "", "")?;
    if answer.status != 200 {
        return Err(Trouble::Refused(answer.status));
    }
    read_service(location, &answer.body).ok_or(Trouble::Malformed("the description has no service for WAN connections"))
}

fn read_service(location: &Location, description: &[u8]) -> Option<Service> {
    let text = std::str::from_utf8(description).ok()?;
    let options = roxmltree::ParsingOptions { nodes_limit: XML_NODES_MAX, ..roxmltree::ParsingOptions::default() };
    let document = roxmltree::Document::parse_with_options(text, options).ok()?;
    let text_of = |node: roxmltree::Node<'_, '_>, name: &str| {
        let child = node.children().find(|child| child.tag_name().name() == name);
        child.and_then(|child| child.text()).map(|text| text.trim().to_owned())
    };
    document.descendants().filter(|node| node.tag_name().name() == "service").find_map(|service| {
        let kind = text_of(service, "serviceType")?;
        let is_wan = ["WANIPConnection:", "WANPPPConnection:"].iter().any(|name| kind.contains(name));
        let url = text_of(service, "controlURL").filter(|_| is_wan)?;
        let control = match Location::parse(&url) {
            Some(control) => control,
            None => Location { at: location.at, path: format!("/{}", url.trim_start_matches('/')) },
        };
        let is_safe = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"".contains(&byte));
        let is_usable = control.at.ip() == location.at.ip() && is_safe(&control.path) && is_safe(&kind);
        is_usable.then_some(Service { at: control.at, path: control.path, kind })
    })
}

impl Service {
    /// Calls an action, whose arguments may depend on the address of this machine. Returns the answer's body.
    fn call(&self, action: &str, arguments: impl FnOnce(IpAddr) -> String) -> Result<String, Trouble> {
        let client = Client::connect(self.at)?;
        let body = format!(
            "<?xml version=\"1.0\"?>\r\n<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body><u:{action} xmlns:u=\"{}\">{}\
             </u:{action}></s:Body></s:Envelope>",
            self.kind,
            arguments(client.local_addr()?.ip()),
        );
        let headers =
            format!("Content-Type: text/xml; charset=\"utf-8\"\r\nSOAPAction: \"{}#{action}\"\r\n", self.kind);
        let answer = client.request("POST", &self.path, &headers, &body)?;
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        if answer.status == 200 {
            return Ok(body);
        }
        let code = value(&body, "errorCode").and_then(|code| code.parse().ok());
        Err(Trouble::Refused(code.unwrap_or(answer.status)))
    }

    /// Maps an external port to `internal`. Returns whether the gateway keeps it without end.
    fn add(&self, transport: Transport, external: u16, internal: u16, lifetime: Duration) -> Result<(), Trouble> {
        let protocol = match transport {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        };
        let add = |secs: u64| {
            self.call("AddPortMapping", |client| {
                format!(
                    "<NewRemoteHost></NewRemoteHost><NewExternalPort>{external}</NewExternalPort>\
                     <NewProtocol>{protocol}</NewProtocol><NewInternalPort>{internal}</NewInternalPort>\
                     <NewInternalClient>{client}</NewInternalClient><NewEnabled>1</NewEnabled>\
                     <NewPortMappingDescription>peerless</NewPortMappingDescription>\
                     <NewLeaseDuration>{secs}</NewLeaseDuration>"
                )
            })
        };
        match add(lifetime.as_secs()) {
            Err(Trouble::Refused(ONLY_PERMANENT_LEASES)) => add(0).map(drop),
            result => result.map(drop),
        }
    }

    /// Maps `internal` to the external port that is wanted, or to another one where that is taken.
    fn add_any(&self, transport: Transport, wanted: u16, internal: u16, lifetime: Duration) -> Result<u16, Trouble> {
        let mut external = wanted;
        for _ in 0..OTHER_PORTS {
            match self.add(transport, external, internal, lifetime) {
                Ok(()) => return Ok(external),
                Err(Trouble::Refused(CONFLICT)) => {
                    let mut random = [0; 2];
                    getrandom::fill(&mut random).map_err(std::io::Error::from)?;
                    external = u16::from_be_bytes(random) | 0x8000;
                }
                Err(trouble) => return Err(trouble),
            }
        }
        self.add(transport, external, internal, lifetime).map(|()| external)
    }
}

/// The text of the first element of that name.
fn value(xml: &str, name: &str) -> Option<String> {
    let document = roxmltree::Document::parse(xml).ok()?;
    let node = document.descendants().find(|node| node.tag_name().name() == name)?;
    node.text().map(|text| text.trim().to_owned())
}

fn map_at(request: &Request, service: &Service, wanted: Ports) -> Result<(Mapped, External), Trouble> {
    let answer = service.call("GetExternalIPAddress", |_| String::new())?;
    let ip = value(&answer, "NewExternalIPAddress").and_then(|ip| ip.parse().ok());
    let map = |transport, internal: u16, wanted: Option<u16>| {
        let map = || service.add_any(transport, wanted.unwrap_or(internal), internal, request.lifetime);
        (internal != 0).then(map).transpose()
    };
    let ports = Ports {
        udp: map(Transport::Udp, request.udp, wanted.udp)?,
        tcp: map(Transport::Tcp, request.tcp, wanted.tcp)?,
    };
    Ok((Mapped { service: service.clone(), ports }, External::new("UPnP", ip, ports)))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::nat::tests::request;

    const KIND: &str = "urn:schemas-upnp-org:service:WANIPConnection:1";

    fn description(control: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?><root xmlns=\"urn:schemas-upnp-org:device-1-0\"><device><serviceList><service>\
             <serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType><controlURL>/no</controlURL>\
             </service></serviceList><deviceList><device><deviceList><device><serviceList><service>\
             <serviceType>{KIND}</serviceType><controlURL>{control}</controlURL></service></serviceList></device>\
             </deviceList></device></deviceList></device></root>"
        )
    }

    /// A gateway on loopback. `refuse` gives the code for an action's body, if it is refused. Returns where it is searched, and
    /// the bodies of all actions.
    fn gateway(refuse: impl Fn(&str) -> Option<u16> + Send + 'static) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
        let search = UdpSocket::bind("127.0.0.1:0").unwrap();
        let web = TcpListener::bind("127.0.0.1:0").unwrap();
        let (ssdp, at) = (search.local_addr().unwrap(), web.local_addr().unwrap());
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            search.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            while let Ok((n, from)) = search.recv_from(&mut buffer) {
                assert!(buffer[..n].starts_with(b"M-SEARCH * HTTP/1.1\r\n"));
                // Another host than the one that answers, and then the right one.
                for at in ["127.0.0.9:1", &at.to_string()] {
                    let answer = format!("HTTP/1.1 200 OK\r\nLocation: http://{at}/d.xml\r\nST: x\r\n\r\n");
                    search.send_to(answer.as_bytes(), from).unwrap();
                }
            }
        });
        let actions = Arc::new(Mutex::new(Vec::new()));
        let log = actions.clone();
        std::thread::spawn(move || {
            for mut stream in web.incoming().map_while(Result::ok) {
                let mut received = Vec::new();
                let mut buffer = [0; 4096];
                let request = loop {
                    let n = stream.read(&mut buffer).unwrap();
                    received.extend_from_slice(&buffer[..n]);
                    let text = String::from_utf8(received.clone()).unwrap();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
                    if body.len() == length.parse::<usize>().unwrap() {
                        break text;
                    }
                };
                let (status, body) = if request.starts_with("GET /d.xml ") {
                    ("200 OK", description("ctl/wan"))
                } else {
                    assert!(request.starts_with("POST /ctl/wan HTTP/1.1\r\n"), "{request}");
                    log.lock().unwrap().push(request.clone());
                    match refuse(&request) {
                        Some(code) => ("500 Error", format!("<a><errorCode>{code}</errorCode></a>")),
                        None => ("200 OK", "<a><NewExternalIPAddress>5.6.7.8</NewExternalIPAddress></a>".to_owned()),
                    }
                };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        (ssdp, actions)
    }

    fn count(actions: &Mutex<Vec<String>>, parts: &[&str]) -> usize {
        let actions = actions.lock().unwrap();
        actions.iter().filter(|action| parts.iter().all(|part| action.contains(part))).count()
    }

    #[test]
    fn ports_are_mapped_renewed_and_removed() {
        let (ssdp, actions) = gateway(|_| None);
        let request = Request { ssdp, ..request("upnp") };
        let (mapped, external) = map(&request).unwrap();
        let ip = Some([5, 6, 7, 8].into());
        assert_eq!(external, External { by: "UPnP", ip, udp: Some(30303), tcp: Some(30304) });
        let client = "<NewInternalClient>127.0.0.1</NewInternalClient>";
        let lease = "<NewLeaseDuration>600</NewLeaseDuration>";
        for protocol in ["<NewProtocol>UDP</NewProtocol>", "<NewProtocol>TCP</NewProtocol>"] {
            let action = format!("SOAPAction: \"{KIND}#AddPortMapping\"");
            assert_eq!(count(&actions, &[protocol, client, lease, &action]), 1);
        }
        assert_eq!(mapped.renew(&request).unwrap().1, external);
        assert_eq!(count(&actions, &["#AddPortMapping"]), 4);
        mapped.remove();
        assert_eq!(count(&actions, &["#DeletePortMapping", "<NewExternalPort>30303</NewExternalPort>"]), 1);
        assert_eq!(count(&actions, &["#DeletePortMapping", "<NewExternalPort>30304</NewExternalPort>"]), 1);
    }

    #[test]
    fn a_port_that_is_taken_is_replaced_by_another() {
        let taken = "<NewExternalPort>30303</NewExternalPort>";
        let (ssdp, _) = gateway(move |action| action.contains(taken).then_some(CONFLICT));
        let (_, external) = map(&Request { ssdp, ..request("upnp") }).unwrap();
        assert!(external.udp.is_some_and(|port| port >= 0x8000), "{external:?}");
        assert_eq!(external.tcp, Some(30304));
    }

    #[test]
    fn a_gateway_without_leases_is_asked_for_mappings_without_end() {
        let lease = "<NewLeaseDuration>600</NewLeaseDuration>";
        let (ssdp, actions) = gateway(move |action| action.contains(lease).then_some(ONLY_PERMANENT_LEASES));
        assert!(map(&Request { ssdp, ..request("upnp") }).is_ok());
        assert_eq!(count(&actions, &["<NewLeaseDuration>0</NewLeaseDuration>"]), 2);
    }

    #[test]
    fn a_refusal_is_told_with_its_code() {
        let (ssdp, _) = gateway(|action| action.contains("#AddPortMapping").then_some(606));
        let trouble = map(&Request { ssdp, ..request("upnp") }).unwrap_err();
        assert!(matches!(trouble, Trouble::Refused(606)), "{trouble}");
    }

    #[test]
    fn a_search_that_the_filter_forbids_is_not_sent_and_one_without_answer_ends() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let nowhere = Request { ssdp: "10.0.0.1:1900".parse().unwrap(), ..request("upnp") };
        assert!(matches!(map(&nowhere), Err(Trouble::Filtered(_))));
        let silent = Request { ssdp: silent.local_addr().unwrap(), ..request("upnp") };
        assert!(matches!(map(&silent), Err(Trouble::NoGateway)));
    }

    #[test]
    fn services_of_other_hosts_and_hostile_descriptions_are_refused() {
        let location = Location::parse("http://127.0.0.1:5000/d.xml").unwrap();
        let path = |control: &str| {
            read_service(&location, description(control).as_bytes()).map(|service| (service.at.port(), service.path))
        };
        assert_eq!(path("/a/b"), Some((5000, "/a/b".to_owned())));
        assert_eq!(path("http://127.0.0.1:5001/c"), Some((5001, "/c".to_owned())));
        assert_eq!(path("http://127.0.0.2:5000/c"), None);
        assert_eq!(path("/a b"), None);
        assert_eq!(path("/a&#13;&#10;Host: x"), None);
        for bad in ["", "<a", "<a><service></service></a>", "\u{fffd}"] {
            assert!(read_service(&location, bad.as_bytes()).is_none(), "{bad}");
        }
        for bad in ["https://1.2.3.4/", "http://router/x", "ftp://1.2.3.4/", "http://1.2.3.4:99999/"] {
            assert_eq!(Location::parse(bad), None, "{bad}");
        }
        assert_eq!(Location::parse("http://1.2.3.4").unwrap().at, "1.2.3.4:80".parse().unwrap());
    }
}
