// DKIM with a second implementation (dkimpy): it verifies what we sign, and we verify what it signs.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { test } from 'node:test';
import { verifyDkim } from '../../src/authentication/dkim.ts';
import { signDkim } from '../../src/authentication/dkim-sign.ts';
import { bytesSource, collect } from '../../src/core/bytes.ts';
import { defaultLimits } from '../../src/core/limits.ts';
import { Secret } from '../../src/core/secret.ts';
import { dkimRecord } from '../../src/lab/dkim-signer.ts';
import { sampleMessage, type SampleName } from '../../src/lab/messages.ts';
import { readMessage } from '../../src/mime/header-section.ts';

const at = new Date();
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const DOMAIN = 'contoso.example';
const record = dkimRecord({ domain: DOMAIN, selector: 'gw', key: privateKey });

/** Runs Debian's Python with dkimpy; the message is standard input. */
function python(program: string, message: Buffer, ...args: readonly string[]): Buffer {
  const { status, stdout, stderr } = spawnSync('/usr/bin/python3', ['-c', program, ...args], {
    input: message,
  });
  assert.equal(status, 0, stderr.toString());
  return stdout;
}

const VERIFY = `
import sys, dkim
record = sys.argv[1].encode()
message = sys.stdin.buffer.read()
print(dkim.verify(message, dnsfunc=lambda name, timeout=5: record if name == b'gw._domainkey.contoso.example.' else None))
`;
const SIGN = `
import sys, dkim
selector, domain, key, header, body = sys.argv[1:6]
message = sys.stdin.buffer.read()
field = dkim.sign(message, selector.encode(), domain.encode(), key.encode(),
                  canonicalize=(header.encode(), body.encode()), length=len(sys.argv) > 6)
sys.stdout.buffer.write(field + message)
`;

async function signedByUs(name: SampleName, key: KeyObject = privateKey): Promise<Buffer> {
  const plain = sampleMessage(name, { from: `user@${DOMAIN}`, to: ['bob@remote.example'], subject: 'Grüße' });
  const pem = key.export({ type: 'pkcs8', format: 'pem' });
  const signer = { domain: DOMAIN, selector: 'gw', key: new Secret(pem) };
  const field = await signDkim(plain, signer, at, defaultLimits);
  return Buffer.concat([field.raw, await collect(plain.open(), 1_000_000)]);
}

for (const name of ['plain', 'html', 'calendar', 'report'] as const) {
  test(`dkimpy verifies what we sign: ${name}`, async () => {
    const message = await signedByUs(name);
    assert.equal(python(VERIFY, message, record).toString().trim(), 'True');
    const changed = Buffer.from(message.toString('latin1').replace(/\r\n\r\n/, '\r\n\r\nmore\r\n'), 'latin1');
    assert.equal(python(VERIFY, changed, record).toString().trim(), 'False');
    const author = Buffer.from(
      message.toString('latin1').replace('\r\nFrom:', `\r\nFrom: boss@${DOMAIN}\r\nFrom:`),
      'latin1',
    );
    assert.equal(python(VERIFY, author, record).toString().trim(), 'False', 'a second From breaks it');
  });
}

async function verify(message: Buffer) {
  const source = bytesSource(message);
  const { header } = await readMessage(source.open(), defaultLimits);
  const [verdict] = await verifyDkim(source, header, {
    isWanted: (domain) => domain === DOMAIN,
    lookup: async () => [[record]],
    at,
  });
  return `${verdict?.result}: ${verdict?.reason}`;
}

const pem = privateKey.export({ type: 'pkcs1', format: 'pem' });
for (const header of ['relaxed', 'simple']) {
  for (const body of ['relaxed', 'simple']) {
    test(`we verify what dkimpy signs: ${header}/${body}`, async () => {
      const plain = sampleMessage('tricky', { from: `user@${DOMAIN}`, to: ['bob@remote.example'] });
      const bytes = await collect(plain.open(), 1_000_000);
      const whole = Buffer.concat([bytes, Buffer.from('\r\n')]);
      const signed = python(SIGN, whole, 'gw', DOMAIN, pem, header, body);
      assert.equal(await verify(signed), 'pass: pass');
      const limited = python(SIGN, whole, 'gw', DOMAIN, pem, header, body, 'length');
      assert.match(limited.toString('latin1'), /\bl=\d+/);
      assert.equal(await verify(limited), 'fail: covers a part of the body (l=)');
    });
  }
}

test('Ed25519 (RFC 8463): we verify our own', async () => {
  const { privateKey: key, publicKey } = generateKeyPairSync('ed25519');
  const raw = publicKey.export({ type: 'spki', format: 'der' }).subarray(-32);
  const message = await signedByUs('plain', key);
  assert.match(message.toString('latin1'), /a=ed25519-sha256/);
  const source = bytesSource(message);
  const { header } = await readMessage(source.open(), defaultLimits);
  const [verdict] = await verifyDkim(source, header, {
    isWanted: () => true,
    lookup: async () => [[`v=DKIM1; k=ed25519; p=${raw.toString('base64')}`]],
    at,
  });
  assert.equal(verdict?.result, 'pass');
});
