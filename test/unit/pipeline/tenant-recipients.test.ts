import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createTestCa } from '../../../src/lab/ca.ts';
import { openTemporaryFolder } from '../../../src/lab/temporary-folder.ts';
import { readTenantRecipients } from '../../../src/pipeline/tenant-recipients.ts';
import type { FileEntry, PolicyGraph, PolicyLdap, PolicyRecipients } from '../../../src/policy/schema.ts';
import { address, TENANT_A } from '../../support/policy.ts';

const at = (line: number) => ({ file: 'p.yaml', line, column: 7 });
const entry = (path: string, line = 1): FileEntry => ({ path, position: at(line) });
const COMMON = { catchAll: [], hasPlusAddressing: true, refreshMinutes: 5, staleAfterHours: 2 };

const ldap = (more: Partial<PolicyLdap>): PolicyLdap => ({
  url: 'ldaps://127.0.0.1',
  startTls: false,
  base: 'dc=x',
  bindDn: 'cn=x',
  password: entry('file:password', 2),
  filter: '(mail=*)',
  pageSize: 500,
  position: at(3),
  ...more,
});
const graph = (more: Partial<PolicyGraph>): PolicyGraph => ({
  clientId: 'i',
  secret: entry('file:password', 5),
  endpoint: 'https://graph.example',
  login: 'https://login.example',
  ...more,
});

async function read(files: Readonly<Record<string, string>>, section: Partial<PolicyRecipients>) {
  await using folder = await openTemporaryFolder('postern-test-');
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder.path, name), text);
  const result = await readTenantRecipients(
    { ...COMMON, ...section },
    { tenant: TENANT_A, folder: folder.path },
  );
  const problems = result.problems.map(
    ({ file, line, message }) => `${file.replace(`${folder.path}/`, '')}:${line} ${message}`,
  );
  return { problems, directory: result.directory };
}

test('no section, no directory', async () => {
  const result = await readTenantRecipients(undefined, { tenant: TENANT_A, folder: '/' });
  assert.deepEqual(result, { problems: [] });
});

test('all sources, in the order in which they are asked', async () => {
  const ca = await createTestCa('x');
  const { problems, directory } = await read(
    { password: 'p', 'people.csv': 'a@contoso.example', 'ca.pem': ca.certificatePem },
    {
      list: [address('b@contoso.example')],
      csv: entry('people.csv'),
      ldap: ldap({ ca: entry('ca.pem') }),
      graph: graph({}),
    },
  );
  assert.deepEqual(problems, []);
  assert.deepEqual(
    directory?.sources.map(({ name }) => name),
    ['list', 'csv', 'ldap', 'microsoft_graph'],
  );
  assert.deepEqual([directory?.refreshMs, directory?.staleMs], [300_000, 7_200_000]);
  assert.doesNotMatch(JSON.stringify(directory?.sources.map(({ settings }) => settings)), /"p"/);
});

for (const [what, files, section, expected] of [
  [
    'empty password',
    { password: '\n' },
    { ldap: ldap({}), graph: graph({}) },
    ['p.yaml:2 recipients password: is empty', 'p.yaml:5 recipients secret: is empty'],
  ],
  [
    'secrets that are not there',
    {},
    { ldap: ldap({}), graph: graph({ secret: entry('env:POSTERN_TEST_NOT_SET', 5) }) },
    [
      'p.yaml:2 recipients password: password cannot be read: there is no such file',
      'p.yaml:5 recipients secret: environment variable POSTERN_TEST_NOT_SET is not set',
    ],
  ],
  [
    'a filter that is none',
    { password: 'p' },
    { ldap: ldap({ filter: '(mail=*' }) },
    ['p.yaml:3 is not an LDAP search filter (RFC 4515)'],
  ],
  [
    'a filter without parentheses',
    { password: 'p' },
    { ldap: ldap({ filter: 'mail=*' }) },
    ['p.yaml:3 is not an LDAP search filter (RFC 4515)'],
  ],
  [
    'a CA file without certificate',
    { password: 'p', 'ca.pem': 'x' },
    { ldap: ldap({ ca: entry('ca.pem', 4) }) },
    ['p.yaml:4 recipients ca: no certificate in the PEM text'],
  ],
  [
    'lines of a file, with their places',
    { 'people.csv': 'a@contoso.example\ncanary\n' },
    { csv: entry('people.csv') },
    ['people.csv:2 is not a mail address'],
  ],
  [
    'a file that is not there',
    {},
    { csv: entry('people.csv', 8) },
    ['p.yaml:8 recipients csv: people.csv cannot be read: there is no such file'],
  ],
] as const)
  test(`problem: ${what}`, async () => {
    const { problems, directory } = await read(files, section);
    assert.deepEqual(problems, expected);
    assert.equal(directory, undefined);
  });
