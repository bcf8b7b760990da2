// One S/MIME operation on a file in a process of its own, as the bench runs it:
// node bench/smime-child.ts encrypt|decrypt|sign|verify MESSAGE OUTPUT KEY.pem CERTIFICATE.pem CA.pem
import { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { defaultLimits } from '../src/core/limits.ts';
import type { StageOutcome } from '../src/core/outcome.ts';
import { type Certificate, parsePemCertificates } from '../src/smime/certificate.ts';
import { decryptMessage, encryptMessage, signMessage, verifyMessage } from '../src/smime/message.ts';
import { readPrivateKey } from '../src/smime/private-key.ts';
import { handleSource, writeChunks, writeFully } from '../src/storage/files.ts';

const [operation = '', input = '', output = '', keyFile = '', certificateFile = '', caFile = ''] =
  process.argv.slice(2);
const WANTED: Readonly<Record<string, string>> = {
  encrypt: 'encrypted',
  decrypt: 'decrypted',
  sign: 'signed',
  verify: 'verified',
};
const options = { limits: { ...defaultLimits, maxMessageBytes: 1_000_000_000 }, at: new Date() };
const key = readPrivateKey(readFileSync(keyFile));
const certificate = onlyCertificate(certificateFile);
const file = await open(input);
const message = handleSource(file, (await file.stat()).size);
const target = await open(output, 'w');

let outcome: StageOutcome | undefined;
await writeChunks({ write: (bytes) => writeFully(target, bytes) }, watched(stage()));
await target.close();
await file.close();
const isIntact = outcome?.kind !== 'verified' || outcome.signatures[0].integrity === 'intact';
if (outcome?.kind !== WANTED[operation] || !isIntact) throw new Error(`outcome: ${outcome?.kind ?? 'none'}`);
// Kibibytes on Linux.
console.log(JSON.stringify({ maxRssKiB: process.resourceUsage().maxRSS }));

function stage(): AsyncGenerator<Uint8Array, StageOutcome> {
  switch (operation) {
    case 'encrypt':
      return encryptMessage(message.open(), [certificate], options);
    case 'decrypt':
      return decryptMessage(message, [{ certificate, key }], options);
    case 'sign':
      return signMessage(message, { certificate, chain: [], key }, options);
    case 'verify': {
      const trust = { anchors: [onlyCertificate(caFile)], intermediates: [], at: options.at };
      return verifyMessage(message, trust, options);
    }
    default:
      throw new Error('usage: encrypt|decrypt|sign|verify MESSAGE OUTPUT KEY CERTIFICATE CA');
  }
}

async function* watched(stage: AsyncGenerator<Uint8Array, StageOutcome>): AsyncGenerator<Uint8Array, void> {
  outcome = yield* stage;
}

function onlyCertificate(path: string): Certificate {
  const [found] = parsePemCertificates(readFileSync(path, 'utf8'));
  if (!found) throw new Error('no certificate');
  return found;
}
