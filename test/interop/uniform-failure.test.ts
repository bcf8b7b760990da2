// Whatever a private key decides about a foreign message, its sender learns nothing: same reply, same log, same delivered
// form, and no report.
import assert from 'node:assert/strict';
import { constants, publicEncrypt, randomBytes } from 'node:crypto';
import { after, test } from 'node:test';
import { bytesSource } from '../../src/core/bytes.ts';
import { openLog } from '../../src/core/log.ts';
import { openLabGateway } from '../../src/lab/lab-gateway.ts';
import { openLab } from '../../src/lab/world.ts';
import { ID } from '../../src/smime/algorithms.ts';
import { algorithmIdentifier, integer, NULL, octetString, sequence } from '../../src/smime/ber-writer.ts';
import { parsePemCertificates } from '../../src/smime/certificate.ts';
import { issuerAndSerial, writeRecipientInfo } from '../../src/smime/recipient-info.ts';
import { authEnveloped, enveloped } from '../support/cms.ts';

const lab = await openLab();
const [user, bob] = await Promise.all([
  lab.makePerson('user@contoso.example'),
  lab.makePerson('bob@remote.example'),
]);
const logged: string[] = [];
const server = await openLabGateway(lab, {
  own: [user],
  partners: [bob],
  environment: { log: openLog('debug', { write: (line: string) => void logged.push(line) }) },
  outbound: 'otherwise: { sign: none, encrypt: never }',
});
after(async () => {
  await server[Symbol.asyncDispose]();
  await lab[Symbol.asyncDispose]();
});

const [certificate] = parsePemCertificates(user.smime.certificatePem);
assert.ok(certificate?.keyType === 'rsa');
const key = randomBytes(32);
const to = [certificate];
const content = Buffer.from(`Content-Type: text/plain\r\n\r\n${'the secret text\r\n'.repeat(20)}`);
const v15 = algorithmIdentifier(ID.rsaEncryption, NULL);
const transport = (encryptedKey: Uint8Array): Buffer =>
  sequence(integer(0), issuerAndSerial(certificate), v15, octetString(encryptedKey));
const wrapped = (bytes: Uint8Array): Buffer =>
  publicEncrypt({ key: certificate.publicKey, padding: constants.RSA_PKCS1_PADDING }, bytes);
const good = writeRecipientInfo(certificate, key);
const size = wrapped(key).length;

/** Structures of one size and form, of which only a private key tells that they do not open. */
const failures: readonly (readonly [string, Buffer])[] = [
  ['RSA padding', enveloped(content, { to, key, recipients: [transport(Buffer.alloc(size, 7))] })],
  [
    'a content key of 16 bytes',
    enveloped(content, { to, key, recipients: [transport(wrapped(key.subarray(16)))] }),
  ],
  [
    'a content key of 40 bytes',
    enveloped(content, { to, key, recipients: [transport(wrapped(randomBytes(40)))] }),
  ],
  ['another content key', enveloped(content, { to, key, recipients: [transport(wrapped(randomBytes(32)))] })],
  [
    'a bad entry before a good one',
    enveloped(content, { to, key, recipients: [transport(Buffer.alloc(size, 7)), good] }),
  ],
  ['content padding', enveloped(content, { to, key, encrypted: randomBytes(368) })],
  ['content cut within a block', enveloped(content, { to, key, encrypted: randomBytes(361) })],
  ['content that is neither an entity nor text', enveloped(Buffer.alloc(360, 0xe9), { to, key })],
  ['content with NUL', enveloped(Buffer.from(content.toString().replace('secret', 'sec\0et')), { to, key })],
  [
    'the tag of an authenticated content',
    authEnveloped(content, { to, key, tail: [octetString(randomBytes(16))] }),
  ],
  [
    'the nonce of an authenticated content',
    authEnveloped(content, {
      to,
      key,
      algorithm: algorithmIdentifier(ID.aes256Gcm, sequence(octetString(randomBytes(12)), integer(16))),
    }),
  ],
];

interface Seen {
  readonly reply: string;
  readonly log: readonly string[];
  readonly delivered: string;
}

let arrivals = 0;

/** What the sender and the log see of a mail, and what its recipient gets. Without what differs between any two mails. */
async function seenOf(cms: Buffer): Promise<Seen> {
  const before = logged.length;
  const base64 = cms.toString('base64').replace(/.{76}/g, '$&\r\n');
  const body = `Content-Type: application/pkcs7-mime; name="smime.p7m"\r\nContent-Transfer-Encoding: base64\r\n\r\n${base64}\r\n`;
  const result = await lab.sendFromInternet({
    sender: 'bob@remote.example',
    recipients: ['user@contoso.example'],
    message: bytesSource(
      Buffer.from(`From: bob@remote.example\r\nTo: user@contoso.example\r\nMIME-Version: 1.0\r\n${body}`),
    ),
  });
  const arrived = (await lab.exchange.waitForMessage('contoso', (arrivals += 1))).at(-1);
  assert.ok(arrived);
  const text = arrived.received.toString('latin1');
  assert.ok(text.endsWith(body), 'what does not open is delivered as it came');
  const [first] = result.recipients;
  return {
    reply: without(`${first?.code} ${first?.text}`),
    log: logged.slice(before).filter(isOfReceipt).map(without),
    delivered: without(text.slice(0, -body.length)),
  };
}

/** The delivery to the tenant goes on by itself, before or after the answer to the sender. */
function isOfReceipt(line: string): boolean {
  return !line.includes('"event":"delivered"');
}

/** Takes out ids, times, sizes and hashes. */
function without(text: string): string {
  return text
    .replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, 'id')
    .replace(/"(?:time|at|ms|bytes|durationMs|port|size)":"?[\d.:TZ-]+"?/g, '"n"')
    .replace(/[A-Z][a-z]{2}, \d+ .* \+0000/g, 'date')
    .replace(/[0-9a-zA-Z_-]{16,}/g, 'id')
    .replace(/:\d+\b/g, ':n');
}

test('one outcome for every failure that a private key decides', async (t) => {
  const [[, first] = ['', Buffer.alloc(0)], ...others] = failures;
  const expected = await seenOf(first);
  assert.match(expected.reply, /^250 /);
  assert.match(expected.delivered, /decrypted=no;\r\n reason=failed\r\n/);
  assert.ok(expected.log.length > 0);
  for (const [name, cms] of others) {
    await t.test(name, async () => assert.deepEqual(await seenOf(cms), expected));
  }
  await t.test('and the sender gets no report', () => assert.equal(lab.internet.messages().length, 0));
  await t.test('nothing that was inside is in the log', () => {
    assert.doesNotMatch(logged.join(''), /secret|padding|oaep|pkcs|cipher/i);
  });
});
