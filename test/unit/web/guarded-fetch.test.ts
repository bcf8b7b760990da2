import assert from 'node:assert/strict';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { WebAnswer } from '../../../src/core/web.ts';
import { type GuardOptions, openGuardedFetch } from '../../../src/web/guarded-fetch.ts';

const never = new AbortController().signal;

async function serve(listener: RequestListener) {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `http://127.0.0.1:${port}/`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function get(url: string, more: Partial<GuardOptions> = {}, maxBytes = 1_000): Promise<string> {
  const fetch = openGuardedFetch({
    resolve: () => Promise.resolve(['127.0.0.1']),
    allowPrivateAddresses: false,
    timeoutMs: 5_000,
    ...more,
  });
  return textOf(await fetch({ url, maxBytes }, never));
}

function textOf(answer: WebAnswer): string {
  return answer.kind === 'answer' ? `answer: ${answer.bytes.toString()}` : answer.reason;
}

const open = { allowPrivateAddresses: true } as const;
const INSIDE = 'the server is not in the public Internet';

test('fetch-ssrf: addresses that are never asked', async (t) => {
  let asked = 0;
  await using inside = await serve((_, response) => {
    asked += 1;
    response.end('secret');
  });
  const cases: readonly (readonly [string, string])[] = [
    ['file:///etc/passwd', 'the address is neither http nor https'],
    ['ldap://ldap.example/cn=ca', 'the address is neither http nor https'],
    ['ftp://ca.example/ca.crl', 'the address is neither http nor https'],
    ['data:text/plain,x', 'the address is neither http nor https'],
    ['gopher://ca.example/', 'the address is neither http nor https'],
    ['http://user:secret@ca.example/', 'the address holds a user name'],
    ['ca.crl', 'the address is malformed'],
    [`http://ca.example/${'a'.repeat(3_000)}`, 'the address is malformed'],
    ['http://ca.example:25/', 'the address names an unusual port'],
    [inside.url, 'the address names an unusual port'],
    ['http://127.0.0.1/', INSIDE],
    ['http://2130706433/', INSIDE],
    ['http://0x7f.1/', INSIDE],
    ['http://[::1]/', INSIDE],
    ['http://[::ffff:127.0.0.1]/', INSIDE],
    ['http://169.254.169.254/latest/meta-data/', INSIDE],
    ['http://10.0.0.1/', INSIDE],
    ['http://localhost/', INSIDE],
    ['http://name-that-leads-inside.example/', INSIDE],
  ];
  for (const [url, reason] of cases)
    await t.test(url.slice(0, 50), async () => assert.equal(await get(url), reason));
  assert.equal(asked, 0);
});

test('a name of which one address lies inside is not followed', async () => {
  const resolve = () => Promise.resolve(['93.184.216.34', '192.168.1.1']);
  assert.equal(await get('http://ca.example/', { resolve }), INSIDE);
  assert.equal(
    await get('http://ca.example/', { resolve: () => Promise.resolve([]) }),
    'the name of the server has no address',
  );
  assert.equal(
    await get('http://ca.example/', { resolve: () => Promise.reject(new Error('secret detail')) }),
    'the name of the server cannot be looked up',
  );
});

test('redirects are bounded and checked again', async (t) => {
  await using server = await serve((request, response) => {
    const target = new URL(request.url ?? '', 'http://x').searchParams.get('to');
    if (target === null) response.end('here');
    else response.writeHead(302, { location: target }).end();
  });
  const to = (target: string) => `${server.url}?to=${encodeURIComponent(target)}`;
  await t.test('followed', async () => assert.equal(await get(to('/plain'), open), 'answer: here'));
  await t.test('three times at most', async () => {
    assert.equal(await get(to(to(to('/'))), open), 'answer: here');
    assert.equal(await get(to(to(to(to('/')))), open), 'too many redirects');
  });
  await t.test('to a file', async () =>
    assert.equal(await get(to('file:///etc/passwd'), open), 'the address is neither http nor https'),
  );
  await t.test('malformed', async () =>
    assert.equal(await get(to('http://['), open), 'a redirect is malformed'),
  );
});

test('redirect inside: the name of the second hop is looked up and checked', async () => {
  let hops = 0;
  await using server = await serve((_, response) => {
    hops += 1;
    response.writeHead(302, { location: 'http://inside.example/' }).end();
  });
  const looked: string[] = [];
  const resolve = (host: string) => {
    looked.push(host);
    return Promise.reject(new Error('no such name'));
  };
  assert.equal(await get(server.url, { ...open, resolve }), 'the name of the server cannot be looked up');
  assert.deepEqual([hops, looked], [1, ['inside.example']]);
});

test('size, time and status are bounded', async (t) => {
  await using server = await serve((request, response) => {
    switch (request.url) {
      case '/large':
        response.write('x'.repeat(600));
        response.end('x'.repeat(600));
        break;
      case '/endless':
        response.writeHead(200, { 'content-length': 20_000_000_000 });
        response.write('x'.repeat(2_000));
        break;
      case '/cut':
        response.writeHead(200, { 'content-length': 100 });
        response.write('x');
        setImmediate(() => response.destroy());
        break;
      case '/silent':
        break;
      default:
        response.writeHead(404).end('page');
    }
  });
  const at = (path: string) => `${server.url}${path}`;
  const large = 'the answer has more than 1000 bytes';
  await t.test('large', async () => assert.equal(await get(at('large'), open), large));
  await t.test('endless', async () => assert.equal(await get(at('endless'), open), large));
  await t.test('cut', async () => assert.match(await get(at('cut'), open), /cut off|cannot be reached/));
  await t.test('silent', async () =>
    assert.equal(await get(at('silent'), { ...open, timeoutMs: 50 }), 'the server does not answer in time'),
  );
  await t.test('status', async () =>
    assert.equal(await get(at('none'), open), 'the server answers with status 404'),
  );
  await t.test('nobody listens', async () =>
    assert.equal(await get('http://127.0.0.1:1/', open), 'the server cannot be reached (ECONNREFUSED)'),
  );
  await t.test('stopped', async () => {
    const fetch = openGuardedFetch({
      resolve: () => Promise.resolve([]),
      allowPrivateAddresses: true,
      timeoutMs: 5_000,
    });
    const answer = await fetch({ url: at('silent'), maxBytes: 1 }, AbortSignal.timeout(50));
    assert.equal(textOf(answer), 'the time for all checks of the message is over');
  });
});

test('a body is posted with its type', async () => {
  await using server = await serve((request, response) => {
    request.on('data', (part: Buffer) =>
      response.end(`${request.method} ${request.headers['content-type']} ${part.toString()}`),
    );
  });
  const fetch = openGuardedFetch({
    resolve: () => Promise.resolve([]),
    allowPrivateAddresses: true,
    timeoutMs: 5_000,
  });
  const body = { type: 'application/ocsp-request', bytes: Buffer.from('question') };
  const answer = await fetch({ url: server.url, body, maxBytes: 1_000 }, never);
  assert.equal(textOf(answer), 'answer: POST application/ocsp-request question');
});
