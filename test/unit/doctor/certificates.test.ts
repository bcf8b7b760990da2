import assert from 'node:assert/strict';
import { createHash, createPrivateKey, type X509Certificate } from 'node:crypto';
import { describe, test } from 'node:test';
import { type IdentityRole, judgeIdentity } from '../../../src/doctor/certificates.ts';
import { merge } from '../../../src/doctor/check.ts';
import { judgeTlsa } from '../../../src/doctor/tlsa.ts';
import { createTestCa } from '../../../src/lab/ca.ts';
import { openAuthority, serverAndClient, type TlsIdentity } from '../../../src/lab/certificates.ts';
import { readAnchors } from '../../../src/smtp/client-certificate.ts';

const DAY_MS = 86_400_000;
const AT = new Date();
const days = (count: number) => new Date(AT.getTime() + count * DAY_MS);
const authority = await openAuthority('judge');
const anchors = readAnchors([authority.rootPem]);
const long = { notAfter: days(90) };
const issue = (request: Parameters<typeof authority.issue>[0]) => authority.issue({ ...long, ...request });

const judge = (
  { key, cert }: Pick<TlsIdentity, 'key' | 'cert'>,
  role: IdentityRole,
  more: { readonly anchors?: readonly X509Certificate[]; readonly keyMode?: number } = {},
) =>
  merge(
    judgeIdentity(
      {
        certificateFile: 'x.crt',
        keyFile: 'x.key',
        chain: readAnchors([cert]),
        key: createPrivateKey(key),
        keyMode: more.keyMode ?? 0o100600,
      },
      role,
      more.anchors ?? anchors,
      AT,
    ),
  );

const listener: IdentityRole = { kind: 'listener', hostname: 'gw.example' };
const inline: IdentityRole = { kind: 'tenant', isLoopBack: false, domains: ['contoso.example'] };
const loopBack: IdentityRole = {
  kind: 'tenant',
  isLoopBack: true,
  domains: ['contoso.example', 'gw.contoso.example'],
};
const good = await issue(serverAndClient('gw.example'));

describe('certificates', () => {
  test('a good one says until when', () => {
    const finding = judge(good, listener);
    assert.equal(finding.state, 'ok');
    assert.match(finding.found, /^valid until \d{4}-\d\d-\d\d; chain complete; name gw\.example$/);
  });

  test('dates: 30 days before the end it is time, after the end and before the start it is no use', async () => {
    for (const [request, state, found] of [
      [{ notAfter: days(29) }, 'warn', /28 days|29 days/],
      [{ notAfter: days(31) }, 'ok', /valid until/],
      [{ notBefore: days(-20), notAfter: days(-1) }, 'fail', /^expired on/],
      [{ notBefore: days(1) }, 'fail', /^not valid before/],
    ] as const) {
      const finding = judge(await issue({ ...serverAndClient('gw.example'), ...request }), listener);
      assert.equal(finding.state, state);
      assert.match(finding.found, found);
    }
  });

  test('chains: without the intermediate, of another root, self-signed, root in the file', async () => {
    const other = await openAuthority('other');
    const single = await createTestCa('single');
    for (const [identity, known, found] of [
      [{ ...good, cert: good.leafOnly }, anchors, /certificate of .*judge intermediate is missing/],
      [good, readAnchors([other.rootPem]), /certificate of .*judge root is missing/],
      [
        { ...good, cert: good.cert + authority.rootPem },
        readAnchors([other.rootPem]),
        /judge root, which is no public root/,
      ],
      [{ key: single.keyPem, cert: single.certificatePem }, anchors, /single, which is no public root/],
    ] as const) {
      const finding = judge(identity, listener, { anchors: known });
      assert.equal(finding.state, 'fail');
      assert.match(finding.found, found);
    }
    assert.equal(judge({ ...good, cert: good.cert + authority.rootPem }, listener).state, 'ok');
  });

  test('names by role', async () => {
    const star = await issue(serverAndClient('*.gw.example'));
    const tenant = await issue(serverAndClient('1.t.gw.example'));
    const accepted = await issue(serverAndClient('GW.contoso.example'));
    const nameless = await issue({ commonName: 'gw.example' });
    for (const [identity, role, state, found] of [
      [tenant, listener, 'fail', /1\.t\.gw\.example, not gw\.example/],
      [nameless, listener, 'fail', /no DNS name/],
      [tenant, inline, 'ok', /name 1\.t/],
      [star, inline, 'fail', /name \*\.gw/],
      [tenant, loopBack, 'fail', /none of them an accepted domain/],
      [accepted, loopBack, 'ok', /gw\.contoso/],
      [tenant, { kind: 'internet' }, 'ok', /1\.t/],
    ] as const) {
      const finding = judge(identity, role);
      assert.equal(finding.state, state, finding.found);
      assert.match(finding.found, found);
    }
  });

  test('purposes: a listener needs serverAuth, a leg would be better off with clientAuth', async () => {
    const server = await issue({ ...serverAndClient('gw.example'), extendedKeyUsage: ['serverAuth'] });
    const client = await issue({ ...serverAndClient('gw.example'), extendedKeyUsage: ['clientAuth'] });
    const any = await issue({ commonName: 'gw.example', dnsNames: ['gw.example'] });
    for (const [identity, role, state] of [
      [server, listener, 'ok'],
      [client, listener, 'fail'],
      [any, listener, 'ok'],
      [server, inline, 'warn'],
      [client, inline, 'ok'],
      [any, inline, 'ok'],
    ] as const)
      assert.equal(judge(identity, role).state, state);
  });

  test('keys: of another certificate, open to others', async () => {
    const other = await issue(serverAndClient('gw.example'));
    assert.match(judge({ cert: good.cert, key: other.key }, listener).found, /x\.key does not belong/);
    const open = judge(good, listener, { keyMode: 0o100644 });
    assert.equal(open.state, 'warn');
    assert.match(open.advice, /chmod 600 x\.key/);
  });
});

test('TLSA: what counts is one usable record that matches', () => {
  const chain = readAnchors([good.cert]);
  const [leaf, intermediate] = chain;
  assert.ok(leaf && intermediate);
  const sha = (data: Buffer, name = 'sha256') => createHash(name).update(data).digest();
  const spki = (one: X509Certificate) => one.publicKey.export({ type: 'spki', format: 'der' });
  const record = (certUsage: number, selector: number, match: number, data: Uint8Array) => ({
    certUsage,
    selector,
    match,
    data,
  });
  const right = record(3, 1, 1, sha(spki(leaf)));
  const wrong = record(3, 1, 1, new Uint8Array(32));
  for (const [records, state] of [
    [[right], 'ok'],
    [[wrong, right], 'ok'],
    [[record(3, 0, 2, sha(leaf.raw, 'sha512'))], 'ok'],
    [[record(3, 0, 0, leaf.raw)], 'ok'],
    [[record(2, 1, 1, sha(spki(intermediate)))], 'ok'],
    [[record(3, 1, 1, sha(spki(intermediate)))], 'fail'],
    [[wrong], 'fail'],
    [[record(1, 1, 1, sha(spki(leaf)))], 'warn'],
  ] as const)
    assert.equal(judgeTlsa({ kind: 'found', records }, chain).state, state);
  assert.equal(judgeTlsa({ kind: 'none' }, chain).state, 'ok');
  assert.equal(judgeTlsa({ kind: 'failed', reason: 'ESERVFAIL' }, chain).state, 'warn');
});
