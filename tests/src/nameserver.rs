//! A small name server on loopback, with a zone in memory, which misbehaves as a test tells it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use simple_dns::rdata::{A, AAAA, CNAME, OPT, RData, TXT};
use simple_dns::{CLASS, CharacterString, Name, Packet, PacketFlag, QTYPE, Question, RCODE, ResourceRecord, TYPE};

/// How often the server looks whether it is to end.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The records of a zone.
#[derive(Clone, Debug, Default)]
pub struct Zone(BTreeMap<String, Vec<(u32, Content)>>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Content {
    Text(String),
    Alias(String),
    Address(IpAddr),
}

impl Zone {
    /// Adds TXT records to a name.
    pub fn txt(&mut self, name: &str, ttl: u32, texts: &[&str]) {
        texts.iter().for_each(|text| self.add(name, ttl, Content::Text((*text).to_owned())));
    }

    /// Makes a name an alias.
    pub fn alias(&mut self, name: &str, ttl: u32, target: &str) {
        self.add(name, ttl, Content::Alias(target.to_owned()));
    }

    /// Adds addresses to a name.
    pub fn addresses(&mut self, name: &str, ttl: u32, addresses: &[&str]) {
        addresses.iter().for_each(|ip| self.add(name, ttl, Content::Address(ip.parse().expect("an address"))));
    }

    fn add(&mut self, name: &str, ttl: u32, content: Content) {
        self.0.entry(name.trim_end_matches('.').to_ascii_lowercase()).or_default().push((ttl, content));
    }

    /// The number of names.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a zone file of TXT records: one a line, with the name, a time to live, `IN TXT` and quoted strings. Lines that
    /// begin with a semicolon are comments; names end in a dot.
    ///
    /// # Errors
    /// With the number of the line that is none of these.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut zone = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with(';') {
                continue;
            }
            let record = || {
                let mut fields = line.splitn(5, [' ', '\t']);
                let [name, ttl, class, kind, strings] = std::array::from_fn(|_| fields.next().unwrap_or_default());
                let name = name.strip_suffix('.').filter(|_| class == "IN" && kind == "TXT")?;
                Some((name.to_owned(), ttl.parse().ok()?, quoted(strings)?))
            };
            let (name, ttl, text) = record().ok_or_else(|| format!("line {number}: {line}"))?;
            zone.add(&name, ttl, Content::Text(text));
        }
        Ok(zone)
    }
}

/// The content of quoted strings, joined.
fn quoted(text: &str) -> Option<String> {
    let mut joined = String::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (string, after) = rest.strip_prefix('"')?.split_once('"')?;
        if string.len() > 255 || string.contains('\\') {
            return None;
        }
        joined.push_str(string);
        rest = after.trim_start();
    }
    Some(joined)
}

/// What the server does wrong.
#[derive(Clone, Debug)]
pub struct Conduct {
    /// Answers nothing at all.
    pub is_silent: bool,
    /// Answers `SERVFAIL`.
    pub fails: bool,
    /// Says that no name exists.
    pub answers_nothing: bool,
    /// Sends wrong answers first: with another id, to another question, from another port, or bytes that are no packet.
    pub forges_id: bool,
    pub forges_question: bool,
    pub forges_source: bool,
    pub sends_garbage: bool,
    /// The number of wrong answers.
    pub forgeries: usize,
    /// Answers questions with extensions with `FORMERR` if not.
    pub knows_extensions: bool,
    /// Puts what an alias stands for into the same answer.
    pub follows_aliases: bool,
    /// The bytes written at once over TCP.
    pub tcp_piece: usize,
    /// Closes a stream after so many bytes.
    pub tcp_stops_after: Option<usize>,
}

impl Default for Conduct {
    fn default() -> Self {
        Self {
            is_silent: false,
            fails: false,
            answers_nothing: false,
            forges_id: false,
            forges_question: false,
            forges_source: false,
            sends_garbage: false,
            forgeries: 1,
            knows_extensions: true,
            follows_aliases: true,
            tcp_piece: usize::MAX,
            tcp_stops_after: None,
        }
    }
}

/// A running server. It ends when it is dropped.
pub struct NameServer {
    addr: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    zone: Zone,
    conduct: Conduct,
    is_over: AtomicBool,
    asked: AtomicUsize,
    asked_over_tcp: AtomicUsize,
}

impl NameServer {
    /// Starts a server on a free port of 127.0.0.1, UDP and TCP.
    pub fn start(zone: Zone, conduct: Conduct) -> Self {
        let (udp, tcp) = (0..100)
            .find_map(|_| {
                let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
                Some((UdpSocket::bind(tcp.local_addr().ok()?).ok()?, tcp))
            })
            .expect("a port that is free for both");
        let addr = udp.local_addr().expect("a bound socket");
        udp.set_read_timeout(Some(LOOK_INTERVAL)).expect("a time");
        tcp.set_nonblocking(true).expect("a mode");
        let (is_over, asked, asked_over_tcp) = Default::default();
        let shared = Arc::new(Shared { zone, conduct, is_over, asked, asked_over_tcp });
        let (for_udp, for_tcp) = (shared.clone(), shared.clone());
        let threads = vec![
            std::thread::spawn(move || for_udp.serve_udp(&udp)),
            std::thread::spawn(move || for_tcp.serve_tcp(&tcp)),
        ];
        Self { addr, shared, threads }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The number of questions over UDP, those repeated without extensions not counted.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    pub fn asked_over_tcp(&self) -> usize {
        self.shared.asked_over_tcp.load(Ordering::SeqCst)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn serve_udp(&self, socket: &UdpSocket) {
        let mut buffer = [0; 1500];
        while !self.is_over.load(Ordering::SeqCst) {
            let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
            let Ok(question) = Packet::parse(&buffer[..len]) else { continue };
            if question.opt().is_some() && !self.conduct.knows_extensions {
                let mut refusal = Packet::new_reply(question.id());
                *refusal.rcode_mut() = RCODE::FormatError;
                send(socket, from, &refusal);
                continue;
            }
            self.asked.fetch_add(1, Ordering::SeqCst);
            if self.conduct.is_silent {
                continue;
            }
            let size = question.opt().map_or(512, |opt| usize::from(opt.udp_packet_size));
            for _ in 0..self.conduct.forgeries {
                self.forge(socket, from, &question);
            }
            let mut answer = self.answer(&question);
            if question.opt().is_some() {
                *answer.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size: 1232, version: 0 });
            }
            if answer.build_bytes_vec().expect("a packet").len() > size {
                answer.answers.clear();
                answer.set_flags(PacketFlag::TRUNCATION);
            }
            send(socket, from, &answer);
        }
    }

