// The recipients section of a policy file in canonical form.
import { parseAddress, parseDomain } from '../core/address.ts';
import { isNonEmpty } from '../core/non-empty.ts';
import type { PolicyDocument } from './document.ts';
import type { FileEntry, PolicyGraph, PolicyLdap, PolicyRecipients } from './schema.ts';
import type { YamlSource } from './yaml-source.ts';

type RecipientsDocument = NonNullable<PolicyDocument['tenant']['recipients']>;

const PATH = ['tenant', 'recipients'];

export function toRecipients(document: RecipientsDocument, source: YamlSource): PolicyRecipients {
  const { csv, ldap, microsoft_graph: graph } = document;
  const list = (document.list ?? []).flatMap((text) => parseAddress(text) ?? []);
  const entry = (path: string, ...place: readonly string[]): FileEntry => ({
    path,
    position: source.positionOf([...PATH, ...place]),
  });
  return {
    ...(isNonEmpty(list) && { list }),
    ...(csv !== undefined && { csv: entry(csv, 'csv') }),
    ...(ldap && { ldap: toLdap(ldap, source, entry) }),
    ...(graph && { graph: toGraph(graph, entry) }),
    catchAll: document.catch_all.map((domain) => parseDomain(domain) ?? domain),
    hasPlusAddressing: document.plus_addressing,
    refreshMinutes: document.refresh_minutes,
    staleAfterHours: document.stale_after_hours,
  };
}

type MakeEntry = (path: string, ...place: readonly string[]) => FileEntry;

function toLdap(
  document: NonNullable<RecipientsDocument['ldap']>,
  source: YamlSource,
  entry: MakeEntry,
): PolicyLdap {
  return {
    url: document.url.toLowerCase().replace(/\/$/, ''),
    startTls: document.start_tls,
    base: document.base,
    bindDn: document.bind_dn,
    password: entry(document.password, 'ldap', 'password'),
    filter: document.filter,
    ...(document.ca !== undefined && { ca: entry(document.ca, 'ldap', 'ca') }),
    pageSize: document.page_size,
    position: source.positionOf([...PATH, 'ldap', 'filter']),
  };
}

function toGraph(
  document: NonNullable<RecipientsDocument['microsoft_graph']>,
  entry: MakeEntry,
): PolicyGraph {
  return {
    clientId: document.client_id,
    secret: entry(document.secret, 'microsoft_graph', 'secret'),
    endpoint: new URL(document.endpoint).origin,
    login: new URL(document.login).origin,
  };
}
