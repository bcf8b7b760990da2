// The demo as a user runs it: a child process, its output, its exit code.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { DemoStep } from '../../src/lab/demo.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-demo-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function demo(...args: readonly string[]) {
  const env = { ...process.env, TMPDIR: folder };
  return spawnSync(process.execPath, ['src/main.ts', 'demo', ...args], {
    encoding: 'utf8',
    env,
    timeout: 60_000,
  });
}

function start() {
  return spawn(process.execPath, ['src/main.ts', 'demo'], {
    env: { ...process.env, TMPDIR: folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

test('the bundled message: every step goes as it should, checked by openssl and gpg; nothing stays behind', () => {
  const { status, stdout, stderr } = demo();
  assert.equal(status, 0, stdout + stderr);
  assert.match(stdout, /openssl cms -verify: signature good, by user@contoso\.example/);
  assert.match(stdout, /gpg: signature good, by user@contoso\.example/);
  assert.match(stdout, /550 5\.7\.1 Relaying denied/);
  assert.match(stdout, /attributed it to: contoso, incoming, shown as external/);
  assert.doesNotMatch(stdout, /\u001b/);
  assert.deepEqual(readdirSync(folder), []);
});

test('a message of the user with line feeds, 8-bit text and foreign addresses', () => {
  const text =
    'From a@b.example Mon Jan  5 10:00:00 2026\nFrom: "A" <a@b.example>\nTo: c@d.example\nSubject: mine\n\nGrüße\n.\nFrom here\n';
  const { status, stdout } = demo('--json', file('mine.eml', text));
  assert.equal(status, 0, stdout);
  const { isGood, steps } = JSON.parse(stdout) as { isGood: boolean; steps: readonly DemoStep[] };
  assert.ok(isGood);
  assert.equal(steps.length, 7);
  assert.match(
    steps[1]?.before ?? '',
    /^From: user@contoso\.example\nTo: bob@remote\.example\nSubject: mine$/m,
  );
  const notes = steps[0]?.facts.join('\n') ?? '';
  assert.match(notes, /taken out of yours: From, To$/m);
  assert.match(notes, /^left out: what stood before the first header field/m);
  assert.match(notes, /^line ends: LF became CRLF/m);
  assert.match(notes, /^a reader sees: "Grüße \. From here"$/m);
});

test('Ctrl-C ends it in the middle, and nothing stays behind', async () => {
  const child = start();
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    if (/^2\. /m.test(text)) child.kill('SIGINT');
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const [status] = (await once(child, 'close')) as [number | null];
  assert.equal(status, 4);
  assert.doesNotMatch(stdout, /^7\. |WENT WRONG/m);
  assert.equal(stderr, 'postern demo: stopped before the end\n');
  const left = readdirSync(folder).filter((name) => !name.endsWith('.eml'));
  assert.deepEqual(left, []);
});

test('a reader that goes away, or a terminal that is closed, leaves nothing behind either', async () => {
  for (const [leave, expected] of [
    [(child: ReturnType<typeof start>) => child.stdout.destroy(), 0],
    [(child: ReturnType<typeof start>) => void child.kill('SIGHUP'), 4],
  ] as const) {
    const child = start();
    child.stdout.once('data', () => leave(child));
    const [status] = (await once(child, 'exit')) as [number | null];
    assert.equal(status, expected);
    assert.deepEqual(
      readdirSync(folder).filter((name) => !name.endsWith('.eml')),
      [],
    );
  }
});

test('what cannot be shown, and what is not there, is one clear line', () => {
  for (const [path, expected] of [
    [file('no.txt', 'just text\n'), /no\.txt is not a message for the demo: /],
    [join(folder, 'none.eml'), /none\.eml: no such file/],
    [folder, /: is a folder/],
  ] as const) {
    const { status, stdout, stderr } = demo(path);
    assert.equal(status, 4, stdout);
    assert.equal(stdout, '');
    assert.match(stderr, expected);
    assert.equal(stderr.trim().split('\n').length, 1);
  }
});
