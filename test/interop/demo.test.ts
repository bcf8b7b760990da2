// The demo as a user runs it: a child process, its output, its exit code.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
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

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

test('the bundled message: every step goes as it should, checked by openssl and gpg; nothing stays behind', () => {
  const { status, stdout, stderr } = demo();
  assert.equal(status, 0, stdout + stderr);
  assert.match(stdout, /openssl cms -verify: signature good/);
  assert.match(stdout, /gpg: signature good/);
  assert.match(stdout, /550 5\.7\.1 Relaying denied/);
  assert.match(stdout, /attributed it to: contoso, incoming/);
  assert.doesNotMatch(stdout, /\u001b/);
  assert.deepEqual(readdirSync(folder), []);
});

test('a message of the user with line feeds, 8-bit text and foreign addresses', () => {
  const text = 'From: "A" <a@b.example>\nTo: c@d.example\nSubject: mine\n\nGrüße\n.\nFrom here\n';
  const { status, stdout } = demo('--json', file('mine.eml', text));
  assert.equal(status, 0, stdout);
  const { isGood, steps } = JSON.parse(stdout) as { isGood: boolean; steps: readonly DemoStep[] };
  assert.ok(isGood);
  assert.equal(steps.length, 7);
  assert.match(
    steps[1]?.before ?? '',
    /^From: user@contoso\.example\nTo: bob@remote\.example\nSubject: mine$/m,
  );
});

test('what is no message, and what is not there, is one clear line', () => {
  for (const [path, expected] of [
    [file('no.txt', 'just text\n'), /no\.txt is not a mail message: /],
    [file('empty.eml', ''), /empty\.eml is not a mail message: /],
    [join(folder, 'none.eml'), /none\.eml: no such file/],
  ] as const) {
    const { status, stdout, stderr } = demo(path);
    assert.equal(status, 4);
    assert.equal(stdout, '');
    assert.match(stderr, expected);
    assert.equal(stderr.trim().split('\n').length, 1);
  }
});
