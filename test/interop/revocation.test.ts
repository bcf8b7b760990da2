// Revocation with OpenSSL as CA: CRLs by `openssl ca`, answers by `openssl ocsp`, both over http on loopback.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { bytesSource, collect } from '../../src/core/bytes.ts';
import { silentLog } from '../../src/core/log.ts';
import type { Step } from '../../src/core/plan.ts';
import { memoryTenantKeys } from '../../src/keys/memory.ts';
import { runCopy } from '../../src/pipeline/run-copy.ts';
import { signMessage } from '../../src/smime/message.ts';
import { readPrivateKey } from '../../src/smime/private-key.ts';
import { openHolds } from '../../src/storage/hold.ts';
import { openGuardedFetch } from '../../src/web/guarded-fetch.ts';
import type { Certificate } from '../../src/smime/certificate.ts';
import { openOnlineServices, type OnlineSettings } from '../../src/smime/online.ts';
import { establishTrust } from '../../src/smime/trust.ts';
import { OpensslCa, serveWeb } from '../support/openssl-ca.ts';
import { address, TENANT_A } from '../support/policy.ts';
import { limits, runStage } from '../support/smime.ts';

const web = await serveWeb();
const root = new OpensslCa('root');
const other = new OpensslCa('other');
after(async () => {
  await web.close();
  root[Symbol.dispose]();
  other[Symbol.dispose]();
});

const open = openGuardedFetch({
  resolve: () => Promise.reject(new Error('no names here')),
  allowPrivateAddresses: true,
  timeoutMs: 10_000,
});
const CHECK: OnlineSettings = { revocation: 'check', fetchesIssuers: false };
const MINUTE = 60_000;
const ocspAt = (path: string) => `authorityInfoAccess=OCSP;URI:${web.url}${path}`;
const crlAt = (path: string) => `crlDistributionPoints=URI:${web.url}${path}`;
let people = 0;

function person(ca: OpensslCa, ...pointers: readonly string[]): { name: string; certificate: Certificate } {
  people += 1;
  const name = `user${people}`;
  const mail = ['keyUsage=digitalSignature,keyAgreement', 'extendedKeyUsage=emailProtection'];
  const extensions = [...mail, `subjectAltName=email:${name}@contoso.example`, ...pointers];
  return { name, certificate: ca.issue(name, extensions).certificate };
}

/** The verdict of services that know nothing yet. */
async function judge(
  certificate: Certificate,
  more: Partial<OnlineSettings & { readonly at: Date; readonly extra: readonly Certificate[] }> = {},
  services = openOnlineServices(open),
) {
  const { at = new Date(), extra = [], ...settings } = more;
  const online = services.forMessage({ ...CHECK, ...settings });
  const trust = { anchors: [root.certificate], intermediates: [], at, ...(online && { online }) };
  const result = await establishTrust(certificate, extra, trust, 'sign');
  const reason = result.trusted ? result.revocation?.reason : result.reason;
  return { trusted: result.trusted, state: result.revocation?.state, reason: reason ?? '' };
}

