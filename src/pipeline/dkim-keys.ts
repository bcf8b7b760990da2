// The keys with which a policy signs DKIM: read, checked, with a problem at the entry that has one.
import { type KeyObject } from 'node:crypto';
import type { DkimSigner } from '../authentication/dkim-sign.ts';
import { GatewayError } from '../core/errors.ts';
import { Secret } from '../core/secret.ts';
import { readKeyFile } from '../keys/key-files.ts';
import type { DkimEntry, Problem } from '../policy/schema.ts';
import { readPrivateKey } from '../smime/private-key.ts';

/** RFC 8301 §3.2: 1024 bits at least. */
const MIN_BITS = 1024;

export async function readDkimSigners(
  entries: readonly DkimEntry[],
  folder: string,
): Promise<{
  readonly signers: readonly DkimSigner[];
  readonly problems: readonly Problem[];
  readonly warnings: readonly Problem[];
}> {
  const signers: DkimSigner[] = [];
  const problems: Problem[] = [];
  const warnings: Problem[] = [];
  for (const { domain, selector, key: entry } of entries) {
    try {
      const { bytes, isLoose } = await readKeyFile(folder, entry.path);
      const key = readPrivateKey(bytes);
      if (isLoose)
        warnings.push({
          ...entry.position,
          message: `DKIM key ${entry.path}: open to other users, run chmod 600 on it`,
        });
      if (canSign(key))
        signers.push({ domain, selector, key: new Secret(key.export({ type: 'pkcs8', format: 'pem' })) });
      else
        problems.push({
          ...entry.position,
          message: `DKIM key ${entry.path}: is neither RSA of ${MIN_BITS} bits or more, nor Ed25519`,
        });
    } catch (error) {
      const reason = error instanceof GatewayError ? error.message : `${entry.path} is no private key`;
      problems.push({ ...entry.position, message: `DKIM key: ${reason}` });
    }
  }
  return { signers, problems, warnings };
}

function canSign(key: KeyObject): boolean {
  if (key.asymmetricKeyType === 'ed25519') return true;
  return key.asymmetricKeyType === 'rsa' && (key.asymmetricKeyDetails?.modulusLength ?? 0) >= MIN_BITS;
}
