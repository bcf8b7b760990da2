// The delivery client against scripted servers: what it says, what it makes of the answers, what it refuses to send.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { systemClock } from '../../../src/core/clock.ts';
import type { DeliveryResult, Shipment } from '../../../src/core/delivery.ts';
import { errorTable } from '../../../src/core/errors.ts';
import { silentLog } from '../../../src/core/log.ts';
import { Secret } from '../../../src/core/secret.ts';
import { type ClientOptions, defaultTimeouts, deliverShipment } from '../../../src/smtp/client.ts';
import { openRoute } from '../../../src/smtp/mx.ts';
import type { NextHop } from '../../../src/smtp/next-hop.ts';
import {
  address,
  authority,
  clientIdentity,
  identity,
  openScriptedServer,
  type ServerScript,
  shipment,
  testClock,
} from '../../support/smtp.ts';

const MESSAGE = 'Subject: x\r\n\r\n.dot\r\n';
const ALL = ['PIPELINING', '8BITMIME', 'SMTPUTF8', 'DSN', 'SIZE 1000'];
const options: ClientOptions = {
  hostname: 'gw.example',
  clock: systemClock,
  log: silentLog,
  timeouts: defaultTimeouts,
};

function hopTo(port: number, more: Partial<NextHop> = {}): NextHop {
  const route = openRoute({ port, resolvers: [], allowPrivateAddresses: true, connectTimeoutMs: 5_000 });
  return {
    tls: 'opportunistic',
    serverName: 'mx.example',
    open: (skip, signal) => route.toHost('127.0.0.1', skip, signal),
    ...more,
  };
}

async function deliver(
  script: ServerScript,
  sent: Shipment,
  hop: Partial<NextHop> = {},
  more: Partial<ClientOptions> = {},
) {
  await using server = await openScriptedServer(script);
  const results = await deliverShipment(
    hopTo(server.port, hop),
    sent,
    { ...options, ...more },
    new AbortController().signal,
  );
  return { results, lines: server.lines, server };
}

function brief(results: readonly DeliveryResult[]): readonly string[] {
  return results.map(
    ({ recipient, status, reply }) =>
      `${recipient.address.localPart} ${status} ${reply.code} ${reply.enhanced}`,
  );
}

test('one transaction, every recipient with its own answer', async () => {
  for (const extensions of [ALL, []]) {
    const { results, lines } = await deliver(
      {
        extensions,
        answers: {
          'RCPT TO:<no@': '550 5.1.1 unknown',
          'RCPT TO:<later@': '450-4.2.1 one\r\n450 4.2.1 two',
          '.': '250 2.6.0 queued as 7',
        },
      },
      shipment(MESSAGE, [
        'a@remote.example',
        'no@remote.example',
        'later@remote.example',
        'b@remote.example',
      ]),
    );
    assert.deepEqual(brief(results), [
      'a delivered 250 2.6.0',
      'no failed 550 5.1.1',
      'later deferred 450 4.2.1',
      'b delivered 250 2.6.0',
    ]);
    assert.deepEqual(
      results.map(({ remote }) => remote),
      Array(4).fill('127.0.0.1'),
    );
    assert.deepEqual(results[2]?.reply.text, 'one two');
    assert.deepEqual(lines.slice(lines.indexOf('DATA')).slice(0, 5), [
      'DATA',
      'Subject: x',
      '',
      '..dot',
      '.',
    ]);
    assert.equal(lines.filter((line) => line.startsWith('MAIL')).length, 1);
  }
});