test('OCSP', async (t) => {
  root.issue('responder', ['extendedKeyUsage=OCSPSigning', 'noCheck=ignored']);
  root.issue('unfit', ['extendedKeyUsage=emailProtection']);
  other.issue('stranger', ['extendedKeyUsage=OCSPSigning']);
  for (const end of ['crt', 'key']) root.write(`stranger.${end}`, other.read(`stranger.${end}`));
  const good = person(root, ocspAt('/ocsp'));
  const revoked = person(root, ocspAt('/ocsp'));
  root.revoke(revoked.name);
  const answer = (signer?: string, ...options: readonly string[]) =>
    web.answers.set('/ocsp', (body) => root.ocsp(body, signer, ...options));

  await t.test('good and revoked, by the issuer', async () => {
    answer('ca', '-nmin', '60');
    const fine = await judge(good.certificate);
    assert.deepEqual([fine.trusted, fine.state], [true, 'good']);
    const bad = await judge(revoked.certificate);
    assert.deepEqual([bad.trusted, bad.state], [false, 'revoked']);
    assert.match(bad.reason, /^certificate was revoked on 20\d\d-.*Z \(keyCompromise\)$/);
  });
  await t.test('by a responder that the issuer certified, named by name and by key', async () => {
    answer('responder', '-nmin', '60');
    assert.equal((await judge(good.certificate)).state, 'good');
    answer('responder', '-nmin', '60', '-resp_key_id');
    assert.equal((await judge(revoked.certificate)).state, 'revoked');
  });
  const unknown = async (certificate: Certificate, reason: RegExp, at?: Date) => {
    const verdict = await judge(certificate, at ? { at } : {});
    assert.deepEqual([verdict.trusted, verdict.state], [true, 'unknown']);
    assert.match(verdict.reason, reason);
    const required = await judge(certificate, { revocation: 'require', ...(at && { at }) });
    assert.deepEqual([required.trusted, required.state], [false, 'unknown']);
  };
  await t.test('a signer that is not certified for it', async () => {
    answer('unfit', '-nmin', '60');
    await unknown(revoked.certificate, /not certified for OCSP$/);
  });
  await t.test('a signer of another CA', async () => {
    answer('stranger', '-nmin', '60');
    await unknown(good.certificate, /not certified by the issuer$/);
  });
  await t.test('a signer without its certificate', async () => {
    answer('responder', '-nmin', '60', '-resp_no_certs');
    await unknown(good.certificate, /the OCSP responder is not known$/);
  });
  await t.test('an expired answer', async () => {
    answer('ca', '-nmin', '5');
    await unknown(good.certificate, /the OCSP answer has expired$/, new Date(Date.now() + 30 * MINUTE));
  });
  await t.test('an answer that is not signed', async () => {
    web.answers.set('/ocsp', (body) => {
      const bytes = root.ocsp(body, 'ca', '-nmin', '60', '-resp_no_certs');
      return bytes.fill(0x11, bytes.length - 8);
    });
    await unknown(good.certificate, /signature of the OCSP answer is not valid$/);
  });
  await t.test('an answer about another certificate', async () => {
    let first: Buffer | undefined;
    web.answers.set('/ocsp', (body) => (first ??= root.ocsp(body, 'ca', '-nmin', '60')));
    assert.equal((await judge(good.certificate)).state, 'good');
    await unknown(revoked.certificate, /for another request$/);
    web.answers.set('/ocsp', () => root.ocsp(withoutNonce(good.certificate), 'ca', '-nmin', '60'));
    await unknown(revoked.certificate, /about another certificate$/);
  });
  await t.test('an answer without a nonce', async () => {
    assert.equal((await judge(good.certificate)).state, 'good');
  });
  await t.test('a certificate that the responder does not know', async () => {
    const index = root.read('index.txt');
    root.write('index.txt', '');
    answer('ca', '-nmin', '60');
    await unknown(good.certificate, /does not know the certificate$/);
    root.write('index.txt', index);
  });
  await t.test('no responder, and what is no answer', async () => {
    web.answers.delete('/ocsp');
    await unknown(good.certificate, /the server answers with status 503$/);
    web.answers.set('/ocsp', () => Buffer.from('<html>'));
    await unknown(good.certificate, /the OCSP answer is malformed$/);
    web.answers.set('/ocsp', () => Buffer.of(0x30, 3, 0x0a, 1, 3));
    await unknown(good.certificate, /asks to try later$/);
  });
  await t.test('the CRL where OCSP has no answer', async () => {
    web.answers.delete('/ocsp');
    const both = person(root, ocspAt('/ocsp'), crlAt('/root.crl'));
    root.revoke(both.name, 'superseded');
    const list = root.crl();
    web.answers.set('/root.crl', () => list);
    assert.match((await judge(both.certificate)).reason, /\(superseded\)$/);
  });
});

function withoutNonce(certificate: Certificate): Buffer {
  root.write('asked.crt', certificate.pem);
  root.run('ocsp', '-issuer', 'ca.crt', '-cert', 'asked.crt', '-no_nonce', '-reqout', 'plain.der');
  return root.read('plain.der');
}

