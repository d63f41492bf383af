//! Every bound of the crate, with the reason for its value. Limits count bytes, not only items. The codes of attacks
//! are explained in `docs/attacks.md`.

use crate::time::Duration;

// Outbox and buffers

/// Payload bytes in the outbox above which datagrams are dropped and connections apply backpressure: many turns' worth
/// for a driver that drains, small enough for a thousand nodes in one process.
pub const OUTBOX_BYTES_HIGH_WATER: usize = 1 << 20;
/// Actions in the outbox with the same effect.
pub const OUTBOX_ACTIONS_HIGH_WATER: usize = 8192;
/// Payload bytes in the outbox beyond which a connection ends with `Overrun` if the driver keeps feeding its stream:
/// the high-water mark and one message of the largest size.
pub const OUTBOX_BYTES_MAX: usize = OUTBOX_BYTES_HIGH_WATER + MESSAGE_BYTES_MAX;
/// Payload memory of a first allocation: a pong and a ping. An empty outbox keeps no memory, because memory that the
/// allocator handed out last is more likely to be in the processor's caches than memory from an earlier turn.
pub const OUTBOX_BYTES_INITIAL: usize = 512;
/// Memory that an empty stream buffer keeps: with two of them, an idle session stays below 8 KiB.
pub const IDLE_BUFFER_BYTES: usize = 2048;
/// Bytes that may wait for one peer's socket before messages to it are refused (attack F12).
pub const OUTBOUND_BYTES_MAX: usize = 2 << 20;

/// Units of [`Work`](crate::contract::Work) of a connection in one round of a driver: reading 64 KiB (attack E6).
pub const WORK_PER_ROUND: i64 = 200_000;
/// Bytes of a stream that a driver hands in at once: they inflate to 171 KiB, whose items take two milliseconds at worst.
pub const READ_BYTES_MAX: usize = 8 << 10;
/// Units of work after which a driver's turn ends, so that it hears of commands, datagrams and connections that were idle: about
/// a millisecond, while a socket's buffer holds a flood of three.
pub const WORK_BETWEEN_POLLS: u64 = 1_000_000;

/// Wishes of machines across connections that are carried out in one turn; the rest is due again a microsecond later. Each
/// is one message to one peer or to all.
pub const WISHES_PER_TURN: usize = 64;

// Text and records

/// Bytes of a node record's encoding (EIP-778).
pub const RECORD_BYTES_MAX: usize = 300;
/// Bytes of a host name in an enode URL: the limit of DNS (RFC 1035).
pub const HOST_NAME_BYTES_MAX: usize = 253;

// Streams

