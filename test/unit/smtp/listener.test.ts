// The listener as a whole, over real sockets: limits, failures, deadlines, the end. Transcripts are in test/dialogs.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectTls } from 'node:tls';
import { test } from 'node:test';
import { GatewayError } from '../../../src/core/errors.ts';
import type { Envelope } from '../../../src/core/envelope.ts';
import { defaultLimits } from '../../../src/core/limits.ts';
import { silentLog } from '../../../src/core/log.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { openListener } from '../../../src/smtp/listener.ts';
import type { TransactionHandler, TransactionStart } from '../../../src/smtp/session.ts';
import {
  clientIdentity,
  greet,
  identity,
  ok,
  openClient,
  openTestListener,
  readAll,
  type ScriptedClient,
  testClock,
} from '../../support/smtp.ts';

const TRANSACTION = ['MAIL FROM:<a@contoso.example>', 'RCPT TO:<b@remote.example>', 'DATA'];
const CONTENT = 'Subject: x\r\n\r\ntext\r\n.\r\n';

async function startData(client: ScriptedClient): Promise<void> {
  const replies = await client.say(...TRANSACTION);
  assert.match(replies.join(' '), /^250 .* 250 .* 354 /);
}

async function turns(count = 20): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await new Promise(setImmediate);
}

function rejected(code: string) {
  return (error: unknown) => error instanceof GatewayError && error.code === code;
}

test('start-without-key: key, certificate, CA and port must be usable', async () => {
  const server = await identity('gw.example');
  const other = await identity('other.example');
  const handler: TransactionHandler = {
    recipient: async () => ok,
    offersLogin: () => false,
    isLogin: () => false,
    message: async () => ok,
  };
  const base = {
    host: '127.0.0.1',
    port: 0,
    hostname: 'gw.example',
    limits: defaultLimits,
    clock: systemClock,
    log: silentLog,
    handler,
  };
  const good = { ...server, ca: [], isPurposeChecked: true };
  for (const tls of [
    { ...good, key: '' },
    { ...good, cert: '' },
    { ...good, key: other.key },
    { ...good, ca: ['-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----'] },
  ]) {
    await assert.rejects(openListener({ ...base, tls }), rejected('config-invalid'));
  }
  await using first = await openListener({ ...base, tls: good });
  await assert.rejects(openListener({ ...base, port: first.port, tls: good }), rejected('config-invalid'));
});

test('conn-cap: too-many-connections, in all and from one address', async () => {
  for (const limits of [{ maxConnections: 2 }, { maxConnectionsPerAddress: 2 }]) {
    await using server = await openTestListener({ limits });
    using others = new DisposableStack();
    others.use(await greet(server.listener.port));
    using second = await greet(server.listener.port);
    using third = await openClient(server.listener.port);
    assert.match((await third.reply()) ?? '', /^421 4\.7\.0 /);
    assert.equal(await third.reply(), undefined);
    assert.equal(server.listener.connections(), 2);
    await second.say('QUIT');
    others.use(await greet(server.listener.port));
  }
});

test('async-throw: what a handler throws becomes a reply, and the session goes on', async () => {
  const thrown = [
    new Error('secret detail'),
    new GatewayError('header-malformed', 'secret detail'),
    new GatewayError('store-failed', 'x'),
  ];
  const expected = [
    /^451 4\.3\.0 Temporary local problem, please try again$/,
    /^550 5\.6\.0 /,
    /^451 4\.3\.0 /,
  ];
  const queue = [...thrown];
  const next = async () => {
    throw queue.shift() ?? new Error('no more');
  };
  for (const part of ['recipient', 'message'] as const) {
    queue.splice(0, Infinity, ...thrown);
    await using server = await openTestListener({ handler: { [part]: next } });
    using client = await greet(server.listener.port);
    for (const reply of expected) {
      if (part === 'message') {
        await startData(client);
        client.send(CONTENT);
        assert.match((await client.reply()) ?? '', reply);
      } else {
        const [, answer] = await client.say('MAIL FROM:<>', 'RCPT TO:<b@remote.example>');
        assert.match(answer ?? '', reply);
        await client.say('RSET');
      }
    }
  }
});

