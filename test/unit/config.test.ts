import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { readConfig } from '../../src/config.ts';
import { defaultLimits } from '../../src/core/limits.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-config-'));
after(() => rmSync(folder, { recursive: true }));

const MINIMAL = `hostname: GW.contoso.example
listener: { certificate: tls.crt, key: tls.key }
`;

function write(text: string): string {
  const file = join(folder, 'postern.yaml');
  writeFileSync(file, text);
  return file;
}

test('defaults stand beside each field; paths are relative to the file', async () => {
  const config = await readConfig(write(MINIMAL));
  assert.equal(config.hostname, 'gw.contoso.example');
  assert.deepEqual(config.limits, defaultLimits);
  assert.equal(config.listener.certificate, join(folder, 'tls.crt'));
  assert.equal(config.kek, `file:${join(folder, 'data/kek')}`);
  assert.equal(config.controlSocket, join(folder, 'data/control.sock'));
  assert.equal(config.exchange.isPurposeChecked, true);
});

test('the example at the top of the repository is valid', async () => {
  const config = await readConfig('postern.yaml');
  assert.equal(config.listener.port, 2525);
});

test('all errors at once, each with its place and what is allowed', async () => {
  const file = write(`hostname: localhost
listener: { certificate: tls.crt, key: tls.key, port: 99999 }
exchagne: {}
log_level: loud
limits: { max_recipients: none }
kek: secret123
`);
  const error = (await readConfig(file).catch((reason: unknown) => reason)) as Error;
  const lines = error.message.split('\n').map((line) => line.replace(`${file}:`, ''));
  assert.deepEqual(
    ['1:11', '2:55', '3:1', '4:12', '5:27', '6:6'].map((place) =>
      lines.some((line) => line.startsWith(`${place}: `)),
    ),
    [true, true, true, true, true, true],
    error.message,
  );
  assert.match(error.message, /exchange/);
  assert.match(error.message, /debug/);
  assert.doesNotMatch(error.message, /secret123/);
});

test('a file that is not there, or no YAML, is one clear line', async () => {
  await assert.rejects(
    readConfig(join(folder, 'none.yaml')),
    /none\.yaml: no such file; name one with --config/,
  );
  await assert.rejects(readConfig(write('hostname: [')), /postern\.yaml:\d+:\d+: /);
});

test('docs/configuration.md names every key', () => {
  const page = readFileSync('docs/configuration.md', 'utf8');
  for (const key of [
    'hostname',
    'listener.port',
    'exchange.ca',
    'internet.resolvers',
    'limits.max_message_bytes',
  ])
    assert.ok(page.includes(`\`${key}\``), key);
});
