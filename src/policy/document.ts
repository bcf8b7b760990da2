// What a policy file may hold, as a zod schema in the file's own names (snake_case). Checks that concern one object are
// here; checks across objects are in check.ts. policies/schema.json is generated from this file.
import { RE2JS } from 're2js';
import { z } from 'zod';
import { parseAddress, parseDomain } from '../core/address.ts';
import { HIDDEN_FIELDS } from '../core/facts.ts';
import { certificatePolicy, domain, file, passwordReference, text, whole } from './fields.ts';
import { parsePattern } from './pattern.ts';
import { tenant } from './tenant-document.ts';

const MAX_EXPRESSION_CHARACTERS = 512;

const addressOrDomain = text((value) =>
  (value.includes('@') ? parseAddress(value) : parseDomain(value)) === undefined
    ? 'is neither one address nor one domain; write user@contoso.example or contoso.example'
    : undefined,
).describe('One address or one domain');
const pattern = text((value) =>
  parsePattern(value) === undefined
    ? 'is not a pattern; write user@remote.example, remote.example, *@remote.example or *.remote.example'
    : undefined,
);

const ownSmime = z
  .strictObject({
    certificate: file.optional(),
    key: file.optional(),
    pkcs12: file.optional(),
    password: passwordReference.optional(),
  })
  .superRefine((value, context) => {
    const isPair = value.certificate !== undefined && value.key !== undefined && value.pkcs12 === undefined;
    const isContainer =
      value.pkcs12 !== undefined && value.certificate === undefined && value.key === undefined;
    if (!isPair && !isContainer) {
      context.addIssue({ code: 'custom', message: 'name either certificate and key, or pkcs12 alone' });
    }
  }, whole);

const ownKey = z
  .strictObject({
    for: addressOrDomain,
    smime: ownSmime.optional(),
    pgp: z.strictObject({ key: file, password: passwordReference.optional() }).optional(),
  })
  .superRefine(hasKey, whole);

const partnerKey = z
  .strictObject({
    for: addressOrDomain,
    smime: z.strictObject({ certificate: file }).optional(),
    pgp: z.strictObject({ key: file }).optional(),
  })
  .superRefine(hasKey, whole);

const dkim = z.strictObject({
  domain: domain.describe('d=: domain of the author, or one above it'),
  selector: text((value) =>
    /^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,61}[A-Za-z0-9])?$/.test(value) ? undefined : 'is not a selector',
  ).describe('s=: the key is published at <selector>._domainkey.<domain>'),
  key: file.describe('Private key, PEM: RSA or Ed25519'),
});

const header = z
  .strictObject({
    name: text(checkFieldName),
    equals: text().optional(),
    contains: text().optional(),
    matches: text(checkExpression).optional().describe('RE2 expression, found anywhere in the value'),
    present: z.boolean().optional(),
  })
  .superRefine((value, context) => {
    const given = [value.equals, value.contains, value.matches, value.present].filter(
      (item) => item !== undefined,
    );
    if (given.length !== 1) {
      context.addIssue({
        code: 'custom',
        message: 'write exactly one of equals, contains, matches, present beside name',
      });
    }
  }, whole);

const when = z
  .strictObject({
    sender: z.array(pattern).min(1).optional(),
    recipient: z.array(pattern).min(1).optional(),
    subject_tag: text().optional().describe('Text anywhere in the subject, letter case aside'),
    header: header.optional(),
    calendar: z.boolean().optional(),
    eight_bit: z.boolean().optional().describe('Whether the body or a part has 8-bit bytes'),
    tnef: z.boolean().optional().describe('Whether the message holds a winmail.dat of Outlook'),
    automatic: z.boolean().optional(),
    shape: z
      .array(z.enum(['plain', 'signed', 'encrypted']))
      .min(1)
      .optional(),
  })
  .superRefine((value, context) => {
    if (Object.values(value).every((item) => item === undefined)) {
      context.addIssue({
        code: 'custom',
        message: 'at least one condition is needed; what holds for everybody else belongs to otherwise',
      });
    }
  }, whole);

