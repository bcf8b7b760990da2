// Whether a multipart/signed has a signature in it, of whatever worth. SECURITY: what counts as signed by the client is not
// signed again, so a label over any two parts must not (test: a trace of a signature).
import { type ByteSource, headOf } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import type { KeyFormat } from '../core/key.ts';
import type { Limits } from '../core/limits.ts';
import { readParts } from '../mime/shape.ts';
import { decodedBody, detectCms } from '../smime/detect.ts';

const HEAD_BYTES = 256;
const ARMOUR = /^\s*-----BEGIN PGP (?:SIGNATURE|MESSAGE)-----/;

/** Two parts, of which the second begins as a signature of the format does. What cannot be read holds none. */
export async function holdsSignature(
  message: ByteSource,
  format: KeyFormat,
  limits: Limits,
): Promise<boolean> {
  try {
    const [content, signature, ...more] = await readParts(message, limits);
    if (!content || !signature || more.length > 0) return false;
    const body = decodedBody(signature.header, message.open(signature.body));
    const head = await headOf(body, HEAD_BYTES);
    return format === 'pgp' ? ARMOUR.test(head.toString('latin1')) : detectCms(head) === 'signed';
  } catch (error) {
    if (!(error instanceof GatewayError) || error.code !== 'mime-malformed') throw error;
    return false;
  }
}
