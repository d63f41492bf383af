//! A test peer around `ethrex-p2p`: RLPx with eth/68 to eth/71 and snap/1, discv4 with ENR, and discv5. The command line, the
//! commands and the events are described in `../README.md`.
//!
//! The library reports nothing to its user, so most events are read from its `tracing` output, whose texts are those of
//! the pinned version. What it does not show, or shows differently:
//! - `hello` comes together with `status`, since the client's whole name is known only then. When a session ends before,
//!   it comes ahead of `disconnect`, without `caps` and with the part of the name before the first slash.
//! - `id` is the public key. Of an inbound peer that did not reach `status` only a part of the node id is shown.
//! - `disconnect`: the reason is null when the connection was closed without a Disconnect that could be read, or when
//!   the library sent one without a reason. The library neither closes a connection after a Disconnect that it was told
//!   to send, nor notices for 10 to 20 seconds that the other side has closed it. So each connection goes through a relay
//!   inside this program, which closes both sides half a second after one of them has ended.
//! - A failed dial or RLPx handshake is an `error`.
//! - `discv4`: packets that it could not decode are not shown; packets of unbonded senders are, followed by an `error`.
//! - `discv5`: messages only, with the first and last two bytes of the sender's node id. It sends no request on a command, and
//!   each of its lookups has a random target; `found` has the nearest of all nodes that it has heard of.
//!
//! It never dials on its own: the library's initiator, which would dial every node found by discovery, is not started.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use ethrex_blockchain::Blockchain;
use ethrex_common::{H256, H512, types::Genesis};
use ethrex_p2p::{
    DiscoveryConfig,
    discovery::{DiscoveryServer, lookup::LOOKUP_BUCKET_SIZE},
    network::P2PContext,
    peer_table::{DiscoveryProtocol, PeerTable, PeerTableServer, PeerTableServerProtocol as _},
    rlpx::{
        Message,
        connection::server::PeerConnection,
        error::PeerConnectionError,
        eth::blocks::{GetBlockHeaders, HashOrNumber},
        p2p::{DisconnectMessage, DisconnectReason},
    },
    types::{INITIAL_ENR_SEQ, NetworkConfig, Node, NodeRecord},
    utils::{node_id, public_key_from_signing_key},
};
use ethrex_storage::{EngineType, Store};
use secp256k1::SecretKey;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{Notify, Semaphore, mpsc},
    time::sleep,
};
use tracing::{
    Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const NAME: &str = "ethrex-p2p/v24.0.0/test-peer";
const GRACE: Duration = Duration::from_millis(500);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const ETH: [(u8, &str); 13] = [
    (0x02, "Transactions"),
    (0x03, "GetBlockHeaders"),
    (0x04, "BlockHeaders"),
    (0x05, "GetBlockBodies"),
    (0x06, "BlockBodies"),
    (0x08, "NewPooledTransactionHashes"),
    (0x09, "GetPooledTransactions"),
    (0x0a, "PooledTransactions"),
    (0x0f, "GetReceipts"),
    (0x10, "Receipts"),
    (0x11, "BlockRangeUpdate"),
    (0x12, "GetBlockAccessLists"),
    (0x13, "BlockAccessLists"),
];
const SNAP: [(u8, &str); 8] = [
    (0x00, "GetAccountRange"),
    (0x01, "AccountRange"),
    (0x02, "GetStorageRanges"),
    (0x03, "StorageRanges"),
    (0x04, "GetByteCodes"),
    (0x05, "ByteCodes"),
    (0x06, "GetTrieNodes"),
    (0x07, "TrieNodes"),
];

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

fn emit(event: Value) {
    println!("{event}");
}

fn error(what: impl fmt::Display) -> Value {
    json!({"event": "error", "what": what.to_string()})
}

fn fail(what: impl fmt::Display) {
    emit(error(what));
}

/// One record of the library's `tracing` output.
struct Record {
    debug: bool,
    fields: HashMap<&'static str, String>,
}

impl Record {
    fn get(&self, field: &str) -> &str {
        self.fields.get(field).map_or("", String::as_str)
    }
}

impl Visit for Record {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // The text comes first; the library has a field of the same name.
        let name = match field.name() {
            "message" if self.fields.contains_key("message") => "inner",
            name => name,
        };
        self.fields.insert(name, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}

/// Hands the records of `ethrex-p2p` to the main loop.
struct Tap(mpsc::UnboundedSender<Record>);

impl Subscriber for Tap {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("ethrex_p2p")
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut record = Record { debug: *event.metadata().level() <= Level::DEBUG, fields: HashMap::new() };
        event.record(&mut record);
        let _ = self.0.send(record);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

struct Args {
    key: SecretKey,
    tcp: u16,
    udp: u16,
    genesis: String,
    genesis_hash: Option<String>,
    network_id: Option<u64>,
    discovery: bool,
    discv5: bool,
    lifetime: Duration,
}

impl Args {
    fn parse() -> Result<Self> {
        let mut values = HashMap::new();
        let (mut discovery, mut discv5) = (true, false);
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--no-discovery" => discovery = false,
                "--discv5" => discv5 = true,
                "--key" | "--tcp" | "--udp" | "--genesis" | "--genesis-hash" | "--network-id" | "--lifetime" => {
                    let value = words.next().ok_or(format!("{word} needs a value"))?;
                    values.insert(word, value);
                }
                _ => return Err(format!("unknown argument: {word}").into()),
            }
        }
        let mut take = |name: &str| values.remove(name);
        Ok(Self {
            key: take("--key").ok_or("--key is required")?.parse()?,
            tcp: take("--tcp").map_or(Ok(0), |text| text.parse())?,
            udp: take("--udp").map_or(Ok(0), |text| text.parse())?,
            genesis: take("--genesis").ok_or("--genesis is required")?,
            genesis_hash: take("--genesis-hash"),
            network_id: take("--network-id").map(|text| text.parse()).transpose()?,
            discovery,
            discv5,
            lifetime: Duration::from_secs(take("--lifetime").map_or(Ok(60), |text| text.parse())?),
        })
    }
}

/// A connection, from its TCP stream on.
struct Session {
    id: String,
    client: String,
    version: Option<u64>,
    connection: Option<PeerConnection>,
    /// The reason of the Disconnect and who sent it.
    end: Option<(Option<u8>, &'static str)>,
    hello: bool,
    /// Makes the relay close the connection soon.
    ending: Arc<Notify>,
}

impl Session {
    fn new(id: String) -> Self {
        Self {
            id,
            client: String::new(),
            version: None,
            connection: None,
            end: None,
            hello: false,
            ending: Arc::default(),
        }
    }

    fn hello(&mut self, caps: Option<Vec<String>>) {
        self.hello = true;
        let mut event = json!({"event": "hello", "id": self.id, "client": self.client});
        if let Some(caps) = caps {
            event["caps"] = json!(caps);
        }
        emit(event);
    }
}

/// What tasks report; the main loop takes it after the records that led to it.
enum Later {
    Event(Value),
    /// The address of a connection that was closed, and the side that closed it.
    End(String, &'static str),
}

struct Peer {
    context: P2PContext,
    table: PeerTable,
    discovery: bool,
    /// By the address under which the library knows the other side.
    sessions: HashMap<String, Session>,
    later: mpsc::UnboundedSender<Later>,
    bonded: HashSet<H512>,
    requests: u64,
}

/// The library shows a node as `client #0x1234…abcd(ip:port)`.
fn split_node(text: &str) -> (&str, &str, &str) {
    let (client, node) = text.rsplit_once(" #").unwrap_or(("", text));
    let (id, address) = node.split_once('(').unwrap_or((node, ""));
    (client, id, address.trim_end_matches(')'))
}

fn reason(shown: &str) -> Option<u8> {
    DisconnectReason::all()
        .into_iter()
        .find(|reason| shown == format!("{reason:?}") || shown.ends_with(&reason.to_string()))
        .map(u8::from)
}

/// Joins two streams until a while after the first end of either, or after `ending`. Returns who ended it.
async fn relay(mut outer: TcpStream, mut inner: TcpStream, ending: &Notify) -> &'static str {
    // The relay must not add a delay; where this fails, it is only slower.
    let _ = outer.set_nodelay(true);
    let _ = inner.set_nodelay(true);
    let (mut outer_read, mut outer_write) = outer.split();
    let (mut inner_read, mut inner_write) = inner.split();
    let by = OnceLock::new();
    let inward = async {
        let _ = copy(&mut outer_read, &mut inner_write).await;
        by.get_or_init(|| "them");
        let _ = inner_write.shutdown().await;
        ending.notify_one();
    };
    let outward = async {
        let _ = copy(&mut inner_read, &mut outer_write).await;
        by.get_or_init(|| "us");
        let _ = outer_write.shutdown().await;
        ending.notify_one();
    };
    let both = async { tokio::join!(inward, outward) };
    tokio::select! {
        _ = both => {}
        () = async { ending.notified().await; sleep(GRACE).await } => {}
    }
    by.get().copied().unwrap_or("us")
}

impl Peer {
    async fn accept(&mut self, outer: TcpStream, address: SocketAddr) -> Result<()> {
        let listener = TcpListener::bind((LOOPBACK, 0)).await?;
        let inner = TcpStream::connect(listener.local_addr()?).await?;
        let (stream, _) = listener.accept().await?;
        let session = Session::new(String::new());
        self.join(address.to_string(), session, async { Ok((outer, inner)) });
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned()?;
        PeerConnection::spawn_as_receiver(self.context.clone(), address, stream, permit);
        Ok(())
    }

    async fn dial(&mut self, node: Node) -> Result<()> {
        let listener = TcpListener::bind((LOOPBACK, 0)).await?;
        let address = listener.local_addr()?;
        let session = Session::new(format!("{:x}", node.public_key));
        let (target, key) = (node.tcp_addr(), node.public_key);
        self.join(address.to_string(), session, async move {
            let outer = TcpStream::connect(target).await?;
            Ok((outer, listener.accept().await?.0))
        });
        let node = Node::new(LOOPBACK, 0, address.port(), key);
        PeerConnection::spawn_as_initiator(self.context.clone(), &node);
        Ok(())
    }

    fn join(
        &mut self,
        address: String,
        session: Session,
        streams: impl Future<Output = std::io::Result<(TcpStream, TcpStream)>> + Send + 'static,
    ) {
        let (ending, later) = (session.ending.clone(), self.later.clone());
        self.sessions.insert(address.clone(), session);
        tokio::spawn(async move {
            let by = match streams.await {
                Ok((outer, inner)) => relay(outer, inner, &ending).await,
                Err(error) => {
                    fail(error);
                    "them"
                }
            };
            let _ = later.send(Later::End(address, by));
        });
    }

    fn end(&mut self, address: &str, by: &str) {
        let Some(mut session) = self.sessions.remove(address) else {
            return;
        };
        if !session.hello && session.client.is_empty() {
            let who = match session.id.as_str() {
                "" => address,
                id => id,
            };
            return fail(format!("no session with {who}, closed by {by}"));
        }
        if !session.hello {
            session.hello(None);
        }
        let (reason, by) = session.end.unwrap_or((None, by));
        emit(json!({"event": "disconnect", "id": session.id, "reason": reason, "initiated_by": by}));
    }

    async fn record(&mut self, record: Record) {
        match record.get("protocol") {
            "discv4" => return self.packet(&record),
            "discv5" => return discv5_message(&record),
            _ => {}
        }
        let text = record.get("message");
        if text.starts_with("Failed Handshake")
            || matches!(
                text,
                "Handshake timed out on RLPx connection"
                    | "Error receiving RLPx message"
                    | "Error handling cast message"
                    | "connection failure"
            )
        {
            fail(format!("{text} {}", record.get("error")).trim());
        }
        let (client, id, address) = split_node(record.get("peer"));
        let Some(session) = self.sessions.get_mut(address) else {
            return;
        };
        match text {
            "Completed handshake as receiver" => id.clone_into(&mut session.id),
            "Sending status" => client.clone_into(&mut session.client),
            "Received incoming message" => message(&session.id, record.get("inner")),
            "Received Disconnect" => session.end = Some((reason(record.get("reason")), "them")),
            "Peer connection error" | "connection failure" => {
                let error = record.get("error");
                let received = error.starts_with("Disconnect requested") || error.starts_with("Peer disconnected");
                let by = if received { "them" } else { "us" };
                session.end.get_or_insert((reason(error), by));
            }
            "Peer connection initialized." => {
                let peers = self.table.get_peers_data().await.unwrap_or_default();
                let data = peers.into_iter().find(|data| data.node.tcp_addr().to_string() == address);
                if let Some(data) = data {
                    session.id = format!("{:x}", data.node.public_key);
                    session.client = data.node.version.unwrap_or_default();
                    session.connection = data.connection;
                    let caps = data.supported_capabilities.iter();
                    let caps = caps.map(|cap| format!("{}/{}", cap.protocol(), cap.version));
                    session.hello(Some(caps.collect()));
                    emit(json!({"event": "status", "id": session.id, "version": session.version}));
                }
            }
            _ => {
                if let Some(version) = text.strip_prefix("Received Status(") {
                    session.version = version.trim_end_matches(')').parse().ok();
                }
            }
        }
    }

    fn packet(&mut self, record: &Record) {
        let kind = match record.get("received") {
            "" => return,
            "Neighbors" => "neighbours".to_owned(),
            other => other.to_lowercase(),
        };
        if record.debug && !record.get("to").is_empty() {
            let text = record.get("message");
            return fail(format!("discv4 {kind} of {}: {text}", record.get("to")));
        }
        if record.get("msg").is_empty() {
            return;
        }
        let id = record.get("from").trim_start_matches("0x");
        emit(json!({"event": "discv4", "kind": kind, "id": id}));
        if let Ok(key) = id.parse::<H512>()
            && kind == "pong"
            && self.bonded.insert(key)
        {
            let (table, later) = (self.table.clone(), self.later.clone());
            tokio::spawn(async move {
                // The record precedes the work: the table learns of the pong a moment later.
                for _ in 0..50 {
                    sleep(Duration::from_millis(10)).await;
                    let contact = table.get_contact(node_id(&key)).await;
                    if let Ok(Some(contact)) = contact
                        && contact.was_validated()
                    {
                        let id = format!("{key:x}");
                        let event = json!({"event": "discv4", "kind": "peer_added", "id": id});
                        let _ = later.send(Later::Event(event));
                        return;
                    }
                }
            });
        }
    }

    async fn command(&mut self, line: &str) -> Result<()> {
        let command: Value = serde_json::from_str(line)?;
        let integer = |name: &str, default| command[name].as_u64().unwrap_or(default);
        match command["cmd"].as_str() {
            Some("dial") => self.dial(parse_enode(&command)?).await?,
            Some("bond") if !self.discovery => return Err("discovery is off".into()),
            Some("bond") => {
                let node = parse_enode(&command)?;
                self.table.new_contacts(vec![node], DiscoveryProtocol::Discv4)?;
            }
            Some("add") => {
                self.table.new_contacts(vec![parse_record(&command)?], DiscoveryProtocol::Discv5)?;
            }
            Some("known") => {
                let id = parse_id(&command, "id")?;
                let contact = self.table.get_contact(id).await?;
                let seq = contact.as_ref().and_then(|contact| Some(contact.record.as_ref()?.seq));
                let answered = contact.is_some_and(|contact| contact.was_validated());
                emit(json!({"event": "known", "node": 0, "id": format!("{id:x}"), "seq": seq, "answered": answered}));
            }
            Some("lookup") => {
                let target = parse_id(&command, "target")?;
                let nodes = self.table.get_closest_from_pool(target, LOOKUP_BUCKET_SIZE).await?;
                let nodes: Vec<_> = nodes.iter().map(|(id, _)| format!("{id:x}")).collect();
                emit(json!({"event": "found", "node": 0, "id": format!("{target:x}"), "nodes": nodes}));
            }
            Some("headers") => {
                let block = HashOrNumber::Number(integer("block", 0));
                let amount = integer("amount", 1);
                for session in self.sessions.values() {
                    let Some(mut connection) = session.connection.clone() else {
                        continue;
                    };
                    self.requests += 1;
                    let request = GetBlockHeaders::new(self.requests, block, amount, 0, false);
                    let id = session.id.clone();
                    let later = self.later.clone();
                    tokio::spawn(async move {
                        let request = Message::GetBlockHeaders(request);
                        let answer = connection.outgoing_request(request, REQUEST_TIMEOUT).await;
                        let _ = later.send(Later::Event(headers(&id, answer)));
                    });
                }
            }
            Some("disconnect") => {
                let code = u8::try_from(integer("reason", 8))?;
                for session in self.sessions.values_mut() {
                    let Some(mut connection) = session.connection.take() else {
                        continue;
                    };
                    let message = DisconnectMessage::new(Some(code.into()));
                    connection.outgoing_message(Message::Disconnect(message)).await?;
                    session.end = Some((Some(code), "us"));
                    session.ending.notify_one();
                }
            }
            Some("quit") => std::process::exit(0),
            _ => return Err(format!("unknown command: {line}").into()),
        }
        Ok(())
    }
}

fn headers(id: &str, answer: Result<Message, PeerConnectionError>) -> Value {
    match answer {
        Ok(Message::BlockHeaders(answer)) => {
            let headers = answer.block_headers.iter();
            let hashes: Vec<_> = headers.map(|header| format!("{:#x}", header.hash())).collect();
            json!({"event": "headers", "id": id, "request_id": answer.id, "hashes": hashes})
        }
        Ok(other) => error(format!("{other} instead of headers from {id}")),
        Err(cause) => error(format!("no headers from {id}: {cause}")),
    }
}

/// Reports a message of eth or snap; the library shows it as, for example, `eth:GetReceipts(68)`.
fn message(id: &str, shown: &str) {
    let (protocol, name) = shown.split_once(':').unwrap_or(("", shown));
    let table = match protocol {
        "eth" => &ETH[..],
        "snap" => &SNAP[..],
        _ => return,
    };
    let name = name.trim_start_matches(':').split('(').next().unwrap_or(name);
    let name = name.strip_suffix("Message").unwrap_or(name);
    match table.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)) {
        Some((code, name)) => {
            emit(json!({"event": "message", "id": id, "protocol": protocol, "code": code, "name": name}));
        }
        None => fail(format!("unknown message {shown} from {id}")),
    }
}

