// Whether a multipart/signed has a signature in it, of whatever worth. SECURITY: what counts as signed by the client is not
// signed again, so a label over any two parts must not (test: a trace of a signature).
import { type ByteSource, rangeOf } from '../core/bytes.ts';
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
    const head: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of decodedBody(signature.header, rangeOf(message, signature.body).open())) {
      head.push(chunk.subarray(0, HEAD_BYTES));
      size += chunk.length;
      if (size >= HEAD_BYTES) break;
    }
    const bytes = Buffer.concat(head);
    return format === 'pgp' ? ARMOUR.test(bytes.toString('latin1')) : detectCms(bytes) === 'signed';
  } catch (error) {
    if (!(error instanceof GatewayError) || error.code !== 'mime-malformed') throw error;
    return false;
  }
}
