// The tenant section of a policy file: who the tenant is, what its proof asks for, how mail comes from it and goes to it.
import { isIP } from 'node:net';
import { z } from 'zod';
import { parseTenantId } from '../core/origin.ts';
import { domain, file, passwordReference, referenceTo, text, whole } from './fields.ts';
import { recipients } from './recipients-document.ts';

const leg = z
  .strictObject({
    host: domain.describe('Host that takes mail for this tenant, as Exchange Online names it'),
    port: z.int().min(1).max(65535).default(25),
    server_name: domain.optional().describe("Name in the server's certificate; default: host"),
    certificate: file.describe('Client certificate with its chain, PEM'),
    key: file.describe('Private key of the client certificate, PEM'),
    password: passwordReference.optional(),
    ca: file.optional().describe('CAs for the server; default: the roots of the system'),
  })
  .describe('How mail is delivered to the tenant');

const proofMode = z.enum(['off', 'observe', 'require']);

const proof = z
  .strictObject({
    secrets: z
      .array(referenceTo('secret'))
      .max(2)
      .default([])
      .describe('Values of X-Postern-Tenant-Auth: the current and, while the rule changes, the previous one'),
    secret: proofMode.default('off').describe('Whether mail of users needs the secret'),
    addresses: proofMode
      .default('off')
      .describe(
        'Whether mail of this tenant must come from the address ranges of Exchange Online, where the site does not demand it',
      ),
    dkim: proofMode
      .default('observe')
      .describe("Whether mail of users needs a valid DKIM signature of one of the tenant's domains"),
    own_domain: proofMode
      .default('require')
      .describe(
        "Whether mail from outside with a From of the tenant's domains needs an aligned DKIM signature or SPF pass",
      ),
    forwarded: z
      .enum(['refuse', 'relay'])
      .default('refuse')
      .describe('Mail from outside that a mailbox of the tenant forwards to the outside'),
    hybrid: z
      .enum(['refuse', 'relay'])
      .default('refuse')
      .describe('Mail of on-premises servers that a connector took into the tenant'),
  })
  .superRefine((value, context) => {
    const isChecked = value.secret === 'observe' || value.secret === 'require';
    if (isChecked && Array.isArray(value.secrets) && value.secrets.length === 0)
      context.addIssue({
        code: 'custom',
        path: ['secret'],
        message: `secret: ${value.secret} needs a secret; name it in secrets, as env:NAME or file:path`,
      });
  }, whole);

const loopBack = z
  .strictObject({
    inbound_token: referenceTo('token'),
    outbound_token: referenceTo('token'),
  })
  .describe('The MX stays at Exchange Online, whose rules send mail to the gateway and take it back');

const network = text((value) => {
  const [address = '', prefix, ...more] = value.split('/');
  const bits = isIP(address) === 6 ? 128 : 32;
  const length = prefix === undefined ? bits : Number(prefix);
  const isRange = isIP(address) !== 0 && more.length === 0 && length >= 1 && length <= bits;
  return isRange ? undefined : 'is not a network; write 192.0.2.0/28 or one address';
});

const onPremises = z
  .strictObject({
    networks: z.array(network).min(1).describe('Where these servers connect from'),
    certificates: z.array(file).default([]).describe('Their client certificates, PEM, each pinned as it is'),
    user: text().optional().describe('User name for SMTP AUTH'),
    password: passwordReference.optional(),
  })
  .describe("Mail servers in the tenant's own network that hand in its mail")
  .superRefine((value, context) => {
    const hasLogin = value.user !== undefined && value.password !== undefined;
    const hasHalf = (value.user === undefined) !== (value.password === undefined);
    const hasCertificate = Array.isArray(value.certificates) && value.certificates.length > 0;
    if (hasHalf)
      context.addIssue({ code: 'custom', message: 'user and password go together: set both or none' });
    else if (!hasLogin && !hasCertificate)
      context.addIssue({
        code: 'custom',
        message: 'name certificates, or user and password: an address proves nothing',
      });
  }, whole);

const limit = z.int().min(1);
const limits = z
  .strictObject({
    max_queued: limit.optional().describe('Copies of this tenant in the queue above which its mail gets 451'),
    messages_per_hour: limit.optional().describe('Messages of this tenant in an hour'),
    system_per_hour: limit.default(1_000).describe('Reports and notifications among them'),
  })
  .describe('What this tenant may use of the gateway');

const tenantFields = z.strictObject({
  id: text((value) =>
    parseTenantId(value) === undefined
      ? 'is not a tenant id; write the GUID of the Microsoft Entra tenant, without braces'
      : undefined,
  ).describe('GUID of the Microsoft Entra tenant'),
  name: text(),
  domains: z.array(domain).min(1).describe('All accepted domains, the initial one included'),
  match_subdomains: z.boolean().default(false),
  enabled: z.boolean().default(true),
  proof: proof
    .prefault({})
    .describe('What the proof of origin asks for beyond the stamps of Exchange Online'),
  limits: limits.prefault({}),
  loop_back: loopBack.optional(),
  on_premises: onPremises.optional(),
  leg,
  recipients: recipients.optional(),
});

export const tenant = tenantFields.superRefine((value, context) => {
  const hasSecret = !Array.isArray(value.proof?.secrets) || value.proof.secrets.length > 0;
  if (value.loop_back !== undefined && !hasSecret)
    context.addIssue({
      code: 'custom',
      path: ['loop_back'],
      message: 'loop-back needs a secret, by which mail of the rules is known; name it in proof.secrets',
    });
}, whole);
