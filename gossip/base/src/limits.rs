//! Every limit has a name and stands here, with what happens at it.

use core::time::Duration;

/// Longest name; longer ones are refused where they are parsed.
pub const NAME_SIZE_MAX_BYTES: usize = 32;

/// Largest gossip datagram, sealing included: below the smallest IPv6 MTU, so never fragmented.
pub const DATAGRAM_SIZE_MAX_BYTES: usize = 1200;

/// Members a zhost keeps track of; joins beyond it are ignored and logged.
pub const MEMBERS_MAX: usize = 1024;

/// Other members that the answer to a joining zhost names; it learns of the rest over links.
pub const HELLO_PEERS_MAX: usize = 24;

/// Addresses that a zhost tells others of itself; those of further interfaces are left out.
pub const ADDRESSES_MAX: usize = 4;

/// Addresses that a zhost asks at once whether somebody of its cluster is there; of more, it draws some each time.
pub const HELLOS_MAX: usize = 32;

/// Zhosts named in `join`; more are refused at the start.
pub const JOIN_MAX: usize = 16;

/// Addresses that one name in `join` stands for; further ones are left out.
pub const JOIN_ADDRESSES_MAX: usize = 4;

/// Registry rows per owner; a zhost refuses to write more, and drops a peer's row beyond it.
/// Room for every topology's package, every space, verdicts, and the tombstones of as many.
pub const ROWS_PER_OWNER_MAX: usize = 1024;

/// Encoded size of one registry row; larger ones are refused where they are written or parsed.
pub const ROW_SIZE_MAX_BYTES: usize = 800;

/// How long an owner keeps the tombstone of a deleted registry row before it raises its floor.
pub const ROW_TOMBSTONE_TTL: Duration = Duration::from_secs(60);

/// Supers one term may name.
pub const SUPERS_MAX: usize = 7;

/// Topologies in the ledger, deleted ones included; a submit beyond it is refused.
pub const TOPOLOGIES_MAX: usize = 256;

/// Encoded size of one ledger document; larger ones are refused.
pub const DOCUMENT_SIZE_MAX_BYTES: usize = 32 * 1024;

/// Spaces of one topology; a package with more is refused.
pub const SPACES_PER_TOPOLOGY_MAX: usize = 64;

/// Paths of one topology; a package with more is refused.
pub const PATHS_PER_TOPOLOGY_MAX: usize = 256;

/// Capabilities one space may declare, or one zhost offer.
pub const CAPABILITIES_MAX: usize = 32;

/// Bytes of the names of all capabilities one zhost offers, so that they fit a registry row; further devices are left out,
/// and logged.
pub const CAPABILITIES_SIZE_MAX_BYTES: usize = 560;

/// Recognizers of one topology; a package with more is refused.
pub const RECOGNIZERS_MAX: usize = 64;

/// Settings of one space; a package with more is refused.
pub const SETTINGS_MAX: usize = 32;

/// Size of one setting; a package with a larger one is refused.
pub const SETTING_SIZE_MAX_BYTES: usize = 1024;

/// Copies of a DATA space's data beside its own; a package that wants more is refused.
pub const REPLICAS_MAX: u8 = 4;

/// Spaces that other spaces have started on one zhost; `proc.spawn` goes elsewhere or says "try again" beyond it.
pub const SPAWNED_PER_ZHOST_MAX: usize = 4096;

/// Links and monitors of one space; further ones are refused.
pub const BONDS_PER_SPACE_MAX: usize = 1024;

/// Global names one space may hold; further ones are refused.
pub const NAMES_PER_SPACE_MAX: usize = 16;

/// Spaces one zhost runs at once; placement goes elsewhere beyond it.
pub const SPACES_PER_ZHOST_MAX: usize = 128;

/// Size of a package; a larger one is refused before it is read.
pub const MEX_SIZE_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Size of everything a package unpacks to; more is refused as a bomb, before it is unpacked.
pub const MEX_UNPACKED_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Files in a package.
pub const MEX_FILES_MAX: usize = 512;

/// A wall clock that shows an earlier time (2026-01-01) was not set: boards without a battery begin in 1970.
pub const UNIX_EARLIEST_MS: u64 = 1_767_225_600_000;

/// Size of a signed agent for boards, packed; a larger one is refused before it is read. It leaves room in a slot.
pub const FIRMWARE_SIZE_MAX_BYTES: usize = 7 * 1024 * 1024;

/// Size of the program in it.
pub const FIRMWARE_PROGRAM_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Targets for which the ledger knows an agent; a push for one more is refused.
pub const FIRMWARE_TARGETS_MAX: usize = 8;

/// Size of the reason why an agent failed on a board; the rest is cut.
pub const FIRMWARE_REASON_MAX_BYTES: usize = 120;

