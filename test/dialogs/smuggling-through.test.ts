// The same endings through the whole gateway: listener, door, client. What is refused is refused with one reply, and what
// is normalised leaves as one message that reads the same at the next hop.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesSource } from '../../src/core/bytes.ts';
import { systemClock } from '../../src/core/clock.ts';
import { defaultLimits } from '../../src/core/limits.ts';
import { silentLog } from '../../src/core/log.ts';
import { type BareLineEnds, normaliseMessage } from '../../src/mime/canonical.ts';
import { defaultTimeouts, deliverShipment } from '../../src/smtp/client.ts';
import { openRoute } from '../../src/smtp/mx.ts';
import type { TransactionHandler } from '../../src/smtp/session.ts';
import { greet, ok, openTestListener, readAll, shipment } from '../support/smtp.ts';

const HEADER = 'Subject: x\r\n\r\n';
const SMUGGLED = 'MAIL FROM:<evil@evil.example>\r\nRCPT TO:<b@remote.example>\r\nDATA\r\nSubject: y\r\n\r\n';

/** What stands between `x` and the smuggled commands on the wire, and what it is for the next hop; undefined: refused. */
const endings: readonly [name: string, sent: string, normalised: string | undefined][] = [
  ['LF . LF', '\n.\n', '\r\n.\r\n'],
  ['LF . CRLF', '\n.\r\n', '\r\n.\r\n'],
  ['LF .. CRLF', '\n..\r\n', '\r\n..\r\n'],
  ['CRLF . LF', '\r\n.\n', '\r\n\r\n'],
  ['CR . CR', '\r.\r', '\r\n.\r\n'],
  ['CR . CRLF', '\r.\r\n', '\r\n.\r\n'],
  ['CRLF . CR', '\r\n.\r', '\r\n\r\n'],
  ['CRLF . CR CRLF', '\r\n.\r\r\n', '\r\n\r\n\r\n'],
  ['LF CR . CRLF', '\n\r.\r\n', '\r\n\r\n.\r\n'],
  ['CRLF NUL . CRLF', '\r\n\0.\r\n', undefined],
  ['CRLF . NUL CRLF', '\r\n.\0\r\n', undefined],
];

interface Through {
  /** Sends one message and says NOOP: both replies, and what the next hop got. */
  readonly send: (
    wire: string,
  ) => Promise<{ replies: readonly (string | undefined)[]; bodies: readonly string[] }>;
}

/** Runs with a listener, the door, our client and another listener as the next hop. */
async function throughGateway(bareLineEnds: BareLineEnds, run: (through: Through) => Promise<void>) {
  await using next = await openTestListener();
  const { port } = next.listener;
  const route = openRoute({ port, resolvers: [], allowPrivateAddresses: true, connectTimeoutMs: 5_000 });
  const message: TransactionHandler['message'] = async (_peer, envelope, body, signal) => {
    const door = normaliseMessage(body, { bareLineEnds, limits: defaultLimits });
    const [result] = await deliverShipment(
      { tls: 'opportunistic', open: (skip, stop) => route.toHost('127.0.0.1', skip, stop) },
      shipment('', envelope.recipients, { body: bytesSource(await readAll(door)) }),
      { hostname: 'gw.example', clock: systemClock, log: silentLog, timeouts: defaultTimeouts },
      signal,
    );
    assert.equal(result?.status, 'delivered');
    return ok;
  };
  await using gateway = await openTestListener({ handler: { message } });
  using client = await greet(gateway.listener.port);
  await run({
    async send(wire) {
      const before = next.messages.length;
      await client.say('MAIL FROM:<a@contoso.example>', 'RCPT TO:<b@remote.example>', 'DATA');
      client.send(Buffer.from(`${wire}.\r\nNOOP\r\n`, 'latin1'));
      const replies = [await client.reply(), await client.reply()];
      return { replies, bodies: next.messages.slice(before).map(({ body }) => body.toString('latin1')) };
    },
  });
}

test('smuggle-through: refused', () =>
  throughGateway('refuse', async ({ send }) => {
    for (const [name, sent] of endings) {
      const { replies, bodies } = await send(`${HEADER}x${sent}${SMUGGLED}`);
      assert.match(replies.join(), /^550 5\.6\.11 [^,]*,250 2\.0\.0 OK$/, name);
      assert.deepEqual(bodies, [], name);
    }
  }));

test('smuggle-through: normalised', () =>
  throughGateway('normalise', async ({ send }) => {
    for (const [name, sent, normalised] of endings) {
      const { replies, bodies } = await send(`${HEADER}x${sent}${SMUGGLED}`);
      const expected = normalised === undefined ? [] : [`${HEADER}x${normalised}${SMUGGLED}`];
      assert.deepEqual(bodies, expected, name);
      assert.match(replies[0] ?? '', normalised === undefined ? /^550 5\.6\.11 / : /^250 /, name);
      assert.equal(replies[1], '250 2.0.0 OK', name);
    }
  }));

test('a bare line end in the header section is refused in either mode', async () => {
  for (const mode of ['refuse', 'normalise'] as const) {
    await throughGateway(mode, async ({ send }) => {
      for (const header of ['Subject: x\nBcc: y\r\n', 'Subject: x\rBcc: y\r\n', 'Subject: \0\r\n']) {
        const { replies, bodies } = await send(`${header}\r\nx\r\n`);
        assert.match(replies.join(), /^550 5\.6\.0 [^,]*,250 2\.0\.0 OK$/);
        assert.deepEqual(bodies, []);
      }
    });
  }
});