const envelopes: readonly [
  name: string,
  extensions: readonly string[],
  sent: Partial<Shipment>,
  to: readonly Parameters<typeof shipment>[1][number][],
  lines: readonly string[],
][] = [
  [
    'all of it',
    ALL,
    { ret: 'HDRS', envid: 'a+2Bb', is8bit: true, smtpUtf8: true },
    [
      {
        address: address('b@remote.example'),
        notify: ['SUCCESS', 'DELAY'],
        orcpt: 'rfc822;B+2Bx@remote.example',
      },
      'c@remote.example',
    ],
    [
      'MAIL FROM:<alice@contoso.example> SIZE=20 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb',
      'RCPT TO:<b@remote.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;B+2Bx@remote.example',
      'RCPT TO:<c@remote.example>',
    ],
  ],
  [
    'no DSN there',
    ['SIZE'],
    { ret: 'HDRS', envid: 'x' },
    [{ address: address('b@remote.example'), notify: ['NEVER'] }],
    ['MAIL FROM:<alice@contoso.example> SIZE=20', 'RCPT TO:<b@remote.example>'],
  ],
  [
    'nothing there',
    [],
    {},
    ['b@remote.example'],
    ['MAIL FROM:<alice@contoso.example>', 'RCPT TO:<b@remote.example>'],
  ],
  [
    'null sender',
    ALL,
    { sender: null },
    ['b@remote.example'],
    ['MAIL FROM:<> SIZE=20', 'RCPT TO:<b@remote.example>'],
  ],
  [
    'SMTPUTF8 said, not needed',
    [],
    { smtpUtf8: true },
    ['b@remote.example'],
    ['MAIL FROM:<alice@contoso.example>', 'RCPT TO:<b@remote.example>'],
  ],
  [
    'quoted local part',
    [],
    { sender: address('"a b"@contoso.example') },
    ['"x@y"@remote.example'],
    ['MAIL FROM:<"a b"@contoso.example>', 'RCPT TO:<"x@y"@remote.example>'],
  ],
];

for (const [name, extensions, sent, to, expected] of envelopes) {
  test(`envelope: ${name}`, async () => {
    const { results, lines } = await deliver({ extensions }, shipment(MESSAGE, to, sent));
    assert.deepEqual(
      lines.filter((line) => /^(?:MAIL|RCPT)/.test(line)),
      expected,
    );
    for (const result of results) {
      assert.equal(result.status, 'delivered');
      assert.equal(result.isDsnRelayed, extensions.includes('DSN'));
    }
  });
}

test('a UTF-8 address goes out as UTF-8', async () => {
  const { lines } = await deliver({ extensions: ALL }, shipment(MESSAGE, ['büro@bücher.example']));
  assert.ok(lines.includes(Buffer.from('RCPT TO:<büro@xn--bcher-kva.example>').toString('latin1')));
  assert.ok(lines.includes('MAIL FROM:<alice@contoso.example> SIZE=20 SMTPUTF8'));
});

const unfit: readonly [
  name: string,
  extensions: readonly string[],
  sent: Partial<Shipment>,
  to: readonly string[],
  expected: readonly string[],
][] = [
  ['8-bit without 8BITMIME', ['SMTPUTF8'], { is8bit: true }, ['b@remote.example'], ['b failed 554 5.6.3']],
  [
    'UTF-8 header without SMTPUTF8',
    ['8BITMIME'],
    { is8bit: true, smtpUtf8: true },
    ['b@remote.example'],
    ['b failed 554 5.6.7'],
  ],
  [
    'UTF-8 sender without SMTPUTF8',
    [],
    { sender: address('büro@contoso.example') },
    ['b@remote.example'],
    ['b failed 554 5.6.7'],
  ],
  [
    'one UTF-8 recipient without SMTPUTF8',
    [],
    {},
    ['büro@remote.example', 'b@remote.example'],
    ['büro failed 554 5.6.7', 'b delivered 250 2.0.0'],
  ],
  ['too large', ['SIZE 19'], {}, ['b@remote.example'], ['b failed 552 5.3.4']],
  ['just not too large', ['SIZE 20'], {}, ['b@remote.example'], ['b delivered 250 2.0.0']],
  ['no limit told', ['SIZE 0'], {}, ['b@remote.example'], ['b delivered 250 2.0.0']],
];

for (const [name, extensions, sent, to, expected] of unfit) {
  test(`unfit: ${name}`, async () => {
    const { results, lines } = await deliver({ extensions }, shipment(MESSAGE, to, sent));
    assert.deepEqual(brief(results), expected);
    const isAnyoneLeft = results.some(({ status }) => status === 'delivered');
    assert.equal(
      lines.some((line) => line.startsWith('MAIL')),
      isAnyoneLeft,
    );
    assert.ok(!lines.some((line) => line.startsWith('RCPT') && /[^\x20-\x7e]/.test(line)));
  });
}

