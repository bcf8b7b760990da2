// Rewritten senders: there and back, and what is no address of ours.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { parseAddress } from '../../../src/core/address.ts';
import { Secret } from '../../../src/core/secret.ts';
import { originalSender, rewriteSender } from '../../../src/tenant/sender-rewriting.ts';
import { address, TENANT_A, TENANT_B } from '../../support/policy.ts';

const DAY_MS = 86_400_000;
const at = new Date('2026-07-10T08:15:30Z');
const scope = { key: new Secret('key of the test'), tenant: TENANT_A, at };
const later = (days: number) => ({ ...scope, at: new Date(at.getTime() + days * DAY_MS) });
const rewritten = rewriteSender(address('bob@isp.example'), 'contoso.example', scope) ?? assert.fail();

test('a sender becomes an address of the tenant, and comes back', () => {
  assert.match(rewritten.text, /^SRS0=[a-z2-7]{8}=[a-z2-7]{2}=isp\.example=bob@contoso\.example$/);
  assert.equal(originalSender(rewritten, scope)?.text, 'bob@isp.example');
});

test('in another letter case, as some mail systems hand it on', () => {
  const upper = address(`${rewritten.localPart.toUpperCase()}@contoso.example`);
  assert.equal(originalSender(upper, scope)?.key, 'bob@isp.example');
});

for (const [name, sender] of [
  ['quoted', '"a b"@isp.example'],
  ['with equals signs', 'bounces+x=y=z@isp.example'],
  ['rewritten by somebody before', 'SRS0=ab=cd=a.example=u@isp.example'],
  ['not ASCII', 'büro@isp.example'],
] as const) {
  test(`${name}: there and back`, () => {
    const there = rewriteSender(address(sender), 'contoso.example', scope);
    assert.ok(there);
    assert.equal(originalSender(there, scope)?.text, address(sender).text);
  });
}

test('21 days, and no more', () => {
  assert.ok(originalSender(rewritten, later(21)));
  assert.equal(originalSender(rewritten, later(22)), undefined);
  // Days are counted in a circle of 1024: from the other end of it an address looks new again.
  assert.equal(originalSender(rewritten, later(1_023)), undefined);
  assert.equal(originalSender(rewritten, later(-1)), undefined);
});

test('srs-forged: of another gateway, another tenant, or with one character changed', () => {
  assert.equal(originalSender(rewritten, { ...scope, key: new Secret('another') }), undefined);
  assert.equal(originalSender(rewritten, { ...scope, tenant: TENANT_B }), undefined);
  const { localPart } = rewritten;
  for (let index = 5; index < localPart.length; index += 1) {
    const changed = `${localPart.slice(0, index)}${localPart[index] === 'a' ? 'b' : 'a'}${localPart.slice(index + 1)}`;
    const parsed = parseAddress(`${changed}@contoso.example`);
    assert.equal(parsed && originalSender(parsed, scope), undefined, changed);
  }
  for (const other of ['SRS0=', 'srs0=aaaaaaaa=aa=isp.example=', 'bob', 'SRS1=a=b=c'])
    assert.equal(originalSender({ ...rewritten, localPart: other }, scope), undefined);
});

test('what does not fit into 64 octets is not rewritten', () => {
  assert.ok(rewriteSender(address(`${'a'.repeat(35)}@isp.example`), 'contoso.example', scope));
  assert.equal(rewriteSender(address(`${'a'.repeat(36)}@isp.example`), 'contoso.example', scope), undefined);
});

test('any address that is rewritten comes back as it was', () => {
  const local = fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 30 });
  fc.assert(
    fc.property(local, (localPart) => {
      const sender = parseAddress(`"${localPart.replace(/["\\]/g, '\\$&')}"@isp.example`);
      const there = sender && rewriteSender(sender, 'contoso.example', scope);
      if (sender && there) assert.equal(originalSender(there, scope)?.key, sender.key);
    }),
  );
});
