// The secrets that a tenant's routing rule puts on its mail (C9), and the tokens that its rules look for (C10): read by
// reference, checked, and never shared between tenants.
import { GatewayError } from '../core/errors.ts';
import type { Secret } from '../core/secret.ts';
import { readPassword } from '../keys/key-files.ts';
import type { FileEntry, LoopBack, PolicyTenant, Position, Problem } from '../policy/schema.ts';
import type { DoneTokens } from '../tenant/done-marker.ts';

/** What a header field carries unchanged, and nobody guesses. */
const SECRET = {
  what: 'secret',
  form: /^[\x21-\x7e]{16,200}$/,
  problem: 'a secret has 16 to 200 ASCII characters, no blanks',
};
/** Exchange reads a token as a regular expression. */
const TOKEN = {
  what: 'token',
  form: /^[\w-]{16,200}$/,
  problem: 'a token has 16 to 200 characters: letters, digits, "-" and "_"',
};

interface ReadSecrets {
  readonly secrets: readonly Secret[];
  readonly problems: readonly Problem[];
}

/** Reads the secrets. Each problem stands at the entry that has it; SECURITY: none shows a secret. */
export function readTenantSecrets(entries: readonly FileEntry[], folder: string): Promise<ReadSecrets> {
  return readSecrets(entries, folder, SECRET);
}

/** Reads the tokens of loop-back, in the same way. */
export async function readDoneTokens(
  { inboundToken, outboundToken }: LoopBack,
  folder: string,
): Promise<{ readonly tokens?: DoneTokens; readonly problems: readonly Problem[] }> {
  const { secrets, problems } = await readSecrets([inboundToken, outboundToken], folder, TOKEN);
  const [inbound, outbound] = secrets;
  if (!inbound || !outbound) return { problems };
  const message =
    'is the inbound token as well: whoever gets mail in the tenant could take mail past the gateway';
  return inbound.equals(outbound)
    ? { problems: [{ ...outboundToken.position, message }] }
    : { tokens: { inbound, outbound }, problems };
}

async function readSecrets(
  entries: readonly FileEntry[],
  folder: string,
  { what, form, problem }: typeof SECRET,
): Promise<ReadSecrets> {
  const secrets: Secret[] = [];
  const problems: Problem[] = [];
  for (const { path, position } of entries) {
    try {
      const secret = await readPassword(path, folder, process.env);
      if (form.test(secret.reveal().toString('latin1'))) secrets.push(secret);
      else problems.push({ ...position, message: problem });
    } catch (error) {
      const reason = error instanceof GatewayError ? error.message : 'cannot be read';
      problems.push({ ...position, message: `${what}: ${reason.replace(' with the password', '')}` });
    }
  }
  return { secrets, problems };
}

interface SecretOwner {
  readonly policy: {
    readonly tenant: Pick<PolicyTenant, 'name' | 'loopBack'> & {
      readonly proof: { readonly secrets: readonly FileEntry[] };
    };
  };
  readonly secrets: readonly Secret[];
  readonly doneTokens?: DoneTokens;
}

interface Known {
  readonly owner: string;
  readonly secret: Secret;
  readonly position: Position;
}

/**
 * SECURITY: a secret that two tenants know proves neither, and one that is also a token is in every message of the tenant
 * (test: shared-secret). The problem stands at the later entry.
 */
export function sharedSecrets(owners: readonly SecretOwner[]): readonly Problem[] {
  const all = owners.flatMap(knownTo);
  return all.flatMap(({ secret, position, owner }, index) => {
    const other = all.slice(0, index).find((known) => known.secret.equals(secret));
    if (!other) return [];
    const message =
      other.owner === owner
        ? 'is a secret or token of this tenant already'
        : `tenant ${other.owner} has the same secret`;
    return [{ ...position, message }];
  });
}

function knownTo({ policy: { tenant }, secrets, doneTokens }: SecretOwner): readonly Known[] {
  const entries = tenant.proof.secrets;
  const known = secrets.flatMap((secret, index) => {
    const entry = entries[index];
    return entry ? [{ owner: tenant.name, secret, position: entry.position }] : [];
  });
  if (!doneTokens || !tenant.loopBack) return known;
  const { inboundToken, outboundToken } = tenant.loopBack;
  return [
    ...known,
    { owner: tenant.name, secret: doneTokens.inbound, position: inboundToken.position },
    { owner: tenant.name, secret: doneTokens.outbound, position: outboundToken.position },
  ];
}
