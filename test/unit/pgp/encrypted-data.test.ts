// The forms of encrypted data: what we write, we and the library read; what was changed fails; sizes and chunks do not matter.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { decrypt, readMessage } from 'openpgp';
import { bytesSource, collect } from '../../../src/core/bytes.ts';
import { encryptAead, readAeadHead } from '../../../src/pgp/aead-data.ts';
import { aeadMode, openAead, sealAead } from '../../../src/pgp/aead-mode.ts';
import { readBytes } from '../../../src/pgp/byte-reader.ts';
import { openEncryptedData } from '../../../src/pgp/encrypted-data.ts';
import { PgpFault } from '../../../src/pgp/fault.ts';
import { packetTag, writeDataPacket } from '../../../src/pgp/packet.ts';
import { encryptProtected } from '../../../src/pgp/protected-data.ts';
import { flip, inChunks, literal, makeKey } from '../../support/pgp.ts';

const LIMIT = 10_000_000;
const owner = (await makeKey('bob@fabrikam.example')).own;
const hex = (text: string) => Buffer.from(text, 'hex');
const isFault = (reason: string) => (error: unknown) => error instanceof PgpFault && error.reason === reason;

interface Form {
  readonly algorithm: number;
  readonly name: 'tripledes' | 'aes128' | 'aes192' | 'aes256';
  readonly keyBytes: number;
  readonly aead?: 'eax' | 'ocb' | 'gcm';
  readonly modeId?: number;
}
const FORMS: readonly Form[] = [
  { algorithm: 2, name: 'tripledes', keyBytes: 24 },
  { algorithm: 7, name: 'aes128', keyBytes: 16 },
  { algorithm: 8, name: 'aes192', keyBytes: 24 },
  { algorithm: 9, name: 'aes256', keyBytes: 32 },
  { algorithm: 7, name: 'aes128', keyBytes: 16, aead: 'eax', modeId: 1 },
  { algorithm: 9, name: 'aes256', keyBytes: 32, aead: 'eax', modeId: 1 },
  { algorithm: 7, name: 'aes128', keyBytes: 16, aead: 'ocb', modeId: 2 },
  { algorithm: 9, name: 'aes256', keyBytes: 32, aead: 'ocb', modeId: 2 },
  { algorithm: 8, name: 'aes192', keyBytes: 24, aead: 'gcm', modeId: 3 },
  { algorithm: 9, name: 'aes256', keyBytes: 32, aead: 'gcm', modeId: 3 },
];
const SIZES = [0, 1, 21, 22, 23, 65_535, 65_536, 65_537, 200_000];

function seal(form: Form, packets: Uint8Array, data: Uint8Array, chunk = 10_000): Promise<Buffer> {
  const input = inChunks(packets, chunk);
  const body =
    form.modeId === undefined
      ? encryptProtected(input, { algorithm: form.algorithm, data })
      : encryptAead(input, form.algorithm, form.modeId, data);
  return collect(body, LIMIT);
}

async function open(form: Form, body: Uint8Array, data: Uint8Array, chunk = 10_000): Promise<Buffer> {
  const reader = readBytes(inChunks(body, chunk));
  const opened = await openEncryptedData({
    recipients: [],
    hasPassword: false,
    tag: packetTag.protected,
    body: reader,
  });
  const key = { algorithm: form.modeId === undefined ? form.algorithm : undefined, data, owner };
  // A candidate is a hint: what follows must not depend on it.
  const isCandidate = await opened.opens(key);
  const packets = await collect(opened.decrypt(key), LIMIT);
  assert.ok(isCandidate);
  return packets;
}

