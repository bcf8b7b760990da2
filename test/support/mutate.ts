// Damaged input for the readers: bytes changed in the ways that break parsers of ASN.1 and MIME. And how many runs a fuzzed
// property gets: few in CI, many with POSTERN_FUZZ_RUNS.
import assert from 'node:assert/strict';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { GatewayError } from '../../src/core/errors.ts';

const CI_RUNS = 400;
const MAX_MS = 2_000;
const MAX_GROWTH_BYTES = 192 * 1024 * 1024;

/** Runs of a fuzzed property: `POSTERN_FUZZ_RUNS`, else what CI can afford. */
export function fuzzRuns(share = 1): number {
  const wanted = Number(process.env['POSTERN_FUZZ_RUNS'] ?? CI_RUNS);
  return Math.max(1, Math.floor(wanted * share));
}

type Mutation = (bytes: Buffer) => Buffer;

const place = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const indexIn = (bytes: Buffer, at: number): number => Math.floor(at * bytes.length);

function spliced(bytes: Buffer, from: number, to: number, inside: Uint8Array): Buffer {
  return Buffer.concat([bytes.subarray(0, from), inside, bytes.subarray(to)]);
}

const flip = fc.tuple(place, fc.nat(7)).map(([at, bit]): Mutation => {
  return (bytes) => {
    const changed = Buffer.from(bytes);
    const index = indexIn(bytes, at);
    if (index < changed.length) changed[index] = (changed[index] ?? 0) ^ (1 << bit);
    return changed;
  };
});
const overwrite = fc
  .tuple(place, fc.uint8Array({ minLength: 1, maxLength: 8 }))
  .map(([at, inside]): Mutation => {
    return (bytes) => spliced(bytes, indexIn(bytes, at), indexIn(bytes, at) + inside.length, inside);
  });
const truncate = place.map(
  (at): Mutation =>
    (bytes) =>
      bytes.subarray(0, indexIn(bytes, at)),
);
const remove = fc.tuple(place, fc.integer({ min: 1, max: 64 })).map(([at, size]): Mutation => {
  return (bytes) => spliced(bytes, indexIn(bytes, at), indexIn(bytes, at) + size, Buffer.alloc(0));
});
const repeat = fc
  .tuple(place, fc.integer({ min: 1, max: 256 }), fc.integer({ min: 1, max: 50 }))
  .map(([at, size, times]): Mutation => {
    return (bytes) => {
      const from = indexIn(bytes, at);
      const piece = bytes.subarray(from, from + size);
      return spliced(bytes, from, from, Buffer.alloc(piece.length * times, piece));
    };
  });

/** A length octet: short, long, indefinite, far too large, reserved. */
const lengths = fc
  .tuple(
    place,
    fc.constantFrom(
      '00',
      '7f',
      '80',
      '81ff',
      '82ffff',
      '84ffffffff',
      '86ffffffffffff',
      '88ffffffffffffffff',
      'ff',
    ),
  )
  .map(([at, hex]): Mutation => {
    return (bytes) => {
      const index = indexIn(bytes, at);
      return spliced(bytes, index, index + 1, Buffer.from(hex, 'hex'));
    };
  });
/** Containers without end: definite, indefinite, of every class; and ends where none belongs. */
const nesting = fc
  .tuple(
    place,
    fc.constantFrom('3080', '2480', 'a080', '3100', '30820100', '0000', '1f81', '0500'),
    fc.integer({ min: 1, max: 5_000 }),
  )
  .map(([at, hex, times]): Mutation => {
    return (bytes) => {
      const index = indexIn(bytes, at);
      const piece = Buffer.from(hex, 'hex');
      return spliced(bytes, index, index, Buffer.alloc(piece.length * times, piece));
    };
  });
const lines = fc
  .tuple(
    place,
    fc.constantFrom(
      '\r\n',
      '\n',
      '\r',
      '\0',
      '\r\n\r\n',
      ' \r\n',
      '\r\n ',
      ':',
      ';',
      '"',
      '(',
      '\\',
      '=',
      '=?utf-8?B?',
      '--',
      '\r\n--b\r\n',
      '\r\n--b--\r\n',
      'Content-Type: multipart/mixed; boundary=b\r\n',
      'Content-Type: message/rfc822\r\n\r\n',
      'Content-Transfer-Encoding: base64\r\n',
      'Content-Type: application/pkcs7-mime; name="smime.p7m"\r\n',
      "; a*0*=utf-8''%",
      'From: a@b\r\n',
      '\xff\xfe',
    ),
    fc.integer({ min: 1, max: 200 }),
  )
  .map(([at, text, times]): Mutation => {
    return (bytes) => {
      const index = indexIn(bytes, at);
      const piece = Buffer.from(text, 'latin1');
      return spliced(bytes, index, index, Buffer.alloc(piece.length * times, piece));
    };
  });

const chain = (mutation: fc.Arbitrary<Mutation>): fc.Arbitrary<Mutation> =>
  fc.array(mutation, { minLength: 1, maxLength: 4 }).map(
    (all): Mutation =>
      (bytes) =>
        all.reduce((changed, one) => one(changed), bytes),
  );

/** Up to four ways of damage to ASN.1, one after the other. */
export const asn1Damage: fc.Arbitrary<Mutation> = chain(
  fc.oneof(flip, overwrite, truncate, remove, repeat, lengths, lengths, nesting),
);
/** Up to four ways of damage to a mail. */
export const mailDamage: fc.Arbitrary<Mutation> = chain(
  fc.oneof(flip, overwrite, truncate, remove, repeat, lines, lines, lines),
);

/**
 * Runs a reader over hostile input: it has to end in time and without holding on to memory, with a result or a failure of
 * the kinds that callers expect.
 */
export async function survives(
  read: () => Promise<unknown>,
  isExpected: (error: unknown) => boolean = isGatewayError,
): Promise<void> {
  const before = process.memoryUsage.rss();
  const started = performance.now();
  try {
    await read();
  } catch (error) {
    if (!isExpected(error)) throw error;
  }
  assert(performance.now() - started < MAX_MS, 'took too long');
  assert(process.memoryUsage.rss() - before < MAX_GROWTH_BYTES, 'memory grew');
}

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;
const ROUNDS = 6;
const MAX_HELD_BYTES = 8 * 1024 * 1024;

/** Runs the same work again and again: what is in use after it stays where it was once all is loaded. */
export async function holdsNothing(work: () => Promise<void>): Promise<void> {
  await work();
  const before = bytesInUse();
  for (let round = 0; round < ROUNDS; round += 1) await work();
  const held = bytesInUse() - before;
  assert(held < MAX_HELD_BYTES, `${held} bytes are held after ${ROUNDS} rounds`);
}

function bytesInUse(): number {
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

function isGatewayError(error: unknown): boolean {
  return error instanceof GatewayError;
}
