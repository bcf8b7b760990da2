// The secrets that a tenant's routing rule puts on its mail (C9): read by reference, checked, and never shared between
// tenants.
import { GatewayError } from '../core/errors.ts';
import type { Secret } from '../core/secret.ts';
import { readPassword } from '../keys/key-files.ts';
import type { FileEntry, Problem } from '../policy/schema.ts';

/** What a header field carries unchanged, and nobody guesses. */
const SECRET = /^[\x21-\x7e]{16,200}$/;

/** Reads the secrets. Each problem stands at the entry that has it; SECURITY: none shows a secret. */
export async function readTenantSecrets(
  entries: readonly FileEntry[],
  folder: string,
): Promise<{ readonly secrets: readonly Secret[]; readonly problems: readonly Problem[] }> {
  const secrets: Secret[] = [];
  const problems: Problem[] = [];
  for (const { path, position } of entries) {
    try {
      const secret = await readPassword(path, folder, process.env);
      if (SECRET.test(secret.reveal().toString('latin1'))) secrets.push(secret);
      else problems.push({ ...position, message: 'a secret has 16 to 200 ASCII characters, no blanks' });
    } catch (error) {
      const reason = error instanceof GatewayError ? error.message : 'cannot be read';
      problems.push({ ...position, message: `secret: ${reason.replace(' with the password', '')}` });
    }
  }
  return { secrets, problems };
}

interface SecretOwner {
  readonly policy: {
    readonly tenant: { readonly name: string; readonly proof: { readonly secrets: readonly FileEntry[] } };
  };
  readonly secrets: readonly Secret[];
}

/** SECURITY: a secret that two tenants know proves neither (test: shared-secret). */
export function sharedSecrets(owners: readonly SecretOwner[]): readonly Problem[] {
  return owners.flatMap((owner, index) =>
    owners.slice(0, index).flatMap((other) => {
      const at = owner.secrets.findIndex((secret) => other.secrets.some((known) => known.equals(secret)));
      const entry = owner.policy.tenant.proof.secrets[at];
      return entry
        ? [{ ...entry.position, message: `tenant ${other.policy.tenant.name} has the same secret` }]
        : [];
    }),
  );
}