/** A handler that throws at the first bytes. */
const throwing: TransactionHandler['message'] = async (_peer, _envelope, body) => {
  for await (const chunk of body) if (chunk.length > 0) throw new GatewayError('header-malformed', 'x');
  return ok;
};

test('a throw in the middle of the content is answered at its end', async () => {
  await using server = await openTestListener({ handler: { message: throwing } });
  using client = await greet(server.listener.port);
  await startData(client);
  client.send('Subject: x\r\n\r\n');
  const reply = client.reply();
  await turns();
  for (let part = 0; part < 100; part += 1) client.send(`${'x'.repeat(70)}\r\n`.repeat(1_000));
  client.send('.\r\nNOOP\r\n');
  assert.match((await reply) ?? '', /^550 5\.6\.0 /);
  assert.equal(await client.reply(), '250 2.0.0 OK');
});

test('a handler that answers without reading is answered for at the end', async () => {
  await using server = await openTestListener({
    handler: { message: async () => ({ code: 550, enhanced: '5.7.1', text: 'no' }) },
  });
  using client = await greet(server.listener.port);
  for (const content of [CONTENT, `${'x'.repeat(70)}\r\n`.repeat(20_000) + '.\r\n', '.\r\n']) {
    await startData(client);
    await turns();
    client.send(content);
    assert.equal(await client.reply(), '550 5.7.1 no');
  }
});

test('rcpt: the handler decides, and only its yes counts', async () => {
  const starts: TransactionStart[] = [];
  const recipient: TransactionHandler['recipient'] = async (start, { localPart }) => {
    starts.push(start);
    return localPart === 'no' ? { code: 550, enhanced: '5.7.1', text: 'Relaying denied' } : ok;
  };
  await using server = await openTestListener({ handler: { recipient } });
  using client = await greet(server.listener.port);
  const replies = await client.say(
    'MAIL FROM:<a@contoso.example>',
    'RCPT TO:<no@remote.example>',
    'DATA',
    'RCPT TO:<b@remote.example>',
    'RCPT TO:<c@remote.example>',
    'DATA',
  );
  assert.deepEqual(
    replies.map((reply) => reply?.slice(0, 9)),
    ['250 2.1.0', '550 5.7.1', '503 5.5.1', '250 2.6.0', '250 2.6.0', '354 End d'],
  );
  client.send(CONTENT);
  await client.reply();
  assert.deepEqual(
    server.messages[0]?.envelope.recipients.map(({ address }) => address.text),
    ['b@remote.example', 'c@remote.example'],
  );
  assert.deepEqual(
    starts.map(({ accepted, sender }) => [sender?.text, accepted.length]),
    [
      ['a@contoso.example', 0],
      ['a@contoso.example', 0],
      ['a@contoso.example', 1],
    ],
  );
});

test('the envelope holds every parameter as it was said', async () => {
  await using server = await openTestListener();
  using client = await greet(server.listener.port);
  await client.say(
    'MAIL FROM:<a@contoso.example> SIZE=10 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+2B1',
    'RCPT TO:<b@remote.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;B+2Bx@remote.example',
    'DATA',
  );
  client.send(CONTENT);
  await client.reply();
  await startData(client);
  client.send(CONTENT);
  await client.reply();
  const [first, second] = server.messages.map(({ envelope }) => envelope) as [Envelope, Envelope];
  const { id, sender, recipients, ...rest } = first;
  assert.deepEqual(rest, { smtpUtf8: true, body: '8BITMIME', ret: 'HDRS', envid: 'QQ+2B1' });
  assert.match(id, /^[0-9a-f]{24}$/);
  assert.equal(sender?.text, 'a@contoso.example');
  assert.deepEqual(recipients[0].notify, ['SUCCESS', 'FAILURE']);
  assert.equal(recipients[0].orcpt, 'rfc822;B+2Bx@remote.example');
  assert.notEqual(second.id, id);
  assert.deepEqual(
    [second.ret, second.envid, second.smtpUtf8, second.body],
    [undefined, undefined, false, '7BIT'],
  );
});

