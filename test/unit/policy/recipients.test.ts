import assert from 'node:assert/strict';
import { test } from 'node:test';
import { policyOf, policyText, problemsOf } from '../../support/policy.ts';

/** The section begins at line 10, its keys at column 5. */
const withRecipients = (section: string): string =>
  policyText().replace(/^outbound:/m, `  recipients:\n${section.replace(/^/gm, '    ')}\noutbound:`);

const LDAP = 'url: ldaps://dc.contoso.example, base: "dc=x", bind_dn: "cn=x", password: env:P';

test('without the section there is no directory', () => {
  assert.equal(policyOf(policyText()).tenant.recipients, undefined);
});

test('defaults', () => {
  const text = `list: [Ann@Contoso.Example]\nldap: { ${LDAP} }\nmicrosoft_graph: { client_id: id-1, secret: file:s }`;
  const { recipients } = policyOf(withRecipients(text)).tenant;
  assert.ok(recipients?.ldap && recipients.graph);
  assert.deepEqual(
    recipients.list?.map(({ key }) => key),
    ['ann@contoso.example'],
  );
  const { position, password, ...ldap } = recipients.ldap;
  assert.deepEqual(ldap, {
    url: 'ldaps://dc.contoso.example',
    startTls: false,
    base: 'dc=x',
    bindDn: 'cn=x',
    filter: '(|(proxyAddresses=smtp:*)(mail=*))',
    pageSize: 500,
  });
  assert.equal(position.line, 12);
  assert.deepEqual([password.path, password.position.line], ['env:P', 12]);
  assert.deepEqual(recipients.graph, {
    clientId: 'id-1',
    secret: { path: 'file:s', position: { file: 'policy.yaml', line: 13, column: 49 } },
    endpoint: 'https://graph.microsoft.com',
    login: 'https://login.microsoftonline.com',
  });
  const { catchAll, hasPlusAddressing, refreshMinutes, staleAfterHours } = recipients;
  assert.deepEqual([catchAll, hasPlusAddressing, refreshMinutes, staleAfterHours], [[], true, 30, 24]);
});

test('everything said', () => {
  const { recipients } = policyOf(
    withRecipients(`csv: people.csv
ldap: { url: "LDAP://DC.contoso.example:3268/", start_tls: true, base: b, bind_dn: d, password: file:p, filter: (a=*), ca: ca.pem, page_size: 9 }
microsoft_graph: { client_id: i, secret: env:S, endpoint: "https://graph.microsoft.us/", login: "http://127.0.0.1:8080" }
catch_all: [CONTOSO.example]
plus_addressing: false
refresh_minutes: 5
stale_after_hours: 72`),
  ).tenant;
  assert.ok(recipients?.ldap && recipients.graph);
  assert.equal(recipients.csv?.path, 'people.csv');
  const { url, startTls, ca, filter, pageSize } = recipients.ldap;
  assert.deepEqual(
    [url, startTls, ca?.path, filter, pageSize],
    ['ldap://dc.contoso.example:3268', true, 'ca.pem', '(a=*)', 9],
  );
  assert.deepEqual(
    [recipients.graph.endpoint, recipients.graph.login],
    ['https://graph.microsoft.us', 'http://127.0.0.1:8080'],
  );
  assert.deepEqual(recipients.catchAll, ['contoso.example']);
  assert.equal(recipients.hasPlusAddressing, false);
  assert.deepEqual([recipients.refreshMinutes, recipients.staleAfterHours], [5, 72]);
});

const GRAPH = 'client_id: i, secret: env:S';
const mistakes: readonly (readonly [what: string, section: string, ...problems: string[]])[] = [
  [
    'no source',
    'plus_addressing: true',
    '10:3 name at least one of list, csv, ldap, microsoft_graph; to accept all, leave recipients out',
  ],
  ['an empty list', 'list: []', '11:5 must not be empty'],
  ['no address', 'list: [ann]', '11:12 is not one mail address; write user@contoso.example'],
  [
    'a typing error',
    'list: [a@contoso.example]\ncatchall: []',
    '12:5 unknown key "catchall"; did you mean "catch_all"?',
  ],
  [
    'catch-all of a foreign domain',
    'list: [a@contoso.example]\ncatch_all: [remote.example]',
    '12:17 is not a domain of the tenant: contoso.example, contoso.onmicrosoft.example',
  ],
  [
    'the password in clear by the network',
    `ldap: { ${LDAP.replace('ldaps', 'ldap')} }`,
    '11:18 would send the password in clear; write ldaps://, or start_tls: true beside it',
  ],
  ['TLS in TLS', `ldap: { ${LDAP}, start_tls: true }`, '11:105 ldaps begins with TLS; remove it'],
  [
    'password-not-echoed',
    `ldap: { ${LDAP.replace('env:P', 'canary')} }`,
    '11:87 a password is never written into the policy; write env:NAME or file:path',
  ],
  [
    'the secret itself',
    'microsoft_graph: { client_id: i, secret: canary }',
    '11:46 a secret is never written into the policy; write env:NAME or file:path',
  ],
  [
    'clear text to a foreign host',
    `microsoft_graph: { ${GRAPH}, endpoint: "http://graph.example" }`,
    '11:63 is not a URL like https://host, without a path',
  ],
  [
    'clear text to what only looks like this machine',
    `microsoft_graph: { ${GRAPH}, login: "http://127.0.0.1.evil.example" }`,
    '11:60 is not a URL like https://host, without a path',
  ],
  ['never refreshed', 'list: [a@contoso.example]\nrefresh_minutes: 0', '12:22 must be at least 1'],
];

for (const [what, section, ...problems] of mistakes)
  test(`mistake: ${what}`, () => assert.deepEqual(problemsOf(withRecipients(section)), problems));

for (const url of [
  'http://x.example',
  'ldaps:x',
  'ldaps://',
  'ldaps://x.example/dc=x',
  'ldaps://x.example?x',
  'ldaps://user@x.example',
  'x.example',
])
  test(`no URL of a directory: ${url}`, () => {
    const [problem] = problemsOf(
      withRecipients(`ldap: { ${LDAP.replace('ldaps://dc.contoso.example', `"${url}"`)} }`),
    );
    assert.equal(problem, '11:18 is not a URL like ldaps://host or ldaps://host:3269');
  });

test('clear text is for this machine', () => {
  for (const host of ['127.0.0.1:389', 'localhost', '[::1]:389']) {
    const section = `ldap: { ${LDAP.replace('ldaps://dc.contoso.example', `"ldap://${host}"`)} }`;
    assert.deepEqual(problemsOf(withRecipients(section)), []);
  }
});