const treatment = {
  sign: z.enum(['none', 'smime', 'pgp', 'auto']).optional(),
  encrypt: z.enum(['never', 'when-possible', 'required']).optional(),
  formats: z
    .array(z.enum(['smime', 'pgp']))
    .min(1)
    .optional()
    .describe('Order of preference; default: the format of sign, else [smime, pgp]'),
  smime: z
    .strictObject({
      content: z
        .enum(['auto', 'cbc', 'gcm'])
        .default('auto')
        .describe('auto: AES-256-GCM for recipients who announce it, else AES-256-CBC'),
      group: z
        .enum(['common', 'separate'])
        .default('common')
        .describe('One copy in what all of its recipients read, or one for each content mode'),
      ml_kem: z
        .enum(['off', 'beside', 'instead'])
        .default('off')
        .describe('Whether ML-KEM certificates are encrypted to'),
    })
    .optional()
    .describe('How S/MIME content is encrypted, and to which certificates'),
  fallback: z.enum(['refuse', 'plain']).optional().describe('What happens where no key is usable'),
  refuse: text((value) =>
    value.length <= 300 && /^[\x20-\x7e]+$/.test(value)
      ? undefined
      : 'must be one line of at most 300 ASCII characters: it becomes the SMTP reply',
  )
    .optional()
    .describe('Refuses the message with this text'),
  already_encrypted: z.enum(['pass', 'refuse']).optional().describe('Default: pass'),
  protect_headers: z
    .enum(['off', 'signed', 'confidential-subject'])
    .optional()
    .describe('Header fields inside the signature or encryption (RFC 9788). Default: off'),
  legacy_display: z
    .boolean()
    .optional()
    .describe('The hidden Subject also stands on top of the text (RFC 9788). Default: true'),
  calendar: z.literal('exempt').optional().describe('Exempts invitations from encrypt: required'),
};

const rule = z
  .strictObject({
    name: text((value) =>
      /^[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,62}[A-Za-z0-9])?$/.test(value) && value !== 'otherwise'
        ? undefined
        : 'is not a rule name; use up to 64 letters, digits, blanks, ".", "_", "-", and not "otherwise"',
    ),
    when,
    ...treatment,
  })
  .superRefine(checkTreatment, whole);

const otherwise = z.strictObject(treatment).superRefine(checkTreatment, whole);

const trust = z
  .strictObject({
    anchors: z.array(file).default([]),
    intermediates: z.array(file).default([]).describe('Certificates of CAs that help to find a path'),
    revocation: z
      .enum(['off', 'check', 'require'])
      .default('off')
      .describe('Asks CAs whether certificates are revoked; require: what cannot be checked is not used'),
    fetch_issuers: z
      .boolean()
      .default(false)
      .describe('Fetches issuers that are missing from where a certificate names them'),
    subject_addresses: z
      .boolean()
      .default(false)
      .describe('Takes emailAddress in the subject of a certificate, too'),
    certificate_policies: z
      .array(certificatePolicy)
      .max(100)
      .default([])
      .describe('Certificate policies, as OIDs: a path has to be valid for one of them. Default: any'),
  })
  .prefault({});

export const policyDocument = z.strictObject({
  version: z.literal(1),
  tenant,
  keys: z
    .strictObject({
      own: z.array(ownKey).default([]),
      partners: z.array(partnerKey).default([]),
    })
    .default({ own: [], partners: [] }),
  trust,
  outbound: z.strictObject({
    deliver: z.enum(['internet', 'smarthost']).default('internet'),
    dkim: z.array(dkim).default([]).describe('Keys that sign what the gateway has changed'),
    rules: z.array(rule).default([]),
    otherwise,
  }),
  inbound: z
    .strictObject({
      decrypt: z.boolean().default(true),
      verify: z.boolean().default(true),
      on_decrypt_failure: z.literal('deliver-marked').default('deliver-marked'),
      on_invalid_signature: z.enum(['deliver-marked', 'refuse']).default('deliver-marked'),
      weak_algorithms: z
        .array(z.enum(['3des', 'rc2', 'sha1']))
        .default([])
        .describe('What is read of S/MIME although it no longer protects'),
      mark: z.boolean().default(true),
      learn_capabilities: z
        .boolean()
        .default(true)
        .describe('Learns from signed mail which S/MIME ciphers its author reads'),
      protected_headers: z
        .boolean()
        .default(true)
        .describe('Puts a hidden Subject back and compares protected header fields with the outer ones'),
      require_tls: z.boolean().default(false).describe('Takes mail for the tenant under TLS only'),
    })
    .prefault({}),
});

export type PolicyDocument = z.output<typeof policyDocument>;
export type TreatmentDocument = z.output<typeof otherwise>;