    /// Sends a wrong answer of each kind that it is to send.
    fn forge(&self, socket: &UdpSocket, to: SocketAddr, question: &Packet<'_>) {
        let Conduct { forges_id, forges_question, forges_source, sends_garbage, .. } = self.conduct;
        let text = TXT::new().with_string("forged").expect("short");
        let mut forged = self.answer(question);
        forged.answers =
            vec![ResourceRecord::new(question.questions[0].qname.clone(), CLASS::IN, 60, RData::TXT(text))];
        if forges_id {
            forged.set_id(question.id() ^ 1);
            send(socket, to, &forged);
            forged.set_id(question.id());
        }
        if forges_question {
            let mut other = forged.clone();
            let Question { qtype, qclass, .. } = forged.questions[0];
            other.questions = vec![Question::new(Name::new("other.example").expect("a name"), qtype, qclass, false)];
            send(socket, to, &other);
            other.questions.clear();
            send(socket, to, &other);
        }
        if forges_source {
            let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            send(&other, to, &forged);
        }
        if sends_garbage {
            let bytes = forged.build_bytes_vec().expect("a packet");
            for garbage in [&bytes[..bytes.len() - 3], &bytes[..1], &[], &[0xc0; 600]] {
                let _ = socket.send_to(garbage, to);
            }
            forged.remove_flags(PacketFlag::RESPONSE);
            send(socket, to, &forged);
        }
    }

    fn serve_tcp(&self, listener: &TcpListener) {
        while !self.is_over.load(Ordering::SeqCst) {
            match listener.accept() {
                Ok((stream, _)) => {
                    let _ = self.serve_stream(stream);
                }
                Err(_) => std::thread::sleep(LOOK_INTERVAL),
            }
        }
    }

    fn serve_stream(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut len = [0; 2];
        stream.read_exact(&mut len)?;
        let mut question = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut question)?;
        self.asked_over_tcp.fetch_add(1, Ordering::SeqCst);
        let Ok(question) = Packet::parse(&question) else { return Ok(()) };
        let answer = self.answer(&question).build_bytes_vec().expect("a packet");
        let bytes = [&(answer.len() as u16).to_be_bytes()[..], &answer].concat();
        let bytes = &bytes[..self.conduct.tcp_stops_after.unwrap_or(bytes.len()).min(bytes.len())];
        for piece in bytes.chunks(self.conduct.tcp_piece) {
            stream.write_all(piece)?;
        }
        Ok(())
    }

    fn answer<'a>(&'a self, question: &Packet<'a>) -> Packet<'a> {
        let mut answer = Packet::new_reply(question.id());
        answer.set_flags(PacketFlag::RESPONSE | PacketFlag::RECURSION_AVAILABLE);
        answer.questions.clone_from(&question.questions);
        if self.conduct.fails {
            *answer.rcode_mut() = RCODE::ServerFailure;
            return answer;
        }
        let asked = &question.questions[0];
        let mut name = asked.qname.to_string().to_ascii_lowercase();
        for _ in 0..20 {
            let found = self.zone.0.get(&name).filter(|_| !self.conduct.answers_nothing);
            let Some(records) = found else {
                if answer.answers.is_empty() {
                    *answer.rcode_mut() = RCODE::NameError;
                }
                return answer;
            };
            let mut next = None;
            for (ttl, content) in records {
                let data = match (content, asked.qtype) {
                    (Content::Text(text), QTYPE::TYPE(TYPE::TXT)) => RData::TXT(strings(text)),
                    (Content::Address(IpAddr::V4(ip)), QTYPE::TYPE(TYPE::A)) => RData::A(A { address: (*ip).into() }),
                    (Content::Address(IpAddr::V6(ip)), QTYPE::TYPE(TYPE::AAAA)) => {
                        RData::AAAA(AAAA { address: (*ip).into() })
                    }
                    (Content::Alias(target), _) => {
                        next = Some(target.to_ascii_lowercase());
                        RData::CNAME(CNAME(Name::new_unchecked(target)))
                    }
                    _ => continue,
                };
                let owner = Name::new(&name).expect("a name of the zone").into_owned();
                answer.answers.push(ResourceRecord::new(owner, CLASS::IN, *ttl, data));
            }
            match next.filter(|_| self.conduct.follows_aliases) {
                Some(next) => name = next,
                None => return answer,
            }
        }
        answer
    }
}

/// The strings of a TXT record, of at most 255 bytes each.
fn strings(text: &str) -> TXT<'_> {
    let mut txt = TXT::new();
    for string in text.as_bytes().chunks(255) {
        txt.add_char_string(CharacterString::new(string).expect("short enough"));
    }
    txt
}

fn send(socket: &UdpSocket, to: SocketAddr, packet: &Packet<'_>) {
    let _ = socket.send_to(&packet.build_bytes_vec().expect("a packet"), to);
}
