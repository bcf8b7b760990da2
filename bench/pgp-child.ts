// One OpenPGP operation on a file in a process of its own, as the bench runs it:
// node bench/pgp-child.ts encrypt|decrypt|sign|sign-encrypt|verify MESSAGE OUTPUT KEY.asc
import { createWriteStream, readFileSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { defaultLimits } from '../src/core/limits.ts';
import type { StageOutcome } from '../src/core/outcome.ts';
import { parsePrivateKey } from '../src/pgp/certificate.ts';
import {
  decryptMessage,
  encryptMessage,
  signAndEncryptMessage,
  signMessage,
  verifyMessage,
} from '../src/pgp/message.ts';
import { BLOCK_BYTES, fileSource } from './file-source.ts';

const [operation = '', input = '', output = '', keyFile = ''] = process.argv.slice(2);
const WANTED: Readonly<Record<string, string>> = {
  encrypt: 'encrypted',
  'sign-encrypt': 'encrypted',
  decrypt: 'decrypted',
  sign: 'signed',
  verify: 'verified',
};
const options = { limits: { ...defaultLimits, maxMessageBytes: 1_000_000_000 }, at: new Date() };
const key = await parsePrivateKey(readFileSync(keyFile, 'latin1'));
const { certificate } = key;
const message = fileSource(input);

let outcome: StageOutcome | undefined;
await pipeline(watched(stage()), createWriteStream(output, { highWaterMark: BLOCK_BYTES }));
if (!outcome || outcome.kind !== WANTED[operation]) throw new Error(`outcome: ${JSON.stringify(outcome)}`);
const signatures = 'signatures' in outcome ? outcome.signatures : [];
if (signatures.some(({ trust }) => trust !== 'trusted')) throw new Error(JSON.stringify(signatures));
// Kibibytes on Linux.
console.log(JSON.stringify({ maxRssKiB: process.resourceUsage().maxRSS, signatures: signatures.length }));

function stage(): AsyncGenerator<Uint8Array, StageOutcome> {
  switch (operation) {
    case 'encrypt':
      return encryptMessage(message.open(), [certificate], options);
    case 'sign-encrypt':
      return signAndEncryptMessage(message, [certificate], key, options);
    case 'decrypt':
      return decryptMessage(message, [key], [certificate], options);
    case 'sign':
      return signMessage(message, key, options);
    case 'verify':
      return verifyMessage(message, [certificate], options);
    default:
      throw new Error('usage: encrypt|decrypt|sign|sign-encrypt|verify MESSAGE OUTPUT KEY.asc');
  }
}

async function* watched(stage: AsyncGenerator<Uint8Array, StageOutcome>): AsyncGenerator<Uint8Array, void> {
  outcome = yield* stage;
}
