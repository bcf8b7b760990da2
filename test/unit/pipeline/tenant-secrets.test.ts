import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Secret } from '../../../src/core/secret.ts';
import { openTemporaryFolder } from '../../../src/lab/temporary-folder.ts';
import { readDoneTokens, readTenantSecrets, sharedSecrets } from '../../../src/pipeline/tenant-secrets.ts';
import { problemsOf, policyText } from '../../support/policy.ts';

const GOOD = 'secret-of-tenant-A-01';
const entry = (path: string, line = 1) => ({ path, position: { file: 'p.yaml', line, column: 7 } });

for (const [name, content, problem] of [
  ['right', GOOD, undefined],
  ['right, with a line end', `${GOOD}\n`, undefined],
  ['too short', 'canary', 'a secret has 16 to 200 ASCII characters, no blanks'],
  ['with a blank', 'canary canary canary', 'a secret has 16 to 200 ASCII characters, no blanks'],
  ['two lines', `${GOOD}\n${GOOD}\n`, 'a secret has 16 to 200 ASCII characters, no blanks'],
  ['not ASCII', 'canary-canary-canär', 'a secret has 16 to 200 ASCII characters, no blanks'],
  ['empty', '', 'a secret has 16 to 200 ASCII characters, no blanks'],
] as const) {
  test(`a secret that is ${name}`, async () => {
    await using folder = await openTemporaryFolder('postern-test-');
    await writeFile(join(folder.path, 'a.secret'), content);
    const { secrets, problems } = await readTenantSecrets([entry('file:a.secret', 5)], folder.path);
    const expected = problem === undefined ? [] : [{ file: 'p.yaml', line: 5, column: 7, message: problem }];
    assert.deepEqual(problems, expected);
    assert.deepEqual(
      secrets.map((secret) => secret.reveal().toString()),
      problem === undefined ? [GOOD] : [],
    );
  });
}

test('a secret that cannot be read is a problem at its place', async () => {
  await using folder = await openTemporaryFolder('postern-test-');
  const entries = [entry('file:none.secret', 2), entry('env:POSTERN_TEST_NOT_SET', 3)];
  const { problems } = await readTenantSecrets(entries, folder.path);
  assert.deepEqual(
    problems.map(({ line, message }) => `${line} ${message}`),
    [
      '2 secret: none.secret cannot be read: there is no such file',
      '3 secret: environment variable POSTERN_TEST_NOT_SET is not set',
    ],
  );
});

test('shared-secret: two tenants with one secret are refused, at the second one', () => {
  const owner = (name: string, ...values: string[]) => ({
    policy: { tenant: { name, proof: { secrets: values.map((_, index) => entry('x', index + 1)) } } },
    secrets: values.map((value) => new Secret(value)),
  });
  assert.deepEqual(sharedSecrets([owner('A', 'one', 'two'), owner('B', 'three'), owner('C')]), []);
  assert.deepEqual(sharedSecrets([owner('A', 'one', 'two'), owner('B', 'three', 'two')]), [
    { file: 'p.yaml', line: 2, column: 7, message: 'tenant A has the same secret' },
  ]);
});

for (const name of ['X-Postern-Tenant-Auth', 'x-ms-exchange-crosspremises-bcc']) {
  test(`policy: a rule on ${name} is an error, not a rule without effect`, () => {
    const [problem, ...more] = problemsOf(
      policyText(`rules:
  - { name: a, when: { header: { name: ${name}, present: true } }, refuse: no }
otherwise: { sign: none, encrypt: never }`),
    );
    assert.match(problem ?? '', / is kept from rules: it holds a secret or a hidden recipient$/);
    assert.deepEqual(more, []);
  });
}

const withProof = (proof: string) => policyText().replace('  leg:\n', `  proof: ${proof}\n  leg:\n`);
for (const [proof, expected] of [
  ['{ secret: require }', /^6:\d+ secret: require needs a secret; name it in secrets/],
  [
    '{ secrets: [canary-secret-1234567] }',
    /^6:\d+ a secret is never written into the policy; write env:NAME or file:path$/,
  ],
  ['{ secrets: [file:a, file:b, file:c] }', /^6:\d+ must be at most 2|^6:\d+ .*2/],
  ['{ secret: yes-please }', /^6:\d+ is not allowed here; allowed: off, observe, require$/],
  ['{ secret: observe, secrets: [file:a], hybrid: relay }', undefined],
] as const) {
  test(`policy: proof: ${proof}`, () => {
    const problems = problemsOf(withProof(proof));
    if (expected === undefined) return assert.deepEqual(problems, []);
    assert.equal(problems.length, 1, problems.join('\n'));
    assert.match(problems[0] ?? '', expected);
    assert.doesNotMatch(problems[0] ?? '', /canary/);
  });
}