/** The JSON schema of a policy file (draft 2020-12), for editors and for policies/schema.json. */
export function policyJsonSchema(): z.core.JSONSchema.BaseSchema {
  return z.toJSONSchema(policyDocument, { io: 'input' });
}

type Context = z.core.$RefinementCtx;

function hasKey(value: { smime?: unknown; pgp?: unknown }, context: Context): void {
  if (value.smime === undefined && value.pgp === undefined) {
    context.addIssue({ code: 'custom', message: 'name at least one of smime, pgp' });
  }
}

function checkFieldName(value: string): string | undefined {
  if (!/^[\x21-\x39\x3b-\x7e]+$/.test(value)) return 'is not a header field name';
  return HIDDEN_FIELDS.includes(value.toLowerCase())
    ? 'is kept from rules: it holds a secret or a hidden recipient'
    : undefined;
}

function checkExpression(value: string): string | undefined {
  if (value.length > MAX_EXPRESSION_CHARACTERS)
    return `is longer than ${MAX_EXPRESSION_CHARACTERS} characters`;
  try {
    RE2JS.compile(value);
    return undefined;
  } catch {
    return 'is not an RE2 expression (no look-around, no back references)';
  }
}

type TreatmentFields = z.output<z.ZodObject<typeof treatment>>;

/** The fields of a rule must say one thing, in words: nothing is inherited from elsewhere. */
function checkTreatment(value: TreatmentFields, context: Context): void {
  const report = (path: keyof TreatmentFields | undefined, message: string) =>
    context.addIssue({ code: 'custom', message, path: path === undefined ? [] : [path] });
  if (value.refuse !== undefined) {
    for (const key of Object.keys(treatment) as (keyof TreatmentFields)[]) {
      if (key !== 'refuse' && value[key] !== undefined)
        report(key, 'has no meaning beside refuse; remove one of the two');
    }
    return;
  }
  if (value.sign === undefined)
    report(undefined, 'key "sign" is missing; allowed: none, smime, pgp, auto (or write refuse)');
  if (value.encrypt === undefined)
    report(undefined, 'key "encrypt" is missing; allowed: never, when-possible, required (or write refuse)');
  checkFallback(value, report);
  const formats = Array.isArray(value.formats) ? value.formats : [];
  if (new Set(formats).size !== formats.length) report('formats', 'names a format twice');
  if (value.calendar !== undefined && value.encrypt !== 'required')
    report('calendar', 'exempts from encrypt: required only; other rules leave invitations alone anyway');
  if (value.encrypt === 'never' && value.protect_headers === 'confidential-subject')
    report('protect_headers', 'a Subject is confidential in encrypted mail only; write signed');
  if (value.encrypt === 'never' && value.sign === 'none' && value.protect_headers === 'signed')
    report('protect_headers', 'has no meaning where nothing is signed or encrypted; remove it');
  if (value.legacy_display !== undefined && value.protect_headers !== 'confidential-subject')
    report('legacy_display', 'goes with protect_headers: confidential-subject only; remove it');
  if (value.smime?.group === 'separate' && value.smime.content !== 'auto')
    report('smime', 'group: separate goes with content: auto; with one content mode there is one copy');
  if (value.smime !== undefined && value.encrypt === 'never')
    report('smime', 'has no meaning beside encrypt: never; remove it');
  // One message never carries S/MIME inside OpenPGP of ours, or the reverse.
  const isForced = value.sign === 'smime' || value.sign === 'pgp';
  if (isForced && value.encrypt !== 'never' && formats.some((format) => format !== value.sign))
    report(
      'formats',
      `sign: ${value.sign} goes with formats: [${value.sign}]; write sign: auto for both formats`,
    );
}

type Report = (path: keyof TreatmentFields | undefined, message: string) => void;

function checkFallback(value: TreatmentFields, report: Report): void {
  if (value.encrypt === 'required' && value.fallback === 'plain')
    report(
      'fallback',
      'encrypt: required goes only with fallback: refuse; for plain write encrypt: when-possible',
    );
  if (value.encrypt === 'when-possible' && value.fallback === undefined)
    report(
      undefined,
      'encrypt: when-possible sends in clear where no key is usable: say so with fallback: plain',
    );
  if (value.encrypt === 'when-possible' && value.fallback === 'refuse')
    report(
      'fallback',
      'encrypt: when-possible goes only with fallback: plain; to refuse write encrypt: required',
    );
  if (value.encrypt === 'never' && value.fallback !== undefined)
    report('fallback', 'has no meaning beside encrypt: never; remove it');
}
