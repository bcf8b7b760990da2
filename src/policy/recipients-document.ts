// What the recipients section of a policy file may hold, in the file's own names.
import { z } from 'zod';
import { parseAddress } from '../core/address.ts';
import { domain, file, referenceTo, text, whole } from './fields.ts';
import { checkBaseUrl, checkLdapUrl, isLoopbackUrl } from './urls.ts';

const address = text((value) =>
  parseAddress(value) === undefined ? 'is not one mail address; write user@contoso.example' : undefined,
);

const ldap = z
  .strictObject({
    url: text(checkLdapUrl).describe('ldaps://host[:port], or ldap://host[:port] with start_tls'),
    start_tls: z.boolean().default(false),
    base: text().describe('Entry below which recipients are searched, as dc=contoso,dc=example'),
    bind_dn: text().describe('Name of the reading account'),
    password: referenceTo('password'),
    filter: text()
      .default('(|(proxyAddresses=smtp:*)(mail=*))')
      .describe('Entries that count (RFC 4515); their proxyAddresses and mail are read'),
    ca: file.optional().describe('CAs for the server; default: the roots of the system'),
    page_size: z.int().min(1).max(10_000).default(500),
  })
  .superRefine((value, context) => {
    const { url, start_tls: startTls } = value;
    if (typeof url !== 'string' || checkLdapUrl(url) !== undefined) return;
    const isSecure = url.toLowerCase().startsWith('ldaps:');
    if (isSecure && startTls)
      context.addIssue({ code: 'custom', path: ['start_tls'], message: 'ldaps begins with TLS; remove it' });
    if (!isSecure && !startTls && !isLoopbackUrl(url))
      context.addIssue({
        code: 'custom',
        path: ['url'],
        message: 'would send the password in clear; write ldaps://, or start_tls: true beside it',
      });
  }, whole);

const baseUrl = text(checkBaseUrl);

const graph = z.strictObject({
  client_id: text((value) =>
    /^[A-Za-z0-9-]{1,64}$/.test(value) ? undefined : 'is not the id of an application',
  ).describe('Application (client) id'),
  secret: referenceTo('secret'),
  endpoint: baseUrl.default('https://graph.microsoft.com').describe('Base of the API, without a path'),
  login: baseUrl.default('https://login.microsoftonline.com').describe('Base of the token service'),
});

export const recipients = z
  .strictObject({
    list: z.array(address).min(1).optional().describe('Addresses beside those of the other sources'),
    csv: file.optional().describe('One address per line, or an export of Get-Recipient'),
    ldap: ldap.optional(),
    microsoft_graph: graph.optional(),
    catch_all: z.array(domain).default([]).describe('Domains of which every address is accepted'),
    plus_addressing: z.boolean().default(true).describe('Whether user+tag is known where user is'),
    refresh_minutes: z.int().min(1).max(1_440).default(30),
    stale_after_hours: z.int().min(1).max(720).default(24),
  })
  .superRefine((value, context) => {
    const { list, csv, ldap, microsoft_graph: graph } = value;
    if ([list, csv, ldap, graph].every((source) => source === undefined))
      context.addIssue({
        code: 'custom',
        message: 'name at least one of list, csv, ldap, microsoft_graph; to accept all, leave recipients out',
      });
  }, whole)
  .describe('Who exists; without it every address of the domains is accepted');
