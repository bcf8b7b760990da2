// Whether a message is encrypted or signed with OpenPGP as a whole, by its structure and its packets. Labels only say
// where to look.
import type { ByteSource } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import type { Limits } from '../core/limits.ts';
import type { HeaderSection } from '../mime/header-section.ts';
import { mimeShape } from '../mime/shape.ts';
import { readMaybeArmor } from './armor.ts';
import { readEncryptedHead } from './encrypted-head.ts';
import { PgpFault } from './fault.ts';
import { findEncrypted, findSigned, openDecoded, SIGNATURE } from './mime-parts.ts';

const READ_BYTES = 65_536;

/**
 * Whether the message has the two parts of RFC 3156 §4, and the second holds an encrypted message and nothing else.
 * Whether that can be decrypted is not looked at. Throws what the source throws.
 * SECURITY: what counts as encrypted leaves as it is, so a label over clear text must not (test: a trace of encryption).
 */
export async function isEncryptedMessage(
  message: ByteSource,
  header: HeaderSection,
  limits: Limits,
): Promise<boolean> {
  try {
    const found = await findEncrypted(message, header, limits);
    if (found.kind !== 'found') return false;
    const { body } = await readEncryptedHead(readMaybeArmor(openDecoded(message, found.part), ['MESSAGE']));
    try {
      while (await body.some(READ_BYTES));
    } finally {
      await body.close();
    }
    return true;
  } catch (error) {
    if (error instanceof PgpFault || isMalformedMail(error)) return false;
    throw error;
  }
}

/** Whether a multipart/signed is one of OpenPGP: its protocol says so, or without one the type of its second part. */
export async function isSignedMessage(
  message: ByteSource,
  header: HeaderSection,
  limits: Limits,
): Promise<boolean> {
  const shape = mimeShape(header);
  if (shape.kind !== 'multipart-signed') return false;
  if (shape.protocol !== undefined) return shape.protocol === SIGNATURE;
  try {
    return (await findSigned(message, header, limits)).kind === 'found';
  } catch (error) {
    if (!isMalformedMail(error)) throw error;
    return false;
  }
}

function isMalformedMail(error: unknown): boolean {
  return error instanceof GatewayError && error.code === 'mime-malformed';
}