/// Bytes of an auth or ack body: geth and reth refuse more (attack C6).
pub const HANDSHAKE_BYTES_MAX: usize = 2048;
/// Bytes of the first message of a peer, Hello or Disconnect: geth refuses more.
pub const HELLO_BYTES_MAX: usize = 2048;
/// Least random bytes after an auth or ack: EIP-8 requires 100, so that plain and padded messages can be distinguished.
pub const HANDSHAKE_PADDING_MIN: usize = 100;
/// Most random bytes after an auth or ack: EIP-8's 300.
pub const HANDSHAKE_PADDING_MAX: usize = 300;
/// Memory that a frame's buffer may hold beyond twice the received bytes of the frame (attack F1): enough to receive a
/// stream of messages of usual size without another allocation.
pub const FRAME_BUFFER_SLACK_BYTES: usize = 64 << 10;
/// Bytes of a message, compressed or not: the largest 24-bit size of a frame.
pub const MESSAGE_BYTES_MAX: usize = (1 << 24) - 1;
/// Bytes of an answer of eth or snap, which is read only if it was requested: geth's and reth's limit.
pub const ETH_MESSAGE_BYTES_MAX: usize = 10 << 20;
/// Bytes of a Status or a block range: they have fewer than ten fields.
pub const STATUS_BYTES_MAX: usize = 4 << 10;
/// Bytes of a request of eth: 1,024 hashes take half of it.
pub const REQUEST_BYTES_MAX: usize = 64 << 10;
/// Bytes of a request of snap, which can name paths of a trie.
pub const SNAP_REQUEST_BYTES_MAX: usize = 256 << 10;
/// Bytes of an announcement of hashes: [`ANNOUNCED_HASHES_MAX`] of them with types and sizes take 160 KiB.
pub const ANNOUNCED_HASHES_BYTES_MAX: usize = 256 << 10;
/// Hashes in an announcement: the limit of `eth.md` (attacks H6, H14).
pub const ANNOUNCED_HASHES_MAX: usize = 4096;
/// Bytes of announced transactions, and of an announced block: what is inflated at once, in two milliseconds, may be no more
/// than that without a request (attack E6). Clients send 128 KiB at most.
pub const TRANSACTIONS_BYTES_MAX: usize = 2 << 20;
/// Announced transactions in one message.
pub const TRANSACTIONS_MAX: usize = 4096;
/// RLP items that are looked at in a message that was not requested (attacks E6, F6): a million empty lists take 5 ms.
pub const UNSOLICITED_ITEMS_MAX: usize = 16 << 10;
/// Bytes of a frame's body before the peer's Status: a Status of [`STATUS_BYTES_MAX`], and room for messages of the base
/// protocol and of protocols without a handshake.
pub const EARLY_FRAME_BYTES_MAX: usize = 64 << 10;
/// Bytes of a message of the base protocol after Hello: none needs more.
pub const BASE_MESSAGE_BYTES_MAX: usize = 2048;
/// Capabilities in a Hello: any client offers fewer than twenty.
pub const CAPABILITIES_MAX: usize = 128;
/// Characters kept of the client name in a Hello.
pub const CLIENT_NAME_CHARS_MAX: usize = 128;
/// Time for a dialled stream to become connected.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Time for auth and ack, counted from the connected stream and not from the last byte (attack C7).
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for Hello, counted from the end of the handshake.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for Status, counted from Hello.
pub const STATUS_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between our pings, as in geth.
pub const PING_INTERVAL: Duration = Duration::from_secs(15);
/// Our pings to one peer that may be open: those of four minutes, in which the largest answer arrives.
pub const PINGS_OPEN_MAX: usize = 16;
/// Time without a byte from the peer, as in geth: two pings go unanswered.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time in which bytes are queued and the socket takes none, as in geth.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// Time for the final Disconnect: the specification's two seconds.
pub const CLOSING_TIMEOUT: Duration = Duration::from_secs(2);

/// Memory of all unfinished frames of a node (attack F1): [`LARGE_FRAMES_BYTES_MAX`] and [`SMALL_FRAMES_BYTES_MAX`].
pub const FRAMES_BYTES_MAX: usize = 64 << 20;
/// Memory of unfinished frames that were requested, and of those above [`LARGE_FRAME_BYTES`]: the oldest one, whatever its
/// size, and a dozen answers of 2 MiB that arrive at the same time.
pub const LARGE_FRAMES_BYTES_MAX: usize = 48 << 20;
/// Memory of the other unfinished frames: 64 KiB for each of two hundred connections.
pub const SMALL_FRAMES_BYTES_MAX: usize = FRAMES_BYTES_MAX - LARGE_FRAMES_BYTES_MAX;
/// Size of a frame that counts as large: above that of [`TRANSACTIONS_BYTES_MAX`], compressed as badly as can be.
pub const LARGE_FRAME_BYTES: usize = 4 << 20;
/// Memory by which a frame may grow at once, or by half of what it holds if that is more: what a driver reads at once.
pub const FRAME_GROWTH_BYTES: usize = 64 << 10;
/// Time for a frame, beside the time of its size at [`FRAME_BYTES_PER_SECOND`].
pub const FRAME_TIMEOUT: Duration = Duration::from_secs(30);
/// The rate at which a frame must arrive: slow links have more.
pub const FRAME_BYTES_PER_SECOND: u64 = 64 << 10;
/// Time without a byte of a frame, beyond the time of those that came lately, after which it counts as slower than that rate:
/// loss and congestion stop streams for seconds.
pub const FRAME_SLOW_AFTER: Duration = Duration::from_secs(5);

// eth

/// Open requests to one peer.
pub const REQUESTS_OUT_MAX: usize = 64;
/// Unanswered requests of a peer from which on its connection applies backpressure.
pub const REQUESTS_IN_HIGH_WATER: usize = 16;
/// Unanswered requests of a peer beyond which it is disconnected: one read may hold more than the high-water mark, but
/// no honest peer sends a thousand requests before it has one answer.
pub const REQUESTS_IN_MAX: usize = 1024;
/// Timed-out requests whose late answers are no fault: as many as can be open.
pub const LATE_REQUESTS_MAX: usize = REQUESTS_OUT_MAX;
/// Blocks between two of our BlockRangeUpdates (`eth.md`; as in geth).
pub const RANGE_UPDATE_BLOCKS: u64 = 32;
/// Time for the answer to a request.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

