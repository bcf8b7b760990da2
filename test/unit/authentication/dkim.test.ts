// DKIM verdicts: signatures of the lab's own signer, with one thing wrong at a time.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { verifyDkim } from '../../../src/authentication/dkim.ts';
import { boundedLookup } from '../../../src/authentication/dns-lookup.ts';
import { bytesSource, collect } from '../../../src/core/bytes.ts';
import { defaultLimits } from '../../../src/core/limits.ts';
import { type DkimKey, dkimRecord, signDkim } from '../../../src/lab/dkim-signer.ts';
import { readMessage } from '../../../src/mime/header-section.ts';

const at = new Date('2026-07-10T08:15:30Z');
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const signer: DkimKey = { domain: 'contoso.example', selector: 'selector1', key: privateKey };
const KEY_NAME = 'selector1._domainkey.contoso.example';
const records = new Map([[KEY_NAME, dkimRecord(signer)]]);
const MESSAGE = [
  'From: User <user@contoso.example>',
  'Date: Fri, 10 Jul 2026 08:15:30 +0000',
  'Subject: plan',
  'Message-ID: <1@contoso.example>',
  'Content-Type: text/plain',
  '',
  'first line',
  'second line',
  '',
].join('\r\n');

class DnsTrouble extends Error {
  readonly code: string;
  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

const lookupIn = (names: ReadonlyMap<string, string>) => async (name: string) => {
  const found = names.get(name.toLowerCase());
  if (found === undefined) throw new DnsTrouble('ENOTFOUND');
  return [[found]];
};

async function signed(by: DkimKey, text = MESSAGE): Promise<string> {
  const field = await signDkim(bytesSource(Buffer.from(text)), by, at);
  return field.raw.toString('latin1') + text;
}

async function verify(text: string, how: Partial<Parameters<typeof verifyDkim>[2]> = {}) {
  const source = bytesSource(Buffer.from(text));
  const { header } = await readMessage(source.open(), defaultLimits);
  return verifyDkim(source, header, {
    isWanted: (domain) => domain === 'contoso.example',
    lookup: lookupIn(records),
    at,
    ...how,
  });
}

const pass = { domain: 'contoso.example', result: 'pass', reason: 'pass' };
const fail = (reason: string) => [{ domain: 'contoso.example', result: 'fail', reason }];

test('a whole signature of a wanted domain passes', async () => {
  assert.deepEqual(await verify(await signed(signer)), [pass]);
});

test('header names in another case, folded, and the domain in capitals', async () => {
  const text = await signed({ ...signer, domain: 'Contoso.Example' });
  const folded = text
    .replace(/^DKIM-Signature:/, 'dkim-signature:\r\n')
    .replace('Subject: plan', 'SUBJECT:\r\n  plan');
  assert.deepEqual(await verify(folded), [pass]);
});

const tampered: readonly [string, (text: string) => string, string][] = [
  ['a changed body', (text) => text.replace('first', 'First'), 'body hash did not verify'],
  ['more body', (text) => `${text}more\r\n`, 'body hash did not verify'],
  ['another author', (text) => text.replace('user@', 'boss@'), 'bad signature'],
  [
    'another author put before',
    (text) => text.replace('\r\nFrom:', '\r\nFrom: Boss <boss@contoso.example>\r\nFrom:'),
    '',
  ],
  ['From not among the signed fields', (text) => text.replace('h=From:', 'h='), 'From field not signed'],
];
for (const [name, change, reason] of tampered) {
  test(`${name}: no pass`, async () => {
    const verdicts = await verify(change(await signed(signer)));
    // A From field that was put before the signed one stays outside of it: the proof refuses two of them (C6).
    assert.deepEqual(verdicts, reason === '' ? [pass] : fail(reason));
  });
}

test('dkim-length: a signature that covers a length of the body does not pass', async () => {
  const length = 'first line\r\nsecond line\r\n'.length;
  const text = await signed({ ...signer, tags: [`l=${length}`] });
  assert.deepEqual(await verify(text), fail('covers a part of the body (l=)'));
  assert.deepEqual(await verify(`${text}appended\r\n`), fail('covers a part of the body (l=)'));
});

test('x= counts by the clock of the gateway', async () => {
  const expires = at.getTime() / 1000 + 3_600;
  const text = await signed({ ...signer, tags: [`x=${expires}`] });
  assert.deepEqual(await verify(text), [pass]);
  assert.deepEqual(await verify(text, { at: new Date((expires + 1) * 1000) }), fail('expired'));
});

const keys: readonly [string, string | undefined, string][] = [
  ['no key', undefined, 'no key'],
  ['a revoked key', 'v=DKIM1; k=rsa; p=', 'invalid public key'],
  ['a key that may not be used for mail', `${dkimRecord(signer)}; s=tlsrpt`, 'key not for email'],
  ['a key in test mode', `${dkimRecord(signer)}; t=y`, 'key is in test mode (t=y)'],
  [
    'the key of another',
    dkimRecord({ ...signer, key: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey }),
    'bad signature',
  ],
];
for (const [name, record, reason] of keys) {
  test(`${name}: no pass`, async () => {
    const names = new Map(record === undefined ? [] : [[KEY_NAME, record]]);
    assert.deepEqual(await verify(await signed(signer), { lookup: lookupIn(names) }), fail(reason));
  });
}

test('a short key does not pass', async () => {
  const { privateKey: key } = generateKeyPairSync('rsa', { modulusLength: 768 });
  const short = { ...signer, key };
  const [verdict] = await verify(await signed(short), {
    lookup: lookupIn(new Map([[KEY_NAME, dkimRecord(short)]])),
  });
  assert.equal(verdict?.result, 'fail');
});

for (const code of ['ESERVFAIL', 'ETIMEOUT', 'ECONNREFUSED', 'EREFUSED']) {
  test(`${code}: the key is unavailable, not absent`, async () => {
    const lookup = () => Promise.reject(new DnsTrouble(code));
    const [verdict] = await verify(await signed(signer), { lookup });
    assert.deepEqual([verdict?.domain, verdict?.result], ['contoso.example', 'unavailable']);
  });
}

test('signatures of other domains are not looked up', async () => {
  const asked: string[] = [];
  const lookup = async (name: string) => {
    asked.push(name);
    return lookupIn(records)(name);
  };
  const text = await signed({ ...signer, domain: 'evil.example' });
  const notAsked = { domain: 'evil.example', result: 'fail', reason: 'domain is not looked at' };
  assert.deepEqual(await verify(text, { lookup }), [notAsked]);
  assert.deepEqual(asked, []);
  assert.deepEqual(await verify(await signed(signer, text), { lookup }), [pass, notAsked]);
  assert.deepEqual(asked, [KEY_NAME]);
});

test('eleven signatures: none is verified', async () => {
  const field = (await signed(signer)).slice(0, -MESSAGE.length);
  const asked: string[] = [];
  const lookup = async (name: string) => (asked.push(name), lookupIn(records)(name));
  const verdicts = await verify(field.repeat(11) + MESSAGE, { lookup });
  assert.equal(verdicts.length, 11);
  assert.ok(verdicts.every(({ result, reason }) => result === 'fail' && reason === 'too many signatures'));
  assert.deepEqual(asked, []);
});

test('no signature: no verdict', async () => {
  assert.deepEqual(await verify(MESSAGE), []);
});

test('the bytes of the message are not changed by verifying them', async () => {
  const source = bytesSource(Buffer.from(await signed(signer)));
  const before = await collect(source.open(), source.size);
  await verify(before.toString('latin1'));
  assert.deepEqual(await collect(source.open(), source.size), before);
});

test('a lookup without an answer ends in time', async () => {
  const lookup = boundedLookup(() => new Promise(() => undefined), 1);
  await assert.rejects(lookup('selector1._domainkey.contoso.example', 'TXT'), { code: 'ETIMEOUT' });
});
