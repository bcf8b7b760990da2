// Whole header sections for the proof of tenant: what Exchange Online stamps, changed by the case.
import type { DkimVerdict } from '../../src/authentication/dkim.ts';
import { bytesSource } from '../../src/core/bytes.ts';
import type { Envelope } from '../../src/core/envelope.ts';
import { defaultLimits } from '../../src/core/limits.ts';
import type { Origin } from '../../src/core/origin.ts';
import type { Peer, PeerCertificate } from '../../src/core/peer.ts';
import { readMessage } from '../../src/mime/header-section.ts';
import { gatherEvidence } from '../../src/tenant/evidence.ts';
import { prove } from '../../src/tenant/proof.ts';
import type { ProofSettings } from '../../src/tenant/settings.ts';
import { openRegistry, type TenantProof } from '../../src/tenant/registry.ts';
import { address, TENANT_A, TENANT_B } from './policy.ts';

/** Nothing but the stamps of Exchange is asked for. */
export const stampsAlone: TenantProof = {
  addressMode: 'off',
  dkimMode: 'off',
  secretMode: 'off',
  secrets: [],
  ownDomainMode: 'require',
  isHybridRelayed: false,
  isForwardedRelayed: false,
};

export const TENANT_E = 'eeeeeeee-eeee-4eee-8eee-eeeeeeeeeeee';
export const CONSUMER = '84df9e7f-e9f6-40af-b435-aaaaaaaaaaaa';

export const tenantA = {
  id: TENANT_A,
  name: 'Contoso',
  domains: ['contoso.example', 'contoso.onmicrosoft.example', 'bücher.example'],
  matchSubDomains: false,
  isEnabled: true,
  isLoopBack: false,
  proof: stampsAlone,
};
export const tenantB = {
  id: TENANT_B,
  name: 'Fabrikam',
  domains: ['fabrikam.example'],
  matchSubDomains: false,
  isEnabled: true,
  isLoopBack: false,
  proof: stampsAlone,
};
export const registry = openRegistry([tenantA, tenantB]);
export const settings: ProofSettings = {
  certificateNames: ['mail.protection.outlook.com'],
  hostname: 'gw.example',
  maxReceived: 25,
};

export const exoCertificate: PeerCertificate = {
  isVerified: true,
  dnsNames: ['mail.protection.outlook.com'],
  commonName: 'mail.protection.outlook.com',
  fingerprint256: 'AA',
  validFrom: new Date('2026-01-01'),
  validTo: new Date('2027-01-01'),
};

export function peerWith(certificate: PeerCertificate | undefined = exoCertificate): Peer {
  return {
    address: '40.92.0.1',
    port: 25,
    helo: 'am0pr00mb0000.outbound.protection.outlook.com',
    tls: { protocol: 'TLSv1.3', cipher: 'TLS_AES_256_GCM_SHA384', ...(certificate && { certificate }) },
  };
}

export const withoutTls: Peer = { address: '40.92.0.1', port: 25, helo: 'x.outbound.protection.outlook.com' };
export const withoutCertificate: Peer = {
  address: '40.92.0.1',
  port: 25,
  helo: 'x.outbound.protection.outlook.com',
  tls: { protocol: 'TLSv1.3', cipher: 'TLS_AES_256_GCM_SHA384' },
};

/** The fields that EXO stamps on mail of a hosted mailbox of A, changed by the case. */
export const userFields: Readonly<Record<string, string>> = {
  Received: 'from AM0PR00MB0000.eurprd00.prod.outlook.com by AM0PR00MB0000; Fri, 10 Jul 2026 08:15:30 +0000',
  From: 'User <user@contoso.example>',
  To: '<user@remote.example>',
  'X-OriginatorOrg': 'contoso.example',
  'X-MS-Exchange-CrossTenant-AuthAs': 'Internal',
  'X-MS-Exchange-CrossTenant-FromEntityHeader': 'Hosted',
  'X-MS-Exchange-CrossTenant-Id': TENANT_A,
};

export type Changes = Readonly<Record<string, string | readonly string[] | undefined>>;

export function message(changes: Changes = {}, more = '', body = 'text\r\n'): string {
  const fields = Object.entries({ ...userFields, ...changes }).flatMap(([name, value]) =>
    (typeof value === 'string' ? [value] : (value ?? [])).map((each) => `${name}: ${each}\r\n`),
  );
  return `${fields.join('')}${more}\r\n${body}`;
}

export interface Case {
  readonly name: string;
  readonly text?: string;
  readonly peer?: Peer;
  /** MAIL FROM; null is the null sender. */
  readonly sender?: string | null;
  readonly tenants?: typeof registry;
  readonly dkim?: readonly DkimVerdict[];
  readonly settings?: ProofSettings;
  /** `class` of A, or `condition error` of the first failure. */
  readonly expect: string;
}

export async function verdict({
  text = message(),
  peer = peerWith(),
  sender,
  tenants = registry,
  dkim = [],
  settings: proofSettings = settings,
}: Case): Promise<Origin> {
  const { header } = await readMessage(bytesSource(Buffer.from(text)).open(), defaultLimits);
  const envelope: Envelope = {
    id: 'test',
    sender: sender === null ? null : address(sender ?? 'user@contoso.example'),
    recipients: [{ address: address('user@remote.example') }],
    smtpUtf8: true,
    body: '8BITMIME',
  };
  return prove(tenants, gatherEvidence(peer, envelope, header, dkim), proofSettings);
}

export const id = 'X-MS-Exchange-CrossTenant-Id';
export const org = 'X-OriginatorOrg';
export const authAs = 'X-MS-Exchange-CrossTenant-AuthAs';
export const entity = 'X-MS-Exchange-CrossTenant-FromEntityHeader';
export const withId = (value: string | readonly string[]) => message({ [id]: value });
export const withFrom = (value: string | readonly string[]) => message({ From: value });
