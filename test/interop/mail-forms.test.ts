// Every form of mail, signed and encrypted by the gateway: openssl decrypts it, finds the signature good over exactly the
// first part that was sent, and the same content.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { bytesSource, collect, rangeOf } from '../../src/core/bytes.ts';
import { readParts } from '../../src/mime/shape.ts';
import { mailForms, mailOf } from '../support/mail-forms.ts';
import { ANNA, BOB, openPassage, SIGNED } from '../support/passage.ts';
import { limits } from '../support/smime.ts';

const folder = mkdtempSync(join(tmpdir(), 'forms-'));
const passage = await openPassage('mail forms of openssl');
after(async () => {
  await passage[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});
const { bob } = passage.people;
const file = (name: string, content: string): string => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};
const root = file('root.pem', passage.world.ca.certificatePem);
const certificate = file('bob.pem', bob.certificatePem);
const key = file('bob.key', bob.keyPem);

function openssl(args: readonly string[], input: Uint8Array): Buffer {
  const result = spawnSync('openssl', args, { input, maxBuffer: 50_000_000 });
  assert.equal(result.status, 0, result.stderr.toString());
  return result.stdout;
}

for (const form of mailForms) {
  test(`openssl reads what is signed and encrypted: ${form.name}`, async () => {
    const message = mailOf(form, ANNA, BOB);
    const sealed = await passage.sendOne(message, 'otherwise: { sign: smime, encrypt: required }');
    const opened = openssl(['cms', '-decrypt', '-inkey', key, '-recip', certificate], sealed.bytes);
    const signed = await passage.sendOne(message, SIGNED);
    for (const mail of [opened, signed.bytes]) {
      const verified = openssl(['cms', '-verify', '-CAfile', root], mail);
      const source = bytesSource(mail);
      const [first] = await readParts(source, limits);
      assert.ok(first);
      assert.deepEqual(verified, await collect(rangeOf(source, first.entity).open(), 1_000_000));
    }
  });
}
