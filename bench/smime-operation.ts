// One S/MIME operation from file to file, through the code that a gateway reads and writes with.
import { open } from 'node:fs/promises';
import type { ByteSource, Chunks } from '../src/core/bytes.ts';
import { defaultLimits } from '../src/core/limits.ts';
import type { StageOutcome } from '../src/core/outcome.ts';
import type { Certificate } from '../src/smime/certificate.ts';
import {
  decryptMessage,
  encryptMessage,
  signMessage,
  type SmimeSigner,
  verifyMessage,
} from '../src/smime/message.ts';
import { handleSource, writeChunks, writeFully } from '../src/storage/files.ts';

export type SmimeOperation = 'encrypt' | 'decrypt' | 'sign' | 'verify';

/** A key pair with its certificate, and who issued that. */
export interface SmimePerson extends SmimeSigner {
  readonly ca: Certificate;
}

const WANTED: Readonly<Record<SmimeOperation, StageOutcome['kind']>> = {
  encrypt: 'encrypted',
  decrypt: 'decrypted',
  sign: 'signed',
  verify: 'verified',
};

/** Runs the operation on a file. Throws unless it ends as it should. */
export async function runOnFile(
  operation: SmimeOperation,
  input: string,
  output: string,
  person: SmimePerson,
): Promise<void> {
  await using file = await open(input);
  await using target = await open(output, 'w');
  const message = handleSource(file, (await file.stat()).size);
  const bytes = runOnMessage(operation, message, person);
  await writeChunks({ write: (...pieces) => writeFully(target, pieces) }, bytes);
}

/** What the operation makes of a message. Throws at its end unless it ends as it should. */
export async function* runOnMessage(
  operation: SmimeOperation,
  message: ByteSource,
  person: SmimePerson,
): Chunks & AsyncGenerator<Uint8Array, void> {
  const outcome = yield* stage(operation, message, person);
  const isIntact = outcome.kind !== 'verified' || outcome.signatures[0].integrity === 'intact';
  if (outcome.kind !== WANTED[operation] || !isIntact) throw new Error(`outcome: ${outcome.kind}`);
}

function stage(
  operation: SmimeOperation,
  message: ByteSource,
  person: SmimePerson,
): AsyncGenerator<Uint8Array, StageOutcome> {
  const options = { limits: { ...defaultLimits, maxMessageBytes: 1_000_000_000 }, at: new Date() };
  switch (operation) {
    case 'encrypt':
      return encryptMessage(message.open(), [person.certificate], options);
    case 'decrypt':
      return decryptMessage(message, [person], options);
    case 'sign':
      return signMessage(message, person, options);
    case 'verify': {
      const trust = { anchors: [person.ca], intermediates: [], at: options.at };
      return verifyMessage(message, trust, options);
    }
  }
}
