import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import { test } from 'node:test';
import { openLog } from '../../../src/core/log.ts';
import { Secret } from '../../../src/core/secret.ts';

function logged(use: (log: ReturnType<typeof openLog>) => void): Record<string, unknown> {
  const lines: string[] = [];
  use(openLog('info', { write: (line: string) => void lines.push(line) }));
  assert.equal(lines.length, 1);
  assert.equal(lines[0]?.match(/\n/g)?.length, 1);
  return JSON.parse(lines[0] ?? '') as Record<string, unknown>;
}

test('log-inject: control, line and direction characters never reach the log', () => {
  const record = logged((log) =>
    log.with({ helo: 'a\r\nb' }).info('event', { text: 'x\u2028y\u202ez\u001b[31m', list: ['\n'] }),
  );
  assert.equal(record['helo'], 'a\uFFFD\uFFFDb');
  assert.equal(record['text'], 'x\uFFFDy\uFFFDz\uFFFD[31m');
  assert.deepEqual(record['list'], ['\uFFFD']);
});

test('long values are cut', () => {
  const record = logged((log) => log.info('event', { text: 'a'.repeat(10_000) }));
  assert.equal(String(record['text']).length, 1024);
});

test('canary: a secret is shown by no printing path', () => {
  const secret = new Secret('canary-value');
  const shown = [
    String(secret),
    secret.toString(),
    JSON.stringify({ secret }),
    inspect({ secret }, { depth: 9, showHidden: true }),
    JSON.stringify(logged((log) => log.info('event', { secret: secret as never }))),
  ];
  for (const text of shown) assert.doesNotMatch(text, /canary-value/);
  assert.equal(secret.reveal().toString(), 'canary-value');
});
