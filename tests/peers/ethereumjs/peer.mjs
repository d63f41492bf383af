// A test peer around @ethereumjs/devp2p: RLPx with eth/66 to eth/68, and discv4 without ENR. The command line, the
// commands and the events are described in ../README.md.
//
// What the library does not show, or shows differently:
// - "disconnect": a reason of null means that the socket was closed without a Disconnect. After a Disconnect of its own
//   the library closes the socket two seconds later, if the other side does not do so first; the event comes then.
// - A failed dial, or a connection that ends before both Hellos were accepted, is an "error". So is a second connection of
//   a node which is connected already.
// - "message": there is none for a message outside the negotiated version (the library ignores it or disconnects).
// - "discv4": the library has no event per packet, so its packet handler is wrapped; packets which it refuses, as it does
//   with those of EIP-868, are "error"s.

import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { createCommonFromGethGenesis, parseGethGenesisState } from '@ethereumjs/common'
import { DPT, ETH, RLPx } from '@ethereumjs/devp2p'
import { genesisMPTStateRoot } from '@ethereumjs/mpt'
import { RLP } from '@ethereumjs/rlp'
import {
  KECCAK256_RLP,
  KECCAK256_RLP_ARRAY,
  bigIntToUnpaddedBytes,
  bytesToBigInt,
  bytesToHex,
  bytesToUnprefixedHex,
  equalsBytes,
  hexToBytes,
  setLengthLeft,
  utf8ToBytes,
} from '@ethereumjs/util'
import { keccak256 } from 'ethereum-cryptography/keccak.js'
import { secp256k1 } from 'ethereum-cryptography/secp256k1.js'

const LOOPBACK = '127.0.0.1'
const NAME = 'ethereumjs-devp2p/v10.0.0/test-peer'
const MESSAGES = {
  1: 'NewBlockHashes',
  2: 'Transactions',
  3: 'GetBlockHeaders',
  4: 'BlockHeaders',
  5: 'GetBlockBodies',
  6: 'BlockBodies',
  7: 'NewBlock',
  8: 'NewPooledTransactionHashes',
  9: 'GetPooledTransactions',
  10: 'PooledTransactions',
  13: 'GetNodeData',
  14: 'NodeData',
  15: 'GetReceipts',
  16: 'Receipts',
}
const PACKETS = { 1: 'ping', 2: 'pong', 3: 'findnode', 4: 'neighbours' }

