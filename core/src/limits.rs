//! Every bound of the crate, with the reason for its value. Limits count bytes, not only items.

use crate::time::Duration;

// Outbox and buffers

/// Payload bytes in the outbox above which datagrams are dropped and connections want no reading: many turns' worth for
/// a driver that drains, little enough for a thousand nodes in one process.
pub const OUTBOX_BYTES_MARK: usize = 1 << 20;
/// Actions in the outbox with the same effect.
pub const OUTBOX_ACTIONS_MARK: usize = 8192;
/// Payload bytes in the outbox beyond which a connection that is fed all the same ends with `Overrun`: the mark and one
/// message of the largest size.
pub const OUTBOX_BYTES_MAX: usize = OUTBOX_BYTES_MARK + MESSAGE_BYTES_MAX;
/// Payload memory that an outbox takes first: a pong and a ping. It keeps none while it is empty, because what the
/// allocator handed out last is nearer to the processor than what lay idle since the last turn.
pub const OUTBOX_BYTES_FIRST: usize = 512;
/// Memory that an empty stream buffer keeps: an idle session stays below 8 KiB with two of them.
pub const IDLE_BUFFER_BYTES: usize = 2048;
/// Bytes that may wait for one peer's socket before messages to it are refused (attack F12).
pub const OUTBOUND_BYTES_MAX: usize = 2 << 20;

// Text and records

/// A node record's encoding (EIP-778).
pub const RECORD_BYTES_MAX: usize = 300;
/// A host name in an enode URL: what DNS can carry (RFC 1035).
pub const HOST_NAME_BYTES_MAX: usize = 253;

// Streams

/// Size of an auth or ack body: geth and reth refuse more (attack C6).
pub const HANDSHAKE_BYTES_MAX: usize = 2048;
/// The first message of a peer, Hello or Disconnect: geth refuses more.
pub const HELLO_BYTES_MAX: usize = 2048;
/// Random bytes after an auth or ack, at least: EIP-8 demands 100, so that plain and padded messages can be told apart.
pub const HANDSHAKE_PADDING_MIN: usize = 100;
/// Random bytes after an auth or ack, at most: EIP-8's 300.
pub const HANDSHAKE_PADDING_MAX: usize = 300;
/// Memory that a frame's buffer may hold beyond twice what the frame has brought (attack F1): enough that a stream of
/// messages of a usual size is received without asking the allocator again.
pub const FRAME_BUFFER_SLACK_BYTES: usize = 64 << 10;
/// A message, compressed or not: what a frame's 24-bit size can say.
pub const MESSAGE_BYTES_MAX: usize = (1 << 24) - 1;
/// A message of eth or snap: geth's and reth's limit.
pub const ETH_MESSAGE_BYTES_MAX: usize = 10 << 20;
/// A message of the base protocol after Hello: none needs more.
pub const BASE_MESSAGE_BYTES_MAX: usize = 2048;
/// Capabilities in a Hello: any client offers fewer than twenty.
pub const CAPABILITIES_MAX: usize = 128;
/// Client name kept from a Hello, in characters.
pub const CLIENT_NAME_CHARS_MAX: usize = 128;
/// Dialled stream to become connected.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Auth and ack, counted from the connected stream and not from the last byte (attack C7).
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Hello, counted from the end of the handshake.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Status, counted from Hello.
pub const STATUS_TIMEOUT: Duration = Duration::from_secs(5);
/// Between our pings, as geth.
pub const PING_INTERVAL: Duration = Duration::from_secs(15);
/// Without a byte from the peer, as geth: two pings go unanswered.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// With bytes queued and the socket taking none, as geth.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// For the last words: the specification's two seconds.
pub const CLOSING_TIMEOUT: Duration = Duration::from_secs(2);
/// Pings in a burst, refilled one a second, before the peer is disconnected (attack F10).
pub const PING_BURST: u32 = 8;

// eth

/// Requests of ours open with one peer.
pub const REQUESTS_OUT_MAX: usize = 64;
/// Requests of a peer that the embedder has not answered, from which on the connection wants no reading.
pub const REQUESTS_IN_MARK: usize = 16;
/// Such requests after which the peer is disconnected: what was read at once may hold more than the mark, but no honest
/// peer asks a thousand things before it has one answer.
pub const REQUESTS_IN_MAX: usize = 1024;
/// Requests that were not answered in time and whose answers are no fault when they come: as many as can be open.
pub const LATE_REQUESTS_MAX: usize = REQUESTS_OUT_MAX;
/// Blocks between two BlockRangeUpdates of ours (`eth.md`; also geth's).
pub const RANGE_UPDATE_BLOCKS: u64 = 32;
/// A request's answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

