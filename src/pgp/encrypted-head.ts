// The head of an encrypted message (RFC 9580 §10.3): who can read it, and what its data packet is. Read by ourselves, with
// caps, before the library or a private key is touched; stops at the first byte of encrypted data.
import type { Chunks } from '../core/bytes.ts';
import { type ByteReader, readBytes } from './byte-reader.ts';
import { PgpFault } from './fault.ts';
import { MAX_CONTROL_PACKET_BYTES, MAX_RECIPIENT_PACKETS } from './options.ts';
import {
  type PacketHead,
  packetTag,
  readPacketBody,
  readPacketHead,
  readSmallBody,
  writePacket,
} from './packet.ts';

/** One PKESK packet: the session key for one recipient. */
export interface RecipientPacket {
  /** Lower-case hex; undefined where the sender hid it (RFC 9580 §5.1.8). */
  readonly keyId: string | undefined;
  /** The whole packet. */
  readonly packet: Buffer;
}

export interface EncryptedHead {
  readonly recipients: readonly RecipientPacket[];
  /** A password would open it too. */
  readonly hasPassword: boolean;
  /** The data packet: its type, and its body without framing. Reading the body checks that nothing follows. */
  readonly tag: number;
  readonly body: ByteReader;
}

const IGNORED: ReadonlySet<number> = new Set([packetTag.marker, packetTag.padding]);
const ENCRYPTED: ReadonlySet<number> = new Set([packetTag.protected, packetTag.aead, packetTag.unprotected]);

/** Reads up to the encrypted data. Throws PgpFault `malformed` or `unsupported`. Close `body` if it is not read to its end. */
export async function readEncryptedHead(chunks: Chunks): Promise<EncryptedHead> {
  const reader = readBytes(chunks);
  try {
    return await readHead(reader);
  } catch (error) {
    await reader.close();
    throw error;
  }
}

async function readHead(reader: ByteReader): Promise<EncryptedHead> {
  const recipients: RecipientPacket[] = [];
  let passwords = 0;
  for (let packets = 0; ; packets += 1) {
    // SECURITY: no private key operation before this count is known (test: pkesk-flood).
    if (packets > MAX_RECIPIENT_PACKETS) throw new PgpFault('unsupported', 'too many session key packets');
    const head = await readPacketHead(reader);
    if (!head) throw new PgpFault('malformed', 'no encrypted data packet');
    if (ENCRYPTED.has(head.tag)) {
      const body = readBytes(readDataBody(reader, head));
      return { recipients, hasPassword: passwords > 0, tag: head.tag, body };
    }
    const body = await readSmallBody(reader, head, MAX_CONTROL_PACKET_BYTES);
    if (head.tag === packetTag.publicKeySessionKey) recipients.push(...parseRecipient(body));
    else if (head.tag === packetTag.passwordSessionKey) passwords += 1;
    else if (!IGNORED.has(head.tag)) throw new PgpFault('malformed', 'not an encrypted message');
  }
}

/** An unknown version is somebody else's session key: it is skipped (RFC 9580 §5.1). */
function parseRecipient(body: Buffer): RecipientPacket[] {
  const packet = writePacket(packetTag.publicKeySessionKey, body);
  if (body[0] === 3) {
    const keyId = body.toString('hex', 1, 9);
    return [{ keyId: /^0+$/.test(keyId) ? undefined : keyId, packet }];
  }
  if (body[0] !== 6) return [];
  const length = body[1] ?? 0;
  if (length === 0) return [{ keyId: undefined, packet }];
  const fingerprint = body.subarray(3, 2 + length);
  const keyId = body[2] === 4 ? fingerprint.subarray(-8) : fingerprint.subarray(0, 8);
  return [{ keyId: keyId.toString('hex'), packet }];
}

/** SECURITY: whatever follows the data packet is outside its integrity check, so nothing may (test: grammar). */
async function* readDataBody(reader: ByteReader, head: PacketHead): AsyncGenerator<Uint8Array, void> {
  try {
    yield* readPacketBody(reader, head);
    const next = await readPacketHead(reader);
    if (next) throw new PgpFault('malformed', 'a packet follows the encrypted data');
  } finally {
    await reader.close();
  }
}
