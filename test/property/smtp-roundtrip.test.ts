// Any canonical message that the client sends is what the listener hands over, byte for byte, in whatever chunks it is read.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { Chunks } from '../../src/core/bytes.ts';
import { systemClock } from '../../src/core/clock.ts';
import { silentLog } from '../../src/core/log.ts';
import { defaultTimeouts, deliverShipment } from '../../src/smtp/client.ts';
import { openRoute } from '../../src/smtp/mx.ts';
import type { NextHop } from '../../src/smtp/next-hop.ts';
import { openTestListener, shipment } from '../support/smtp.ts';

const octet = fc.integer({ min: 0, max: 255 }).filter((byte) => byte !== 10 && byte !== 13);
const line = fc.oneof(
  { weight: 5, arbitrary: fc.array(octet, { maxLength: 30 }) },
  { weight: 3, arbitrary: fc.constantFrom([46], [46, 46], [46, 46, 46], [], [46, 120]) },
  { weight: 1, arbitrary: fc.array(octet, { minLength: 1_000, maxLength: 3_000 }) },
);

test('client to listener', async () => {
  await using server = await openTestListener();
  const route = openRoute({
    port: server.listener.port,
    resolvers: [],
    allowPrivateAddresses: true,
    connectTimeoutMs: 5_000,
  });
  const hop: NextHop = {
    tls: 'opportunistic',
    open: (skip, signal) => route.toHost('127.0.0.1', skip, signal),
  };
  const options = { hostname: 'gw.example', clock: systemClock, log: silentLog, timeouts: defaultTimeouts };
  await fc.assert(
    fc.asyncProperty(
      fc.array(line, { maxLength: 40 }),
      fc.array(fc.integer({ min: 1, max: 50 })),
      async (lines, sizes) => {
        const bytes = Buffer.concat(lines.map((content) => Buffer.from([...content, 13, 10])));
        const sent = shipment('', ['b@remote.example'], {
          body: { size: bytes.length, open: () => chunked(bytes, sizes) },
          is8bit: true,
        });
        const results = await deliverShipment(hop, sent, options, new AbortController().signal);
        assert.equal(results[0]?.status, 'delivered');
        const received = server.messages.pop();
        assert.deepEqual(received?.body, bytes);
        assert.equal(received.envelope.body, '8BITMIME');
      },
    ),
    { numRuns: 20 },
  );
});

async function* chunked(bytes: Buffer, sizes: readonly number[]): Chunks & AsyncGenerator<Uint8Array> {
  let at = 0;
  for (const size of sizes) {
    yield bytes.subarray(at, at + size);
    at += size;
  }
  yield bytes.subarray(at);
}
