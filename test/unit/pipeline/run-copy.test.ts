import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { bytesSource, collect } from '../../../src/core/bytes.ts';
import type { KeyId } from '../../../src/core/key.ts';
import { defaultLimits } from '../../../src/core/limits.ts';
import { silentLog } from '../../../src/core/log.ts';
import type { NonEmpty } from '../../../src/core/non-empty.ts';
import { Secret } from '../../../src/core/secret.ts';
import type { Copy, Step } from '../../../src/core/plan.ts';
import { memoryTenantKeys } from '../../../src/keys/memory.ts';
import { runCopy } from '../../../src/pipeline/run-copy.ts';
import { openHolds } from '../../../src/storage/hold.ts';
import { address, TENANT_A } from '../../support/policy.ts';
import { createWorld } from '../../support/smime.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-run-'));
const holds = await openHolds({ folder, memoryBytes: 1_000, log: silentLog });
after(async () => {
  await holds[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});
const world = await createWorld('run-copy');
const bob = await world.person('bob');
const bobKey = `smime:${bob.certificate.fingerprint}` as KeyId;
const keys = await memoryTenantKeys(TENANT_A, [
  {
    record: {
      id: bobKey,
      tenant: TENANT_A,
      format: 'smime',
      role: 'own',
      addresses: ['bob@contoso.example'],
      material: bob.certificatePem,
      hasPrivateKey: true,
      notBefore: new Date(0),
      source: 'policy',
    },
    privateMaterial: new Secret(bob.keyPem),
  },
]);
const context = {
  tenant: TENANT_A,
  keys,
  trust: world.trust,
  limits: defaultLimits,
  at: new Date(),
  hostname: 'gw.example',
  dkimSigners: [],
};
const recipients: NonEmpty<{ address: ReturnType<typeof address> }> = [
  { address: address('bob@contoso.example') },
];

function copyOf(steps: readonly Step[], mustEncrypt = false): Copy {
  return { recipients, steps, leg: { kind: 'internet' }, mustEncrypt, rule: 'test' };
}

const MESSAGE = Buffer.from(
  `From: a@contoso.example\r\nTo: bob@contoso.example\r\nX-Odd:  kept \t as is\r\nMIME-Version: 1.0\r\n\r\n${'body line\r\n'.repeat(500)}`,
);
const encrypt: Step = { kind: 'encrypt', format: 'smime', keys: [bobKey] };

async function run(copy: Copy, message: Buffer = MESSAGE) {
  await using result = await runCopy(copy, bytesSource(message), holds, context);
  return { bytes: await collect(result.body.open(), 1_000_000), outcomes: result.outcomes };
}

test('no steps: byte for byte', async () => {
  const { bytes } = await run(copyOf([]));
  assert.ok(bytes.equals(MESSAGE));
});

test('no-key-no-clear: a copy that must be encrypted and is not never leaves', async () => {
  await assert.rejects(run(copyOf([], true)), { code: 'unplanned' });
  await assert.rejects(run(copyOf([{ kind: 'sign', format: 'smime', key: bobKey }], true)), {
    code: 'unplanned',
  });
  const { outcomes } = await run(copyOf([encrypt], true));
  assert.equal(outcomes.at(-1)?.kind, 'encrypted');
});

test('sign, encrypt, decrypt, verify, mark: the content comes back, with both results on top', async () => {
  const sent = await run(copyOf([{ kind: 'sign', format: 'smime', key: bobKey }, encrypt]));
  assert.deepEqual(
    sent.outcomes.map(({ kind }) => kind),
    ['signed', 'encrypted'],
  );
  assert.match(sent.bytes.toString(), /^X-Odd: {2}kept \t as is\r\n/m);
  const inbound: readonly Step[] = [
    { kind: 'strip', direction: 'inbound' },
    { kind: 'decrypt', owner: recipients, onFailure: 'deliver-marked' },
    { kind: 'verify', onInvalid: 'refuse' },
    { kind: 'mark' },
  ];
  const got = await run(copyOf(inbound), sent.bytes);
  assert.deepEqual(
    got.outcomes.map(({ kind }) => kind),
    ['headers', 'decrypted', 'verified', 'headers'],
  );
  assert.match(got.bytes.toString(), /^X-Postern-Decryption: gw\.example;\r\n decrypted=smime/m);
  assert.match(got.bytes.toString(), /signature=intact;\r\n trust=trusted/);
  assert.match(got.bytes.toString(), /body line\r\nbody line/);
});

test('signature-invalid: a broken signature is refused where the policy says so, else marked', async () => {
  const { bytes } = await run(copyOf([{ kind: 'sign', format: 'smime', key: bobKey }]));
  const forged = Buffer.from(bytes.toString('latin1').replace('body line', 'evil line'), 'latin1');
  await assert.rejects(run(copyOf([{ kind: 'verify', onInvalid: 'refuse' }]), forged), {
    code: 'signature-invalid',
  });
  const marked = await run(
    copyOf([{ kind: 'verify', onInvalid: 'deliver-marked' }, { kind: 'mark' }]),
    forged,
  );
  assert.match(marked.bytes.toString(), /signature=broken/);
  assert.match(marked.bytes.toString(), /evil line/);
});

test('mime-malformed: what can be read in two ways is never signed', async () => {
  const twice = Buffer.from(
    MESSAGE.toString().replace(
      'MIME-Version',
      'Content-Type: text/plain\r\nContent-Type: text/html\r\nMIME-Version',
    ),
  );
  await assert.rejects(run(copyOf([{ kind: 'sign', format: 'smime', key: bobKey }]), twice), {
    code: 'mime-malformed',
  });
});

test('what cannot be decrypted stays byte for byte, below its mark', async () => {
  const { bytes } = await run(copyOf([encrypt]));
  const other: NonEmpty<{ address: ReturnType<typeof address> }> = [
    { address: address('eve@contoso.example') },
  ];
  const got = await run(
    copyOf([{ kind: 'decrypt', owner: other, onFailure: 'deliver-marked' }, { kind: 'mark' }]),
    bytes,
  );
  assert.deepEqual(got.outcomes[0], { kind: 'not-decrypted', reason: 'no-recipient' });
  assert.ok(got.bytes.subarray(-bytes.length).equals(bytes));
});

test('a stage that fails leaves nothing behind', async () => {
  const broken: Step = { kind: 'encrypt', format: 'smime', keys: ['smime:00' as KeyId] };
  await assert.rejects(run(copyOf([{ kind: 'sign', format: 'smime', key: bobKey }, broken])), {
    code: 'key-unreadable',
  });
  assert.deepEqual(readdirSync(folder), []);
});