const emit = (event, fields) => process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`)
const fail = (error) => emit('error', { what: error?.message ?? String(error) })
const die = (error) => {
  fail(error)
  process.exit(1)
}
process.on('uncaughtException', die)
process.on('unhandledRejection', die)

const { values: args } = parseArgs({
  options: {
    key: { type: 'string' },
    tcp: { type: 'string', default: '0' },
    udp: { type: 'string', default: '0' },
    genesis: { type: 'string' },
    'genesis-hash': { type: 'string' },
    'network-id': { type: 'string' },
    'no-discovery': { type: 'boolean', default: false },
    lifetime: { type: 'string', default: '60' },
  },
})
if (args.key === undefined || args.genesis === undefined) die('--key and --genesis are required')
setTimeout(() => process.exit(0), Number(args.lifetime) * 1000)

const prefixed = (hex) => (hex.startsWith('0x') ? hex : `0x${hex}`)
const number = (value) => bigIntToUnpaddedBytes(BigInt(value))

// The header of the genesis block as an RLP list, with the fields up to Shanghai.
async function genesisHeader(genesis) {
  const { config } = genesis
  const timestamp = BigInt(genesis.timestamp)
  if (config.cancunTime !== undefined && BigInt(config.cancunTime) <= timestamp) {
    throw new Error('a genesis block with the fields of Cancun is not supported')
  }
  const header = [
    new Uint8Array(32),
    KECCAK256_RLP_ARRAY,
    hexToBytes(genesis.coinbase),
    await genesisMPTStateRoot(parseGethGenesisState(genesis)),
    KECCAK256_RLP,
    KECCAK256_RLP,
    new Uint8Array(256),
    number(genesis.difficulty),
    number(0),
    number(genesis.gasLimit),
    number(0),
    number(timestamp),
    hexToBytes(genesis.extraData),
    hexToBytes(genesis.mixHash),
    setLengthLeft(number(genesis.nonce), 8),
  ]
  if (config.londonBlock === 0) header.push(number(genesis.baseFeePerGas))
  if (config.shanghaiTime !== undefined && BigInt(config.shanghaiTime) <= timestamp) header.push(KECCAK256_RLP)
  return header
}

const genesis = JSON.parse(readFileSync(args.genesis, 'utf8'))
if (args['network-id'] !== undefined) genesis.config.chainId = Number(args['network-id'])
const header = await genesisHeader(genesis)
const genesisHash = keccak256(RLP.encode(header))
if (args['genesis-hash'] !== undefined && prefixed(args['genesis-hash']) !== bytesToHex(genesisHash)) {
  die(`the genesis hash is ${bytesToHex(genesisHash)}`)
}
const common = createCommonFromGethGenesis(genesis, { chain: 'peerless-test', genesisHash })
const hardfork = common.setHardforkBy({ blockNumber: 0n, timestamp: BigInt(genesis.timestamp) })

const key = hexToBytes(prefixed(args.key))
const rlpx = new RLPx(key, {
  clientId: utf8ToBytes(NAME),
  capabilities: [ETH.eth66, ETH.eth67, ETH.eth68],
  common,
  maxPeers: 25,
  dpt: null,
})
const id = (peer) => bytesToUnprefixedHex(peer.getId())
const eth = (peer) => peer.getProtocols().find((protocol) => protocol instanceof ETH)
const added = new WeakSet()
const peers = new Set()
const ready = new Set()
let requestId = 0n

// Answers a request: the genesis block is all that is known, so everything but its header is missing.
function serve(protocol, code, [request, query]) {
  switch (code) {
    case 3: {
      const [start, amount] = query
      const known = start.length === 32 ? equalsBytes(start, genesisHash) : bytesToBigInt(start) === 0n
      return protocol.sendMessage(4, [request, known && bytesToBigInt(amount) > 0n ? [header] : []])
    }
    case 5:
    case 9:
    case 15:
      return protocol.sendMessage(code + 1, [request, []])
  }
}

const onConnect = rlpx._onConnect.bind(rlpx)
rlpx._onConnect = (socket, dialed) => {
  const { remoteAddress, remotePort } = socket
  // The library writes the header and the body of a frame apart, which costs 40 ms for each without this.
  socket.setNoDelay(true)
  onConnect(socket, dialed)
  socket.once('close', () => {
    const who = dialed === null ? `${remoteAddress}:${remotePort}` : bytesToUnprefixedHex(dialed)
    if (!added.has(socket)) fail(`no session with ${who}, closed`)
  })
}
rlpx.events.on('peer:added', (peer) => {
  added.add(peer._socket)
  peers.add(peer)
  // Not "peer:removed", which is also emitted for a second connection of the same node.
  peer.events.once('close', (reason, us) => {
    peers.delete(peer)
    ready.delete(peer)
    emit('disconnect', { id: id(peer), reason: reason ?? null, initiated_by: us === true ? 'us' : 'them' })
  })
  const { clientId, capabilities } = peer.getHelloMessage()
  emit('hello', { id: id(peer), client: clientId, caps: capabilities.map(({ name, version }) => `${name}/${version}`) })
  const protocol = eth(peer)
  protocol.events.on('status', () => {
    ready.add(peer)
    emit('status', { id: id(peer), version: protocol.getVersion() })
  })
  protocol.events.on('message', (code, payload) => {
    if (code === 0) return
    emit('message', { id: id(peer), protocol: 'eth', code, name: MESSAGES[code] })
    if (code === 4) {
      const [request, headers] = payload
      const hashes = headers.map((item) => bytesToHex(keccak256(RLP.encode(item))))
      emit('headers', { id: id(peer), request_id: Number(bytesToBigInt(request)), hashes })
    }
    serve(protocol, code, payload)
  })
  protocol.sendStatus({ td: number(genesis.difficulty), bestHash: genesisHash, genesisHash })
})
rlpx.events.on('peer:error', (_peer, error) => fail(error))
rlpx.events.on('error', die)

const listening = (source) => new Promise((resolve) => source.events.once('listening', resolve))
const tcpBound = listening(rlpx)
rlpx.listen(Number(args.tcp), LOOPBACK)
await tcpBound
const tcpPort = rlpx._server.address().port
rlpx._listenPort = tcpPort

let dpt = null
let udpPort = 0
if (!args['no-discovery']) {
  const endpoint = { address: LOOPBACK, udpPort: Number(args.udp), tcpPort }
  dpt = new DPT(key, { endpoint, common, shouldFindNeighbours: true, shouldGetDnsPeers: false })
  dpt.events.on('peer:added', (peer) => emit('discv4', { kind: 'peer_added', id: bytesToUnprefixedHex(peer.id) }))
  dpt.events.on('error', fail)
  const server = dpt._server
  const handle = server._handler.bind(server)
  server._handler = (packet, source) => {
    handle(packet, source)
    const signature = secp256k1.Signature.fromCompact(packet.subarray(32, 96)).addRecoveryBit(packet[96])
    const sender = signature.recoverPublicKey(keccak256(packet.subarray(97))).toRawBytes(false).subarray(1)
    emit('discv4', { kind: PACKETS[packet[97]], id: bytesToUnprefixedHex(sender) })
  }
  const udpBound = listening(dpt)
  dpt.bind(Number(args.udp), LOOPBACK)
  await udpBound
  udpPort = server._socket.address().port
  server._endpoint.udpPort = udpPort
}

function parseEnode(text) {
  const url = new URL(text.replace(/^enode:/, 'http:'))
  if (url.hostname !== LOOPBACK) throw new Error(`not a loopback address: ${url.hostname}`)
  const tcpPort = Number(url.port)
  const udpPort = Number(url.searchParams.get('discport') ?? tcpPort)
  return { id: hexToBytes(`0x${url.username}`), address: LOOPBACK, tcpPort, udpPort }
}

async function command({ cmd, enode, block = 0, amount = 1, reason = 8 }) {
  switch (cmd) {
    case 'dial':
      return rlpx.connect(parseEnode(enode))
    case 'bond':
      if (dpt === null) throw new Error('discovery is off')
      return dpt.bootstrap(parseEnode(enode))
    case 'headers':
      for (const peer of ready) {
        requestId += 1n
        eth(peer).sendMessage(3, [number(requestId), [number(block), number(amount), number(0), number(0)]])
      }
      return
    case 'disconnect':
      return peers.forEach((peer) => peer.disconnect(reason))
    case 'quit':
      return process.exit(0)
    default:
      throw new Error(`unknown command: ${cmd}`)
  }
}

emit('ready', {
  enode: `enode://${bytesToUnprefixedHex(rlpx.id)}@${LOOPBACK}:${tcpPort}?discport=${udpPort}`,
  name: NAME,
  genesis_hash: bytesToHex(genesisHash),
  fork_id: {
    hash: common.forkHash(hardfork, genesisHash),
    next: Number(common.nextHardforkBlockOrTimestamp(hardfork) ?? 0n),
  },
})
createInterface({ input: process.stdin })
  .on('line', async (line) => {
    try {
      await command(JSON.parse(line))
    } catch (error) {
      fail(error)
    }
  })
  .on('close', () => process.exit(0))