// discv4

/// Entries of a bucket (Kademlia's k).
pub const BUCKET_SIZE: usize = 16;
/// Buckets: distances up to 240 share the first, as in geth; buckets of smaller distances would stay empty.
pub const BUCKETS: usize = 17;
/// Replacement candidates of a bucket.
pub const REPLACEMENTS: usize = 10;
/// Entries of one subnet in a bucket (attack D11).
pub const SUBNET_PER_BUCKET: usize = 2;
/// Entries of one subnet in the table.
pub const SUBNET_PER_TABLE: usize = 10;
/// Requests of a lookup in flight (Kademlia's alpha).
pub const LOOKUP_PARALLEL: usize = 3;
/// Lookups at once.
pub const LOOKUPS_MAX: usize = 8;
/// Random targets drawn for one lookup, of which one is looked up: enough to reach the buckets that random lookups
/// leave empty in a large network.
pub const TARGET_DRAWS: usize = 16;
/// Time for the answer to a call, as in geth.
pub const CALL_TIMEOUT: Duration = Duration::from_millis(500);
/// Calls in flight (attack D15: each ends exactly once).
pub const CALLS_MAX: usize = 128;
/// Validity of the packets that are sent, as in geth.
pub const EXPIRATION: Duration = Duration::from_secs(20);
/// Furthest accepted expiration (attack D13): a wrong clock can be an hour ahead, but not a year.
pub const EXPIRATION_FUTURE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Age at which an endpoint proof expires: the specification says 12 hours, clients use 24.
pub const BOND_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Endpoint proofs that the first allocation holds; it doubles when a recent one would be evicted and recent ones fill
/// three quarters of it.
pub const BONDS_INITIAL: usize = 192;
/// Most endpoint proofs kept; the least recently used is evicted. As many as the peers of a bootnode prove in a quarter
/// of an hour at a dozen a second, in 128 KiB.
pub const BONDS_MAX: usize = 12_288;
/// Age up to which a proof is recent: its peer is likely to send again soon.
pub const BOND_RECENT_AGE: Duration = Duration::from_secs(15 * 60);
/// Failed FindNodes in a row after which a node leaves the table.
pub const FIND_FAILURES_MAX: u8 = 5;
/// Unsolicited datagrams of one endpoint that is bonded or in the table whose signatures are checked in a second (attacks
/// D6, D8): a peer's lookups take fewer.
pub const ENDPOINT_DATAGRAMS_PER_SECOND: u32 = 4;
/// The burst of [`ENDPOINT_DATAGRAMS_PER_SECOND`]: more than the lookups that a peer runs at once.
pub const ENDPOINT_DATAGRAMS_BURST: u32 = 16;
/// The same in all for bonded endpoints that are not in the table: 4 % of a core.
pub const BONDED_DATAGRAMS_PER_SECOND: u32 = 1000;
/// The burst of [`BONDED_DATAGRAMS_PER_SECOND`].
pub const BONDED_DATAGRAMS_BURST: u32 = 500;
/// The same for strangers of one subnet.
pub const SUBNET_DATAGRAMS_PER_SECOND: u32 = 10;
/// The burst of [`SUBNET_DATAGRAMS_PER_SECOND`]: many nodes at one address may start together.
pub const SUBNET_DATAGRAMS_BURST: u32 = 60;
/// The same for strangers of one IPv6 /48: one customer has 256 of our subnets.
pub const SITE_DATAGRAMS_PER_SECOND: u32 = 40;
/// The burst of [`SITE_DATAGRAMS_PER_SECOND`].
pub const SITE_DATAGRAMS_BURST: u32 = 120;
/// The same for strangers of one IPv4 /16 or IPv6 /32: one provider.
pub const NETWORK_DATAGRAMS_PER_SECOND: u32 = 200;
/// The burst of [`NETWORK_DATAGRAMS_PER_SECOND`].
pub const NETWORK_DATAGRAMS_BURST: u32 = 600;
/// The same for all strangers together: a fifth of what one core recovers. The more there are, the larger a newcomer's part
/// beside a flood from forged addresses.
pub const DATAGRAMS_PER_SECOND: u32 = 5000;
/// The burst of [`DATAGRAMS_PER_SECOND`]: a tenth of a second's worth, 20 ms of work.
pub const DATAGRAMS_BURST: u32 = 500;
/// Neighbors packets whose signatures are checked in a second, from all endpoints that are being asked.
pub const NEIGHBORS_PER_SECOND: u32 = 2000;
/// The burst of [`NEIGHBORS_PER_SECOND`].
pub const NEIGHBORS_BURST: u32 = 500;
/// Neighbors packets of one call whose signatures are checked. They name no request: any sender that can forge the address
/// of the endpoint in question can use them up.
pub const NEIGHBORS_PER_CALL_MAX: u8 = 64;
/// Answers of one call whose signatures are checked, of kinds that name the hash of their request: only a party on the path
/// can send a wrong one.
pub const ANSWERS_PER_CALL_MAX: u8 = 2;
/// Datagrams that are dropped by type and source alone, and whose hash is checked in a second nevertheless: one that is
/// wrong belongs to another protocol on the port, which may miss some of its datagrams only during a flood.
pub const FOREIGN_CHECKS_PER_SECOND: u32 = 1000;
/// The burst of [`FOREIGN_CHECKS_PER_SECOND`].
pub const FOREIGN_CHECKS_BURST: u32 = 250;
/// Budgets that a first allocation for one kind of sources holds, 8 bytes each.
pub const BUDGET_ACCOUNTS: usize = 32;
/// Most budgets of one kind of sources that are not full (attack D7). What all sources together may take keeps them below:
/// 5000 a second for a tenth of a second each.
pub const BUDGET_ACCOUNTS_MAX: usize = 1024;
/// Budgets in one set of that memory: as many as a cache line holds.
pub const BUDGET_WAYS: usize = 8;
/// Time from the last refusal for want of a budget up to which a node considers itself flooded, and the time in which it
/// then pings each node of its table: their own checks of it may not come through.
pub const FLOODED_INTERVAL: Duration = Duration::from_secs(30);
/// Age up to which a ping from a bonded node stands for the answer to a failed check: two rounds of pings of a flooded one.
pub const SIGN_OF_LIFE_AGE: Duration = Duration::from_secs(60);
/// Pings back that one subnet can trigger in a second (attack D5).
pub const SUBNET_PING_BACKS_PER_SECOND: u32 = 4;
/// The burst of [`SUBNET_PING_BACKS_PER_SECOND`].
pub const SUBNET_PING_BACKS_BURST: u32 = 8;
/// Open calls up to which a ping back is a call; beyond, only its hash is kept, so that a flood of pings leaves half of the
/// calls to everything else.
pub const PING_BACK_CALLS_MAX: usize = CALLS_MAX / 2;
/// Pings back in flight that are not calls: those to 4000 strangers a second; [`DATAGRAMS_PER_SECOND`] may send.
pub const PING_BACKS_MAX: usize = 2048;
/// Pings back in one set of that memory.
pub const PING_BACK_WAYS: usize = 8;
/// Bytes of pings in any day to one global address that has never answered one, over all node ids (attack D10): one
/// datagram of the largest size.
pub const UNPROVEN_BYTES_MAX: u16 = 1280;
/// The time after which such an address may be pinged a second time; each further gap is twice as long.
pub const UNPROVEN_PING_GAP: Duration = Duration::from_secs(60);
/// The time without a ping after which what was sent to such an address is forgotten.
pub const UNPROVEN_REST: Duration = Duration::from_secs(24 * 3600);
/// Pings in a second to all such addresses together: a table fills within a minute.
pub const UNPROVEN_PINGS_PER_SECOND: u32 = 20;
/// The burst of [`UNPROVEN_PINGS_PER_SECOND`]: the first lookups of a node.
pub const UNPROVEN_PINGS_BURST: u32 = 200;
/// Time between two pings to a bootnode while the table is empty, which count in none of these limits.
pub const NAMED_PING_INTERVAL: Duration = Duration::from_secs(15);
/// Destinations that the limit on unproven pings distinguishes at first, 12 bytes each: its memory doubles as more do not
/// answer, and is released a day after the last ping.
pub const UNPROVEN_PING_SLOTS: usize = 128;
/// Most destinations that the limit on unproven pings distinguishes: more dead addresses than a day of lookups meets.
/// Beyond, destinations share limits.
pub const UNPROVEN_PING_SLOTS_MAX: usize = 8192;
/// Destinations in one set of that memory.
pub const UNPROVEN_PING_WAYS: usize = 8;
/// Datagrams remembered as seen (attack D13): those of half a minute at eight a second.
pub const REPLAY_SLOTS: usize = 256;
/// Datagrams in one set of that memory: as many as a cache line holds.
pub const REPLAY_WAYS: usize = 8;
/// Time in which equal datagrams are no replay: expirations count whole seconds, so a peer that sends the same request
/// twice in one second sends the same bytes.
pub const REPLAY_GRACE: Duration = Duration::from_secs(2);
/// Endpoint proofs in one set of their memory: as many as a cache line holds. The least recently used of a set
/// approximates the least recently used of all.
pub const BOND_WAYS: usize = 6;
/// Calls in flight that verify relayed nodes (attack D9).
pub const VERIFY_PARALLEL: usize = 32;
/// Relayed nodes that wait to be verified.
pub const UNVERIFIED_MAX: usize = 64;
/// Nodes that a lookup keeps: its results, the queried and failed ones, and some as fallback.
pub const LOOKUP_NODES_MAX: usize = 64;
/// Nodes that a lookup queries: in an honest network about 30; the limit stops peers that invent ever nearer nodes
/// (attack D9).
pub const LOOKUP_QUERIES_MAX: u32 = 64;
/// Nodes that failed a check and are judged when another node answers.
pub const SUSPECTS_MAX: usize = 3;
/// Calls that end in one turn; the rest are due again a microsecond later.
pub const CALL_ENDS_PER_TURN: usize = 32;

