// The header fields that Exchange Online stamps on mail it sends, by class of message, with knobs for what varies in the
// field and for what an attacker would vary. Observed values, where docs/lab.md does not say otherwise.
import { randomBytes, randomUUID } from 'node:crypto';
import { EXCHANGE_HOST } from './exchange-rewrite.ts';
import type { LabTenant } from './exchange-tenant.ts';

export type FieldPair = readonly [name: string, value: string];

export type TemplateName =
  | 'user'
  | 'oof'
  | 'system'
  | 'ndr'
  | 'forwarded'
  | 'hybrid'
  | 'journal'
  | 'calendar'
  | 'receipt'
  | 'consumer'
  | 'legacy';

export interface StampKnobs {
  /** Letter case of the names. Default: as Exchange writes them. */
  readonly nameCase?: 'lower' | 'upper';
  /** Names whose value starts on a continuation line: `Name:`, CRLF, blank, value. */
  readonly fold?: readonly string[];
  /** Turns the order of the stamps round. */
  readonly isReversed?: boolean;
  /** Names that are left out. */
  readonly remove?: readonly string[];
  /** Values to use instead; may be hostile. */
  readonly replace?: Readonly<Record<string, string>>;
  /** Fields before and after the stamps: duplicates, forged and retained fields. */
  readonly before?: readonly FieldPair[];
  readonly after?: readonly FieldPair[];
  /** Sensitivity labels: one msip_labels field. */
  readonly labels?: readonly { readonly id: string; readonly siteId?: string }[];
  /** "Retain service headers" of the outbound connector: CrossPremises-* fields and their marker. */
  readonly isRetaining?: boolean;
}

export interface Stamped {
  /** MAIL FROM; empty is the null sender. */
  readonly sender: string;
  readonly fields: readonly FieldPair[];
  /** Of these, what says which class of message it is: rules look at it before the rest is stamped. */
  readonly marks: readonly FieldPair[];
  /** The domain of X-OriginatorOrg. */
  readonly organization: string;
  /** Whether a mailbox or a service of the tenant sent it, rather than somebody whose mail it passes on. */
  readonly isAuthenticated: boolean;
}

const CROSS_TENANT = 'X-MS-Exchange-CrossTenant-';
const CONSUMER_ID = '84df9e7f-e9f6-40af-b435-aaaaaaaaaaaa';
const GENERATED = 'X-MS-Exchange-Generated-Message-Source';
const NO_REPLY: FieldPair = ['X-Auto-Response-Suppress', 'All'];

interface Template {
  /** `null`: the null sender. */
  readonly sender: 'user' | null;
  readonly organization?: string;
  /** Undefined: no Id at all. */
  readonly id: ((tenant: LabTenant) => string) | undefined;
  readonly authAs: 'Internal' | 'Anonymous' | undefined;
  readonly entity: readonly string[];
  readonly isMailbox: boolean;
  readonly marks: (tenant: LabTenant, user: string) => readonly FieldPair[];
}

const ownId = (tenant: LabTenant): string => tenant.id;
const none = (): readonly FieldPair[] => [];
const internal = { id: ownId, authAs: 'Internal', entity: ['Hosted'], isMailbox: false } as const;

const TEMPLATES: Readonly<Record<TemplateName, Template>> = {
  user: { ...internal, sender: 'user', isMailbox: true, marks: none },
  oof: {
    ...internal,
    sender: null,
    marks: (_tenant, user) => [
      ['Auto-Submitted', 'auto-generated'],
      NO_REPLY,
      ['X-MS-Exchange-Inbox-Rules-Loop', user],
      [GENERATED, 'Mailbox Rules Agent'],
    ],
  },
  system: {
    ...internal,
    sender: null,
    id: undefined,
    marks: () => [
      ['Auto-Submitted', 'auto-generated'],
      [GENERATED, 'Transport Rule Agent'],
    ],
  },
  ndr: {
    ...internal,
    sender: null,
    id: undefined,
    marks: () => [
      ['Auto-Submitted', 'auto-replied'],
      ['X-MS-Exchange-Message-Is-Ndr', ''],
    ],
  },
  forwarded: {
    sender: 'user',
    id: ownId,
    authAs: 'Anonymous',
    entity: ['Internet'],
    isMailbox: false,
    marks: (tenant) => [
      ['X-MS-Exchange-ForwardingLoop', `mailbox@${tenant.acceptedDomains[0].name};${tenant.id}`],
      ['X-ExternalRecipientOutboundConnectors', tenant.id],
    ],
  },
  hybrid: {
    sender: 'user',
    id: ownId,
    authAs: 'Anonymous',
    entity: ['HybridOnPrem'],
    isMailbox: false,
    marks: (tenant) => [
      [
        `${CROSS_TENANT}OriginalAttributedTenantConnectingIp`,
        `TenantId=${tenant.id};Ip=[192.0.2.10];Helo=[host.${tenant.acceptedDomains[0].name}]`,
      ],
      ['X-EOPAttributedMessage', '0'],
    ],
  },
  journal: {
    ...internal,
    sender: null,
    id: undefined,
    marks: () => [
      ['X-MS-Journal-Report', ''],
      ['Auto-Submitted', 'auto-generated'],
      [GENERATED, 'Journal Agent'],
    ],
  },
  calendar: {
    ...internal,
    sender: 'user',
    isMailbox: true,
    marks: () => [['Content-Class', 'urn:content-classes:calendarmessage']],
  },
  receipt: { ...internal, sender: null, marks: none },
  consumer: {
    sender: 'user',
    organization: 'outlook.com',
    id: () => CONSUMER_ID,
    authAs: 'Anonymous',
    entity: ['Hosted', 'Internet'],
    isMailbox: true,
    marks: () => [[`${CROSS_TENANT}RMS-PersistedConsumerOrg`, '00000000-0000-0000-0000-000000000000']],
  },
  legacy: { ...internal, sender: 'user', id: undefined, authAs: undefined, marks: none },
};

