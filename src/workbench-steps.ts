// From a command for one message to the steps that do it: which keys, whose, and in which order. The steps themselves are
// the gateway's.
import type { Address } from './core/address.ts';
import type { KeyFormat, KeyId, UsableKey } from './core/key.ts';
import { isNonEmpty, type NonEmpty } from './core/non-empty.ts';
import type { Step } from './core/plan.ts';
import { parseAddressList } from './mime/address-list.ts';
import { fieldsNamed, fieldValue, type HeaderSection } from './mime/header-section.ts';
import { contentFor, contentForAll } from './policy/content-mode.ts';
import { chooseKeys, type KeyRing, namedOwner, type WorkAction } from './workbench-keys.ts';

/** What was asked for. */
export interface WorkOrder {
  readonly action: WorkAction;
  readonly format?: KeyFormat;
  /** Recipients to encrypt to, or whose keys decrypt. Default: those in To and Cc. */
  readonly to: readonly Address[];
  /** Who signs, or must have signed. Default: the author in From; with `encrypt`, nobody. */
  readonly from?: Address;
  readonly at: Date;
}

export type PlannedWork = { readonly steps: NonEmpty<Step> } | { readonly missing: NonEmpty<string> };

/** The steps of a copy, or which key is missing for them. Throws GatewayError `store-failed` as the look-ups do. */
export async function planSteps(
  order: WorkOrder,
  ring: KeyRing,
  header: HeaderSection,
  author: Address | undefined,
): Promise<PlannedWork> {
  switch (order.action) {
    case 'verify':
      return { steps: [{ kind: 'verify', onInvalid: 'deliver-marked' }] };
    case 'decrypt': {
      const owners = ownersOf(order, ring, header);
      return isNonEmpty(owners)
        ? { steps: [{ kind: 'decrypt', owner: asRecipients(owners), onFailure: 'deliver-marked' }] }
        : { missing: ['To and Cc name nobody whose keys could decrypt: name the recipient with --to'] };
    }
    case 'sign':
      return planSignature(order, ring, author);
    case 'encrypt':
      return planEncryption(order, ring, header);
  }
}

async function planSignature(
  { at, format }: WorkOrder,
  ring: KeyRing,
  author: Address | undefined,
): Promise<PlannedWork> {
  const signer = ring.hasNamed ? namedOwner : author;
  if (!signer) return { missing: ['From does not name one single author: name the signer with --from'] };
  const chosen = await chooseKeys(ring, [signer], 'sign', at, format);
  return 'missing' in chosen
    ? chosen
    : { steps: [{ kind: 'sign', format: chosen.format, key: chosen.keys[0].record.id }] };
}

/** As the policy does it: OpenPGP signs within the encrypted message, S/MIME before. */
async function planEncryption(order: WorkOrder, ring: KeyRing, header: HeaderSection): Promise<PlannedWork> {
  const owners = ownersOf(order, ring, header);
  if (!isNonEmpty(owners))
    return { missing: ['To and Cc name nobody to encrypt to: name the recipients with --to'] };
  const chosen = await chooseKeys(ring, owners, 'encrypt', order.at, order.format);
  if ('missing' in chosen) return chosen;
  const { format } = chosen;
  const encrypt = encryptStep(format, chosen.keys);
  if (order.from === undefined) return { steps: [encrypt] };
  const signing = await chooseKeys(ring, [order.from], 'sign', order.at, format);
  if ('missing' in signing) return signing;
  const key = signing.keys[0].record.id;
  return {
    steps: format === 'pgp' ? [{ ...encrypt, sign: key }] : [{ kind: 'sign', format, key }, encrypt],
  };
}

const announcedBy = (key: UsableKey) => contentFor({ content: 'auto' }, key);

/** Without a rule, S/MIME content follows what the certificates announce. */
function encryptStep(
  format: KeyFormat,
  [first, ...others]: NonEmpty<UsableKey>,
): Extract<Step, { kind: 'encrypt' }> {
  const ids: NonEmpty<KeyId> = [first.record.id, ...others.map(({ record }) => record.id)];
  if (format === 'pgp') return { kind: 'encrypt', format, keys: ids };
  return {
    kind: 'encrypt',
    format,
    keys: ids,
    content: contentForAll([announcedBy(first), ...others.map(announcedBy)]),
  };
}

/** Whose keys are meant: those that options name, then --to; without either, the visible recipients. */
function ownersOf({ to }: WorkOrder, { hasNamed }: KeyRing, header: HeaderSection): readonly Address[] {
  if (hasNamed) return [namedOwner, ...to];
  return to.length > 0 ? to : ['To', 'Cc'].flatMap((name) => addressesIn(header, name));
}

function asRecipients([first, ...others]: NonEmpty<Address>) {
  return [{ address: first }, ...others.map((address) => ({ address }))] as const;
}

/** The addresses of all fields of that name; fields that cannot be read name nobody. */
export function addressesIn(header: HeaderSection, name: string): readonly Address[] {
  return fieldsNamed(header, name).flatMap(
    (field) => parseAddressList(fieldValue(field))?.mailboxes.map(({ address }) => address) ?? [],
  );
}

/** The one author; undefined where From is missing, repeated, a group or names several. */
export function authorOf(header: HeaderSection): Address | undefined {
  const [field, ...repeated] = fieldsNamed(header, 'From');
  const list = field && repeated.length === 0 ? parseAddressList(fieldValue(field)) : undefined;
  const [author, ...others] = list?.mailboxes ?? [];
  return others.length === 0 && !list?.hasGroup ? author?.address : undefined;
}
