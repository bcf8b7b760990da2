// Writing an encrypted OpenPGP message, with or without a signature inside. The library encrypts the session key; content
// goes through our own packets.
import { encryptSessionKey, generateSessionKey } from 'openpgp';
import { encryptAead } from './aead-data.ts';
import { writeArmor } from './armor.ts';
import { type Chunks, concat, rechunk } from '../core/bytes.ts';
import type { NonEmpty } from '../core/non-empty.ts';
import { type PgpCertificate, type PgpPrivateKey, requireUse } from './certificate.ts';
import { type ContentSigner, openContentSigner } from './content-signer.ts';
import { type PgpOptions, strictConfig } from './options.ts';
import { packetTag, writeDataPacket } from './packet.ts';
import { encryptProtected } from './protected-data.ts';
import { AEAD_IDS, ALGORITHM_IDS } from './session-key.ts';

const CHUNK_BYTES = 65_536;
/** Binary, without a file name and a date. */
const LITERAL_HEAD = Buffer.from('b\0\0\0\0\0', 'latin1');

/**
 * One armoured message, encrypted to all keys; with `signer` also signed (RFC 3156 §6.2). Throws GatewayError
 * `encryption-required` or `signing-key-missing` for a key that cannot be used at `options.at`.
 */
export async function* encryptContent(
  content: Chunks,
  keys: NonEmpty<PgpCertificate>,
  signer: PgpPrivateKey | undefined,
  options: PgpOptions,
): AsyncGenerator<Uint8Array, void> {
  for (const key of keys) await requireUse(key, 'encrypt', options.at);
  const signature = signer && (await openContentSigner(signer, options));
  const encryptionKeys = keys.map(({ key }) => key);
  const settings = { encryptionKeys, date: options.at, config: strictConfig };
  const sessionKey = await generateSessionKey(settings);
  const recipients = await encryptSessionKey({ ...settings, ...sessionKey, format: 'binary' });
  const { data, algorithm: name, aeadAlgorithm } = sessionKey;
  const algorithm = ALGORITHM_IDS[name] ?? 0;
  const blocks = rechunk(content, CHUNK_BYTES);
  const packets = signature ? signedPackets(blocks, signature) : literalPacket(blocks);
  const body =
    aeadAlgorithm === undefined
      ? encryptProtected(packets, { algorithm, data })
      : encryptAead(packets, algorithm, AEAD_IDS[aeadAlgorithm], data);
  const message = concat(recipients, writeDataPacket(packetTag.protected, body));
  // RFC 9580 §6.1: no checksum with version 2.
  yield* writeArmor('MESSAGE', message, aeadAlgorithm === undefined);
}

function literalPacket(content: Chunks): AsyncGenerator<Uint8Array, void> {
  return writeDataPacket(packetTag.literal, concat(LITERAL_HEAD, content));
}

async function* signedPackets(content: Chunks, signer: ContentSigner): AsyncGenerator<Uint8Array, void> {
  async function* signed(): AsyncGenerator<Uint8Array, void> {
    for await (const chunk of content) {
      signer.update(chunk);
      yield chunk;
    }
  }
  yield signer.onePass;
  yield* literalPacket(signed());
  yield await signer.finish();
}
