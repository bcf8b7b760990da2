// Decrypts the top-level entity with the keys of the envelope recipients of this copy, and of nobody else.
// SECURITY: with other keys of the tenant, a stolen ciphertext mailed to a second user would open (test: wrong-rcpt-decrypt).
import type { Step } from '../../core/plan.ts';
import { mimeShape } from '../../mime/shape.ts';
import { readMessage } from '../../mime/header-section.ts';
import { decryptMessage as decryptPgp } from '../../pgp/message.ts';
import { decryptMessage as decryptSmime } from '../../smime/message.ts';
import { pgpDecryptionKeys, pgpVerificationKeys, smimeDecryptionKeys } from '../key-material.ts';
import type { Stage, StageContext } from '../stage.ts';

export function decryptStage(step: Extract<Step, { kind: 'decrypt' }>, context: StageContext): Stage {
  const { limits, at, keys } = context;
  const owners = step.owner.map((recipient) => recipient.address);
  return {
    name: 'decrypt',
    input: 'source',
    release: 'whole',
    async *run(input) {
      const { header } = await readMessage(input.open(), limits);
      const shape = mimeShape(header);
      if (shape.kind === 'multipart-encrypted') {
        const verification = await pgpVerificationKeys(keys, header);
        return yield* decryptPgp(input, await pgpDecryptionKeys(keys, owners), verification, { limits, at });
      }
      return yield* decryptSmime(input, await smimeDecryptionKeys(keys, owners), { limits, at });
    },
  };
}