// discv4

/// Entries of a bucket (Kademlia's k).
pub const BUCKET_SIZE: usize = 16;
/// Buckets: distances up to 240 share the first, as in geth; nearer ones would stay empty.
pub const BUCKETS: usize = 17;
/// Candidates that wait for a bucket's place.
pub const REPLACEMENTS: usize = 10;
/// Entries of one subnet in a bucket (attack D11).
pub const SUBNET_PER_BUCKET: usize = 2;
/// Entries of one subnet in the table.
pub const SUBNET_PER_TABLE: usize = 10;
/// Requests of a lookup in flight (Kademlia's alpha).
pub const LOOKUP_PARALLEL: usize = 3;
/// Lookups at once.
pub const LOOKUPS_MAX: usize = 8;
/// Random targets of which one is looked up: enough to reach the buckets of a large network that chance does not fill.
pub const TARGET_DRAWS: usize = 16;
/// A request's answer, as geth.
pub const CALL_TIMEOUT: Duration = Duration::from_millis(500);
/// Calls in flight (attack D15: each ends exactly once).
pub const CALLS_MAX: usize = 128;
/// Validity of what we send, as geth.
pub const EXPIRATION: Duration = Duration::from_secs(20);
/// Expirations beyond this in the future are refused (attack D13): an hour's skew is somebody's broken clock, a year a lie.
pub const EXPIRATION_FUTURE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Age at which an endpoint proof lapses: the specification says 12 hours, clients keep 24.
pub const BOND_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Endpoint proofs for which there is memory at first; it doubles when a young one would be pushed out and young ones fill
/// three quarters of it.
pub const BONDS_FIRST: usize = 192;
/// Endpoint proofs kept at most, least recently used first to go: what a bootnode's guests prove in a quarter of an hour,
/// at a dozen a second, in 128 KiB.
pub const BONDS_MAX: usize = 12_288;
/// Age up to which a proof is young: whoever made it is likely to come back soon.
pub const BOND_YOUNG_AGE: Duration = Duration::from_secs(15 * 60);
/// Failed FindNodes in a row after which a node leaves the table.
pub const FIND_FAILURES_MAX: u8 = 5;
/// Datagrams a second that one subnet may have us check signatures of, and their burst (attack D6).
pub const SUBNET_DATAGRAMS_PER_SECOND: u32 = 20;
/// See [`SUBNET_DATAGRAMS_PER_SECOND`].
pub const SUBNET_DATAGRAMS_BURST: u32 = 60;
/// Unsolicited datagrams a second that all together may have us check signatures of: a tenth of what one core recovers.
pub const DATAGRAMS_PER_SECOND: u32 = 2000;
/// The burst of [`DATAGRAMS_PER_SECOND`]: a quarter of a second's worth, 20 ms of work.
pub const DATAGRAMS_BURST: u32 = 500;
/// Sources that a limiter tells apart; fixed memory (attack D7).
pub const LIMITER_SLOTS: usize = 512;
/// Pings back that one subnet may provoke in a second, and their burst (attack D5).
pub const SUBNET_PING_BACKS_PER_SECOND: u32 = 4;
/// See [`SUBNET_PING_BACKS_PER_SECOND`].
pub const SUBNET_PING_BACKS_BURST: u32 = 8;
/// Pings back that all together may provoke in a second, and at once.
pub const PING_BACKS_PER_SECOND: u32 = 200;
/// Pings to one global address that has proven nothing, over all node ids and in any minute (attack D10).
pub const UNPROVEN_PINGS_BURST: u32 = 2;
/// The time after which such an address may be pinged once more.
pub const UNPROVEN_PING_INTERVAL: Duration = Duration::from_secs(60);
/// Sources that the budget for pings back tells apart: more than it lets through in a second.
pub const PING_BACK_SLOTS: usize = 256;
/// Destinations that the rule tells apart at first: the memory doubles as lookups touch more, and starts anew when all of
/// them have long been paid for.
pub const UNPROVEN_PING_SLOTS: usize = 128;
/// What that grows to at most: a bootnode that pings back a hundred newcomers a second. Beyond, destinations share budgets.
pub const UNPROVEN_PING_SLOTS_MAX: usize = 8192;
/// Destinations that share a set of them: as many as a cache line holds.
pub const UNPROVEN_PING_WAYS: usize = 8;
/// Datagrams remembered as seen (attack D13): at eight a second, those of half a minute.
pub const REPLAY_SLOTS: usize = 256;
/// Datagrams of which the newest ones are remembered together: as many as a cache line holds.
pub const REPLAY_WAYS: usize = 8;
/// Time in which equal datagrams are no replay: expirations count whole seconds, so that whoever asks twice in one second
/// sends the same bytes.
pub const REPLAY_GRACE: Duration = Duration::from_secs(2);
/// Endpoint proofs that share a set of the memory for them: as many as a cache line holds keep the least recently used of
/// a set a good stand-in for the least recently used of all.
pub const BOND_WAYS: usize = 6;
/// Replies to one call whose signatures are checked outside of the budget for unsolicited datagrams: 16 nodes come in
/// two packets, and an address that is being asked must not become a way around the budget.
pub const REPLIES_PER_CALL_MAX: u8 = 8;
/// Calls that verify nodes heard of, at once (attack D9).
pub const VERIFY_PARALLEL: usize = 32;
/// Nodes heard of that wait to be verified.
pub const UNVERIFIED_MAX: usize = 64;
/// Nodes that a lookup keeps in mind: its results, the asked and failed ones, and some to fall back upon.
pub const LOOKUP_NODES_MAX: usize = 64;
/// Nodes that a lookup asks: an honest one needs some 30; liars that invent ever nearer nodes stop here (attack D9).
pub const LOOKUP_QUERIES_MAX: u32 = 64;
/// Failed checks that wait for somebody else's answer before they count.
pub const DOUBTS_MAX: usize = 3;
/// Calls that end in one turn; the rest is due again a microsecond later.
pub const CALL_ENDS_PER_TURN: usize = 32;

