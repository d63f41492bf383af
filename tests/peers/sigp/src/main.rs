//! A test peer around the crate `discv5`: one node or several, each with a socket of its own. The command line, the commands
//! and the events are described in `../README.md`.
//!
//! What the library does not show, or shows differently:
//! - `nodes` has the records of the first message of an answer only.
//! - `record` comes for each record that a lookup or the request for a newer record brings.
//! - A node looks nothing up by itself.

use std::{fmt, net::Ipv4Addr, sync::Arc, time::Duration};

use discv5::{ConfigBuilder, Discv5, Enr, Event, IpMode, ListenConfig, NodeContact};
use enr::{CombinedKey, NodeId};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::UdpSocket,
    sync::mpsc::Receiver,
    time::sleep,
};
use tracing::{
    Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

const NAME: &str = "discv5/v0.12.0/test-peer";
/// The protocol whose requests are answered, with the reversed request.
const PROTOCOL: &[u8] = b"test";

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

fn emit(event: Value) {
    println!("{event}");
}

fn fail(what: impl fmt::Display) {
    emit(json!({"event": "error", "what": what.to_string()}));
}

/// Reports the library's warnings.
struct Warnings;

/// The fields of a warning.
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!(" {}: {value:?}", field.name());
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::WARN && metadata.target().starts_with("discv5")
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields(event.metadata().target().to_owned());
        event.record(&mut fields);
        fail(fields.0);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return Err(format!("not hexadecimal: {text}").into());
    }
    let digits = (0..text.len()).step_by(2);
    Ok(digits.map(|at| u8::from_str_radix(&text[at..at + 2], 16)).collect::<Result<_, _>>()?)
}

fn id(record: &Enr) -> String {
    hex(&record.node_id().raw())
}

fn is_loopback(record: &Enr) -> bool {
    record.ip4() == Some(Ipv4Addr::LOCALHOST)
}

struct Args {
    keys: Vec<CombinedKey>,
    ports: Vec<u16>,
    lifetime: Duration,
}

impl Args {
    fn parse() -> Result<Self> {
        let mut args = Self { keys: Vec::new(), ports: Vec::new(), lifetime: Duration::from_secs(60) };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let value = words.next().ok_or(format!("{word} needs a value"))?;
            match word.as_str() {
                "--key" => args.keys.push(CombinedKey::secp256k1_from_bytes(&mut unhex(&value)?)?),
                "--udp" => args.ports.push(value.parse()?),
                "--lifetime" => args.lifetime = Duration::from_secs(value.parse()?),
                _ => return Err(format!("unknown argument: {word}").into()),
            }
        }
        if args.keys.is_empty() {
            return Err("--key is required".into());
        }
        Ok(args)
    }
}

/// Starts a node, whose events are printed.
async fn start(index: usize, key: CombinedKey, port: u16) -> Result<Discv5> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let port = socket.local_addr()?.port();
    let record = Enr::builder().ip4(Ipv4Addr::LOCALHOST).udp4(port).build(&key)?;
    let listen = ListenConfig::FromSockets { ipv4: Some(Arc::new(socket)), ipv6: None };
    let config = ConfigBuilder::new(listen).disable_enr_update().table_filter(is_loopback).build();
    let mut node = Discv5::new(record, key, config)?;
    node.start().await.map_err(|error| format!("{error:?}"))?;
    let events = node.event_stream().await.map_err(|error| format!("{error:?}"))?;
    tokio::spawn(report(index, events));
    Ok(node)
}

/// Prints the events of a node, and answers requests.
async fn report(node: usize, mut events: Receiver<Event>) {
    while let Some(event) = events.recv().await {
        match event {
            Event::SessionEstablished(record, _) => {
                emit(json!({"event": "session", "node": node, "id": id(&record), "seq": record.seq()}));
            }
            Event::Discovered(record) => {
                emit(json!({"event": "record", "node": node, "id": id(&record), "seq": record.seq()}));
            }
            Event::TalkRequest(request) => {
                let (from, protocol) = (hex(&request.node_id().raw()), hex(request.protocol()));
                let body = hex(request.body());
                emit(json!({"event": "talk_request", "node": node, "id": from, "protocol": protocol, "request": body}));
                // A request that is dropped is answered with nothing.
                if request.protocol() == PROTOCOL {
                    let reversed = request.body().iter().rev().copied().collect();
                    if let Err(error) = request.respond(reversed) {
                        fail(error);
                    }
                }
            }
            _ => {}
        }
    }
}

