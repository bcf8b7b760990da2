// The transcripts of this folder: what a client says and what the listener must answer, over real sockets.
//
//   # comment
//   @ maxMessageBytes=1000      a limit of the listener
//   C: text                     the client sends text and CRLF
//   R: bytes                    the client sends these bytes: \r \n \0 \t \\ \xHH are escapes
//   S: 250 2.1.0                the next reply begins with this
//   T: exchange                 TLS handshake with this client certificate; `-`: without one
//   X:                          the listener closes the connection
//   F:                          the client closes the connection
//   M: bytes                    a message was taken, with exactly this content
//   N: 1                        so many messages were taken in all, and no reply is left over
import assert from 'node:assert/strict';
import type { Limits } from '../../src/core/limits.ts';
import {
  clientIdentity,
  openClient,
  openTestListener,
  type ScriptedClient,
  type TestListener,
} from '../support/smtp.ts';

interface Step {
  readonly kind: string;
  readonly text: string;
  readonly line: number;
}

export function parseScript(text: string): readonly Step[] {
  return text.split('\n').flatMap((line, index) => {
    if (line.trim() === '' || line.startsWith('#')) return [];
    const found = /^([CRSTXFMN@])(?::|(?= ))\s?(.*)$/.exec(line);
    assert.ok(found, `line ${index + 1} is no step: ${line}`);
    return [{ kind: found[1] ?? '', text: found[2] ?? '', line: index + 1 }];
  });
}

export function unescape(text: string): Buffer {
  const plain = text.replace(
    /\\(?:x([0-9a-fA-F]{2})|(.))/g,
    (_all, hex: string | undefined, letter: string) => {
      if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
      return { r: '\r', n: '\n', t: '\t', '0': '\0' }[letter] ?? letter;
    },
  );
  return Buffer.from(plain, 'latin1');
}

export async function runScript(text: string): Promise<void> {
  const steps = parseScript(text);
  const limits = Object.fromEntries(
    steps
      .filter(({ kind }) => kind === '@')
      .map(({ text: setting }) => {
        const [name, value] = setting.split('=');
        return [name, Number(value)];
      }),
  ) as Partial<Limits>;
  await using test = await openTestListener({ limits });
  using client = await openClient(test.listener.port);
  let taken = 0;
  for (const step of steps) {
    if (step.kind === 'M') {
      const message = test.messages[taken];
      assert.ok(message, `line ${step.line}: no message was taken`);
      assert.deepEqual(
        message.body.toString('latin1'),
        unescape(step.text).toString('latin1'),
        `line ${step.line}`,
      );
      taken += 1;
    } else {
      await runStep(step, client, test);
    }
  }
}

async function runStep(
  { kind, text, line }: Step,
  client: ScriptedClient,
  test: TestListener,
): Promise<void> {
  switch (kind) {
    case 'C':
      return client.send(`${text}\r\n`);
    case 'R':
      return client.send(unescape(text));
    case 'F':
      return client.end();
    case 'T':
      return client.startTls(text === '-' ? undefined : await clientIdentity(text));
    case 'S': {
      const reply = await client.reply();
      return assert.ok(
        reply?.replace('-', ' ').startsWith(text),
        `line ${line}: expected ${text}, got ${reply}`,
      );
    }
    case 'X':
      return assert.equal(await client.reply(), undefined, `line ${line}: the connection is open`);
    case 'N': {
      client.send('NOOP\r\n');
      const reply = await client.reply();
      if (reply !== undefined) assert.match(reply, /^250 2\.0\.0 OK/, `line ${line}: a reply was left over`);
      return assert.equal(test.messages.length, Number(text), `line ${line}: messages`);
    }
    default:
      return undefined;
  }
}