// Peers

/// Connections being dialled or not yet established, as geth: in each direction.
pub const PENDING_MAX: usize = 50;
/// Pending inbound connections of one subnet.
pub const PENDING_PER_SUBNET: usize = 4;
/// Between two accepted connections of one global address, as geth.
pub const INBOUND_THROTTLE: Duration = Duration::from_secs(30);
/// Between two dials of one node, as geth.
pub const REDIAL_INTERVAL: Duration = Duration::from_secs(35);
/// Longest pause between dials of a node that keeps failing.
pub const REDIAL_INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// Peers whose score is remembered.
pub const LEDGERS_MAX: usize = 4096;
/// Last changes of a score that can be read.
pub const LEDGER_ENTRIES: usize = 16;
/// Bans kept (attack P5).
pub const BANS_MAX: usize = 4096;
/// Nodes in the dial history.
pub const DIAL_HISTORY_MAX: usize = 4096;
/// Static and trusted peers.
pub const STATIC_PEERS_MAX: usize = 1024;
/// Candidates of the embedder that wait for a dial: a few turns of the dialler.
pub const OFFERED_MAX: usize = 64;
/// Connections that one turn handles timeouts of, or ends for a shutdown or a changed filter; the rest is due a microsecond
/// later. Ending one takes a few microseconds, so a turn stays below a millisecond.
pub const CONNS_PER_TURN: usize = 64;
/// Peers kept in session, as geth; trusted ones are not counted.
pub const PEERS_MAX: usize = 50;
/// One in so many of them is dialled by us, as geth: what an attacker fills by dialling us is never all (attack E1).
pub const DIAL_RATIO: usize = 3;
/// Inbound sessions from one subnet: an attacker that wants s places needs s/2 subnets (attack P1).
pub const INBOUND_PER_SUBNET: usize = 2;
/// Age at which an inbound peer is an old one; a quarter of the inbound slots is for younger ones (attacks E7, P1).
pub const INBOUND_SENIORITY: Duration = Duration::from_secs(3600);
/// Addresses remembered for the throttle of accepts: at most as many as half a minute of its traffic has at 130 a second.
pub const INBOUND_SOURCES_MAX: usize = 4096;
/// Two connections between the same pair that begin within this of each other are simultaneous. More than a dial, a
/// handshake and a Hello may take: 15 + 5 + 5 s.
pub const SIMULTANEOUS_WINDOW: Duration = Duration::from_secs(30);
/// From a node's entry into the table to the search for a candidate, at least, and at most twice that: by then its record
/// has mostly come, which tells whether it is of our network.
pub const DIAL_DELAY: Duration = Duration::from_millis(500);
/// Between two searches for a candidate to dial while places are free, as reth.
pub const DIAL_POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Candidates that one search considers: a full discovery table.
pub const DIAL_CANDIDATES_MAX: usize = 512;
/// Pause of a static or trusted peer instead of a ban, as reth.
pub const DECLARED_BAN: Duration = Duration::from_secs(15);
/// Longest ban of an address: others may live there.
pub const HOST_BAN_MAX: Duration = Duration::from_secs(3600);
/// Banned hosts in a subnet that make it one party's (attack P3).
pub const SUBNET_BAN_HOSTS: usize = 4;
