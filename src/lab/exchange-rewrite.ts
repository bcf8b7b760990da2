// What Exchange Online does to the header of mail it takes in: the header firewall, and fresh service headers of the
// tenant that the mail was attributed to.
import { randomUUID } from 'node:crypto';
import type { ByteSource } from '../core/bytes.ts';
import type { Accepted } from './attribution.ts';
import {
  hasName,
  hasPrefix,
  type RawField,
  rawField,
  rawValue,
  readRawMessage,
  writeRawMessage,
} from './raw-header.ts';

const CROSS_PREMISES = 'X-MS-Exchange-CrossPremises-';
const CROSS_TENANT = 'X-MS-Exchange-CrossTenant-';
const ORGANIZATION = 'X-MS-Exchange-Organization-';
const FOREST = 'X-MS-Exchange-Forest-';
/** The host name that the lab's Exchange servers use in all that they stamp. */
export const EXCHANGE_HOST = 'AM0PR00MB0000.eurprd00.prod.outlook.example';

export interface Rewritten {
  readonly message: ByteSource;
  /** Whether the recipient sees the mail as sent from inside: the prize of a forged or promoted header. */
  readonly isInternal: boolean;
}

/** Takes a message in for the tenant of the verdict. */
export async function rewriteIncoming(
  message: ByteSource,
  verdict: Accepted,
  client: { readonly address: string; readonly hello: string; readonly at: Date },
): Promise<Rewritten> {
  const { fields, rest } = await readRawMessage(message);
  const isPromoting = verdict.connector?.cloudServicesMailEnabled === true;
  const kept = fields
    .filter(
      (field) =>
        !hasPrefix(field, ORGANIZATION) && !hasPrefix(field, FOREST) && !hasPrefix(field, CROSS_TENANT),
    )
    .flatMap((field) => {
      if (!hasPrefix(field, CROSS_PREMISES)) return [field];
      return isPromoting ? [promoted(field)] : [];
    });
  const isInternal = kept.some(
    (field) => hasName(field, `${ORGANIZATION}AuthAs`) && rawValue(field).toLowerCase() === 'internal',
  );
  const hadCrossTenant = fields.some((field) => hasPrefix(field, CROSS_TENANT));
  return {
    message: writeRawMessage({ fields: [...stamps(verdict, client, hadCrossTenant), ...kept], rest }),
    isInternal,
  };
}

/** Number of Received fields: the hop count. */
export async function countReceived(message: ByteSource): Promise<number> {
  const { fields } = await readRawMessage(message);
  return fields.filter((field) => hasName(field, 'Received')).length;
}

function stamps(
  verdict: Accepted,
  client: { readonly address: string; readonly hello: string; readonly at: Date },
  hadCrossTenant: boolean,
): RawField[] {
  const { tenant, direction } = verdict;
  const trace = `from ${client.hello} (${client.address})\r\n by ${EXCHANGE_HOST}\r\n with SMTP; ${client.at.toUTCString().replace('GMT', '+0000')}`;
  const pairs: [string, string][] = [
    ['Received', trace],
    ['X-EOPTenantAttributedMessage', `${tenant.id}:0`],
    [`${CROSS_TENANT}Network-Message-Id`, randomUUID()],
    [`${CROSS_TENANT}Id`, tenant.id],
    [`${CROSS_TENANT}AuthAs`, 'Anonymous'],
    [`${CROSS_TENANT}FromEntityHeader`, direction === 'originating' ? 'HybridOnPrem' : 'Internet'],
  ];
  if (verdict.connector?.efSkipLastIp) {
    const from = `ip=[${client.address}];domain=${client.hello}`;
    pairs.push(['X-MS-Exchange-SkipListedInternetSender', from]);
  }
  if (hadCrossTenant) pairs.push(['X-MS-Exchange-Transport-CrossTenantHeadersStripped', EXCHANGE_HOST]);
  return pairs.map(([name, value]) => rawField(name, value));
}

function promoted(field: RawField): RawField {
  const name = `${ORGANIZATION}${field.name.slice(CROSS_PREMISES.length)}`;
  return { name, raw: Buffer.concat([Buffer.from(name), field.raw.subarray(field.name.length)]) };
}
