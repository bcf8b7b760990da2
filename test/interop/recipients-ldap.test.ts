// The LDAP source against a real OpenLDAP server.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { after, test } from 'node:test';
import { systemClock } from '../../src/core/clock.ts';
import { GatewayError } from '../../src/core/errors.ts';
import { Secret } from '../../src/core/secret.ts';
import { LdapConnection } from '../../src/tenant/recipients/ldap-connection.ts';
import { createTestCa } from '../../src/lab/ca.ts';
import { type LdapOptions, ldapSource } from '../../src/tenant/recipients/ldap.ts';
import { element, sequence } from '../support/certificates.ts';
import { openSlapd, type SlapdEntry } from '../support/slapd.ts';

const PEOPLE: readonly SlapdEntry[] = [
  {
    name: 'Ann',
    proxyAddresses: [
      'SMTP:Ann@Contoso.example',
      'smtp:a.nn@contoso.example',
      'SIP:ann@contoso.example',
      'X500:/o=Contoso/cn=ann',
    ],
  },
  { name: 'Hidden', proxyAddresses: ['SMTP:hidden@contoso.example'], isHidden: true },
  { name: 'Mail alone', mail: 'contact@contoso.example' },
  { name: 'No mail at all' },
  { name: 'Broken', proxyAddresses: ['smtp:not an address', 'SMTP:broken@contoso.example'] },
];
const CROWD: readonly SlapdEntry[] = Array.from({ length: 60 }, (_, index) => ({
  name: `crowd ${index}`,
  proxyAddresses: [`SMTP:crowd${index}@contoso.example`],
}));

const slapd = await openSlapd([...PEOPLE, ...CROWD]);
after(() => slapd[Symbol.asyncDispose]());

const options: LdapOptions = {
  url: slapd.ldapsUrl,
  startTls: false,
  base: slapd.base,
  bindDn: slapd.bindDn,
  password: new Secret(slapd.password),
  filter: '(|(proxyAddresses=smtp:*)(mail=*))',
  ca: slapd.ca,
  pageSize: 7,
};

async function load(more: Partial<LdapOptions> = {}, signal = new AbortController().signal) {
  const { addresses } = await ldapSource({ ...options, ...more }).load(undefined, {
    clock: systemClock,
    signal,
  });
  return [...addresses].toSorted();
}

const named = (addresses: readonly string[]): readonly string[] =>
  addresses.filter((address) => !address.startsWith('crowd'));

test('ldaps: primary addresses, aliases, hidden recipients and mail attributes, over several pages', async () => {
  const addresses = await load();
  assert.deepEqual(named(addresses), [
    'a.nn@contoso.example',
    'ann@contoso.example',
    'broken@contoso.example',
    'contact@contoso.example',
    'hidden@contoso.example',
  ]);
  assert.equal(addresses.length - named(addresses).length, CROWD.length);
});

for (const pageSize of [1, 4, 64, 500])
  test(`all 64 recipients come with pages of ${pageSize}`, async () => {
    assert.equal((await load({ pageSize })).length, 65);
  });

test('StartTLS', async () => {
  assert.equal((await load({ url: slapd.ldapUrl, startTls: true })).length, 65);
});

test('a filter chooses', async () => {
  assert.deepEqual(await load({ filter: '(mail=*)' }), ['contact@contoso.example']);
});

async function failure(more: Partial<LdapOptions>, signal?: AbortSignal): Promise<string> {
  const error: unknown = await load(more, signal).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof GatewayError);
  assert.equal(error.code, 'recipients-unavailable');
  assert.doesNotMatch(error.message, /canary|contoso\.example/);
  return error.message;
}

test('wrong password', async () => {
  const password = new Secret('canary-wrong');
  assert.equal(await failure({ password }), 'the server refuses bind_dn or its password');
});

test('wrong base', async () => {
  assert.equal(await failure({ base: 'dc=fabrikam,dc=example' }), 'there is no entry with the name in base');
});

test('wrong CA: neither ldaps nor StartTLS gets as far as the password', async () => {
  const other = await createTestCa('other');
  const ca = other.certificatePem;
  assert.match(await failure({ ca }), /^TLS with the server fails: [A-Z_]+$/);
  assert.match(
    await failure({ ca, url: slapd.ldapUrl, startTls: true }),
    /^TLS with the server fails: [A-Z_]+$/,
  );
});

test('a certificate with another name', async () => {
  await using other = await openSlapd(PEOPLE, { certifiedAddress: '127.0.0.1' });
  const { ldapsUrl: url, ca } = other;
  assert.equal(await failure({ url, ca }), 'TLS with the server fails: ERR_TLS_CERT_ALTNAME_INVALID');
});

test('more than may be taken: entries, and bytes of a page', async () => {
  assert.equal(await failure({ limits: { maxEntries: 20 } }), 'more than 20 entries');
  assert.match(await failure({ limits: { maxPageBytes: 300 } }), /^a page has more than 300 bytes$/);
});

