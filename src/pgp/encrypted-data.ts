// The encrypted data packet behind one interface, whichever of its three forms it has.
import { aeadAlgorithm, decryptAead, opensAead, readAeadHead } from './aead-data.ts';
import type { EncryptedHead } from './encrypted-head.ts';
import { PgpFault } from './fault.ts';
import { packetTag } from './packet.ts';
import { decryptProtected, opensProtected, protectedAlgorithm } from './protected-data.ts';
import type { SessionKey } from './session-key.ts';

export interface EncryptedData {
  /** Whether a candidate looks right. Consumes nothing. */
  readonly opens: (key: SessionKey) => Promise<boolean>;
  /** The packets inside; whole and unchanged only if it comes to its end. Throws PgpFault. */
  readonly decrypt: (key: SessionKey) => AsyncGenerator<Uint8Array, void>;
  /** For the outcome: what protected the content. */
  readonly algorithm: (key: SessionKey) => string;
}

/** Reads the start of the packet. Throws PgpFault `malformed` or `unsupported`, before any key is touched. */
export async function openEncryptedData({ tag, body }: EncryptedHead): Promise<EncryptedData> {
  // SECURITY: the old packet has no integrity; an attacker relabels one as the other (test: sed).
  if (tag === packetTag.unprotected) throw new PgpFault('unsupported', 'no integrity protection');
  const [version] = await body.peek(1);
  if (tag === packetTag.protected && version === 1) {
    await body.take(1);
    return {
      opens: (key) => opensProtected(body, key),
      decrypt: (key) => decryptProtected(body, key),
      algorithm: protectedAlgorithm,
    };
  }
  const head = await readAeadHead(tag, body);
  return {
    opens: (key) => opensAead(head, body, key),
    decrypt: (key) => decryptAead(head, body, key),
    algorithm: () => aeadAlgorithm(head),
  };
}