// discv5

/// Time for the answer to a request within a session, as in geth.
pub const ANSWER_TIMEOUT: Duration = Duration::from_millis(700);
/// Time for the challenge of a node with which there is no session, and for which a challenge of ours is kept, as in geth.
pub const CHALLENGE_TIMEOUT: Duration = Duration::from_secs(1);
/// Challenges of ours that wait for an answer: beyond, the oldest is forgotten. A flood of them from forged addresses leaves
/// each the time of an honest round trip.
pub const CHALLENGES_MAX: usize = 1024;
/// Handshake packets in answer to one challenge whose proof is checked: a wrong one may be of a third party.
pub const CHALLENGE_ATTEMPTS_MAX: u8 = 4;
/// Identity proofs of strangers that are checked in a second, of all together: a fifth of a core, as each takes two signature
/// checks and a key agreement (attack D6).
pub const PROOFS_PER_SECOND: u32 = 1500;
/// The burst of [`PROOFS_PER_SECOND`]: a tenth of a second's worth.
pub const PROOFS_BURST: u32 = 150;
/// Sessions that the first allocation holds; it doubles when a recent one would be evicted.
pub const SESSIONS_INITIAL: usize = 64;
/// Most sessions kept; the least recently used is evicted, and costs a new handshake when it is wanted again.
pub const SESSIONS_MAX: usize = 1024;
/// Sessions that may evict each other.
pub const SESSION_WAYS: usize = 4;
/// Time since its last use up to which a session is recent: that of a lookup and of what follows from it.
pub const SESSION_RECENT_AGE: Duration = Duration::from_secs(10);
/// Age of its keys at which a session ends.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// Requests of one endpoint within sessions that are answered in a second: more than the lookups of a peer take.
pub const SESSION_REQUESTS_PER_SECOND: u32 = 32;
/// The burst of [`SESSION_REQUESTS_PER_SECOND`].
pub const SESSION_REQUESTS_BURST: u32 = 64;
/// Nodes messages in answer to one request, as in geth.
pub const NODES_MESSAGES_MAX: u64 = 5;
/// Bytes of a request of an application with its protocol's name, or of an answer to one: what a packet has room for.
pub const TALK_BYTES_MAX: usize = 1174;
/// Records in answer to one FindNode.
pub const NODES_RECORDS_MAX: usize = 16;
/// Distances below that of the target for which a lookup asks a node as well. geth asks for one below and one above, which misses
/// some of the nearest nodes: those that are as far from the target as the node that is asked, and near to it.
pub const LOOKUP_DISTANCES_BELOW: u16 = 4;
/// Distances above that of the target for which a lookup asks a node as well.
pub const LOOKUP_DISTANCES_ABOVE: u16 = 4;
/// Times that a node which is to enter the table is asked for its record. Some nodes (ethrex) answer a ping at once, and
/// FindNode only when a ping of their own was answered, which they send in the next second or two.
pub const ENTER_ATTEMPTS: u8 = 5;

