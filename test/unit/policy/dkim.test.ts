// Keys for DKIM in a policy file, and which copies they sign.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { openTemporaryFolder } from '../../../src/lab/temporary-folder.ts';
import { readDkimSigners } from '../../../src/pipeline/dkim-keys.ts';
import { policyText, problemsOf } from '../../support/policy.ts';

const withDkim = (entries: string) =>
  policyText(`dkim: ${entries}\notherwise: { sign: none, encrypt: never }`);

for (const [entries, expected] of [
  ['[{ domain: contoso.example, selector: gw, key: a.key }]', undefined],
  [
    '[{ domain: remote.example, selector: gw, key: a.key }]',
    /is not a domain of the tenant: contoso\.example/,
  ],
  [
    '[{ domain: contoso.example, selector: a, key: a }, { domain: CONTOSO.example, selector: b, key: b }]',
    /this domain has a key already/,
  ],
  ['[{ domain: contoso.example, selector: "a b", key: a.key }]', /is not a selector/],
  ['[{ domain: contoso.example, key: a.key }]', /selector/],
] as const) {
  test(`outbound.dkim: ${entries}`, () => {
    const problems = problemsOf(withDkim(entries));
    if (expected) assert.match(problems.join('\n'), expected);
    else assert.deepEqual(problems, []);
  });
}

test('the keys: RSA and Ed25519; what cannot sign or be read is a problem at its place', async () => {
  await using folder = await openTemporaryFolder('postern-test-');
  const write = async (name: string, text: string | Buffer, mode = 0o600) => {
    await writeFile(join(folder.path, name), text, { mode });
    return {
      domain: 'contoso.example',
      selector: 'gw',
      key: { path: name, position: { file: 'p.yaml', line: 3, column: 5 } },
    };
  };
  const pem = { type: 'pkcs8', format: 'pem' } as const;
  const rsa = await write('rsa', generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export(pem));
  const ed = await write('ed', generateKeyPairSync('ed25519').privateKey.export(pem), 0o644);
  const good = await readDkimSigners([rsa, ed], folder.path);
  assert.equal(good.signers.length, 2);
  assert.deepEqual(good.problems, []);
  assert.deepEqual(
    good.warnings.map(({ message }) => message),
    ['DKIM key ed: open to other users, run chmod 600 on it'],
  );
  const short = await write(
    'short',
    generateKeyPairSync('rsa', { modulusLength: 768 }).privateKey.export(pem),
  );
  const ec = await write('ec', generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export(pem));
  const text = await write('text', 'canary');
  const none = { ...text, key: { ...text.key, path: 'none' } };
  const { signers, problems } = await readDkimSigners([short, ec, text, none], folder.path);
  assert.deepEqual(signers, []);
  assert.deepEqual(
    problems.map(({ line, message }) => `${line} ${message.slice(0, 36)}`),
    [
      '3 DKIM key short: is neither RSA of 10',
      '3 DKIM key ec: is neither RSA of 1024 ',
      ...problems.slice(2).map(({ line, message }) => `${line} ${message.slice(0, 36)}`),
    ],
  );
  assert.equal(problems.length, 4);
  assert.doesNotMatch(JSON.stringify(problems), /canary/);
});
