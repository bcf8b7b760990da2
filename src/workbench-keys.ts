// The keys of one command on the command line: those that a policy file declares, and those that options name. They live
// in memory as long as the command; the look-ups are the gateway's own.
import { type Address, parseAddress } from './core/address.ts';
import { GatewayError } from './core/errors.ts';
import type { KeyFormat, KeyId, KeyPurpose, KeyRecord, KeyRole, UsableKey } from './core/key.ts';
import { isNonEmpty, type NonEmpty } from './core/non-empty.ts';
import { parseTenantId, type TenantId } from './core/origin.ts';
import { type FileAccess, type FoundKey, readKeyFile } from './keys/key-files.ts';
import { memoryTenantKeys } from './keys/memory.ts';
import { readPgpEntry } from './keys/pgp-entry.ts';
import type { DeclaredKey } from './keys/plan.ts';
import { makeKeyId } from './keys/records.ts';
import { parseCertificates, readSmimeEntry } from './keys/smime-entry.ts';
import type { TenantKeys } from './keys/store.ts';
import { formatProblems, type LoadedPolicy, readPolicy } from './pipeline/policy-set.ts';
import { trustForMessage } from './pipeline/trust.ts';
import type { Certificate } from './smime/certificate.ts';
import type { TrustSettings } from './smime/chain.ts';

export type WorkAction = 'encrypt' | 'decrypt' | 'sign' | 'verify';

/** Key files as options name them. `certificates`: of recipients, of the own key, or trusted ones, by the action. */
export interface NamedKeys {
  readonly certificates: readonly string[];
  /** Private key, PEM or DER, or a PKCS#12 file. */
  readonly key?: string;
  /** Armoured; which kind shows in the file. */
  readonly pgpKeys: readonly string[];
  /** `env:NAME` or `file:path`, for each private key. */
  readonly password?: string;
}

/** The keys that a command may use. */
export interface KeyRing {
  readonly tenant: TenantId;
  readonly keys: TenantKeys;
  readonly trust: TrustSettings;
  /** Whether options name keys: all of those belong to `namedOwner` besides their own addresses. */
  readonly hasNamed: boolean;
}

/** Keys for a step, or why there are none. */
export type Chosen =
  { readonly format: KeyFormat; readonly keys: NonEmpty<UsableKey> } | { readonly missing: NonEmpty<string> };

/** `.invalid` is nobody's domain (RFC 2606 §2), so no mail and no policy can name this address. */
export const namedOwner = parseAddress('named-on-the-command-line@postern.invalid') as Address;
/** Stands for the tenant where no policy names one. */
const NO_TENANT = parseTenantId('00000000-0000-4000-8000-000000000001') as TenantId;
const FORMATS: NonEmpty<KeyFormat> = ['smime', 'pgp'];

/**
 * Reads and checks all keys of a command. Throws GatewayError `config-invalid` for a policy or a file that cannot be used;
 * the reason lists every problem of the policy, one a line.
 */
export async function openKeyRing(
  action: WorkAction,
  named: NamedKeys,
  policyFile: string | undefined,
  environment: FileAccess['environment'],
  at: Date,
): Promise<KeyRing> {
  const policy = policyFile === undefined ? undefined : await loadPolicy(policyFile, at);
  const access = { folder: process.cwd(), environment };
  const tenant = policy?.policy.tenant.id ?? NO_TENANT;
  const found = await readNamed(action, named, access);
  const declared = found.map(({ key, role }) => declaredKey(key, role, tenant));
  const trusted = action === 'verify' ? await readAnchors(named.certificates, access) : [];
  return {
    tenant,
    keys: await memoryTenantKeys(tenant, merge([...(policy?.keys ?? []), ...declared])),
    trust: {
      ...(policy ? trustForMessage()(policy) : { intermediates: [] }),
      anchors: [...(policy?.anchors ?? []), ...trusted],
    },
    hasNamed: declared.length > 0,
  };
}

/** A policy file with everything it names. Throws GatewayError `config-invalid` with all its problems. */
export async function loadPolicy(file: string, at: Date): Promise<LoadedPolicy> {
  const result = await readPolicy(file, at);
  if ('loaded' in result) return result.loaded;
  throw new GatewayError('config-invalid', `the policy is not usable:\n${formatProblems(result.problems)}`);
}

/**
 * One format in which each owner has a usable key, with all those keys: every key of `namedOwner`, the best one of anybody
 * else. `format` undefined: S/MIME where all have it, else OpenPGP.
 */