test('openssl ocsp as a server', async () => {
  const port = await freePort();
  const { certificate } = person(root, `authorityInfoAccess=OCSP;URI:http://127.0.0.1:${port}/`);
  const files = [
    '-index',
    'index.txt',
    '-CA',
    'ca.crt',
    '-rsigner',
    'ca.crt',
    '-rkey',
    'ca.key',
    '-nmin',
    '60',
  ];
  const server = spawn('openssl', ['ocsp', '-port', String(port), ...files], {
    cwd: root.folder,
    stdio: 'ignore',
  });
  try {
    let verdict = await judge(certificate);
    for (let tries = 0; verdict.state !== 'good' && tries < 100; tries += 1) {
      await sleep(50);
      verdict = await judge(certificate);
    }
    assert.deepEqual([verdict.trusted, verdict.state], [true, 'good']);
  } finally {
    server.kill();
  }
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address ? address.port : 0;
}

test('CRL', async (t) => {
  const good = person(root, crlAt('/root.crl'));
  const revoked = person(root, crlAt('/root.crl'));
  root.revoke(revoked.name, 'affiliationChanged');
  const list = root.crl();
  const serve = (bytes: Uint8Array) => web.answers.set('/root.crl', () => bytes);
  const reasonFor = async (bytes: Uint8Array, at?: Date) => {
    serve(bytes);
    const { state, reason } = await judge(good.certificate, at ? { at } : {});
    assert.equal(state, 'unknown');
    return reason;
  };
  await t.test('good and revoked', async () => {
    serve(list);
    assert.equal((await judge(good.certificate)).state, 'good');
    const verdict = await judge(revoked.certificate);
    assert.deepEqual([verdict.trusted, verdict.state], [false, 'revoked']);
    assert.match(verdict.reason, /\(affiliationChanged\)$/);
  });
  await t.test('PEM', async () => {
    serve(root.read('crl.pem'));
    assert.equal((await judge(good.certificate)).state, 'good');
  });
  await t.test('expired', async () =>
    assert.match(await reasonFor(list, new Date(Date.now() + 8 * 24 * 60 * MINUTE)), /the CRL has expired$/),
  );
  await t.test('of another CA', async () =>
    assert.match(await reasonFor(other.crl()), /the CRL is by another issuer$/),
  );
  await t.test('changed', async () =>
    assert.match(
      await reasonFor(Buffer.from(list).fill(0x11, list.length - 8)),
      /the CRL is not signed by the issuer of the certificate$/,
    ),
  );
  await t.test('cut off, and no CRL at all', async () => {
    assert.match(await reasonFor(list.subarray(0, 100)), /the CRL is malformed$/);
    assert.match(await reasonFor(Buffer.from('<html></html>')), /the CRL is malformed$/);
  });
  const extended = (...lines: readonly string[]) => {
    root.write('crl.cnf', `${root.read('ca.cnf').toString()}\n[crl]\n${lines.join('\n')}\n`);
    return root.crl('-config', 'crl.cnf', '-crlexts', 'crl');
  };
  await t.test('lists that do not tell all are refused visibly', async () => {
    assert.match(await reasonFor(extended('2.5.29.27=critical,DER:020101')), /there is no complete CRL$/);
    const point = 'issuingDistributionPoint=critical,@idp\n[idp]\n';
    assert.match(
      await reasonFor(extended(`${point}onlysomereasons=keyCompromise`)),
      /the CRLs cover some reasons only$/,
    );
    assert.match(await reasonFor(extended(`${point}onlyCA=TRUE`)), /for certificates of CAs only$/);
    assert.match(await reasonFor(extended(`${point}onlyAA=TRUE`)), /for attribute certificates$/);
    assert.match(await reasonFor(extended('1.2.3.4=critical,DER:0500')), /critical extension 1\.2\.3\.4$/);
  });
  await t.test('issuing distribution point', async () => {
    const point = (path: string) =>
      `issuingDistributionPoint=critical,@idp\n[idp]\nfullname=URI:${web.url}${path}`;
    assert.match(await reasonFor(extended(point('/part-2.crl'))), /for another distribution point$/);
    serve(extended(point('/root.crl')));
    assert.equal((await judge(good.certificate)).state, 'good');
    serve(extended('issuingDistributionPoint=critical,@idp\n[idp]\nonlyuser=TRUE'));
    assert.equal((await judge(good.certificate)).state, 'good');
  });
  await t.test('no address that can be asked', async () => {
    const ldap = person(
      root,
      'crlDistributionPoints=URI:ldap://127.0.0.1/cn=ca',
      'authorityInfoAccess=OCSP;URI:file:///etc/passwd',
    );
    const verdict = await judge(ldap.certificate);
    assert.match(verdict.reason, /cannot be checked: it names nobody who could be asked$/);
    assert.equal((await judge(ldap.certificate, { revocation: 'require' })).trusted, false);
  });
});

test('what is known is kept', async (t) => {
  await t.test('a CRL is fetched once for all its certificates, at the same time and later', async () => {
    const [one, two] = [person(root, crlAt('/kept.crl')), person(root, crlAt('/kept.crl'))];
    const list = root.crl();
    web.answers.set('/kept.crl', () => list);
    const services = openOnlineServices(open);
    await Promise.all([judge(one.certificate, {}, services), judge(two.certificate, {}, services)]);
    assert.equal((await judge(two.certificate, {}, services)).state, 'good');
    assert.equal(web.asked.get('/kept.crl'), 1);
  });
  await t.test('an address that failed is not asked again at once', async () => {
    const [one, two] = [person(root, ocspAt('/dead')), person(root, ocspAt('/dead'))];
    const services = openOnlineServices(open);
    await judge(one.certificate, {}, services);
    await judge(two.certificate, {}, services);
    assert.equal(web.asked.get('/dead'), 1);
    const later = new Date(Date.now() + 2 * MINUTE);
    await judge(two.certificate, { at: later }, services);
    assert.equal(web.asked.get('/dead'), 2);
  });
  await t.test('revoked stays revoked, also where nobody can be asked later', async () => {
    const { name, certificate } = person(root, ocspAt('/soon-dead'));
    root.revoke(name);
    web.answers.set('/soon-dead', (body) => root.ocsp(body, 'ca', '-nmin', '5'));
    const services = openOnlineServices(open);
    assert.equal((await judge(certificate, {}, services)).state, 'revoked');
    web.answers.delete('/soon-dead');
    const later = new Date(Date.now() + 24 * 60 * MINUTE);
    assert.equal((await judge(certificate, { at: later }, services)).state, 'revoked');
  });
});

test('a revoked CA', async () => {
  using sub = new OpensslCa('sub-revoked', root, [crlAt('/root.crl')]);
  const { certificate } = person(sub, ocspAt('/sub'));
  web.answers.set('/sub', (body) => sub.ocsp(body, 'ca', '-nmin', '60'));
  const fine = root.crl();
  web.answers.set('/root.crl', () => fine);
  assert.equal((await judge(certificate, { extra: [sub.certificate] })).state, 'good');
  root.revoke('sub-revoked', 'CACompromise');
  const list = root.crl();
  web.answers.set('/root.crl', () => list);
  const verdict = await judge(certificate, { extra: [sub.certificate] });
  assert.deepEqual([verdict.trusted, verdict.state], [false, 'revoked']);
  assert.match(verdict.reason, /^issuing certificate 1 was revoked on .* \(cACompromise\)$/);
});

test('a CA that changed its key: the list by the new key counts for certificates by the old one', async () => {
  const listed = crlAt('/root.crl');
  using old = new OpensslCa('renewed', root, [listed]);
  using renewed = new OpensslCa('renewed', root, [listed]);
  const [good, bad] = [person(old, crlAt('/renewed.crl')), person(old, crlAt('/renewed.crl'))];
  old.revoke(bad.name, 'superseded');
  renewed.write('index.txt', old.read('index.txt'));
  const [list, above] = [renewed.crl(), root.crl()];
  web.answers.set('/renewed.crl', () => list);
  web.answers.set('/root.crl', () => above);
  const extra = [old.certificate, renewed.certificate];
  assert.equal((await judge(good.certificate, { extra })).state, 'good');
  assert.match(
    (await judge(bad.certificate, { extra })).reason,
    /^certificate was revoked .* \(superseded\)$/,
  );
  const alone = await judge(good.certificate, { extra: [old.certificate] });
  assert.match(alone.reason, /the CRL is not signed by the issuer of the certificate$/);
  root.revoke('renewed', 'keyCompromise');
  const later = root.crl();
  web.answers.set('/root.crl', () => later);
  const lost = await judge(good.certificate, { extra });
  assert.match(lost.reason, /the certificate of the signer of the CRL was revoked$/);
});

test('delta CRLs are fetched from where the list or the certificate names them', async () => {
  using sub = new OpensslCa('delta', root);
  const at = (path: string) => `freshestCRL=URI:${web.url}${path}`;
  const people = [person(sub, crlAt('/complete.crl')), person(sub, crlAt('/plain.crl'), at('/delta.crl'))];
  const extended = (...lines: readonly string[]) => {
    sub.write('crl.cnf', `${sub.read('ca.cnf').toString()}\n[crl]\n${lines.join('\n')}\n`);
    return sub.crl('-config', 'crl.cnf', '-crlexts', 'crl');
  };
  const [complete, plain] = [extended(at('/delta.crl')), sub.crl()];
  for (const { name } of people) sub.revoke(name, 'affiliationChanged');
  const delta = extended('2.5.29.27=critical,DER:020101');
  web.answers.set('/complete.crl', () => complete);
  web.answers.set('/plain.crl', () => plain);
  const extra = [sub.certificate];
  for (const { certificate } of people) {
    web.answers.delete('/delta.crl');
    assert.equal((await judge(certificate, { extra })).trusted, true);
    web.answers.set('/delta.crl', () => delta);
    assert.match(
      (await judge(certificate, { extra })).reason,
      /^certificate was revoked .*affiliationChanged/,
    );
  }
});

test('issuers that are missing are fetched where the policy wants it', async (t) => {
  using sub = new OpensslCa('sub', root);
  using low = new OpensslCa('low', sub, [`authorityInfoAccess=caIssuers;URI:${web.url}/sub.cer`]);
  const { certificate } = person(low, `authorityInfoAccess=caIssuers;URI:${web.url}/low.p7c`);
  const fetching = { revocation: 'off', fetchesIssuers: true } as const;
  web.answers.set('/sub.cer', () => sub.certificate.der);
  low.run('crl2pkcs7', '-nocrl', '-certfile', 'ca.crt', '-outform', 'DER', '-out', 'low.p7c');
  web.answers.set('/low.p7c', () => low.read('low.p7c'));
  await t.test('off by default', async () => {
    assert.equal((await judge(certificate)).reason, 'no path to a trusted root');
    assert.equal(web.asked.get('/low.p7c'), undefined);
  });
  await t.test('level after level', async () =>
    assert.equal((await judge(certificate, fetching)).trusted, true),
  );
  await t.test('what is fetched is not trusted by itself', async () => {
    const { certificate: foreign } = person(other, `authorityInfoAccess=caIssuers;URI:${web.url}/other.cer`);
    web.answers.set('/other.cer', () => other.certificate.der);
    assert.deepEqual((await judge(foreign, fetching)).reason, 'no path to a trusted root');
  });
  await t.test('no certificate', async () => {
    const { certificate: lost } = person(low, `authorityInfoAccess=caIssuers;URI:${web.url}/none`);
    web.answers.set('/none', () => Buffer.from('nothing'));
    assert.equal((await judge(lost, fetching)).trusted, false);
  });
});

test('fetch-ssrf: addresses in certificates lead nowhere inside', async (t) => {
  const guarded = (resolve: (host: string) => Promise<readonly string[]>, allowPrivateAddresses = false) =>
    openOnlineServices(openGuardedFetch({ resolve, allowPrivateAddresses, timeoutMs: 5_000 }));
  const inside = guarded(() => Promise.resolve(['127.0.0.1']));
  const reasonFor = async (services: typeof inside, ...pointers: readonly string[]) =>
    (await judge(person(root, ...pointers).certificate, {}, services)).reason.replace(/^.*checked: /, '');
  const before = [...web.asked.values()].reduce((sum, count) => sum + count, 0);
  const { port } = new URL(web.url);
  const INSIDE = 'the server is not in the public Internet';
  await t.test('loopback', async () =>
    assert.equal(
      await reasonFor(inside, ocspAt('/ocsp'), crlAt('/root.crl')),
      'the address names an unusual port',
    ),
  );
  await t.test('loopback, usual port', async () =>
    assert.equal(await reasonFor(inside, 'crlDistributionPoints=URI:http://127.0.0.1/root.crl'), INSIDE),
  );
  await t.test('metadata of a cloud', async () =>
    assert.equal(await reasonFor(inside, 'authorityInfoAccess=OCSP;URI:http://169.254.169.254/'), INSIDE),
  );
  await t.test('a name that leads inside', async () =>
    assert.equal(await reasonFor(inside, 'crlDistributionPoints=URI:http://crl.example/root.crl'), INSIDE),
  );
  await t.test('file and ldap', async () => {
    const pointers = [
      'crlDistributionPoints=URI:file:///etc/passwd',
      'authorityInfoAccess=OCSP;URI:ldap://127.0.0.1/',
    ];
    assert.equal(await reasonFor(inside, ...pointers), 'it names nobody who could be asked');
  });
  await t.test('issuers', async () => {
    using sub = new OpensslCa('ssrf', root);
    const { certificate } = person(sub, `authorityInfoAccess=caIssuers;URI:http://localhost:${port}/sub.cer`);
    const settings = { revocation: 'off', fetchesIssuers: true } as const;
    assert.equal((await judge(certificate, settings, inside)).reason, 'no path to a trusted root');
  });
  assert.equal(
    [...web.asked.values()].reduce((sum, count) => sum + count, 0),
    before,
  );
  await t.test('a redirect to a name that leads inside', async () => {
    web.answers.set('/away', () => ({ location: 'http://inside.example/root.crl' }));
    const looked: string[] = [];
    const services = guarded((host) => (looked.push(host), Promise.reject(new Error('no name'))), true);
    assert.equal(await reasonFor(services, crlAt('/away')), 'the name of the server cannot be looked up');
    assert.deepEqual(looked, ['inside.example']);
  });
  await t.test('nobody is asked for a certificate without a trusted path', async () => {
    web.answers.set('/foreign', () => root.crl());
    const { certificate } = person(other, crlAt('/foreign'), ocspAt('/foreign'));
    assert.equal((await judge(certificate)).reason, 'no path to a trusted root');
    assert.equal(web.asked.get('/foreign'), undefined);
  });
});

test('budget of a message', async () => {
  const services = openOnlineServices(open);
  const online = services.forMessage(CHECK);
  assert(online);
  const trust = { anchors: [root.certificate], intermediates: [], at: new Date(Date.now() + MINUTE), online };
  const reasons: string[] = [];
  for (let index = 0; index < 12; index += 1) {
    const { certificate } = person(root, ocspAt(`/budget-${index}`));
    const { revocation } = await establishTrust(certificate, [], trust, 'sign');
    reasons.push(revocation?.reason.split(': ')[1] ?? '');
  }
  const over = 'the message needs more requests than are made for one';
  assert.deepEqual(
    reasons.map((reason) => reason === over),
    [...Array<boolean>(10).fill(false), true, true],
  );
});

test('crl-big: 100,000 entries in bounded time and memory', async () => {
  using big = new OpensslCa('big', root);
  const first = person(big, crlAt('/big.crl'));
  const last = person(big, crlAt('/big.crl'));
  big.revoke(last.name);
  const lines = Array.from({ length: 100_000 }, (_, index) => {
    const serial = (0x7000000000 + index).toString(16).toUpperCase();
    return `R\t491231235959Z\t250101000000Z,keyCompromise\t${serial}\tunknown\t/CN=Postern test`;
  });
  big.write('index.txt', `${lines.join('\n')}\n${big.read('index.txt').toString()}`);
  const list = big.crl();
  assert(list.length > 3_000_000);
  web.answers.set('/big.crl', () => list);
  const services = openOnlineServices(open);
  const extra = [big.certificate];
  const before = process.memoryUsage();
  const started = performance.now();
  const verdicts = [
    await judge(first.certificate, { extra }, services),
    await judge(last.certificate, { extra }, services),
  ];
  const elapsed = performance.now() - started;
  const { heapUsed, external } = process.memoryUsage();
  assert.match(verdicts[1]?.reason ?? '', /^certificate was revoked on .* \(keyCompromise\)$/);
  assert.match(
    verdicts[0]?.reason ?? '',
    /^revocation of the issuing certificate 1 cannot be checked: it names nobody/,
  );
  assert.equal(web.asked.get('/big.crl'), 1);
  assert(elapsed < 5_000, `${elapsed} ms`);
  const grown = heapUsed + external - before.heapUsed - before.external;
  assert(grown < 64 * 1024 * 1024, `${grown} bytes`);
});

test('the mark shows the state, and nobody is asked for the sake of a broken signature', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'postern-mark-'));
  const holds = await openHolds({ folder, memoryBytes: 1_000_000, log: silentLog });
  t.after(async () => {
    await holds[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });
  const { name, certificate } = person(root, ocspAt('/mark'));
  const key = readPrivateKey(root.read(`${name}.key`));
  const text = `From: ${name}@contoso.example\r\nMIME-Version: 1.0\r\n\r\nbody\r\n`;
  const at = new Date();
  const signed = await runStage(
    signMessage(bytesSource(Buffer.from(text)), { certificate, chain: [], key }, { limits, at }),
  );
  const mark = async (message: Buffer, settings: Partial<OnlineSettings> = {}) => {
    const online = openOnlineServices(open).forMessage({ ...CHECK, ...settings });
    const trust = { anchors: [root.certificate], intermediates: [], ...(online && { online }) };
    const keys = await memoryTenantKeys(TENANT_A, []);
    const context = {
      tenant: TENANT_A,
      keys,
      trust,
      limits,
      at: new Date(),
      hostname: 'gw.example',
      dkimSigners: [],
    };
    const steps: readonly Step[] = [{ kind: 'verify', onInvalid: 'deliver-marked' }, { kind: 'mark' }];
    const copy = {
      recipients: [{ address: address('x@contoso.example') }],
      steps,
      leg: { kind: 'internet' },
      mustEncrypt: false,
      rule: 'test',
    } as const;
    await using result = await runCopy(copy, bytesSource(message), holds, context);
    const written = (await collect(result.body.open(), 1_000_000)).toString();
    return written.slice(0, written.indexOf('From:')).replace(/\r\n /g, '');
  };
  web.answers.set('/mark', (body) => root.ocsp(body, 'ca', '-nmin', '60'));
  assert.match(
    await mark(signed.bytes),
    /intact;trust=trusted;format=smime;from=signer;revocation=good;signer=/,
  );
  assert.doesNotMatch(await mark(signed.bytes, { revocation: 'off' }), /revocation/);
  root.revoke(name);
  assert.match(
    await mark(signed.bytes),
    /intact;trust=untrusted;.*revocation=revoked;.*reason="certificate was revoked on .* \(keyCompromise\)"/,
  );
  const asked = web.asked.get('/mark');
  const broken = Buffer.from(signed.bytes.toString('latin1').replace('\r\nbody', '\r\nevil'), 'latin1');
  assert.match(await mark(broken), /signature=broken;trust=trusted;/);
  assert.equal(web.asked.get('/mark'), asked);
  web.answers.delete('/mark');
  assert.match(
    await mark(signed.bytes),
    /trust=trusted;.*revocation=unknown;.*reason="revocation of the certificate cannot be checked: the server answers with status 503"/,
  );
  assert.match(await mark(signed.bytes, { revocation: 'require' }), /trust=untrusted;.*revocation=unknown;/);
});