const answers: readonly [name: string, script: ServerScript, expected: string][] = [
  ['greeting 554', { greeting: '554 5.7.1 go away' }, 'deferred 451 4.4.1'],
  ['greeting 421', { greeting: '421 4.3.2 later' }, 'deferred 451 4.4.1'],
  ['greeting nonsense', { greeting: 'SSH-2.0-x' }, 'deferred 451 4.4.1'],
  ['EHLO refused, HELO taken', { answers: { EHLO: '502 no' } }, 'delivered 250 2.0.0'],
  ['EHLO and HELO refused', { answers: { EHLO: '502 no', HELO: '550 5.7.1 no' } }, 'deferred 451 4.4.1'],
  ['MAIL 5xx', { answers: { MAIL: '550 5.7.1 sender blocked' } }, 'failed 550 5.7.1'],
  ['MAIL 4xx', { answers: { MAIL: '451 4.7.500 Server busy' } }, 'deferred 451 4.7.500'],
  [
    'MAIL 5xx, pipelined',
    { extensions: ALL, answers: { MAIL: '550 5.7.1 no', RCPT: '503 no', DATA: '503 no' } },
    'failed 550 5.7.1',
  ],
  ['RCPT 5xx', { answers: { RCPT: '550 5.4.1 Recipient address rejected' } }, 'failed 550 5.4.1'],
  ['RCPT 452', { extensions: ALL, answers: { RCPT: '452 4.5.3 too many' } }, 'deferred 452 4.5.3'],
  ['DATA 5xx', { answers: { DATA: '554 5.5.1 no' } }, 'failed 554 5.5.1'],
  ['DATA 4xx', { answers: { DATA: '451 4.3.0 no' } }, 'deferred 451 4.3.0'],
  ['DATA 250', { answers: { DATA: '250 what' } }, 'deferred 451 4.4.1'],
  [
    'content 5xx',
    { answers: { '.': '550 5.7.64 TenantAttribution; Relay Access Denied' } },
    'failed 550 5.7.64',
  ],
  ['content 4xx', { answers: { '.': '452 4.3.1 full' } }, 'deferred 452 4.3.1'],
  ['421 to MAIL', { answers: { MAIL: '421 4.3.2 closing' } }, 'deferred 421 4.3.2'],
  ['421 to RCPT', { extensions: ALL, answers: { RCPT: '421 4.3.2 closing' } }, 'deferred 421 4.3.2'],
  ['closed at EHLO', { answers: { EHLO: null } }, 'deferred 451 4.4.2'],
  ['closed at MAIL', { answers: { MAIL: null } }, 'deferred 451 4.4.2'],
  ['closed at RCPT', { answers: { RCPT: null } }, 'deferred 451 4.4.2'],
  ['closed at DATA', { answers: { DATA: null } }, 'deferred 451 4.4.2'],
  ['closed in the content', { answers: { '..dot': null } }, 'deferred 451 4.4.2'],
  ['closed after the content', { answers: { '.': null } }, 'deferred 451 4.4.2'],
  ['nonsense to MAIL', { answers: { MAIL: 'hello' } }, 'deferred 451 4.5.0'],
];

for (const [name, script, expected] of answers) {
  test(`answer: ${name}`, async () => {
    const { results } = await deliver(script, shipment(MESSAGE, ['b@remote.example']));
    assert.deepEqual(brief(results), [`b ${expected}`]);
  });
}

test('nobody listens', async () => {
  const { port } = await openScriptedServer({}).then(async (server) => {
    await server[Symbol.asyncDispose]();
    return server;
  });
  const results = await deliverShipment(
    hopTo(port),
    shipment(MESSAGE, ['b@remote.example']),
    options,
    new AbortController().signal,
  );
  assert.deepEqual(brief(results), ['b deferred 451 4.4.1']);
});

test('another host is tried while none has got as far as MAIL', async () => {
  await using bad = await openScriptedServer({ greeting: '421 4.3.2 later' });
  await using good = await openScriptedServer({});
  const hops = [hopTo(bad.port), hopTo(good.port)];
  const hop: NextHop = {
    tls: 'opportunistic',
    open: async (skip, signal) => {
      const opened = await (hops[skip.length] ?? assert.fail('no more hosts')).open([], signal);
      return { ...opened, address: `host ${skip.length}` };
    },
  };
  const results = await deliverShipment(
    hop,
    shipment(MESSAGE, ['b@remote.example']),
    options,
    new AbortController().signal,
  );
  assert.deepEqual(brief(results), ['b delivered 250 2.0.0']);
});