// Peers

/// Handshakes that one subnet's addresses may begin in a second (attack C11): an honest peer begins one.
pub const HANDSHAKES_PER_SUBNET: usize = 10;
/// Handshakes in a second, of all global addresses: 5 % of a core. A quarter is kept for dials of our own and for the
/// addresses of static and trusted peers.
pub const HANDSHAKES_PER_SECOND: usize = 200;
/// Auths remembered as seen: those of twenty seconds at [`HANDSHAKES_PER_SECOND`]. A repetition of an older one pays.
pub const AUTHS_REMEMBERED_MAX: usize = 4096;
/// Time for which an auth is remembered.
pub const AUTH_MEMORY: Duration = Duration::from_secs(600);
/// Connections in each direction that are being dialled or are not yet established: with so many places, a handshake of a
/// second completes beside a hundred silent connections a second from 26 subnets (attack C8).
pub const PENDING_MAX: usize = 100;
/// Pending inbound connections of one subnet; another one displaces the oldest of them.
pub const PENDING_PER_SUBNET: usize = 4;
/// Pending inbound connections from addresses of static and trusted peers, besides the others: two for each of a few peers.
pub const PENDING_NAMED_MAX: usize = 8;
/// Time between two accepted connections of one global address, as in geth.
pub const INBOUND_THROTTLE: Duration = Duration::from_secs(30);
/// Time between two dials of one node, as in geth.
pub const REDIAL_INTERVAL: Duration = Duration::from_secs(35);
/// Longest back-off between dials of a node that keeps failing.
pub const REDIAL_INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// Peers with a ledger.
pub const LEDGERS_MAX: usize = 4096;
/// Score changes kept in a ledger, the newest ones.
pub const LEDGER_ENTRIES: usize = 16;
/// Bans kept at the same time (attack P5).
pub const BANS_MAX: usize = 4096;
/// Nodes in the dial history.
pub const DIAL_HISTORY_MAX: usize = 4096;
/// Nodes of which a second endpoint is remembered, at about 250 bytes each: all static peers may have one.
pub const ALTERNATIVES_MAX: usize = 1024;
/// Bootnodes with a host name.
pub const NAMED_BOOTNODES_MAX: usize = 64;
/// Addresses of a bootnode's host name that are used.
pub const NAMED_BOOTNODE_ADDRS_MAX: usize = 4;
/// Pause before a bootnode's host name that did not resolve is asked again; it doubles up to [`NAME_REFRESH`].
pub const NAME_RETRY: Duration = Duration::from_secs(15);
/// Shortest time until a bootnode's host name that did resolve is asked again.
pub const NAME_REFRESH: Duration = Duration::from_secs(600);
/// Time after which a static peer's host name is asked again if the driver has not answered: far more than resolvers take.
pub const NAME_TIMEOUT: Duration = Duration::from_secs(120);
/// Static and trusted peers.
pub const STATIC_PEERS_MAX: usize = 1024;
/// Offers of the embedder that wait for a dial: a few turns of the dialler.
pub const OFFERED_MAX: usize = 64;
/// Connections that one turn handles timeouts of, or ends for a shutdown or a changed filter; the rest is due a microsecond
/// later. Ending one takes a few microseconds, so a turn stays below a millisecond.
pub const CONNS_PER_TURN: usize = 64;
/// Peers in session, as in geth; trusted peers are not counted.
pub const PEERS_MAX: usize = 50;
/// The share of outbound sessions, one in so many, as in geth: an attacker that dials us never fills all slots (attack
/// E1).
pub const DIAL_RATIO: usize = 3;
/// Inbound sessions from one subnet: an attacker needs s/2 subnets for s slots (attack P1). For IPv4 only while fewer than
/// a quarter of the places are free.
pub const INBOUND_PER_SUBNET: usize = 2;
/// Inbound sessions from one IPv4 /24 while a quarter of the places or more are free: one NAT is not shut out of an empty
/// node.
pub const INBOUND_PER_SUBNET_ROOMY: usize = 8;
/// Inbound sessions from one IPv4 /16, while fewer than a quarter of the places are free.
pub const INBOUND_PER_16: usize = 8;
/// Inbound sessions from one IPv6 /48, which is what one customer gets.
pub const INBOUND_PER_48: usize = 8;
/// Inbound sessions from one IPv6 /29, which is what a registry gives to one provider.
pub const INBOUND_PER_29: usize = 8;
/// By how much the place-time of a peer's subnet must exceed that of a newcomer's, so that the newcomer displaces the peer
/// (attacks E7, P1): an honest peer stays as long beside any number of callers.
pub const INBOUND_TENURE: Duration = Duration::from_secs(20 * 60);
/// Time after which place-time has lost a twelfth. It halves in eight hours: an attacker that comes back pays for its last
/// attack, an honest subnet does not for the last week.
pub const PLACE_TIME_DECAY: Duration = Duration::from_secs(3600);
/// Subnets whose place-time of the past is kept: each has held a place.
pub const PLACE_TIMES_MAX: usize = 4096;
/// Addresses remembered by the throttle of accepts: as many as connect in half a minute at 130 a second.
pub const INBOUND_SOURCES_MAX: usize = 4096;
/// Time within which two connections of one pair of nodes count as simultaneous: more than a dial, a handshake and a
/// Hello may take (15 + 5 + 5 s).
pub const SIMULTANEOUS_WINDOW: Duration = Duration::from_secs(30);
/// Shortest time from a node's entry into the table to the decision whether to dial it; the longest is twice that. By
/// then its record has usually arrived, which tells whether it is on our network.
pub const DIAL_CANDIDATE_DELAY: Duration = Duration::from_millis(500);
/// Longest time between two looks at the address book while a place is wanted, as in reth.
pub const DIAL_POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Candidates that discovery draws for one poll of the dialler: about one of each bucket.
pub const DIAL_CANDIDATES: usize = 16;
/// Pause of a static or trusted peer instead of a ban, as reth.
pub const STATIC_PEER_BAN: Duration = Duration::from_secs(15);
/// Proven serious faults of one address, under any keys, at which it is banned (attack P3): a handshake and a session
/// each, so that an address cannot make more than some milliseconds of work an hour.
pub const HOST_FAULTS_MAX: u32 = 8;
/// Time after the last of its faults at which an address's faults are forgotten.
pub const HOST_FAULTS_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Addresses whose faults are counted.
pub const HOSTS_AT_FAULT_MAX: usize = 4096;
/// Ban of an address, which honest nodes may share: for inbound connections only.
pub const HOST_BAN: Duration = Duration::from_secs(3600);
/// Bans for faults of one IPv4 /24 or IPv6 /48: one party's keys do not fill the list.
pub const BANS_PER_SUBNET: usize = 64;
/// Bans for faults of one IPv4 /16 or IPv6 /32.
pub const BANS_PER_RANGE: usize = 256;