fn record(command: &Value) -> Result<Enr> {
    let record: Enr = command["enr"].as_str().unwrap_or_default().parse()?;
    if !is_loopback(&record) {
        return Err(format!("not a loopback address: {record}").into());
    }
    Ok(record)
}

/// Prints the result of a command when it is there.
fn later<T, E: fmt::Debug>(
    command: &Value,
    of: String,
    result: impl Future<Output = Result<T, E>> + Send + 'static,
    event: impl FnOnce(T) -> Value + Send + 'static,
) {
    let (cmd, node) = (command["cmd"].clone(), command["node"].as_u64().unwrap_or(0));
    tokio::spawn(async move {
        let mut event = match result.await {
            Ok(value) => event(value),
            Err(error) => json!({"event": "failed", "cmd": cmd, "what": format!("{error:?}")}),
        };
        event["node"] = node.into();
        event["id"] = of.into();
        emit(event);
    });
}

fn command(nodes: &[Discv5], line: &str) -> Result<()> {
    let command: Value = serde_json::from_str(line)?;
    let number = command["node"].as_u64().unwrap_or(0);
    let node = nodes.get(usize::try_from(number)?).ok_or("no such node")?;
    let bytes = |name: &str| unhex(command[name].as_str().unwrap_or_default());
    match command["cmd"].as_str() {
        Some("add") => node.add_enr(record(&command)?)?,
        Some("ping") => {
            let record = record(&command)?;
            later(&command, id(&record), node.send_ping(record), |pong| {
                let seen_as = format!("{}:{}", pong.ip, pong.port);
                json!({"event": "pong", "seq": pong.enr_seq, "seen_as": seen_as})
            });
        }
        Some("findnode") => {
            let record = record(&command)?;
            let distances = command["distances"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
            later(&command, id(&record), node.find_node_designated_peer(record, distances), |nodes| {
                let nodes: Vec<_> = nodes.iter().map(id).collect();
                json!({"event": "nodes", "nodes": nodes})
            });
        }
        Some("talk") => {
            let record = record(&command)?;
            let of = id(&record);
            let contact = NodeContact::try_from_enr(record, IpMode::Ip4).map_err(|error| format!("{error:?}"))?;
            let result = node.talk_req(contact, bytes("protocol")?, bytes("request")?);
            later(&command, of, result, |response| json!({"event": "talk_response", "response": hex(&response)}));
        }
        Some("lookup") => {
            let target = NodeId::parse(&bytes("target")?)?;
            later(&command, hex(&target.raw()), node.find_node(target), |nodes| {
                let nodes: Vec<_> = nodes.iter().map(id).collect();
                json!({"event": "found", "nodes": nodes})
            });
        }
        Some("known") => {
            let id = NodeId::parse(&bytes("id")?)?;
            let seq = node.find_enr(&id).map(|record| record.seq());
            emit(json!({"event": "known", "node": number, "id": hex(&id.raw()), "seq": seq}));
        }
        Some("update") => {
            let key = command["key"].as_str().unwrap_or_default();
            node.enr_insert(key, &bytes("value")?.as_slice()).map_err(|error| format!("{error:?}"))?;
            let record = node.local_enr();
            emit(json!({"event": "updated", "node": number, "enr": record.to_base64(), "seq": record.seq()}));
        }
        Some("quit") => std::process::exit(0),
        _ => return Err(format!("unknown command: {line}").into()),
    }
    Ok(())
}

async fn run() -> Result<()> {
    let args = Args::parse()?;
    tracing::subscriber::set_global_default(Warnings)?;
    let mut nodes = Vec::new();
    let ports = args.ports.into_iter().chain(std::iter::repeat(0));
    for (index, (key, port)) in args.keys.into_iter().zip(ports).enumerate() {
        nodes.push(start(index, key, port).await?);
    }
    let records: Vec<_> = nodes.iter().map(|node| node.local_enr().to_base64()).collect();
    emit(json!({"event": "ready", "name": NAME, "records": records}));
    let deadline = sleep(args.lifetime);
    tokio::pin!(deadline);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            biased;
            () = &mut deadline => return Ok(()),
            line = lines.next_line() => match line? {
                Some(line) => {
                    if let Err(error) = command(&nodes, &line) {
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
