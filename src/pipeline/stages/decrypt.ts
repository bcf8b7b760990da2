// Decrypts the top-level entity with the keys of the envelope recipients of this copy, and of nobody else.
// SECURITY: with other keys of the tenant, a stolen ciphertext mailed to a second user would open (test: wrong-rcpt-decrypt).
import type { Step } from '../../core/plan.ts';
import { mimeShape } from '../../mime/shape.ts';
import { type HeaderSection, readHeader } from '../../mime/header-section.ts';
import { decryptMessage as decryptPgp } from '../../pgp/message.ts';
import { decryptMessage as decryptSmime } from '../../smime/message.ts';
import { pgpDecryptionKeys, pgpVerificationKeys, smimeDecryptionKeys } from '../key-material.ts';
import { replaces, type Stage, type StageContext } from '../stage.ts';

export function decryptStage(step: Extract<Step, { kind: 'decrypt' }>, context: StageContext): Stage {
  const { limits, at, keys } = context;
  const weak = step.weak ?? [];
  const owners = step.owner.map((recipient) => recipient.address);
  return {
    name: 'decrypt',
    input: 'source',
    release: 'whole',
    async *run(input) {
      let inner: HeaderSection | undefined;
      const options = { limits, at, weak, onInner: (found: HeaderSection) => void (inner = found) };
      const header = await readHeader(input, limits);
      const shape = mimeShape(header);
      const outcome =
        shape.kind === 'multipart-encrypted'
          ? yield* decryptPgp(
              input,
              await pgpDecryptionKeys(keys, owners),
              await pgpVerificationKeys(keys, header),
              options,
            )
          : yield* decryptSmime(input, await smimeDecryptionKeys(keys, owners), options);
      if (inner !== undefined && replaces(outcome)) context.inner.header = inner;
      return outcome;
    },
  };
}