/// How many zhosts must hold a document and its blob before a write is acknowledged as durable.
pub const COPIES: usize = 3;

/// A blob travels and is stored in pieces of this size.
pub const BLOB_CHUNK_SIZE_BYTES: usize = 32 * 1024;

/// Size of one message between spaces; `emit_to` refuses more.
pub const MESSAGE_SIZE_MAX_BYTES: usize = 48 * 1024;

/// Messages a path may have under way, and so the most its target's mailbox can hold of it; `emit_to` says
/// "try again" beyond it.
pub const PATH_WINDOW_MESSAGES: u32 = 2048;

/// Bytes of messages a path may have under way, or one message; `emit_to` says "try again" beyond it.
pub const PATH_WINDOW_BYTES: u32 = 128 * 1024;

/// Paths over which one zhost may send to another; the one opened first makes room.
pub const CHANNELS_MAX: usize = 4096;

/// Links a zhost keeps at once, accepted ones included; further connections are closed at once.
pub const LINKS_MAX: usize = 256;

/// Connections that others made and on which nobody has proved yet who is there; beyond it the oldest of the address that
/// has most of them makes room, so that strangers leave room for zhosts. A process with few descriptors has fewer.
pub const LINKS_UNPROVED_MAX: usize = 64;

/// Of these, from one address; beyond it the oldest of that address makes room.
pub const LINKS_UNPROVED_PER_ADDRESS_MAX: usize = 16;

/// Requests that the flash has not answered; beyond it further ones fail as if it were full.
pub const DISK_REQUESTS_MAX: usize = 1024;

/// Of these, left for what the zhost itself must keep: votes, documents, promises. What peers and operators ask for fails
/// before.
pub const DISK_REQUESTS_RESERVED: usize = 512;

/// Pieces of blobs that are being read for peers; further ones are refused, and the peer asks another holder.
pub const BLOB_READS_MAX: usize = 256;

/// Of these, for one peer.
pub const BLOB_READS_PER_PEER_MAX: usize = 16;

/// Up to this many zhosts, each is linked with each; more keep a few links.
pub const MESH_FULL_MAX: usize = 8;

/// Links a zhost announces in its registry row; of further ones only the other ends speak, if they have room.
pub const LINKS_ANNOUNCED_MAX: usize = 60;

/// Bytes queued for one link; a link that lets them pile up beyond it is closed.
pub const LINK_QUEUE_MAX_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of frames waiting for one other zhost; further ones are refused, and their senders told to try again.
pub const STREAM_QUEUE_MAX_BYTES: usize = 8 * 1024 * 1024;

/// Bytes beyond [`STREAM_QUEUE_MAX_BYTES`] for what is told of spaces that ended, replies, and credit: nobody would tell it
/// again. Beyond these it is lost.
pub const STREAM_RESERVE_BYTES: usize = 2 * 1024 * 1024;

/// Bytes of frames on their way to one other zhost and not acknowledged; more wait.
pub const STREAM_WINDOW_BYTES: usize = 1024 * 1024;

/// Links a relayed packet may pass; routes that would be longer are not used.
pub const HOPS_MAX: usize = 8;

/// Sessions with zhosts reached through relays, in each direction; the oldest makes room.
pub const TUNNELS_MAX: usize = 64;

/// How long a link handshake may take before the connection is closed.
pub const LINK_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Lines kept of each space's log; older ones go.
pub const SPACE_LOG_LINES_MAX: usize = 100;

/// Size of one line of a space's log; the rest of the line is cut.
pub const LOG_LINE_SIZE_MAX_BYTES: usize = 256;

/// State changes kept per topology for `topo status`; older ones go.
pub const TRANSITIONS_MAX: usize = 32;

/// Addresses with a wrong secret that are remembered, so that each is logged once; further ones are not logged.
pub const STRANGERS_MAX: usize = 64;

/// Control sessions at once; the least recently used one makes room.
pub const CONTROL_SESSIONS_MAX: usize = 16;

/// Size of one control request or reply: a package and its envelope.
pub const CONTROL_MESSAGE_MAX_BYTES: usize = MEX_SIZE_MAX_BYTES + 64 * 1024;

/// Control handshakes answered in a burst, and per second after it; more are dropped.
pub const CONTROL_HANDSHAKES_BURST: u32 = 64;
/// See [`CONTROL_HANDSHAKES_BURST`].
pub const CONTROL_HANDSHAKES_PER_SECOND: u32 = 32;

/// Size of a recording; beyond it nothing more is recorded until the next start.
pub const RECORDING_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// How much of a recording is read at once.
pub const RECORDING_PIECE_MAX_BYTES: usize = 256 * 1024;
