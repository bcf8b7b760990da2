// Base64 in the lines of ASCII armour, with the runtime's own codec: the general one in mime/ works byte by byte, since it
// must read everything; what it costs shows in a message of 150 MB.
import { type Chunks, concat } from '../core/bytes.ts';
import { decodeBase64 } from '../mime/transfer-encoding.ts';

/** Bytes in one line of 64 characters. */
const LINE_BYTES = 48;
const LINE_CHARACTERS = 64;
const LF = 10;
const CR = 13;
const UNDERSCORE = 0x5f;
const CRLF = new Uint16Array(Uint8Array.of(CR, LF).buffer)[0] as number;
/** What `encodeArmorLines` takes at once. */
export const MAX_BLOCK_BYTES = LINE_BYTES * 1024;
const text = Buffer.allocUnsafeSlow((MAX_BLOCK_BYTES / LINE_BYTES) * LINE_CHARACTERS);
const textPairs = new Uint16Array(text.buffer, text.byteOffset, text.length / 2);

/** Lines of 64 characters with CRLF; the last one may be shorter. At most MAX_BLOCK_BYTES. */
export function encodeArmorLines(bytes: Buffer): Buffer {
  const lines = Math.floor(bytes.length / LINE_BYTES);
  const rest = bytes.toString('base64', lines * LINE_BYTES);
  const out = Buffer.allocUnsafeSlow(lines * (LINE_CHARACTERS + 2) + (rest === '' ? 0 : rest.length + 2));
  text.write(bytes.toString('base64', 0, lines * LINE_BYTES), 'latin1');
  const pairs = new Uint16Array(out.buffer, out.byteOffset, out.length >> 1);
  let to = 0;
  for (let from = 0, line = 0; line < lines; line += 1) {
    for (const end = from + LINE_CHARACTERS / 2; from < end; from += 4, to += 4) {
      pairs[to] = textPairs[from] as number;
      pairs[to + 1] = textPairs[from + 1] as number;
      pairs[to + 2] = textPairs[from + 2] as number;
      pairs[to + 3] = textPairs[from + 3] as number;
    }
    pairs[to] = CRLF;
    to += 1;
  }
  if (rest !== '') out.write(`${rest}\r\n`, to * 2, 'latin1');
  return out;
}

/**
 * Decodes the base64 of an armour, as `decodeBase64` does. Pieces of whole lines of one length are decoded at once; the
 * first piece that is anything else, and all that follows it, goes the general way.
 */
export async function* decodeArmorLines(chunks: Chunks): AsyncGenerator<Uint8Array, void> {
  const iterator = chunks[Symbol.asyncIterator]();
  let held: Buffer = Buffer.alloc(0);
  try {
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) {
      const chunk = Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength);
      const piece = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      const size = piece.lastIndexOf(LF) + 1;
      const decoded = size === 0 ? undefined : decodeWholeLines(piece.subarray(0, size));
      if (!decoded) {
        yield* decodeBase64(concat(piece, { [Symbol.asyncIterator]: () => iterator }));
        return;
      }
      yield decoded;
      held = piece.subarray(size);
    }
  } finally {
    await iterator.return?.();
  }
  yield* decodeBase64(concat(held));
}

/** Undefined unless every line has the same number of base64 characters, and that is a multiple of four. */
function decodeWholeLines(lines: Buffer): Buffer | undefined {
  const stride = lines.indexOf(LF) + 1;
  const endBytes = lines[stride - 2] === CR ? 2 : 1;
  const characters = stride - endBytes;
  const count = lines.length / stride;
  if (characters % 4 !== 0 || !Number.isInteger(count)) return undefined;
  for (let end = stride; end <= lines.length; end += stride) {
    if (lines[end - 1] !== LF || lines[end - endBytes] !== (endBytes === 2 ? CR : LF)) return undefined;
  }
  // The runtime also reads the alphabet for URLs; `-` does not come here, it ends the armour.
  if (lines.includes(UNDERSCORE)) return undefined;
  const decoded = Buffer.from(lines.toString('latin1'), 'base64');
  // A blank or a character outside the alphabet was skipped, or padding ended it: the count says so.
  return decoded.length === (count * characters * 3) / 4 ? decoded : undefined;
}
