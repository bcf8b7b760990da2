// Encrypts to the keys that the policy chose; OpenPGP also signs in the same message.
import { isNonEmpty } from '../../core/non-empty.ts';
import { GatewayError } from '../../core/errors.ts';
import type { Step } from '../../core/plan.ts';
import { encryptMessage as encryptPgp, signAndEncryptMessage } from '../../pgp/message.ts';
import { encryptMessage as encryptSmime } from '../../smime/message.ts';
import { pgpCertificate, pgpSigner, smimeCertificate } from '../key-material.ts';
import type { Stage, StageContext } from '../stage.ts';
import { oneReading } from './one-reading.ts';

export async function encryptStage(
  step: Extract<Step, { kind: 'encrypt' }>,
  context: StageContext,
): Promise<Stage> {
  const { limits, at, keys } = context;
  const options = { limits, at, ...(step.protection && { protection: step.protection }) };
  if (step.format === 'smime') {
    const certificates = await Promise.all(step.keys.map((id) => smimeCertificate(keys, id)));
    if (!isNonEmpty(certificates)) throw new GatewayError('unplanned', 'an encrypt step without keys');
    return {
      name: 'encrypt',
      input: 'stream',
      release: 'streaming',
      run: (input) =>
        encryptSmime(input, certificates, {
          ...options,
          ...(step.content && { content: step.content.mode }),
          ...(step.content?.isKeyDerived && { isKeyDerived: true }),
        }),
    };
  }
  const recipients = await Promise.all(step.keys.map((id) => pgpCertificate(keys, id)));
  if (!isNonEmpty(recipients)) throw new GatewayError('unplanned', 'an encrypt step without keys');
  if (step.sign !== undefined) {
    const signer = await pgpSigner(keys, step.sign);
    return {
      name: 'encrypt',
      input: 'source',
      release: 'streaming',
      run: (input) =>
        oneReading(input, limits, () => signAndEncryptMessage(input, recipients, signer, options)),
    };
  }
  return {
    name: 'encrypt',
    input: 'stream',
    release: 'streaming',
    run: (input) => encryptPgp(input, recipients, options),
  };
}