/** The envelope sender and the stamps for mail of `user` (an address) in the tenant. */
export function stampFor(
  tenant: LabTenant,
  user: string,
  name: TemplateName,
  at: Date,
  knobs: StampKnobs = {},
): Stamped {
  const template = TEMPLATES[name];
  const stamps = templateFields(template, tenant, user, at).filter(
    ([field]) => !knobs.remove?.some((removed) => isSame(removed, field)),
  );
  const replaced = stamps.map(([field, value]): FieldPair => {
    const other = Object.entries(knobs.replace ?? {}).find(([wanted]) => isSame(wanted, field));
    return [field, other ? other[1] : value];
  });
  const ordered = knobs.isReversed ? replaced.toReversed() : replaced;
  const all = [
    ...(knobs.before ?? []),
    ...ordered,
    ...labelFields(knobs, tenant, at),
    ...(knobs.isRetaining ? retainedFields(template) : []),
    ...(knobs.after ?? []),
  ];
  return {
    sender: template.sender === null ? '' : user,
    marks: template.marks(tenant, user),
    organization: template.organization ?? tenant.acceptedDomains[0].name,
    isAuthenticated: template.authAs !== 'Anonymous',
    fields: all.map(([field, value]) => written(field, value, knobs)),
  };
}

function templateFields(template: Template, tenant: LabTenant, user: string, at: Date): readonly FieldPair[] {
  const arrival = `${at.getUTCDate()} ${at.toUTCString().slice(8, 16)} ${at.toISOString().slice(11, 23)}0\r\n (UTC)`;
  const trace = `from ${EXCHANGE_HOST} ([fe80::1])\r\n by ${EXCHANGE_HOST} ([fe80::1%4])\r\n with mapi id 15.20.0000.000; ${at.toUTCString().replace('GMT', '+0000')}`;
  return [
    ['Received', trace],
    ['X-MS-Has-Attach', ''],
    ['X-MS-TNEF-Correlator', ''],
    ['x-ms-publictraffictype', 'Email'],
    ['x-ms-office365-filtering-correlation-id', randomUUID()],
    ['x-ms-exchange-senderadcheck', '1'],
    [
      'x-forefront-antispam-report',
      'CIP:255.255.255.255;CTRY:;LANG:en;SCL:1;SRV:;IPV:NLI;SFV:NSPM;DIR:OUT;SFP:1101;',
    ],
    ['X-OriginatorOrg', template.organization ?? tenant.acceptedDomains[0].name],
    ...(template.authAs ? [crossTenant('AuthAs', template.authAs)] : []),
    crossTenant('AuthSource', EXCHANGE_HOST),
    crossTenant('Network-Message-Id', randomUUID()),
    crossTenant('OriginalArrivalTime', arrival),
    ...template.entity.map((value) => crossTenant('FromEntityHeader', value)),
    ...(template.id ? [crossTenant('Id', template.id(tenant))] : []),
    ...(template.isMailbox
      ? [
          crossTenant('MailboxType', 'HOSTED'),
          crossTenant('UserPrincipalName', randomBytes(48).toString('base64')),
        ]
      : []),
    ['X-MS-Exchange-Transport-CrossTenantHeadersStamped', EXCHANGE_HOST.split('.')[0] ?? ''],
    ...template.marks(tenant, user),
  ];
}

/** What was Organization-* inside. Observed on public mail, where nobody wanted it. */
function retainedFields({ authAs }: Template): readonly FieldPair[] {
  const retained: readonly FieldPair[] = [
    ['AuthAs', authAs ?? 'Internal'],
    ['AuthMechanism', '04'],
    ['AuthSource', EXCHANGE_HOST],
    ['TransportTrafficType', 'Email'],
    ['SCL', '1'],
    ['MessageSource', 'StoreDriver'],
  ];
  return [
    ...retained.map(([suffix, value]): FieldPair => [`X-MS-Exchange-CrossPremises-${suffix}`, value]),
    ['X-OrganizationHeadersPreserved', EXCHANGE_HOST],
  ];
}

function labelFields(knobs: StampKnobs, tenant: LabTenant, at: Date): readonly FieldPair[] {
  if (!knobs.labels || knobs.labels.length === 0) return [];
  const entries = knobs.labels.flatMap(({ id, siteId }) => [
    `MSIP_Label_${id}_Enabled=true`,
    `MSIP_Label_${id}_SetDate=${at.toISOString()}`,
    `MSIP_Label_${id}_Method=Standard`,
    `MSIP_Label_${id}_SiteId=${siteId ?? tenant.id}`,
    `MSIP_Label_${id}_ContentBits=0`,
  ]);
  return [['msip_labels', `${entries.join(';\r\n ')};`]];
}

function written(name: string, value: string, knobs: StampKnobs): FieldPair {
  const cased =
    knobs.nameCase === 'lower' ? name.toLowerCase() : knobs.nameCase === 'upper' ? name.toUpperCase() : name;
  const isFolded = knobs.fold?.some((folded) => isSame(folded, name));
  return [cased, isFolded ? `\r\n ${value}` : value];
}

function isSame(left: string, right: string): boolean {
  return left.toLowerCase() === right.toLowerCase();
}

function crossTenant(suffix: string, value: string): FieldPair {
  return [`${CROSS_TENANT}${suffix}`, value];
}