export async function chooseKeys(
  ring: KeyRing,
  owners: NonEmpty<Address>,
  purpose: KeyPurpose,
  at: Date,
  format: KeyFormat | undefined,
): Promise<Chosen> {
  const reasons: string[] = [];
  for (const tried of format === undefined ? FORMATS : [format]) {
    const found = new Map<KeyId, UsableKey>();
    let isComplete = true;
    for (const owner of owners) {
      const lookup = await ring.keys.lookup(owner, tried, purpose, at);
      const isNamed = owner === namedOwner;
      const rejected = lookup.rejected.map(({ id, reason }) => `${id}: ${reason}`).join(', ');
      if (lookup.kind === 'usable' && !(isNamed && rejected !== '')) {
        const [best] = lookup.keys;
        for (const key of isNamed ? lookup.keys : [best]) found.set(key.record.id, key);
      } else {
        if (rejected !== '') reasons.push(`${tried} key${isNamed ? '' : ` of ${owner.text}`}: ${rejected}`);
        else if (!isNamed) reasons.push(`${tried} key of ${owner.text}: none is known`);
        isComplete = false;
      }
    }
    const keys = [...found.values()];
    if (isComplete && isNonEmpty(keys)) return { format: tried, keys };
  }
  return { missing: [headline(owners, purpose, format), ...reasons] };
}

function headline(owners: readonly Address[], purpose: KeyPurpose, format: KeyFormat | undefined): string {
  const limit = format === undefined ? '' : ` (${format})`;
  const names = owners.filter((owner) => owner !== namedOwner).map(({ text }) => text);
  if (names.length === 0) return `none of the named keys can ${purpose}${limit}`;
  return `no usable key to ${purpose === 'encrypt' ? 'encrypt to' : 'sign as'} ${names.join(', ')}${limit}`;
}

async function readNamed(
  action: WorkAction,
  named: NamedKeys,
  access: FileAccess,
): Promise<{ key: FoundKey; role: KeyRole }[]> {
  const found: { key: FoundKey; role: KeyRole }[] = [];
  if (action === 'encrypt') {
    for (const certificate of named.certificates)
      for (const key of await readSmimeEntry({ certificate }, 'partner', access))
        found.push({ key, role: 'partner' });
  }
  if (named.key !== undefined) {
    for (const key of await readOwnSmime(named.key, named, access)) found.push({ key, role: 'own' });
  }
  for (const path of named.pgpKeys) {
    const isPrivate = action !== 'encrypt' && (await isPrivatePgp(path, access));
    const password = isPrivate && named.password !== undefined ? { password: named.password } : {};
    const role = isPrivate ? 'own' : 'partner';
    found.push({ key: await readPgpEntry({ key: path, ...password }, role, access), role });
  }
  return found;
}

/** A PKCS#12 file, or a private key with its certificate in another file or the same one. */
async function readOwnSmime(
  key: string,
  { certificates: [certificate = key], password: reference }: NamedKeys,
  access: FileAccess,
): Promise<readonly FoundKey[]> {
  const password = reference === undefined ? {} : { password: reference };
  const isPkcs12 = isPfx((await readKeyFile(access.folder, key)).bytes);
  return readSmimeEntry(
    isPkcs12 ? { pkcs12: key, ...password } : { certificate, key, ...password },
    'own',
    access,
  );
}

/** RFC 7292 §4: a SEQUENCE that begins with version 3; the version of a private key is 0 or 1. */
function isPfx(bytes: Buffer): boolean {
  const start = bytes.subarray(0, 9).indexOf(Buffer.of(0x02, 0x01, 0x03));
  return bytes[0] === 0x30 && start >= 2;
}

async function isPrivatePgp(path: string, { folder }: FileAccess): Promise<boolean> {
  return (await readKeyFile(folder, path)).bytes.includes('-----BEGIN PGP PRIVATE KEY BLOCK-----');
}

async function readAnchors(
  paths: readonly string[],
  { folder }: FileAccess,
): Promise<readonly Certificate[]> {
  const anchors: Certificate[] = [];
  for (const path of paths) {
    try {
      anchors.push(...parseCertificates((await readKeyFile(folder, path)).bytes));
    } catch (error) {
      const reason = error instanceof GatewayError ? error.message : 'cannot be read';
      throw new GatewayError('config-invalid', reason.includes(path) ? reason : `${path}: ${reason}`);
    }
  }
  return anchors;
}

function declaredKey(found: FoundKey, role: KeyRole, tenant: TenantId): DeclaredKey {
  const id = makeKeyId(found.format, found.fingerprint);
  if (!id) throw new GatewayError('config-invalid', 'the fingerprint of a key is not supported');
  const { privateMaterial } = found;
  const record: KeyRecord = {
    id,
    tenant,
    format: found.format,
    role,
    addresses: [namedOwner.key, ...found.addresses],
    material: found.material,
    hasPrivateKey: privateMaterial !== undefined,
    notBefore: found.notBefore,
    ...(found.notAfter && { notAfter: found.notAfter }),
    source: 'manual',
  };
  return { record, ...(privateMaterial && { privateMaterial }) };
}

/** One key may come from the policy and from an option: its addresses add up, and its private part stays. */
function merge(keys: readonly DeclaredKey[]): readonly DeclaredKey[] {
  const merged = new Map<KeyId, DeclaredKey>();
  for (const key of keys) {
    const earlier = merged.get(key.record.id);
    const kept = earlier?.privateMaterial ? earlier : key;
    const addresses = [...(earlier?.record.addresses ?? []), ...key.record.addresses];
    merged.set(key.record.id, {
      ...kept,
      record: { ...kept.record, addresses: [...new Set(addresses)] as unknown as NonEmpty<string> },
    });
  }
  return [...merged.values()];
}
