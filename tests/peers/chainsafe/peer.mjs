// A test peer around @chainsafe/discv5: one node or several, each with a socket of its own. The command line, the commands
// and the events are described in ../README.md.
//
// What the library does not show, or shows differently:
// - "record" comes for each record that a lookup or the request for a newer record brings.
// - A node looks nothing up by itself.

import { createSocket } from 'node:dgram'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { Discv5 } from '@chainsafe/discv5'
import { ENR, SignableENR } from '@chainsafe/enr'
import { privateKeyFromRaw } from '@libp2p/crypto/keys'
import { multiaddr } from '@multiformats/multiaddr'

const LOOPBACK = '127.0.0.1'
const NAME = 'chainsafe-discv5/v11.0.0/test-peer'
// The protocol whose requests are answered, with the reversed request.
const PROTOCOL = 'test'

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
    key: { type: 'string', multiple: true },
    udp: { type: 'string', multiple: true, default: [] },
    lifetime: { type: 'string', default: '60' },
  },
})
if (args.key === undefined) die('--key is required')
setTimeout(() => process.exit(0), Number(args.lifetime) * 1000)

const hex = (bytes) => Buffer.from(bytes).toString('hex')
const unhex = (text) => new Uint8Array(Buffer.from(text, 'hex'))

// A port that is free now. The library cannot tell which one it has bound.
async function freePort() {
  const socket = createSocket('udp4')
  await new Promise((resolve) => socket.bind(0, LOOPBACK, resolve))
  const { port } = socket.address()
  await new Promise((resolve) => socket.close(resolve))
  return port
}

async function start(key, port, node) {
  const privateKey = privateKeyFromRaw(unhex(key))
  const enr = SignableENR.createFromPrivateKey(privateKey)
  enr.ip = LOOPBACK
  enr.udp = port
  const bindAddrs = { ip4: multiaddr(`/ip4/${LOOPBACK}/udp/${port}`) }
  const discv5 = Discv5.create({ enr, privateKey, bindAddrs, config: { enrUpdate: false } })
  discv5.sessionService.on('established', (_address, { nodeId, seq }) => {
    emit('session', { node, id: nodeId, seq: Number(seq) })
  })
  discv5.on('discovered', ({ nodeId, seq }) => emit('record', { node, id: nodeId, seq: Number(seq) }))
  discv5.on('talkReqReceived', (source, _enr, { id, protocol, request }) => {
    emit('talk_request', { node, id: source.nodeId, protocol: hex(protocol), request: hex(request) })
    const isKnown = Buffer.from(protocol).toString() === PROTOCOL
    discv5.sendTalkResp(source, id, isKnown ? new Uint8Array(request).reverse() : new Uint8Array())
  })
  await discv5.start()
  return discv5
}

function parse(text) {
  const enr = ENR.decodeTxt(text)
  if (enr.ip !== LOOPBACK) throw new Error(`not a loopback address: ${enr.ip}`)
  return enr
}

const nodes = []
for (const [index, key] of args.key.entries()) {
  nodes.push(await start(key, Number(args.udp[index] ?? (await freePort())), index))
}

const ids = (records) => records.map(({ nodeId }) => nodeId)

// Reports the result of a command.
async function later({ cmd, node = 0 }, id, result, event, fields) {
  try {
    emit(event, { node, id, ...fields(await result) })
  } catch (error) {
    emit('failed', { node, id, cmd, what: `${error.message} (${error.code})` })
  }
}

function run(command) {
  const { cmd, node = 0 } = command
  const discv5 = nodes[node]
  switch (cmd) {
    case 'add':
      return discv5.addEnr(parse(command.enr))
    case 'ping': {
      const enr = parse(command.enr)
      return later(command, enr.nodeId, discv5.sendPing(enr), 'pong', ({ enrSeq, addr }) => ({
        seq: Number(enrSeq),
        seen_as: `${[...addr.ip.octets].join('.')}:${addr.port}`,
      }))
    }
    case 'findnode': {
      const enr = parse(command.enr)
      const result = discv5.sendFindNode(enr, command.distances)
      return later(command, enr.nodeId, result, 'nodes', (records) => ({ nodes: ids(records) }))
    }
    case 'talk': {
      const enr = parse(command.enr)
      const result = discv5.sendTalkReq(enr, unhex(command.request), unhex(command.protocol))
      return later(command, enr.nodeId, result, 'talk_response', (response) => ({ response: hex(response) }))
    }
    case 'lookup':
      return later(command, command.target, discv5.findNode(command.target), 'found', (records) => ({
        nodes: ids(records),
      }))
    case 'known': {
      const enr = discv5.findEnr(command.id)
      return emit('known', { node, id: command.id, seq: enr === undefined ? null : Number(enr.seq) })
    }
    case 'update':
      discv5.enr.set(command.key, unhex(command.value))
      return emit('updated', { node, enr: discv5.enr.encodeTxt(), seq: Number(discv5.enr.seq) })
    case 'quit':
      return process.exit(0)
    default:
      throw new Error(`unknown command: ${cmd}`)
  }
}

emit('ready', { name: NAME, records: nodes.map(({ enr }) => enr.encodeTxt()) })
createInterface({ input: process.stdin })
  .on('line', async (line) => {
    try {
      await run(JSON.parse(line))
    } catch (error) {
      fail(error)
    }
  })
  .on('close', () => process.exit(0))
