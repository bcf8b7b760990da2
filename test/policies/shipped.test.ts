// What the shipped policies do, as tables from facts to plans. A change of a policy file shows here.
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { format } from 'prettier';
import { policyJsonSchema } from '../../src/policy/document.ts';
import { decideInbound, decideOutbound } from '../../src/policy/decide.ts';
import { factsOf, type FactsInput, policyOf, provenOrigin, summary } from '../support/policy.ts';

const root = join(import.meta.dirname, '../..');
const load = (file: string) => policyOf(readFileSync(join(root, 'policies', file), 'utf8'));

const bob = 'bob@remote.example';
const to = [bob];
const smime = { [bob]: 'smime' };
const pgp = { [bob]: 'pgp' };

type Row = readonly [name: string, facts: FactsInput, ...expected: string[]];

const label = (site: string) => ({
  fields: [
    {
      name: 'msip_labels',
      value: `MSIP_Label_aaaaaaaa-1111-4222-8333-444444444444_Enabled=true; MSIP_Label_aaaaaaaa-1111-4222-8333-444444444444_SiteId=${site}; x=y`,
    },
  ],
});

const tables: Readonly<Record<string, readonly Row[]>> = {
  'default.yaml': [
    ['nothing known', { to }, 'bob otherwise: strip'],
    ['sender has a certificate', { to, signing: 'smime' }, 'bob otherwise: strip, sign smime'],
    [
      'recipient has one too',
      { to, signing: 'smime', keys: smime },
      'bob otherwise: strip, sign smime, encrypt smimex1',
    ],
    ['both have OpenPGP keys', { to, signing: 'pgp', keys: pgp }, 'bob otherwise: strip, sign+encrypt pgpx1'],
    [
      'asked for, key known',
      { to, subject: 'x [SECURE]', keys: pgp },
      'bob confidential: strip, encrypt pgpx1',
    ],
    ['asked for, no key', { to, subject: '[secure] x' }, 'bob confidential: encryption-required'],
    ['invitation', { to, isCalendar: true, keys: smime, signing: 'smime' }, 'bob otherwise: strip'],
    [
      'invitation, asked for',
      { to, subject: '[secure]', isCalendar: true, keys: smime },
      'bob confidential: strip, encrypt smimex1',
    ],
    ['damaged key', { to, keys: { [bob]: 'smime!' } }, 'bob otherwise: key-unreadable'],
  ],
  'examples/by-label.yaml': [
    [
      'T35 own label',
      { to, ...label('11111111-2222-3333-4444-555555555555') },
      'bob label confidential: encryption-required',
    ],
    [
      "T35 another tenant's label",
      { to, ...label('eeeeeeee-eeee-4eee-8eee-eeeeeeeeeeee') },
      'bob otherwise: strip',
    ],
    [
      'Sensitivity',
      { to, keys: smime, fields: [{ name: 'sensitivity', value: 'company-confidential' }] },
      'bob company confidential: strip, encrypt smimex1',
    ],
    ['no label', { to, keys: smime }, 'bob otherwise: strip, encrypt smimex1'],
  ],
  'examples/partner-domain.yaml': [
    ['stranger', { to, keys: smime, signing: 'smime' }, 'bob otherwise: strip'],
    [
      'partner',
      { to: ['x@partner.example'], signing: 'smime', keys: { 'x@partner.example': 'smime' } },
      'x partner: strip, sign smime, encrypt smimex1',
    ],
    [
      'partner without OpenPGP',
      { to: ['x@partner.example'], signing: 'smime', keys: { 'x@partner.example': 'pgp' } },
      'x partner: encryption-required',
    ],
    [
      'sub-domain without key',
      { to: ['x@a.partner.example'], signing: 'smime' },
      'x partner: encryption-required',
    ],
    [
      'F16 the exempt address, and its domain',
      { to: ['subscribe@news.partner.example', 'x@news.partner.example'] },
      'subscribe newsletter service: strip',
      'x partner: encryption-required',
    ],
    ['invitation', { to: ['x@partner.example'], isCalendar: true }, 'x partner: strip'],
  ],
  'examples/sign-only.yaml': [
    ['user with certificate', { to, signing: 'smime', keys: smime }, 'bob otherwise: strip, sign smime'],
    ['user without', { to, keys: smime }, 'bob otherwise: strip'],
    [
      'board with certificate',
      { to, from: 'chair@contoso.example', signing: 'smime' },
      'bob board: strip, sign smime',
    ],
    ['board without', { to, from: 'cfo@contoso.example', signing: 'pgp' }, 'bob board: signing-key-missing'],
    ['automatic', { to, from: 'cfo@contoso.example', isAutomatic: true }, 'bob automatic: strip'],
    [
      'encrypted by the client',
      { to, shape: { kind: 'encrypted', format: 'pgp' }, signing: 'smime' },
      'bob otherwise: strip',
    ],
  ],
  'examples/always-encrypt.yaml': [
    ['key known', { to, keys: pgp, signing: 'pgp' }, 'bob otherwise: strip, sign+encrypt pgpx1'],
    ['no key', { to }, 'bob otherwise: encryption-required'],
    [
      'private provider',
      { to: ['x@freemail.example', 'y@de.freemail.example'] },
      'x private addresses: refused-by-rule',
      'y private addresses: refused-by-rule',
    ],
    [
      'encrypted by the client',
      { to, shape: { kind: 'encrypted', format: 'pgp' } },
      'bob encrypted by the client: refused-by-rule',
    ],
    ['invitation', { to, isCalendar: true }, 'bob otherwise: encryption-required'],
  ],
  'examples/openpgp.yaml': [
    ['no key', { to }, 'bob otherwise: strip'],
    ['S/MIME only', { to, keys: smime, signing: 'pgp' }, 'bob otherwise: strip, sign pgp'],
    ['OpenPGP', { to, keys: pgp, signing: 'pgp' }, 'bob otherwise: strip, sign+encrypt pgpx1'],
    [
      'asked for',
      { to, subject: '[PGP]', keys: pgp, signing: 'pgp' },
      'bob asked for: strip, sign+encrypt pgpx1',
    ],
    [
      'asked for, sender without key',
      { to, subject: '[PGP]', keys: pgp },
      'bob asked for: signing-key-missing',
    ],
    ['mailing list', { to: ['dev@lists.example'], signing: 'pgp' }, 'dev lists: strip'],
  ],
};