test('a silent server ends by the greeting timeout, a slow one by the total', async () => {
  const timeouts = { greetingMs: 50, replyMs: 1_000, totalMs: 60_000 };
  const silent = await deliver(
    { greeting: '220-never ends' },
    shipment(MESSAGE, ['b@remote.example']),
    {},
    { timeouts },
  );
  assert.deepEqual(brief(silent.results), ['b deferred 451 4.4.2']);
  const clock = testClock();
  await using server = await openScriptedServer({ answers: { MAIL: '250-never ends' } });
  const delivered = deliverShipment(
    hopTo(server.port),
    shipment(MESSAGE, ['b@remote.example']),
    { ...options, clock, timeouts: { ...defaultTimeouts, totalMs: 60_000 } },
    new AbortController().signal,
  );
  while (!server.lines.some((line) => line.startsWith('MAIL'))) await new Promise(setImmediate);
  await clock.advance(60_000);
  assert.deepEqual(brief(await delivered), ['b deferred 451 4.4.2']);
});

test('a server that is silent behind STARTTLS ends by the greeting timeout', async () => {
  const timeouts = { greetingMs: 50, replyMs: 60_000, totalMs: 60_000 };
  const silent = { extensions: ['STARTTLS'], answers: { STARTTLS: '220 and then nothing' } };
  const sent = shipment(MESSAGE, ['b@remote.example']);
  const { results, lines } = await deliver(silent, sent, { tls: 'verified' }, { timeouts });
  assert.deepEqual(brief(results), ['b deferred 451 4.7.5']);
  assert.ok(results[0]?.reply.text.startsWith(errorTable['next-hop-tls'].text));
  assert.ok(!lines.some((line) => line.startsWith('MAIL')));
});

test('the caller can stop it', async () => {
  await using server = await openScriptedServer({ answers: { DATA: '354-never ends' } });
  const stop = new AbortController();
  const delivered = deliverShipment(
    hopTo(server.port),
    shipment(MESSAGE, ['b@remote.example']),
    options,
    stop.signal,
  );
  while (!server.lines.includes('DATA')) await new Promise(setImmediate);
  stop.abort();
  assert.deepEqual(brief(await delivered), ['b deferred 451 4.4.2']);
});

test('smuggle-out: a message with a bare LF is never completed', async () => {
  for (const body of [
    'Subject: x\r\n\r\n\n.\nMAIL FROM:<evil@evil.example>\r\n',
    'Subject: x\r\n\r\nx\r.\r\r\n',
  ]) {
    const { results, lines } = await deliver({}, shipment(body, ['b@remote.example']));
    assert.deepEqual(brief(results), ['b failed 550 5.6.11']);
    assert.ok(!lines.includes('.'));
  }
});

test('a body that cannot be read breaks off and is tried again', async () => {
  const sent = shipment(MESSAGE, ['b@remote.example']);
  const broken = {
    ...sent,
    body: {
      size: 20,
      async *open() {
        yield Buffer.from('Subject: x\r\n\r\n');
        throw new Error('disk');
      },
    },
  };
  const { results, lines } = await deliver({}, broken);
  assert.deepEqual(brief(results), ['b deferred 451 4.3.0']);
  assert.ok(!lines.includes('.'));
});

test('large content arrives byte for byte, with backpressure', async () => {
  const line = `${'.y'.repeat(38)}\r\n`;
  const { results, lines } = await deliver({}, shipment(line.repeat(200_000), ['b@remote.example']));
  assert.deepEqual(brief(results), ['b delivered 250 2.0.0']);
  const content = lines.slice(lines.indexOf('DATA') + 1, lines.indexOf('.'));
  assert.equal(hash(content.map((text) => `${text.slice(1)}\r\n`).join('')), hash(line.repeat(200_000)));
});

function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

async function tlsScript(
  more: Partial<ServerScript> = {},
  name = 'mx.example',
  ca?: string,
): Promise<ServerScript> {
  return {
    extensions: ['STARTTLS', 'SIZE'],
    tls: { ...(await identity(name, {}, ca)), ca: (await authority()).certificatePem },
    ...more,
  };
}

test('starttls-resp: what a server says in clear behind 220 is discarded', async () => {
  const script = await tlsScript({ injected: '250-evil\r\n250-SMTPUTF8\r\n250 AUTH PLAIN\r\n' });
  for (const tls of ['opportunistic', 'verified'] as const) {
    const { results, lines } = await deliver(script, shipment(MESSAGE, ['büro@remote.example']), {
      tls,
      ca: [(await authority()).certificatePem],
    });
    assert.deepEqual(brief(results), ['büro failed 554 5.6.7']);
    assert.equal(lines.filter((line) => line.startsWith('EHLO')).length, 2);
  }
});

