// Checks of a policy file that look at more than one object. They read leniently, so that they speak up in the same run
// as the errors that the schema finds.
import { z } from 'zod';
import { parseAddress, parseDomain } from '../core/address.ts';
import type { Problem } from './schema.ts';
import type { YamlSource } from './yaml-source.ts';

const words = z.array(z.string().catch('')).catch([]);

const NO_TENANT = { domains: [], match_subdomains: false, recipients: { catch_all: [] } };

const lenient = z
  .object({
    tenant: z
      .object({
        domains: words,
        match_subdomains: z.boolean().catch(false),
        recipients: z.object({ catch_all: words }).catch({ catch_all: [] }),
      })
      .catch(NO_TENANT),
    keys: z
      .object({ own: z.array(z.object({ for: z.string() }).catch({ for: '' })).catch([]) })
      .catch({ own: [] }),
    outbound: z
      .object({
        dkim: z.array(z.object({ domain: z.string() }).catch({ domain: '' })).catch([]),
        rules: z.array(z.object({ name: z.string() }).catch({ name: '' })).catch([]),
      })
      .catch({ dkim: [], rules: [] }),
  })
  .catch({ tenant: NO_TENANT, keys: { own: [] }, outbound: { dkim: [], rules: [] } });

/** Problems across the file: repeated names, and own keys for what is not the tenant's. */
export function checkAcross(source: YamlSource): Problem[] {
  const { tenant, keys, outbound } = lenient.parse(source.data);
  const domains = tenant.domains.map((domain) => parseDomain(domain) ?? '');
  const readable = domains.filter((domain) => domain !== '');
  return [
    ...repeated(outbound.rules.map((rule) => rule.name)).map((index) => ({
      ...source.positionOf(['outbound', 'rules', index, 'name']),
      message: 'another rule has this name already',
    })),
    ...repeated(domains).map((index) => ({
      ...source.positionOf(['tenant', 'domains', index]),
      message: 'this domain is in the list already',
    })),
    ...repeated(outbound.dkim.map(({ domain }) => parseDomain(domain) ?? '')).map((index) => ({
      ...source.positionOf(['outbound', 'dkim', index, 'domain']),
      message: 'this domain has a key already; change selector and key of the one entry',
    })),
    ...outbound.dkim.flatMap(({ domain }, index) =>
      readable.length === 0 || domain === '' || isOwn(domain, readable, tenant.match_subdomains)
        ? []
        : [
            {
              ...source.positionOf(['outbound', 'dkim', index, 'domain']),
              message: `is not a domain of the tenant: ${readable.join(', ')}`,
            },
          ],
    ),
    ...tenant.recipients.catch_all.flatMap((domain, index) =>
      readable.length === 0 || isOwn(domain, readable, tenant.match_subdomains)
        ? []
        : [
            {
              ...source.positionOf(['tenant', 'recipients', 'catch_all', index]),
              message: `is not a domain of the tenant: ${readable.join(', ')}`,
            },
          ],
    ),
    ...keys.own.flatMap((entry, index) =>
      readable.length === 0 || isOwn(entry.for, readable, tenant.match_subdomains)
        ? []
        : [
            {
              ...source.positionOf(['keys', 'own', index, 'for']),
              message: `an own key must belong to a domain of the tenant: ${readable.join(', ')}`,
            },
          ],
    ),
  ];
}

/** Indexes of what was there before. Empty texts are the business of the schema. */
function repeated(list: readonly string[]): number[] {
  return list.flatMap((item, index) => (item !== '' && list.indexOf(item) < index ? [index] : []));
}

function isOwn(target: string, domains: readonly string[], matchSubDomains: boolean): boolean {
  const domain = target.includes('@') ? parseAddress(target)?.domain : parseDomain(target);
  // What cannot be read was reported by the schema.
  if (domain === undefined) return true;
  return domains.some((own) => domain === own || (matchSubDomains && domain.endsWith(`.${own}`)));
}
