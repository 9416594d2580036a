// Run aedes for the comparison: a password, a rule for its user, no bound on queues; prints the port when it listens.

import { createHash, timingSafeEqual } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { createServer as createTlsServer } from 'node:tls'
import { pathToFileURL } from 'node:url'

const options = JSON.parse(process.argv[2])
const resolve = createRequire(join(options.peers, 'package.json')).resolve
const { Aedes } = await import(pathToFileURL(resolve('aedes')))
const digest = value => createHash('sha256').update(value).digest()
const known = { username: options.username, password: digest(options.password) }

const allowed = client => client.username === known.username
const aedes = await Aedes.createBroker({
  concurrency: 10_000,
  queueLimit: 1_000_000,
  maxInflightInbound: 0,
  maxClientsIdLength: 65_535,
  drainTimeout: 0,
  authenticate (client, username, password, done) {
    client.username = username
    done(null, username === known.username && timingSafeEqual(digest(password ?? ''), known.password))
  },
  authorizePublish (client, packet, done) {
    done(allowed(client) ? null : new Error('not allowed'))
  },
  authorizeSubscribe (client, subscription, done) {
    done(null, allowed(client) ? subscription : null)
  }
})

const { tls, noDelay } = options
if (tls) {
  const secure = createTlsServer({ cert: readFileSync(tls.cert), key: readFileSync(tls.key), minVersion: 'TLSv1.3', noDelay }, aedes.handle)
  await new Promise(done => secure.listen(tls.port, '127.0.0.1', done))
}
const server = createServer({ noDelay }, aedes.handle)
server.listen({ port: 0, host: '127.0.0.1', backlog: 4_096 }, () => console.log(`aedes ready ${server.address().port}`))
process.on('SIGTERM', () => process.exit(0))