// Node lists in DNS

/// Bytes of an entry of a node list: a branch of 75 hashes, while list makers put 13 into one, and a record takes 404.
pub const LIST_ENTRY_BYTES_MAX: usize = 2048;
/// Children of a branch that is made: geth's number, whose text is below 370 bytes.
pub const LIST_BRANCH_CHILDREN: usize = 13;
/// Bytes of the domain of a node list, so that a subdomain with the longest hash is a name of 253 bytes.
pub const LIST_DOMAIN_BYTES_MAX: usize = 200;
/// Node lists that a configuration may name; further ones are not read.
pub const LISTS_MAX: usize = 8;
/// Trees of one list, itself and those that it links to (attack D19).
pub const LIST_TREES_MAX: usize = 8;
/// Branches above an entry (attack D19): 13 to the power of 8 entries are more than any list has.
pub const LIST_DEPTH_MAX: u8 = 8;
/// Records of one tree (attack D19): the largest public list has about 10,000.
pub const LIST_RECORDS_MAX: u32 = 100_000;
/// Entries that the walks of one list's trees remember, about 50 bytes each: [`LIST_RECORDS_MAX`] records, their branches, and
/// what the list links to.
pub const LIST_ENTRIES_MAX: usize = 125_000;
/// Entries below the root of a tree's links.
pub const LIST_LINK_ENTRIES_MAX: usize = 256;
/// Records kept of each tree, a random sample of about 300 bytes each: as many as the address book has entries.
pub const LIST_RECORDS_KEPT: usize = 1024;
/// Queries for node lists in a second, as in geth.
pub const LIST_QUERIES_PER_SECOND: u32 = 3;
/// Queries for node lists at once after a pause, as in geth.
pub const LIST_QUERIES_BURST: u32 = 10;
/// Queries for node lists that are not answered yet.
pub const LIST_QUERIES_OPEN_MAX: usize = 64;
/// Time for the answer of a query, as in geth. The driver's resolver has its own limit.
pub const LIST_QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between two looks at the root of a list, as in geth.
pub const LIST_ROOT_INTERVAL: Duration = Duration::from_secs(30 * 60);
/// Least time between two looks at a root, whatever time to live its answer has (attack D19).
pub const LIST_ROOT_INTERVAL_MIN: Duration = Duration::from_secs(60);
/// Entries that fail before the root is looked at again earlier: the list has probably changed, as in geth.
pub const LIST_FAILURES_MAX: u32 = 5;
/// Queries for one entry of a walk before it is given up.
pub const LIST_ATTEMPTS_MAX: u8 = 3;
/// The first pause after failed queries for entries; it doubles with each further failure.
pub const LIST_PAUSE: Duration = Duration::from_secs(2);
/// The longest such pause.
pub const LIST_PAUSE_MAX: Duration = Duration::from_secs(600);
/// TXT records of one answer that are looked at: a domain's root may stand beside records of other services.
pub const LIST_TXT_RECORDS_MAX: usize = 16;
/// Nodes of lists that are offered to a discovery table at once while it is small.
pub const LIST_SEEDS: usize = 16;
/// Entries of the address book that only a node list vouches for: a third (attack D19).
pub const BOOK_LISTED_MAX: usize = BOOK_ENTRIES_MAX / 3;
// Our own address