test('truncate: a lost connection is an error in the body, and aborts the signal', async () => {
  for (const ending of [
    'Subject: x\r\n\r\nhalf',
    'Subject: x\r\n\r\nhalf\r\n',
    'Subject: x\r\n\r\nhalf\r\n.',
    'x\r\n.\r',
  ]) {
    const outcome = Promise.withResolvers<string>();
    const message: TransactionHandler['message'] = async (_peer, _envelope, body, signal) => {
      await readAll(body).then(
        () => outcome.resolve('ended'),
        () => outcome.resolve(`failed, aborted: ${signal.aborted}`),
      );
      return ok;
    };
    await using server = await openTestListener({ handler: { message } });
    using client = await greet(server.listener.port);
    await startData(client);
    client.send(ending);
    await turns();
    client.socket().destroy();
    assert.equal(await outcome.promise, 'failed, aborted: true');
  }
});

test('a client that leaves before the reply aborts the signal', async () => {
  const aborted = Promise.withResolvers<void>();
  const read = Promise.withResolvers<void>();
  const message: TransactionHandler['message'] = async (_peer, _envelope, body, signal) => {
    await readAll(body);
    read.resolve();
    await once(signal, 'abort');
    aborted.resolve();
    return ok;
  };
  await using server = await openTestListener({ handler: { message } });
  using client = await greet(server.listener.port);
  await startData(client);
  client.send(CONTENT);
  await read.promise;
  client.socket().destroy();
  await aborted.promise;
});

test('backpressure: content waits in the network while the handler does not read', async () => {
  const go = Promise.withResolvers<void>();
  const size = 48 * 1024 * 1024;
  let received = 0;
  const message: TransactionHandler['message'] = async (_peer, _envelope, body) => {
    await go.promise;
    for await (const chunk of body) received += chunk.length;
    return ok;
  };
  await using server = await openTestListener({ handler: { message } });
  using client = await greet(server.listener.port);
  await startData(client);
  const line = Buffer.from(`${'x'.repeat(62)}\r\n`.repeat(16_384));
  for (let sent = 0; sent < size; sent += line.length) client.send(line);
  client.send('.\r\n');
  await turns(2_000);
  assert.ok(
    client.socket().writableLength > size / 2,
    `${client.socket().writableLength} bytes are still with the client`,
  );
  go.resolve();
  assert.match((await client.reply()) ?? '', /^250 /);
  assert.equal(received, size);
});

test('slowloris: a command that trickles in ends with 421', async () => {
  const clock = testClock();
  await using server = await openTestListener({ clock });
  using client = await greet(server.listener.port);
  for (let second = 0; second < 60; second += 1) {
    client.send('N');
    await turns(3);
    await clock.advance(1_000);
  }
  assert.match((await client.reply()) ?? '', /^421 4\.4\.2 /);
  assert.equal(await client.reply(), undefined);
});

test('slowloris: content that trickles in is cut, and never taken', async () => {
  const clock = testClock();
  await using server = await openTestListener({ clock });
  using client = await greet(server.listener.port);
  await startData(client);
  for (let second = 0; second < 31; second += 1) {
    client.send('x');
    await turns(3);
    await clock.advance(1_000);
  }
  assert.match((await client.reply()) ?? '', /^421 4\.4\.2 /);
  assert.equal(await client.reply(), undefined);
  await turns();
  assert.deepEqual(server.messages, []);
  assert.deepEqual(server.failures, ['timed-out']);
});

test('a handler may take its time', async () => {
  const clock = testClock();
  const go = Promise.withResolvers<void>();
  const started = Promise.withResolvers<void>();
  const message: TransactionHandler['message'] = async (_peer, _envelope, body) => {
    await readAll(body);
    started.resolve();
    await go.promise;
    return ok;
  };
  await using server = await openTestListener({ clock, handler: { message } });
  using client = await greet(server.listener.port);
  await startData(client);
  client.send(CONTENT);
  await started.promise;
  await clock.advance(500_000);
  go.resolve();
  assert.match((await client.reply()) ?? '', /^250 /);
});

