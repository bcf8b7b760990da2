// Keys and messages for the OpenPGP tests. Keys are made when a test runs and live as long as it.
import { createCipheriv, createHash } from 'node:crypto';
import { encryptSessionKey, generateKey, type KeyOptions, type PrivateKey, type PublicKey } from 'openpgp';
import { type ByteSource, bytesSource, type Chunks, collect } from '../../src/core/bytes.ts';
import { defaultLimits } from '../../src/core/limits.ts';
import type { StageOutcome } from '../../src/core/outcome.ts';
import {
  parsePrivateKey,
  parsePublicKey,
  type PgpCertificate,
  type PgpPrivateKey,
} from '../../src/pgp/certificate.ts';
import { type ArmorLabel, writeArmor } from '../../src/pgp/armor.ts';
import type { PgpOptions } from '../../src/pgp/options.ts';
import { packetTag, writePacket } from '../../src/pgp/packet.ts';

export const AT = new Date('2026-06-01T12:00:00Z');
export const options: PgpOptions = { limits: defaultLimits, at: AT };
const BORN = new Date('2026-01-01T00:00:00Z');

export interface TestKey {
  readonly certificate: PgpCertificate;
  readonly own: PgpPrivateKey;
  readonly privateKey: PrivateKey;
  readonly publicKey: PublicKey;
  readonly armoredPrivate: string;
}

/** A key as GnuPG 2.2 can use it; `settings` go to the library. */
export async function makeKey(email: string, settings: Partial<KeyOptions> = {}): Promise<TestKey> {
  const { privateKey, publicKey } = await generateKey({
    type: 'ecc',
    curve: 'curve25519Legacy',
    date: BORN,
    userIDs: [{ name: 'Test', email }],
    ...settings,
    format: 'object',
  });
  return {
    certificate: await parsePublicKey(publicKey.armor()),
    own: await parsePrivateKey(privateKey.armor()),
    privateKey,
    publicKey,
    armoredPrivate: privateKey.armor(),
  };
}

/** Everything that a message function yields, and its outcome. */
export async function run(
  generator: AsyncGenerator<Uint8Array, StageOutcome>,
): Promise<{ bytes: Buffer; outcome: StageOutcome }> {
  const chunks: Uint8Array[] = [];
  for (;;) {
    const next = await generator.next();
    if (next.done) return { bytes: Buffer.concat(chunks), outcome: next.value };
    chunks.push(next.value);
  }
}

export function source(text: string | Uint8Array): ByteSource {
  return bytesSource(typeof text === 'string' ? Buffer.from(text, 'latin1') : text);
}

/** The bytes in chunks of `size`. */
export async function* inChunks(bytes: Uint8Array, size: number): Chunks {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

export function mail(lines: readonly string[]): Buffer {
  return Buffer.from(lines.map((line) => `${line}\r\n`).join(''), 'utf8');
}

export const SIMPLE = mail([
  'From: Alice <alice@contoso.example>',
  'To: bob@fabrikam.example',
  'Subject: The plan',
  'Message-ID: <1@contoso.example>',
  'MIME-Version: 1.0',
  'Content-Type: text/plain; charset=utf-8',
  'Content-Transfer-Encoding: 8bit',
  '',
  'Gr\u00fc\u00dfe, the plan is here.',
  '',
  'From the start: trailing blanks   ',
]);

/** A message with this armour as its encrypted part. */
export function encryptedMail(armored: string, encoding = '7bit'): Buffer {
  return mail([
    'From: alice@contoso.example',
    'Subject: The plan',
    'MIME-Version: 1.0',
    'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b',
    '',
    '--b',
    'Content-Type: application/pgp-encrypted',
    '',
    'Version: 1',
    '',
    '--b',
    'Content-Type: application/octet-stream',
    `Content-Transfer-Encoding: ${encoding}`,
    '',
    armored,
    '--b--',
  ]);
}

/** A copy with one byte changed. */
export function flip(bytes: Uint8Array, at: number): Buffer {
  const copy = Buffer.from(bytes);
  const index = at < 0 ? copy.length + at : at;
  copy[index] = (copy[index] ?? 0) ^ 1;
  return copy;
}

const SESSION_KEY = Buffer.alloc(32, 7);

/** A binary message with these packets inside integrity protected data, for one key; made without the code under test. */
export async function protect(packets: Uint8Array, key: PublicKey): Promise<Buffer> {
  const prefix = Buffer.alloc(18, 1);
  const mdcHead = Buffer.of(0xd3, 0x14);
  const digest = createHash('sha1').update(prefix).update(packets).update(mdcHead).digest();
  const cipher = createCipheriv('aes-256-cfb', SESSION_KEY, Buffer.alloc(16));
  const sealed = cipher.update(Buffer.concat([prefix, packets, mdcHead, digest]));
  const data = writePacket(packetTag.protected, Buffer.concat([Buffer.of(1), sealed]));
  return Buffer.concat([await sessionKeyPacket(key), data]);
}

/** A PKESK packet for `protect`, or for whatever else. */
export async function sessionKeyPacket(
  key: PublicKey,
  { wildcard = false, data = SESSION_KEY }: { wildcard?: boolean; data?: Uint8Array } = {},
): Promise<Buffer> {
  const settings = { data, algorithm: 'aes256', encryptionKeys: key, wildcard, date: AT } as const;
  return Buffer.from(await encryptSessionKey({ ...settings, format: 'binary' }));
}

/** A literal data packet with binary content. */
export function literal(content: string | Uint8Array): Buffer {
  return writePacket(
    packetTag.literal,
    Buffer.concat([Buffer.from('b\0\0\0\0\0', 'latin1'), Buffer.from(content)]),
  );
}

export async function armoured(bytes: Uint8Array, label: ArmorLabel = 'MESSAGE'): Promise<string> {
  const text = await collect(writeArmor(label, bytesSource(bytes).open(), true), 1_000_000_000);
  return text.toString('latin1').trimEnd();
}

/** The parts of a multipart that we wrote, as whole entities. */
export function partsOf(message: Buffer): readonly Buffer[] {
  const text = message.toString('latin1');
  const boundary = /boundary="?([^"\r\n;]+)/.exec(text)?.[1] ?? '';
  const pieces = text.split(
    new RegExp(`(?:^|\\r\\n)--${boundary.replace(/[^A-Za-z0-9_]/g, '\\$&')}(?:\\r\\n|--\\r\\n)`),
  );
  return pieces.slice(1, -1).map((piece) => Buffer.from(piece, 'latin1'));
}

/** The body of an entity. */
export function bodyOf(entity: Buffer): Buffer {
  return entity.subarray(entity.indexOf('\r\n\r\n') + 4);
}