for (const form of FORMS) {
  const name = `${form.name} ${form.aead ?? 'cfb'}`;

  test(`${name}: every size, in any chunks`, async () => {
    for (const size of SIZES) {
      const packets = randomBytes(size);
      const data = randomBytes(form.keyBytes);
      const body = await seal(form, packets, data, Math.max(1, size / 7) | 0);
      const chunks = size > 1_000 ? [977, 65_536, LIMIT] : [1, 16, LIMIT];
      for (const chunk of chunks) {
        assert.ok(
          (await open(form, body, data, chunk)).equals(packets),
          `${size} bytes in chunks of ${chunk}`,
        );
      }
    }
  });

  test(`${name}: a changed byte, a cut and something behind it fail`, async () => {
    const data = randomBytes(form.keyBytes);
    const body = await seal(form, literal(randomBytes(70_000)), data);
    // Behind the prefix or the salt, which select the key.
    for (const at of [60, 1_000, 65_600, -1, -16, -17, -22, -23]) {
      await assert.rejects(open(form, flip(body, at), data), isFault('failed'), `byte ${at}`);
    }
    for (const cut of [1, 16, 22, 4_000]) {
      await assert.rejects(open(form, body.subarray(0, -cut), data), isFault('failed'), `cut by ${cut}`);
    }
    await assert.rejects(open(form, Buffer.concat([body, Buffer.of(0)]), data), isFault('failed'));
  });

  // The library has no 3DES for messages any more.
  if (form.name !== 'tripledes') {
    test(`${name}: the library reads it`, async () => {
      const content = randomBytes(150_000);
      const data = randomBytes(form.keyBytes);
      const body = await seal(form, literal(content), data);
      const packet = await collect(writeDataPacket(packetTag.protected, bytesSource(body).open()), LIMIT);
      const opened = await decrypt({
        message: await readMessage({ binaryMessage: packet }),
        sessionKeys: { data, algorithm: form.name, ...(form.aead ? { aeadAlgorithm: form.aead } : {}) },
        format: 'binary',
      });
      assert.ok(Buffer.from(opened.data as Uint8Array).equals(content));
    });
  }
}

test('aead table: heads that are refused before anything is held in memory', async () => {
  const salt = Buffer.alloc(32);
  const heads: readonly (readonly [string, readonly number[], string])[] = [
    ['version 3', [3, 9, 2, 10], 'unsupported'],
    ['3DES', [2, 2, 2, 10], 'unsupported'],
    ['mode 4', [2, 9, 4, 10], 'unsupported'],
    ['chunks of 8 MiB', [2, 9, 2, 17], 'unsupported'],
    ['chunks of 2^70', [2, 9, 2, 64], 'unsupported'],
    ['three octets', [2, 9, 2], 'malformed'],
  ];
  for (const [name, octets, reason] of heads) {
    const bytes = octets.length < 4 ? Buffer.from(octets) : Buffer.concat([Buffer.from(octets), salt]);
    const body = readBytes(inChunks(bytes, 5));
    await assert.rejects(readAeadHead(packetTag.protected, body), isFault(reason), name);
  }
});

test('aead: chunks that change places fail', async () => {
  const form = FORMS[6] as Form;
  const data = randomBytes(form.keyBytes);
  const body = await seal(form, randomBytes(3 * 65_536), data);
  const chunk = (index: number) => body.subarray(36 + index * 65_552, 36 + (index + 1) * 65_552);
  const rest = body.subarray(36 + 3 * 65_552);
  const swapped = Buffer.concat([body.subarray(0, 36), chunk(0), chunk(2), chunk(1), rest]);
  await assert.rejects(open(form, swapped, data), isFault('failed'));
  const dropped = Buffer.concat([body.subarray(0, 36), chunk(0), chunk(1), rest]);
  await assert.rejects(open(form, dropped, data), isFault('failed'));
});

test('aead modes: the test vectors of the three modes', () => {
  // EAX: the paper's third; OCB: RFC 7253 appendix A; GCM: the specification's case 14.
  const vectors = [
    {
      mode: 1,
      key: '01F74AD64077F2E704C0F60ADA3DD523',
      nonce: '70C3DB4F0D26368400A10ED05D2BFF5E',
      data: '234A3463C1264AC6',
      plain: '1A47CB4933',
      sealed: 'D851D5BAE03A59F238A23E39199DC9266626C40F80',
    },
    {
      mode: 2,
      key: '000102030405060708090A0B0C0D0E0F',
      nonce: 'BBAA99887766554433221101',
      data: '0001020304050607',
      plain: '0001020304050607',
      sealed: '6820B3657B6F615A5725BDA0D3B4EB3A257C9AF1F8F03009',
    },
    {
      mode: 3,
      key: '00'.repeat(32),
      nonce: '00'.repeat(12),
      data: '',
      plain: '00'.repeat(16),
      sealed: 'CEA7403D4D606B6E074EC5D3BAF39D18D0D1C8A799996BF0265B98B5D48AB919',
    },
  ];
  for (const { mode: id, key, nonce, data, plain, sealed } of vectors) {
    const mode = aeadMode(id);
    assert.ok(mode);
    const written = Buffer.concat(sealAead(mode, hex(key), hex(nonce), hex(data), hex(plain)));
    assert.equal(written.toString('hex'), sealed.toLowerCase(), mode.label);
    const read = openAead(mode, hex(key), hex(nonce), hex(data), hex(sealed));
    assert.equal(read.toString('hex'), plain.toLowerCase(), mode.label);
  }
});