/// Votes on our address that are kept, for each family and each of local and global voters: more than the nodes of a table
/// that answer in the votes' lifetime, at 48 bytes each.
pub const ADDRESS_VOTES_MAX: usize = 128;
/// Time for which a vote counts, as in geth: a node of the table is checked more often.
pub const ADDRESS_VOTE_LIFETIME: Duration = Duration::from_secs(300);
/// Votes for one address that give a first answer.
pub const ADDRESS_VOTES_MIN: usize = 3;
/// Votes for one address from which on an answer is settled (attack D17), as in geth.
pub const ADDRESS_VOTES_SETTLED: usize = 10;
/// Share of the votes that an answer needs (attack D17).
pub const ADDRESS_MAJORITY_PERCENT: usize = 60;
/// Shortest time from one settled answer to another (attack D17): each is a new record, for which others ask.
pub const ADDRESS_SWITCH_INTERVAL: Duration = Duration::from_secs(600);
/// Shortest time from a first answer to another one.
pub const ADDRESS_FIRST_SWITCH_INTERVAL: Duration = Duration::from_secs(60);

// Outbound places

/// Entries of the address book, at about 200 bytes each: more nodes than discovery's table holds, few enough to look
/// through for each dial.
pub const BOOK_ENTRIES_MAX: usize = 1024;
/// Entries of one group of addresses in the book: an attacker has at most twice its share of the subnets (attack E2).
pub const BOOK_PER_GROUP: usize = 2;
/// Dials in a row after which a node that none has reached leaves the book.
pub const BOOK_FAILURES_MAX: u8 = 3;
/// Outbound places of one group of addresses.
pub const OUTBOUND_PER_GROUP: usize = 1;
/// Outbound places of one IPv4 /16: a hosting company's range is cheaper than as many subnets elsewhere.
pub const OUTBOUND_PER_SLASH16: usize = 2;
/// Nodes that the dialler is committed to: as many as there are outbound places.
pub const TARGETS_MAX: usize = 16;
/// Time for which it is. Dials of it come in bursts, while a place is wanted: in two hours some thirty, so that a node with room
/// for one dial in ten accepts one of them.
pub const TARGET_TIME: Duration = Duration::from_secs(7200);
/// Time that a free place waits for a committed target: one dial of each.
pub const VACANCY_WAIT: Duration = Duration::from_secs(60);
/// Shortest time between two rotations of an outbound place, as in geth: a peer stays for more than an hour in the mean.
pub const ROTATION_INTERVAL: Duration = Duration::from_secs(180);
/// Longest time between two rotations, as in geth.
pub const ROTATION_INTERVAL_MAX: Duration = Duration::from_secs(420);
/// Shortest time between two rotations of a node that has just started; the longest is twice that.
pub const ROTATION_YOUNG_INTERVAL: Duration = Duration::from_secs(30);
/// Time for which a node has just started: each place is rotated a few times.
pub const ROTATION_YOUNG_TIME: Duration = Duration::from_secs(3600);
/// Outbound places that the times between rotations are for: with fewer, rotations are as many times less frequent.
pub const ROTATION_PLACES: u32 = 16;
/// Time that a rotation which is due waits for a committed target, two dials of each, and then for any entry, before it is
/// given up.
pub const ROTATION_WAIT: Duration = Duration::from_secs(120);
/// Shortest time between two looks at the address book: dials of targets are spread.
pub const DIAL_POLL_INTERVAL_MIN: Duration = Duration::from_secs(1);