const verified: readonly [name: string, script: () => Promise<ServerScript>, expected: string][] = [
  ['right name and CA', () => tlsScript(), 'delivered 250 2.0.0'],
  ['wrong name', () => tlsScript({}, 'other.example'), 'deferred 451 4.7.5'],
  ['unknown CA', () => tlsScript({}, 'mx.example', 'rogue CA'), 'deferred 451 4.7.5'],
  ['STARTTLS not offered', async () => ({}), 'deferred 451 4.7.5'],
  [
    'STARTTLS offered and refused',
    () => tlsScript({ answers: { STARTTLS: '454 4.7.0 no' } }),
    'deferred 451 4.7.5',
  ],
  ['broken handshake', () => tlsScript({ isTlsBroken: true }), 'deferred 451 4.7.5'],
];

for (const [name, script, expected] of verified) {
  test(`verified TLS: ${name}`, async () => {
    const { results, lines } = await deliver(await script(), shipment(MESSAGE, ['b@remote.example']), {
      tls: 'verified',
      ca: [(await authority()).certificatePem],
    });
    assert.deepEqual(brief(results), [`b ${expected}`]);
    if (!expected.startsWith('delivered')) assert.ok(!lines.some((line) => line.startsWith('MAIL')));
  });
}

const opportunistic: readonly [
  name: string,
  script: () => Promise<ServerScript>,
  isSecure: boolean,
  greetings: number,
][] = [
  ['any certificate will do', () => tlsScript({}, 'other.example', 'rogue CA'), true, 1],
  ['not offered: clear text', async () => ({}), false, 1],
  [
    'refused: clear text on the same connection',
    () => tlsScript({ answers: { STARTTLS: '454 4.7.0 no' } }),
    false,
    1,
  ],
  ['broken handshake: clear text on a new connection', () => tlsScript({ isTlsBroken: true }), false, 2],
];

for (const [name, script, isSecure, connections] of opportunistic) {
  test(`opportunistic TLS: ${name}`, async () => {
    const delivered = await deliver(await script(), shipment(MESSAGE, ['b@remote.example']));
    assert.deepEqual(brief(delivered.results), ['b delivered 250 2.0.0']);
    assert.equal(delivered.server.handshakes.length, isSecure ? 1 : 0);
    assert.equal(delivered.server.sockets.length, connections);
  });
}

test('a client certificate is shown where there is one, and SNI is sent', async () => {
  const client = await clientIdentity('exchange');
  for (const own of [undefined, client]) {
    const delivered = await deliver(await tlsScript(), shipment(MESSAGE, ['b@remote.example']), {
      tls: 'verified',
      ca: [(await authority()).certificatePem],
      ...(own ? { identity: own } : {}),
    });
    assert.deepEqual(brief(delivered.results), ['b delivered 250 2.0.0']);
    const [handshake, ...more] = delivered.server.handshakes;
    assert.deepEqual(more, []);
    assert.equal(handshake?.servername, 'mx.example');
    assert.equal(handshake.certificate?.toString(), own?.cert);
  }
});

test('auth-needs-tls: a password is sent over TLS only', async () => {
  const auth = { user: 'gw', password: new Secret('geheim') };
  const login = Buffer.from('\0gw\0geheim').toString('base64');
  const offers = { extensions: ['STARTTLS', 'AUTH PLAIN'] };
  const secure = await deliver(
    await tlsScript({ ...offers, answers: { AUTH: '235 2.7.0 ok' } }),
    shipment(MESSAGE, ['b@remote.example']),
    { auth },
  );
  assert.deepEqual(brief(secure.results), ['b delivered 250 2.0.0']);
  assert.ok(secure.lines.includes(`AUTH PLAIN ${login}`));
  const wrong = await deliver(
    await tlsScript({ ...offers, answers: { AUTH: '535 5.7.8 no' } }),
    shipment(MESSAGE, ['b@remote.example']),
    { auth },
  );
  assert.deepEqual(brief(wrong.results), ['b deferred 451 4.7.8']);
  const clear = await deliver({ extensions: ['AUTH PLAIN'] }, shipment(MESSAGE, ['b@remote.example']), {
    auth,
  });
  assert.deepEqual(brief(clear.results), ['b deferred 451 4.7.5']);
  assert.ok(!clear.lines.some((line) => line.includes('AUTH') || line.startsWith('MAIL')));
});