test('handler-hangs: its time is up before the client gives up, and the session goes on', async () => {
  const large = `${'x'.repeat(70)}\r\n`.repeat(50_000);
  const waits: readonly [name: string, content: string, isRead: boolean][] = [
    ['after the content', 'Subject: x\r\n\r\ntext\r\n', true],
    ['in the middle of the content', large, false],
  ];
  for (const [name, content, isRead] of waits) {
    const clock = testClock();
    const started = Promise.withResolvers<AbortSignal>();
    const message: TransactionHandler['message'] = async (_peer, _envelope, body, signal) => {
      if (isRead) await readAll(body);
      started.resolve(signal);
      return new Promise<never>(() => undefined);
    };
    await using server = await openTestListener({ clock, handler: { message } });
    using client = await greet(server.listener.port);
    await startData(client);
    client.send(content);
    client.send('.\r\nNOOP\r\n');
    const signal = await started.promise;
    for (let minute = 0; minute < 60 && !signal.aborted; minute += 1) {
      await turns();
      await clock.advance(60_000);
    }
    assert.match((await client.reply()) ?? '', /^451 4\.3\.0 /, name);
    assert.equal(await client.reply(), '250 2.0.0 OK', name);
  }
});

test('handler-hangs: a recipient that gets no answer is answered for', async () => {
  const clock = testClock();
  const asked = Promise.withResolvers<void>();
  const recipient: TransactionHandler['recipient'] = async () => {
    asked.resolve();
    return new Promise<never>(() => undefined);
  };
  await using server = await openTestListener({ clock, handler: { recipient } });
  using client = await greet(server.listener.port);
  const replies = client.say('MAIL FROM:<>', 'RCPT TO:<b@remote.example>', 'DATA', 'NOOP');
  await asked.promise;
  await clock.advance(539_000);
  await clock.advance(1_000);
  assert.deepEqual(
    (await replies).map((reply) => reply?.slice(0, 9)),
    ['250 2.1.0', '451 4.3.0', '503 5.5.1', '250 2.0.0'],
  );
});

test('close: idle sessions end with 421, a message under way is finished first', async () => {
  const clock = testClock();
  await using server = await openTestListener({ clock });
  using idle = await greet(server.listener.port);
  using busy = await greet(server.listener.port);
  await startData(busy);
  const closed = server.listener.close(10_000);
  assert.match((await idle.reply()) ?? '', /^421 4\.3\.2 /);
  assert.equal(await idle.reply(), undefined);
  busy.send(CONTENT);
  assert.match((await busy.reply()) ?? '', /^250 /);
  assert.match((await busy.reply()) ?? '', /^421 4\.3\.2 /);
  idle.end();
  busy.end();
  await closed;
  assert.equal(server.messages.length, 1);
  using late = (await openClient(server.listener.port).then(
    (client) => client,
    () => undefined,
  )) ?? { [Symbol.dispose]: () => undefined };
  assert.ok(!('say' in late));
});

test('close: after the grace period a message under way is given up', async () => {
  const clock = testClock();
  await using server = await openTestListener({ clock });
  using busy = await greet(server.listener.port);
  await startData(busy);
  busy.send('Subject: x\r\n');
  await turns();
  const closed = server.listener.close(10_000);
  await turns();
  await clock.advance(10_000);
  assert.match((await busy.reply()) ?? '', /^421 4\.3\.2 /);
  busy.end();
  await closed;
  assert.deepEqual(server.messages, []);
});

test('TLS below 1.2 and renegotiation are refused', async () => {
  await using server = await openTestListener();
  using old = await greet(server.listener.port);
  await old.say('STARTTLS');
  const socket = connectTls({
    socket: old.socket(),
    minVersion: 'TLSv1',
    maxVersion: 'TLSv1.1',
    ciphers: 'DEFAULT@SECLEVEL=0',
    rejectUnauthorized: false,
  });
  await assert.rejects(once(socket, 'secureConnect'));
  using client = await greet(server.listener.port);
  await client.say('STARTTLS');
  await client.startTls(await clientIdentity('exchange'), 'TLSv1.2');
  const secure = client.socket() as ReturnType<typeof connectTls>;
  const renegotiated = new Promise((resolve) => {
    secure.on('error', resolve).on('close', () => resolve(new Error('closed')));
    secure.renegotiate({ rejectUnauthorized: false }, resolve);
  });
  assert.ok((await renegotiated) instanceof Error);
});
