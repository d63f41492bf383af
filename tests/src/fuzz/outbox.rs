//! The two buffers between machines and driver: the outbox of actions and a stream's outgoing bytes.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::SocketAddr;

use peerless::contract::{Action, ConnId, Event, Outbound, SocketId};
use peerless::limits;
use peerless::rng::Seed;
use peerless::wire::p2p::Capability;

use super::handshake::context;
use super::{Choices, Memory, Reached, Target};

/// Actions come out in the order in which they went in, with the payloads that they went in with.
pub const OUTBOX: Target = Target {
    name: "outbox",
    body: outbox,
    memory: Memory::machine(8),
    landmarks: &["sent", "emitted", "staged", "popped", "full", "dropped", "replaced"],
    generated: (2_000, 200),
};

#[derive(PartialEq, Eq, Debug)]
enum Queued {
    Send(SocketAddr, Vec<u8>),
    Dial(ConnId),
    Flush(ConnId),
    Close(ConnId),
    Message(u64, Vec<u8>),
    Unrecognised(Vec<u8>),
}

fn outbox(data: &[u8], reached: &mut Reached) {
    let mut choices = Choices::new(data);
    let mut context = context();
    let mut rng = Seed::new([1; 32]).fork("outbox");
    let mut model: VecDeque<Queued> = VecDeque::new();
    let mut staged: Vec<u8> = Vec::new();
    let mut dropped = 0;
    let to = |port: u8| SocketAddr::from(([127, 0, 0, 1], u16::from(port)));
    while !choices.is_empty() {
        let bytes = |queue: &VecDeque<Queued>| {
            let lent = queue.iter().map(|queued| match queued {
                Queued::Send(_, bytes) | Queued::Message(_, bytes) | Queued::Unrecognised(bytes) => bytes.len(),
                _ => 0,
            });
            lent.sum::<usize>()
        };
        let full = bytes(&model) >= limits::OUTBOX_BYTES_HIGH_WATER || model.len() >= limits::OUTBOX_ACTIONS_HIGH_WATER;
        let mut cx = context.cx(&mut rng);
        match choices.below(9) {
            0 => {
                let (to, content) = (to(choices.byte()), choices.bytes(30).to_vec());
                cx.out.stage(content.len()).copy_from_slice(&content);
                let went = cx.send_staged(SocketId::MAIN, to);
                assert_eq!(went, !full);
                staged.clear();
                if went {
                    reached.note("sent");
                    model.push_back(Queued::Send(to, content));
                } else {
                    reached.note("full");
                }
            }
            kind @ 1..=3 => {
                let conn = ConnId(choices.number());
                staged.clear();
                model.push_back(match kind {
                    1 => {
                        cx.out.dial(conn, to(1));
                        Queued::Dial(conn)
                    }
                    2 => {
                        cx.out.flush(conn);
                        Queued::Flush(conn)
                    }
                    _ => {
                        cx.out.close(conn);
                        Queued::Close(conn)
                    }
                });
                reached.note("emitted");
            }
            4 => {
                // Sometimes so much that a few of them fill it.
                let len = if choices.once_in(4) { choices.below(400_000) } else { choices.below(64) };
                let fill = choices.byte();
                if !staged.is_empty() {
                    reached.note("replaced");
                }
                staged = vec![fill; len];
                staged.iter_mut().zip(0..70).for_each(|(byte, at)| *byte = at);
                cx.out.stage(len).copy_from_slice(&staged);
            }
            5 => {
                let len = choices.below(64).min(staged.len());
                cx.out.truncate_staged(len);
                staged.truncate(len);
            }
            kind @ 6..=7 => {
                let (start, end) = (choices.below(70), choices.below(400_000));
                let range = start.min(staged.len())..end.min(staged.len()).max(start.min(staged.len()));
                let given = range.start..if range.end == staged.len() { usize::MAX } else { range.end };
                let id = choices.number();
                let payload = staged[range].to_vec();
                staged.clear();
                if kind == 6 {
                    let capability = Capability::eth(69);
                    cx.out.emit_staged(
                        Event::Message { conn: ConnId(1), capability, id, payload: Cow::default() },
                        given,
                    );
                    model.push_back(Queued::Message(id, payload));
                    reached.note("staged");
                } else {
                    cx.out.emit_staged(
                        Event::Unrecognised { socket: SocketId::MAIN, from: to(2), bytes: Cow::default() },
                        given,
                    );
                    if full {
                        reached.note("dropped");
                        dropped += 1;
                    } else {
                        model.push_back(Queued::Unrecognised(payload));
                    }
                }
            }
            _ => {
                staged.clear();
                for _ in 0..=choices.below(6) {
                    pop(cx.out.pop(), model.pop_front(), reached);
                }
            }
        }
        let out = &context.out;
        assert_eq!((out.len(), out.bytes(), out.staged()), (model.len(), bytes(&model), &staged[..]));
        assert_eq!((out.is_empty(), out.events_dropped()), (model.is_empty(), dropped));
    }
    while let Some(queued) = model.pop_front() {
        pop(context.out.pop(), Some(queued), reached);
    }
    assert!(context.out.pop().is_none());
}

fn pop(action: Option<Action<'_>>, expected: Option<Queued>, reached: &mut Reached) {
    let got = action.map(|action| match action {
        Action::Send { to, bytes, .. } => Queued::Send(to, bytes.to_vec()),
        Action::Dial { conn, .. } => Queued::Dial(conn),
        Action::Flush { conn } => Queued::Flush(conn),
        Action::Close { conn } => Queued::Close(conn),
        Action::Emit(Event::Message { id, payload, .. }) => Queued::Message(id, payload.to_vec()),
        Action::Emit(Event::Unrecognised { bytes, .. }) => Queued::Unrecognised(bytes.to_vec()),
        Action::Query { id, .. } => panic!("query {id:?} was never queued"),
        Action::Emit(other) => panic!("not emitted: {other:?}"),
    });
    assert_eq!(got, expected);
    reached.note("popped");
}

/// A stream's bytes, written piecemeal.
pub const OUTBOUND: Target = Target {
    name: "outbound",
    body: outbound,
    memory: Memory::machine(1),
    landmarks: &["appended", "consumed", "emptied", "partly"],
    generated: (2_000, 200),
};

fn outbound(data: &[u8], reached: &mut Reached) {
    let mut choices = Choices::new(data);
    let mut system = Outbound::default();
    let (mut model, mut written): (VecDeque<u8>, u64) = (VecDeque::new(), 0);
    while !choices.is_empty() {
        if choices.flag() {
            let part = choices.bytes(60).repeat(1 + choices.below(20));
            system.tail().extend_from_slice(&part);
            model.extend(&part);
            reached.note("appended");
        } else {
            let n = choices.below(3000);
            let n = if choices.once_in(8) { usize::MAX } else { n };
            system.consume(n);
            let taken = n.min(model.len());
            model.drain(..taken);
            written += taken as u64;
            reached.note(if model.is_empty() { "emptied" } else { "partly" });
            reached.note("consumed");
        }
        assert!(model.iter().eq(system.as_slice()));
        assert_eq!((system.len(), system.is_empty()), (model.len(), model.is_empty()));
        assert_eq!((system.written(), system.end()), (written, written + model.len() as u64));
    }
}
