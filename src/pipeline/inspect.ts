// Looks at a held message once and writes down the facts that decide() may use. No verdicts here.
import type { ByteSource } from '../core/bytes.ts';
import type { Address } from '../core/address.ts';
import type { Envelope } from '../core/envelope.ts';
import { type FactField, type Facts, HIDDEN_FIELDS } from '../core/facts.ts';
import type { KeyFormat, KeyLookup } from '../core/key.ts';
import type { Limits } from '../core/limits.ts';
import type { Shape } from '../core/shape.ts';
import { parseAddressList } from '../mime/address-list.ts';
import { decodeHeaderText } from '../mime/decoded-text.ts';
import { fieldsNamed, fieldValue, type HeaderSection } from '../mime/header-section.ts';
import { mimeShape, scanStructure } from '../mime/shape.ts';
import type { TenantKeys } from '../keys/store.ts';
import { isEncryptedMessage, isSignedMessage } from '../pgp/detect.ts';
import { detectSmime } from '../smime/detect.ts';
import type { TrustSettings } from '../smime/chain.ts';
import { coversEncrypted } from '../smime/layers.ts';
import { holdsSignature } from './signature-part.ts';
import { isAutoSubmitted } from '../tenant/evidence.ts';
import { withoutRevoked } from './recipient-revocation.ts';
import { trustedFirst } from './recipient-trust.ts';

const NO_KEYS: KeyLookup = { kind: 'none', rejected: [] };
const MAX_VISIBLE = 10_000;

/** What the message itself tells. Key look-ups are added by `withOutboundKeys`. */
export async function inspect(
  message: ByteSource,
  header: HeaderSection,
  envelope: Envelope,
  limits: Limits,
): Promise<Facts> {
  const { shape, isReport } = await shapeOf(message, header, limits);
  const structure = await scanStructure(message, limits);
  const from = singleAuthor(header);
  return {
    envelope,
    size: message.size,
    shape,
    fields: header.fields.map(asFact).filter(({ name }) => !HIDDEN_FIELDS.includes(name)),
    ...(from ? { from } : {}),
    visible: visibleRecipients(header),
    isAutomatic:
      envelope.sender === null ||
      isReport ||
      isAutoSubmitted(fieldsNamed(header, 'auto-submitted').map(fieldValue)),
    isCalendar: structure.isCalendar,
    hasTnef: structure.hasTnef,
    is8bit: structure.is8bit,
    encryptionKeys: new Map(),
    signingKeys: { smime: NO_KEYS, pgp: NO_KEYS },
  };
}

/** Adds the key look-ups for an outbound decision; with `trust`, revocation is asked for as it allows. A store that cannot be read throws `store-failed`. */
export async function withOutboundKeys(
  facts: Facts,
  keys: TenantKeys,
  at: Date,
  trust?: TrustSettings,
): Promise<Facts> {
  const addresses = facts.envelope.recipients.map((recipient) => recipient.address);
  const encryptionKeys = new Map<string, Readonly<Record<KeyFormat, KeyLookup>>>();
  for (const address of addresses) {
    const smime = await keys.lookup(address, 'smime', 'encrypt', at);
    encryptionKeys.set(address.key, {
      smime: trust ? await withoutRevoked(trustedFirst(smime, trust, at), trust, at) : smime,
      pgp: await keys.lookup(address, 'pgp', 'encrypt', at),
    });
  }
  const signer = facts.from;
  const signingKeys = {
    smime: signer ? await keys.lookup(signer, 'smime', 'sign', at) : NO_KEYS,
    pgp: signer ? await keys.lookup(signer, 'pgp', 'sign', at) : NO_KEYS,
  };
  return { ...facts, encryptionKeys, signingKeys };
}

/** Labels choose where to look; the content type of CMS and the packets of OpenPGP decide. */
async function shapeOf(
  message: ByteSource,
  header: HeaderSection,
  limits: Limits,
): Promise<{ shape: Shape; isReport: boolean }> {
  const shape = mimeShape(header);
  const isReport = shape.kind === 'multipart-report';
  const as = (found: Shape) => ({ shape: found, isReport });
  switch (shape.kind) {
    case 'multipart-encrypted':
      if (shape.protocol !== 'application/pgp-encrypted') return as({ kind: 'plain' });
      return as(
        (await isEncryptedMessage(message, header, limits))
          ? { kind: 'encrypted', format: 'pgp' }
          : { kind: 'plain', labelled: 'pgp' },
      );
    case 'multipart-signed': {
      const isPgp = await isSignedMessage(message, header, limits);
      const label = (await holdsSignature(message, isPgp ? 'pgp' : 'smime', limits))
        ? {}
        : ({ isLabelOnly: true } as const);
      return as(
        isPgp
          ? { kind: 'signed', format: 'pgp', form: 'detached', ...label }
          : { ...(await signedShape(message, limits, 'detached')), ...label },
      );
    }
    case 'smime-opaque-candidate': {
      const content = await detectSmime(message, limits);
      if (content === 'enveloped' || content === 'auth-enveloped')
        return as({ kind: 'encrypted', format: 'smime', cms: content });
      if (content === 'signed') return as(await signedShape(message, limits, 'opaque'));
      return as(content === 'compressed' ? { kind: 'plain', cms: content } : { kind: 'plain' });
    }
    default:
      return as({ kind: 'plain' });
  }
}

type SmimeSigned = Extract<Shape, { kind: 'signed'; format: 'smime' }>;

async function signedShape(
  message: ByteSource,
  limits: Limits,
  form: 'detached' | 'opaque',
): Promise<SmimeSigned> {
  const covers = (await coversEncrypted(message, limits)) ? ({ covers: 'encrypted' } as const) : {};
  return { kind: 'signed', format: 'smime', form, ...covers };
}

function asFact(field: HeaderSection['fields'][number]): FactField {
  return { name: field.name.toLowerCase(), value: decodeHeaderText(fieldValue(field)) };
}

function singleAuthor(header: HeaderSection): Address | undefined {
  const [field, ...more] = fieldsNamed(header, 'from');
  const list = field && more.length === 0 ? parseAddressList(fieldValue(field)) : undefined;
  const [author, ...others] = list?.mailboxes ?? [];
  return others.length === 0 && !list?.hasGroup ? author?.address : undefined;
}

function visibleRecipients(header: HeaderSection): ReadonlySet<string> {
  const mailboxes = ['to', 'cc'].flatMap((name) =>
    fieldsNamed(header, name).flatMap((field) => parseAddressList(fieldValue(field))?.mailboxes ?? []),
  );
  return new Set(mailboxes.slice(0, MAX_VISIBLE).map((mailbox) => mailbox.address.key));
}
