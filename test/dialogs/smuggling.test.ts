// smuggle-in, smuggle-split: endings that other servers have taken for the end of DATA. Here each is content, wherever the
// packets are cut, and what follows it never runs as a command.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { greet, openTestListener, type ScriptedClient } from '../support/smtp.ts';

const endings: readonly [name: string, sent: string, content: string][] = [
  ['LF . LF', '\n.\n', '\n.\n'],
  ['LF . CRLF', '\n.\r\n', '\n.\r\n'],
  ['CRLF . LF', '\r\n.\n', '\r\n\n'],
  ['CR . CR', '\r.\r', '\r.\r'],
  ['CR . CRLF', '\r.\r\n', '\r.\r\n'],
  ['CRLF . CR', '\r\n.\r', '\r\n\r'],
  ['CRLF NUL . CRLF', '\r\n\0.\r\n', '\r\n\0.\r\n'],
  ['CRLF . NUL CRLF', '\r\n.\0\r\n', '\r\n\0\r\n'],
  ['CRLF . CR CRLF', '\r\n.\r\r\n', '\r\n\r\r\n'],
  ['LF CR . CRLF', '\n\r.\r\n', '\n\r.\r\n'],
];
const smuggled = 'MAIL FROM:<evil@evil.example>\r\nRCPT TO:<b@remote.example>\r\nDATA\r\nSubject: y\r\n\r\n';

for (const [name, sent, content] of endings) {
  test(`smuggling with ${name}, in one packet and cut at every byte`, async () => {
    await using server = await openTestListener();
    using client = await greet(server.listener.port);
    const wire = Buffer.from(`x${sent}${smuggled}.\r\n`, 'latin1');
    for (let cut = 0; cut <= sent.length + 2; cut += 1) {
      await openTransaction(client);
      client.send(wire.subarray(0, cut));
      await new Promise(setImmediate);
      await new Promise(setImmediate);
      client.send(wire.subarray(cut));
      assert.match((await client.reply()) ?? '', /^250 /);
    }
    const [noop] = await client.say('NOOP');
    assert.equal(noop, '250 2.0.0 OK', 'no reply was left over');
    assert.equal(server.messages.length, sent.length + 3);
    for (const { body } of server.messages) assert.equal(body.toString('latin1'), `x${content}${smuggled}`);
  });
}

test('a first line of one dot in a segment of its own does not end DATA', async () => {
  await using server = await openTestListener();
  using client = await greet(server.listener.port);
  for (const wire of ['..\r\nmore\r\n.\r\n', '..\r\n.\r\n']) {
    for (let cut = 1; cut < wire.length; cut += 1) {
      await openTransaction(client);
      client.send(wire.slice(0, cut));
      await new Promise(setImmediate);
      client.send(wire.slice(cut));
      assert.match((await client.reply()) ?? '', /^250 /);
    }
  }
  const bodies = new Set(server.messages.map(({ body }) => String(body)));
  assert.deepEqual([...bodies], ['.\r\nmore\r\n', '.\r\n']);
});

async function openTransaction(client: ScriptedClient): Promise<void> {
  const [mail, rcpt, data] = await client.say(
    'MAIL FROM:<a@contoso.example>',
    'RCPT TO:<b@remote.example>',
    'DATA',
  );
  assert.match(`${mail} ${rcpt} ${data}`, /^250 .* 250 .* 354 /);
}