fn parse_enode(command: &Value) -> Result<Node> {
    let text = command["enode"].as_str().unwrap_or_default();
    // The library slices the text without a check.
    if text.len() < 144 || !text.is_ascii() {
        return Err(format!("not an enode: {text}").into());
    }
    loopback(Node::from_enode_url(text)?)
}

fn loopback(node: Node) -> Result<Node> {
    if node.ip != LOOPBACK {
        return Err(format!("not a loopback address: {}", node.ip).into());
    }
    Ok(node)
}

fn parse_record(command: &Value) -> Result<Node> {
    let text = command["enr"].as_str().unwrap_or_default();
    // The library slices the text without a check.
    if !text.starts_with("enr:") {
        return Err(format!("not a record: {text}").into());
    }
    loopback(Node::from_enr_url(text)?)
}

fn parse_id(command: &Value, name: &str) -> Result<H256> {
    Ok(command[name].as_str().unwrap_or_default().parse()?)
}

fn discv5_message(record: &Record) {
    let (kind, id) = (record.get("received"), record.get("from"));
    // A timer of its own is received, too.
    if !kind.is_empty() && !id.is_empty() {
        emit(json!({"event": "discv5", "node": 0, "kind": kind.to_lowercase(), "id": id.trim_start_matches("0x")}));
    }
}

