// mtls-matrix: which client certificates count as verified, with and without the purpose check, in TLS 1.2 and 1.3.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { test } from 'node:test';
import { promisify } from 'node:util';
import type { TestIdentity } from '../../../src/lab/ca.ts';
import type { PeerCertificate } from '../../../src/core/peer.ts';
import { walkChain } from '../../../src/smtp/client-certificate.ts';
import type { TlsIdentity } from '../../../src/smtp/next-hop.ts';
import { authority, clientIdentity, greet, openTestListener, type TestListener } from '../../support/smtp.ts';

const HOST = 'mail.protection.outlook.example';

async function show(
  server: TestListener,
  client: TlsIdentity | undefined,
  version: 'TLSv1.2' | 'TLSv1.3',
): Promise<PeerCertificate | undefined> {
  using session = await greet(server.listener.port);
  await session.say('STARTTLS');
  await session.startTls(client, version);
  const replies = await session.say(
    'EHLO x.example',
    'MAIL FROM:<a@b.example>',
    'RCPT TO:<c@d.example>',
    'DATA',
  );
  assert.match(replies.at(-1) ?? '', /^354/);
  session.send('\r\n.\r\n');
  assert.match((await session.reply()) ?? '', /^250/);
  const peer = server.messages.at(-1)?.peer;
  assert.equal(peer?.tls?.protocol, version);
  return peer?.tls?.certificate;
}