test('tokens of loop-back: read, apart from each other and from the secrets', async () => {
  await using folder = await openTemporaryFolder('postern-test-');
  const write = (name: string, text: string) => writeFile(join(folder.path, name), text, { mode: 0o600 });
  await Promise.all([
    write('in', 'inbound-token-12345\n'),
    write('out', 'outbound-token-12345'),
    write('pattern', 'a.*pattern-that-matches-all'),
  ]);
  const read = (inbound: string, outbound: string) =>
    readDoneTokens(
      { inboundToken: entry(`file:${inbound}`, 1), outboundToken: entry(`file:${outbound}`, 2) },
      folder.path,
    );
  const { tokens } = await read('in', 'out');
  assert.equal(tokens?.inbound.reveal().toString(), 'inbound-token-12345');
  assert.equal(tokens?.outbound.reveal().toString(), 'outbound-token-12345');
  for (const [inbound, outbound, expected] of [
    ['in', 'in', /^2 is the inbound token as well/],
    ['pattern', 'out', /^1 a token has 16 to 200 characters/],
    ['none', 'out', /^1 token: none cannot be read/],
  ] as const) {
    const { problems } = await read(inbound, outbound);
    assert.match(problems.map(({ line, message }) => `${line} ${message}`).join('\n'), expected);
  }
  const loopBack = { inboundToken: entry('x', 3), outboundToken: entry('x', 4) };
  const doneTokens = { inbound: new Secret('one'), outbound: new Secret('two') };
  const owner = (secret: string) => ({
    policy: { tenant: { name: 'A', loopBack, proof: { secrets: [entry('x', 1)] } } },
    secrets: [new Secret(secret)],
    doneTokens,
  });
  assert.deepEqual(sharedSecrets([owner('three')]), []);
  assert.deepEqual(
    sharedSecrets([owner('two')]).map(({ line, message }) => `${line} ${message}`),
    ['4 is a secret or token of this tenant already'],
  );
});

test('policy: loop-back without a secret is an error', () => {
  const text = policyText().replace(
    '  leg:\n',
    '  loop_back: { inbound_token: file:a, outbound_token: file:b }\n  leg:\n',
  );
  assert.match(problemsOf(text).join('\n'), /^6:\d+ loop-back needs a secret/);
  const complete = text.replace('  leg:\n', '  proof: { secrets: [file:c] }\n  leg:\n');
  assert.deepEqual(problemsOf(complete), []);
});

for (const [servers, expected] of [
  ['{ networks: [192.0.2.0/28], certificates: [a.crt] }', undefined],
  ['{ networks: [192.0.2.1, "2001:db8::/32"], user: mail, password: env:X }', undefined],
  [
    '{ networks: [192.0.2.0/28] }',
    /^6:\d+ name certificates, or user and password: an address proves nothing$/,
  ],
  ['{ networks: [192.0.2.0/28], user: mail }', /^6:\d+ user and password go together/],
  ['{ networks: [], certificates: [a.crt] }', /^6:\d+ must not be empty$/],
  ['{ networks: [0.0.0.0/0], certificates: [a.crt] }', /^6:\d+ is not a network; write 192\.0\.2\.0\/28/],
  ['{ networks: [contoso.example], certificates: [a.crt] }', /^6:\d+ is not a network/],
  ['{ networks: [192.0.2.1], user: mail, password: canary-password }', /^6:\d+ a password is never written/],
] as const) {
  test(`policy: on_premises: ${servers}`, () => {
    const problems = problemsOf(policyText().replace('  leg:\n', `  on_premises: ${servers}\n  leg:\n`));
    if (expected) assert.match(problems.join('\n'), expected);
    else assert.deepEqual(problems, []);
    assert.doesNotMatch(problems.join('\n'), /canary/);
  });
}