async fn run() -> Result<()> {
    let args = Args::parse()?;
    let (records, mut received) = mpsc::unbounded_channel();
    tracing::subscriber::set_global_default(Tap(records))?;

    let mut genesis: Value = serde_json::from_slice(&std::fs::read(&args.genesis)?)?;
    if let Some(id) = args.network_id {
        genesis["config"]["chainId"] = json!(id);
    }
    let genesis: Genesis = serde_json::from_value(genesis)?;
    let header = genesis.get_block().header;
    let genesis_hash = format!("{:#x}", header.hash());
    if let Some(expected) = args.genesis_hash
        && expected.trim_start_matches("0x") != &genesis_hash[2..]
    {
        return Err(format!("the genesis hash is {genesis_hash}").into());
    }
    let mut store = Store::new("memory", EngineType::InMemory)?;
    store.add_initial_state(genesis).await?;
    let fork_id = store.get_fork_id().await?;
    let blockchain = Arc::new(Blockchain::default_with_store(store.clone()));
    // Otherwise it ignores transactions and their announcements.
    blockchain.set_synced();

    let listener = TcpListener::bind((LOOPBACK, args.tcp)).await?;
    let tcp = listener.local_addr()?.port();
    let (socket, udp) = if args.discovery {
        let socket = UdpSocket::bind((LOOPBACK, args.udp)).await?;
        let port = socket.local_addr()?.port();
        (Some(Arc::new(socket)), port)
    } else {
        (None, 0)
    };
    let node = Node::new(LOOPBACK, udp, tcp, public_key_from_signing_key(&args.key));
    let table = PeerTableServer::spawn(node.node_id(), 50, store.clone());
    let context = P2PContext::new(
        node.clone(),
        NetworkConfig::from_node(&node),
        Default::default(),
        args.key,
        table.clone(),
        store.clone(),
        blockchain,
        NAME.into(),
        None,
        1000,
        100.0,
    )?;
    if let Some(socket) = socket {
        let config = DiscoveryConfig { discv5_enabled: args.discv5, ..Default::default() };
        DiscoveryServer::spawn(store, node.clone(), args.key, socket, table.clone(), vec![], config).await?;
    }
    // As the library makes it.
    let mut record = NodeRecord::from_node(&node, INITIAL_ENR_SEQ, &args.key)?;
    record.set_fork_id(fork_id.clone(), &args.key)?;
    let key = node.public_key;
    emit(json!({
        "event": "ready",
        "enode": format!("enode://{key:x}@{LOOPBACK}:{tcp}?discport={udp}"),
        "name": NAME,
        "genesis_hash": genesis_hash,
        "fork_id": {"hash": format!("{:#x}", fork_id.fork_hash), "next": fork_id.fork_next},
        // The library pads the text.
        "records": [record.enr_url()?.trim_end_matches('=')],
    }));
    let (later, mut reports) = mpsc::unbounded_channel();
    let mut peer = Peer {
        context,
        table,
        discovery: args.discovery,
        sessions: HashMap::new(),
        later,
        bonded: HashSet::new(),
        requests: 0,
    };
    let deadline = sleep(args.lifetime);
    tokio::pin!(deadline);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            biased;
            () = &mut deadline => return Ok(()),
            Some(record) = received.recv() => peer.record(record).await,
            Some(report) = reports.recv() => match report {
                Later::Event(event) => emit(event),
                Later::End(address, by) => peer.end(&address, by),
            },
            accepted = listener.accept() => {
                let (stream, address) = accepted?;
                peer.accept(stream, address).await?;
            }
            line = lines.next_line() => match line? {
                Some(line) => {
                    if let Err(error) = peer.command(&line).await {
                        fail(error);
                    }
                }
                None => return Ok(()),
            },
        }
    }
}

#[tokio::main]
async fn main() {
    let code = match run().await {
        Ok(()) => 0,
        Err(error) => {
            fail(error);
            1
        }
    };
    // The thread which reads stdin would hold up a return from main.
    std::process::exit(code);
}