test('a size limit of the server is a failure, never a short list', async () => {
  await using small = await openSlapd([...PEOPLE, ...CROWD], {
    settings: 'limits * size=10 size.prtotal=10',
  });
  const { ldapsUrl: url, ca } = small;
  assert.match(await failure({ url, ca, pageSize: 5 }), /^the server ends the search at its /);
  assert.match(await failure({ url, ca, pageSize: 500 }), /^the server ends the search at its /);
});

test('an aborted load ends', async () => {
  const stop = new AbortController();
  const source = ldapSource({ ...options, url: 'ldap://127.0.0.1:1', startTls: true });
  stop.abort();
  await assert.rejects(source.load(undefined, { clock: systemClock, signal: stop.signal }));
});

/** A server that takes connections and never says a word. */
async function silent() {
  const server = createServer();
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => sockets.add(socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    server,
    url: `ldap://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.dispose]: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

test('a server that says nothing: the abort ends it, and a time limit', async () => {
  using hanging = await silent();
  const stop = new AbortController();
  const connected = once(hanging.server, 'connection');
  const waiting = failure({ url: hanging.url, startTls: true }, stop.signal);
  await connected;
  stop.abort();
  await waiting;
  assert.equal(
    await failure({ url: hanging.url, startTls: true, limits: { loadTimeoutMs: 50 } }),
    'the server takes too long',
  );
});

/**
 * A server that answers each request, by its number and message id, with what `answers` holds for it, on whatever
 * connection. It ends the connection after the answer with number `endsAfter`.
 */
async function scripted(answers: readonly ((id: Buffer) => Buffer)[], endsAfter = -1) {
  let count = 0;
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  const server = createServer((socket) => {
    socket.on('close', () => resolve());
    socket.on('data', (request: Buffer) => {
      const length = request[1] ?? 0;
      const start = length < 0x80 ? 2 : 2 + (length & 0x7f);
      const id = request.subarray(start, start + 3);
      const answer = answers[count]?.(id);
      count += 1;
      if (!answer) socket.destroy();
      else if (count - 1 === endsAfter) socket.end(answer);
      else socket.write(answer);
    });
    socket.on('error', () => undefined);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `ldap://127.0.0.1:${(server.address() as AddressInfo).port}`,
    /** Once a connection has ended on both sides. */
    closed,
    [Symbol.dispose]: () => void server.close(),
  };
}

const success = [element(0x0a, Buffer.of(0)), element(0x04), element(0x04)];
const bound = (id: Buffer): Buffer => sequence(id, element(0x61, ...success));
const done = (id: Buffer, cookie: string): Buffer => {
  const value = sequence(element(0x02, Buffer.of(0)), element(0x04, cookie));
  const control = sequence(element(0x04, '1.2.840.113556.1.4.319'), element(0x04, value));
  return sequence(id, element(0x65, ...success), element(0xa0, control));
};
const found = (id: Buffer, attribute: string, address: string): Buffer =>
  sequence(
    id,
    element(
      0x64,
      element(0x04, 'cn=x'),
      sequence(sequence(element(0x04, attribute), element(0x31, element(0x04, address)))),
    ),
  );

test('a page without entries that is followed by others is not the end', async () => {
  using server = await scripted([
    bound,
    (id) => done(id, 'more'),
    (id) => Buffer.concat([found(id, 'mail', 'late@contoso.example'), done(id, '')]),
  ]);
  assert.deepEqual(await load({ url: server.url }), ['late@contoso.example']);
});

test('connection lost between pages: no search without the bind', async () => {
  const anonymous = (id: Buffer) => Buffer.concat([found(id, 'mail', 'one@contoso.example'), done(id, '')]);
  using server = await scripted([bound, (id) => done(id, 'more'), anonymous], 1);
  const limits = { maxEntries: 9, maxPageBytes: 999, loadTimeoutMs: 9_999 };
  const connection = new LdapConnection(
    { ...options, url: server.url },
    { ...limits, connectTimeoutMs: 9_999, operationTimeoutMs: 9_999 },
    new AbortController().signal,
  );
  using _ = { [Symbol.dispose]: () => connection.close() };
  await connection.open();
  const pages = connection.pages('dc=x', { filter: '(mail=*)' }, 1);
  await pages.next();
  await server.closed;
  // Our own side hears of it in the same turn of the event loop, or the next.
  for (let turns = 0; turns < 10; turns += 1) await new Promise((resolve) => setImmediate(resolve));
  await assert.rejects(pages.next(), /the connection was lost/);
});

test('range: a list of addresses that comes in pieces', async () => {
  using server = await scripted([
    bound,
    (id) => Buffer.concat([found(id, 'proxyAddresses;range=0-1499', 'smtp:a@contoso.example'), done(id, '')]),
  ]);
  assert.equal(
    await failure({ url: server.url }),
    'an entry has more addresses than the server gives at once',
  );
});

test('server gone, and back', async () => {
  await slapd.stop();
  assert.equal(await failure({}), 'the server cannot be reached: ECONNREFUSED');
  await slapd.start();
  assert.equal((await load()).length, 65);
});

test('what changes in the directory is seen', async () => {
  slapd.add({ name: 'New', proxyAddresses: ['SMTP:new@contoso.example'] });
  assert.ok((await load()).includes('new@contoso.example'));
  slapd.remove('New');
  assert.ok(!(await load()).includes('new@contoso.example'));
});