for (const [file, rows] of Object.entries(tables)) {
  const policy = load(file);
  for (const [name, facts, ...expected] of rows) {
    test(`${file}: ${name}`, () => {
      assert.deepEqual(summary(decideOutbound(policy, factsOf(facts), provenOrigin())), expected);
    });
  }
}

test('each shipped policy has a table', () => {
  const files = globSync('**/*.yaml', { cwd: join(root, 'policies') }).toSorted();
  assert.deepEqual(files, Object.keys(tables).toSorted());
});

test('examples/always-encrypt.yaml: smart host, and broken signatures are refused', () => {
  const policy = load('examples/always-encrypt.yaml');
  assert.equal(policy.outbound.deliver, 'smarthost');
  const shape = { kind: 'signed', format: 'smime', form: 'detached' } as const;
  const plan = decideInbound(policy, factsOf({ from: bob, to: ['user@contoso.example'], shape }));
  assert.deepEqual(plan.copies[0]?.steps[1], { kind: 'verify', onInvalid: 'refuse' });
});

test('policies/schema.json is the schema of the code', async () => {
  const options = { parser: 'json', printWidth: 110 };
  const written = readFileSync(join(root, 'policies/schema.json'), 'utf8');
  assert.equal(written, await format(JSON.stringify(policyJsonSchema()), options));
});

test('docs/policy.md names every key of a policy file', () => {
  const page = readFileSync(join(root, 'docs/policy.md'), 'utf8');
  const missing = [...keysOf(policyJsonSchema())].filter((key) => !new RegExp(`\\b${key}\\b`).test(page));
  assert.deepEqual(missing, []);
});

function keysOf(schema: unknown): ReadonlySet<string> {
  if (typeof schema !== 'object' || schema === null) return new Set();
  const properties = 'properties' in schema && typeof schema.properties === 'object' ? schema.properties : {};
  return new Set([
    ...Object.keys(properties ?? {}),
    ...Object.values(schema).flatMap((each) => [...keysOf(each)]),
  ]);
}
