// Packet framing: what is written is read, in partial lengths too, and what is cut off is a fault.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { collect } from '../../../src/core/bytes.ts';
import { readBytes } from '../../../src/pgp/byte-reader.ts';
import { PgpFault } from '../../../src/pgp/fault.ts';
import { packetTag, readPacketBody, readPacketHead, writeDataPacket } from '../../../src/pgp/packet.ts';
import { inChunks } from '../../support/pgp.ts';

const LIMIT = 10_000_000;
const isFault = (error: unknown) => error instanceof PgpFault && error.reason === 'malformed';
const write = (body: Uint8Array, chunk: number) =>
  collect(writeDataPacket(packetTag.literal, inChunks(body, chunk)), LIMIT);

async function read(bytes: Uint8Array, chunk: number): Promise<{ tag: number; body: Buffer }> {
  const reader = readBytes(inChunks(bytes, chunk));
  const head = await readPacketHead(reader);
  assert.ok(head);
  const body = await collect(readPacketBody(reader, head), LIMIT);
  assert.equal(await readPacketHead(reader), undefined);
  return { tag: head.tag, body };
}

for (const size of [0, 1, 511, 65_535, 65_536, 65_537, 131_072, 300_000]) {
  test(`a data packet of ${size} bytes`, async () => {
    const body = randomBytes(size);
    for (const chunk of [size > 10_000 ? 999 : 1, 65_536, LIMIT]) {
      const packet = await write(body, chunk);
      for (const readChunk of [size > 10_000 ? 1_001 : 1, LIMIT]) {
        const found = await read(packet, readChunk);
        assert.equal(found.tag, packetTag.literal);
        assert.ok(found.body.equals(body));
      }
      for (const cut of [1, 3, 60_000]) {
        if (cut >= packet.length) continue;
        await assert.rejects(read(packet.subarray(0, -cut), LIMIT), isFault, `cut by ${cut}`);
      }
    }
  });
}

test('lengths of the old and the new format', async () => {
  const heads: readonly (readonly [string, readonly number[], number])[] = [
    ['new, one octet', [0xcb, 5], 5],
    ['new, two octets', [0xcb, 192, 0], 192],
    ['new, five octets', [0xcb, 255, 0, 0, 1, 1], 257],
    ['old, one octet', [0xac, 7], 7],
    ['old, two octets', [0xad, 1, 0], 256],
    ['old, four octets', [0xae, 0, 1, 0, 0], 65_536],
    ['old, to the end', [0xaf], 1_234],
  ];
  for (const [name, head, size] of heads) {
    const body = randomBytes(size);
    const found = await read(Buffer.concat([Buffer.from(head), body]), 100);
    assert.equal(found.tag, packetTag.literal, name);
    assert.ok(found.body.equals(body), name);
  }
});
