// ML-KEM keys on their whole way: files that a policy declares, the key store, the look-up, mail encrypted to what the
// rule chose, and opened with the key from the store.
import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { bytesSource } from '../../../src/core/bytes.ts';
import { isNonEmpty } from '../../../src/core/non-empty.ts';
import type { MlKemMode } from '../../../src/core/plan.ts';
import { memoryTenantKeys } from '../../../src/keys/memory.ts';
import { readDeclaredKeys } from '../../../src/keys/sources.ts';
import { smimeCertificate, smimeDecryptionKeys } from '../../../src/pipeline/key-material.ts';
import { decideOutbound } from '../../../src/policy/decide.ts';
import { decryptMessage, encryptMessage } from '../../../src/smime/message.ts';
import { altNames, emailName, extension, makeCertificate, name } from '../../support/certificates.ts';
import { address, factsOf, policyOf, policyText, provenOrigin, TENANT_A } from '../../support/policy.ts';
import { limits, mail, runStage } from '../../support/smime.ts';
import { makeFolder } from '../../support/storage.ts';

const ALICE = 'alice@contoso.example';
const MESSAGE = mail(`To: ${ALICE}`, 'Content-Type: text/plain', '', 'for later, too', '');
const now = new Date();
const folder = await makeFolder();
after(() => folder[Symbol.asyncDispose]());
const root = makeCertificate({ subject: name('root') });
const position = { file: 'policy.yaml', line: 1, column: 1 };

async function declare(
  title: string,
  { publicKey, privateKey }: { publicKey: KeyObject; privateKey: KeyObject },
) {
  // keyEncipherment alone (RFC 9935 §5).
  const extensions = [
    altNames(emailName(ALICE)),
    extension('2.5.29.15', Buffer.from('03020520', 'hex'), true),
  ];
  const keys = { publicKey, privateKey };
  const { certificate } = makeCertificate({ subject: name(title), issuer: root, keys, extensions });
  const write = (path: string, text: string): Promise<void> =>
    writeFile(join(folder.path, path), text, { mode: 0o600 });
  await write(`${title}.crt`, certificate.pem);
  await write(`${title}.key`, privateKey.export({ type: 'pkcs8', format: 'pem' }));
  const smime = { certificate: `${title}.crt`, key: `${title}.key` };
  return { entry: { match: ALICE, smime, position }, id: `smime:${certificate.fingerprint}` };
}

const rsa = await declare('rsa', generateKeyPairSync('rsa', { modulusLength: 2048 }));
const mlKem = await declare('ml-kem', generateKeyPairSync('ml-kem-1024'));
const { declared, problems } = await readDeclaredKeys(
  { own: [rsa.entry, mlKem.entry], partners: [] },
  { tenant: TENANT_A, folder: folder.path, at: now, environment: {} },
);
assert.deepEqual(problems, []);
const keys = await memoryTenantKeys(TENANT_A, declared);

test('each mode, from the files to the text', async (t) => {
  const table: readonly (readonly [MlKemMode, readonly string[]])[] = [
    ['off', [rsa.id]],
    ['beside', [rsa.id, mlKem.id]],
    ['instead', [mlKem.id]],
  ];
  const own = await smimeDecryptionKeys(keys, [address(ALICE)]);
  assert.equal(own.length, 2);
  for (const [mode, expected] of table) {
    await t.test(mode, async () => {
      const smime = await keys.lookup(address(ALICE), 'smime', 'encrypt', now);
      const pgp = await keys.lookup(address(ALICE), 'pgp', 'encrypt', now);
      const rule = `otherwise: { sign: none, encrypt: required, smime: { ml_kem: ${mode} } }`;
      const facts = factsOf({ to: [ALICE], encryptionKeys: new Map([[ALICE, { smime, pgp }]]) });
      const plan = decideOutbound(policyOf(policyText(rule)), facts, provenOrigin());
      const step = plan.copies.flatMap(({ steps }) => steps).find(({ kind }) => kind === 'encrypt');
      assert.ok(step?.kind === 'encrypt');
      assert.deepEqual(step.keys, expected);
      const certificates = await Promise.all(step.keys.map((id) => smimeCertificate(keys, id)));
      assert.ok(isNonEmpty(certificates));
      const { bytes } = await runStage(encryptMessage(bytesSource(MESSAGE).open(), certificates, { limits }));
      for (const key of own) {
        const { outcome } = await runStage(decryptMessage(bytesSource(bytes), [key], { limits }));
        const isNamed = expected.includes(`smime:${key.certificate.fingerprint}`);
        assert.equal(outcome.kind, isNamed ? 'decrypted' : 'not-decrypted');
      }
    });
  }
});