const matrix: readonly [client: string, isPurposeChecked: boolean, error: string | undefined][] = [
  ['exchange', true, undefined],
  ['exchange', false, undefined],
  ['server-only', true, 'INVALID_PURPOSE'],
  ['server-only', false, undefined],
  ['rogue', true, 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
  ['rogue', false, 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
  ['expired', true, 'CERT_HAS_EXPIRED'],
  ['expired', false, 'CERT_HAS_EXPIRED'],
];

for (const [name, isPurposeChecked, error] of matrix) {
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    test(`${name}, purpose ${isPurposeChecked ? '' : 'not '}checked, ${version}`, async () => {
      await using server = await openTestListener({ tls: { isPurposeChecked } });
      const certificate = await show(server, await clientIdentity(name), version);
      assert.equal(certificate?.verifyError, error);
      assert.equal(certificate?.isVerified, error === undefined);
      assert.deepEqual(certificate.dnsNames, [HOST]);
    });
  }
}

test('no certificate, no evidence of one', async () => {
  await using server = await openTestListener();
  assert.equal(await show(server, undefined, 'TLSv1.3'), undefined);
});

test('an intermediate must be sent, and then it verifies', async () => {
  await using server = await openTestListener({ tls: { isPurposeChecked: false } });
  const sub = await (await authority()).issueCa({ commonName: 'sub CA', keyType: 'p256' });
  const leaf = await sub.issue({
    commonName: HOST,
    dnsNames: [HOST],
    keyType: 'p256',
    extendedKeyUsage: ['serverAuth'],
  });
  const bare = { key: leaf.keyPem, cert: leaf.certificatePem };
  const full = { key: leaf.keyPem, cert: leaf.certificatePem + sub.certificatePem };
  assert.equal((await show(server, bare, 'TLSv1.3'))?.isVerified, false);
  assert.equal((await show(server, full, 'TLSv1.3'))?.verifyError, undefined);
});

test('a serverAuth certificate with another fault is not let in by the missing purpose check', async () => {
  await using server = await openTestListener({ tls: { isPurposeChecked: false } });
  const request = {
    commonName: HOST,
    dnsNames: [HOST],
    keyType: 'p256',
    extendedKeyUsage: ['serverAuth'],
  } as const;
  const lab = await authority();
  const narrow = await lab.issueCa({ commonName: 'narrow CA', keyType: 'p256', pathLength: 0 });
  const below = await narrow.issueCa({ commonName: 'CA below', keyType: 'p256' });
  const noCa = await lab.issue({ commonName: 'no CA', keyType: 'p256' });
  const byNoCa = await opensslIssue(noCa, 'basicConstraints=critical,CA:FALSE');
  const cases: readonly [name: string, identity: TlsIdentity][] = [
    ['rogue CA', asIdentity(await (await authority('rogue CA')).issue(request))],
    ['expired', asIdentity(await lab.issue({ ...request, notBefore: new Date(0), notAfter: new Date(1e9) }))],
    ['other purpose', asIdentity(await lab.issue({ ...request, extendedKeyUsage: ['emailProtection'] }))],
    ['path too long', asIdentity(await below.issue(request), below.certificatePem + narrow.certificatePem)],
    ['self-signed', await selfSigned()],
    ['issuer is no CA', { ...byNoCa, cert: byNoCa.cert + noCa.certificatePem }],
    ['critical extension', await opensslIssue(lab, '1.2.3.4=critical,DER:0500')],
  ];
  for (const [name, client] of cases) {
    const certificate = await show(server, client, 'TLSv1.3');
    assert.equal(certificate?.isVerified, false, name);
    assert.notEqual(certificate.verifyError, undefined, name);
  }
});

function x509(pem: string): X509Certificate {
  return new X509Certificate(pem);
}

test('the walk refuses a chain for each reason that OpenSSL may hide behind INVALID_PURPOSE', async () => {
  // Later than any of them: what openssl issues is valid from the second in which it did.
  const at = new Date(Date.now() + 3_600_000);
  const lab = await authority();
  const rogue = await authority('rogue CA');
  const request = { commonName: HOST, keyType: 'p256', extendedKeyUsage: ['serverAuth'] } as const;
  const leaf = x509((await lab.issue(request)).certificatePem);
  const anchors = [x509(lab.certificatePem)];
  assert.equal(walkChain(leaf, [], anchors, at), undefined);
  assert.equal(walkChain(leaf, [], [x509(rogue.certificatePem)], at), 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY');
  assert.equal(walkChain(leaf, [], [], at), 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY');
  assert.equal(walkChain(leaf, [], anchors, new Date(at.getTime() + 30 * 86_400_000)), 'CERT_HAS_EXPIRED');
  assert.equal(walkChain(leaf, [], anchors, new Date(0)), 'CERT_NOT_YET_VALID');
  const narrow = await lab.issueCa({ commonName: 'narrow CA', keyType: 'p256', pathLength: 0 });
  const below = await narrow.issueCa({ commonName: 'CA below', keyType: 'p256' });
  const deep = x509((await below.issue(request)).certificatePem);
  const issuers = [x509(below.certificatePem), x509(narrow.certificatePem)];
  assert.equal(walkChain(deep, issuers, anchors, at), 'PATH_LENGTH_EXCEEDED');
  const own = x509((await narrow.issue(request)).certificatePem);
  assert.equal(walkChain(own, issuers, anchors, at), undefined);
  const mail = x509((await lab.issue({ ...request, extendedKeyUsage: ['emailProtection'] })).certificatePem);
  assert.equal(walkChain(mail, [], anchors, at), 'INVALID_PURPOSE');
  const noCa = await lab.issue({ commonName: 'no CA', keyType: 'p256' });
  const byNoCa = x509((await opensslIssue(noCa)).cert);
  assert.equal(walkChain(byNoCa, [x509(noCa.certificatePem)], anchors, at), 'INVALID_CA');
  const critical = x509((await opensslIssue(lab, '1.2.3.4=critical,DER:0500')).cert);
  assert.equal(walkChain(critical, [], anchors, at), 'UNHANDLED_CRITICAL_EXTENSION');
});

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`no session is resumed, ${version}`, async () => {
    await using server = await openTestListener();
    const client = await clientIdentity('exchange');
    const first = await handshake(server.listener.port, version, { ...client });
    assert.equal(first.isReused, false);
    for (const session of first.sessions) {
      const second = await handshake(server.listener.port, version, { session });
      assert.equal(second.isReused, false);
    }
  });
}

async function handshake(port: number, version: 'TLSv1.2' | 'TLSv1.3', options: object) {
  const socket = connect({ host: '127.0.0.1', port });
  await once(socket, 'data');
  socket.write('EHLO client.example\r\n');
  await once(socket, 'data');
  socket.write('STARTTLS\r\n');
  await once(socket, 'data');
  const sessions: Buffer[] = [];
  const secure = connectTls({
    socket,
    rejectUnauthorized: false,
    minVersion: version,
    maxVersion: version,
    ...options,
  });
  secure.on('session', (session: Buffer) => sessions.push(session));
  await once(secure, 'secureConnect');
  secure.write('EHLO client.example\r\n');
  await once(secure, 'data');
  const own = secure.getSession();
  if (own) sessions.push(own);
  const isReused = secure.isSessionReused();
  secure.destroy();
  return { isReused, sessions };
}

function asIdentity(
  issued: { readonly keyPem: string; readonly certificatePem: string },
  chain = '',
): TlsIdentity {
  return { key: issued.keyPem, cert: issued.certificatePem + chain };
}

async function selfSigned(): Promise<TlsIdentity> {
  return asIdentity(await authority('self-signed'));
}

/** Issues with openssl what the lab's CA would not: under an issuer that is no CA, with extensions of any kind. */
async function opensslIssue(issuer: TestIdentity, ...extensions: readonly string[]): Promise<TlsIdentity> {
  const folder = await mkdtemp(join(tmpdir(), 'postern-openssl-'));
  try {
    const at = (name: string) => join(folder, name);
    await writeFile(at('ca.pem'), issuer.certificatePem);
    await writeFile(at('ca.key'), issuer.keyPem, { mode: 0o600 });
    const added = ['extendedKeyUsage=serverAuth', ...extensions].flatMap((text) => ['-addext', text]);
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', at('key.pem')];
    const ca = ['-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-days', '2'];
    await promisify(execFile)('openssl', [
      'req',
      '-x509',
      ...ca,
      ...key,
      '-subj',
      `/CN=${HOST}`,
      ...added,
      '-out',
      at('cert.pem'),
    ]);
    return { key: await readFile(at('key.pem'), 'utf8'), cert: await readFile(at('cert.pem'), 'utf8') };
  } finally {
    await rm(folder, { recursive: true });
  }
}
