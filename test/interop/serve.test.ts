// `postern serve` as an operator runs it, and the command line beside it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { initStores } from '../../src/gateway.ts';
import { writeLabGateway } from '../../src/lab/lab-gateway.ts';
import { openLab } from '../../src/lab/world.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-serve-'));
const lab = await openLab();
const [user, bob] = await Promise.all([
  lab.makePerson('user@contoso.example'),
  lab.makePerson('bob@remote.example'),
]);
const config = await writeLabGateway(lab, folder, { own: [user], partners: [bob] });
await initStores(config);
after(async () => {
  await lab[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function postern(args: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<Finished> {
  const child = spawn(process.execPath, ['src/main.ts', ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const [out, err]: [Buffer[], Buffer[]] = [[], []];
  child.stdout.on('data', (part: Buffer) => out.push(part));
  child.stderr.on('data', (part: Buffer) => err.push(part));
  const [code] = (await once(child, 'close')) as [number];
  return { code, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() };
}

/** Starts a gateway and resolves once it says that it listens. */
async function serve() {
  const child = spawn(process.execPath, ['src/main.ts', 'serve', '--config', config.file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  assert.match(
    line.toString(),
    /^Postern listens on 127\.0\.0\.1:\d+ for contoso, fabrikam\. Stop it with Ctrl-C\.\n$/,
  );
  return child;
}

const on = ['--config', config.file];

test('a running gateway: commands work through it, a second one is refused, SIGTERM ends it with 0', async () => {
  const gateway = await serve();
  const keys = JSON.parse((await postern(['keys', 'list', '--json', ...on])).stdout) as {
    id: string;
    state: string;
  }[];
  assert.equal(keys.length, 4);
  assert.ok(keys.every(({ state }) => state === 'active'));
  const [first] = keys;
  assert.ok(first);
  const shown = await postern(['keys', 'show', first.id.slice(0, 20), ...on]);
  assert.match(shown.stdout, /BEGIN (CERTIFICATE|PGP PUBLIC KEY BLOCK)/);
  assert.doesNotMatch(shown.stdout, /PRIVATE KEY/);
  assert.equal((await postern(['queue', 'list', ...on])).stdout, 'The queue is empty.\n');
  assert.equal(statSync(config.controlSocket).mode & 0o777, 0o600);

  const second = await postern(['serve', ...on]);
  assert.equal(second.code, 4);
  assert.match(second.stderr, /is in use by process \d+: stop it first/);

  gateway.kill('SIGTERM');
  assert.deepEqual(await once(gateway, 'exit'), [0, null]);
});

test('a gateway whose output nobody reads any more serves on', async () => {
  const gateway = await serve();
  gateway.stdout.destroy();
  assert.match((await postern(['queue', 'list', ...on])).stdout, /^The queue is empty/);
  assert.equal(gateway.exitCode, null);
  gateway.kill('SIGTERM');
  assert.deepEqual(await once(gateway, 'exit'), [0, null]);
});

test('keys remove and apply without a gateway: what the policy declares comes back', async () => {
  const [first] = JSON.parse((await postern(['keys', 'list', '--json', ...on])).stdout) as { id: string }[];
  assert.ok(first);
  assert.equal((await postern(['keys', 'remove', first.id, ...on])).code, 0);
  const again = await postern(['keys', 'remove', first.id, ...on]);
  assert.equal(again.code, 4);
  assert.match(again.stderr, /^postern keys remove: no key /);
  const applied = await postern(['keys', 'apply', ...on]);
  assert.match(applied.stdout, /contoso: 1 added, 0 updated, 3 unchanged, 0 retired, 0 removed/);
  assert.equal(applied.stderr, '');
});

test('a port in use, a wrong KEK, a typo in a policy, a missing key file: one clear line each, exit code 4', async () => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo;
  const original = readFileSync(config.file, 'utf8');
  const policy = join(config.policyFolder, 'contoso.yaml');
  const good = readFileSync(policy, 'utf8');
  const kek = config.kek.slice('file:'.length);
  const goodKek = readFileSync(kek);
  const cases = [
    {
      change: () => writeFileSync(config.file, original.replace('port: 0', `port: ${port}`)),
      expected: /cannot listen on 127\.0\.0\.1:\d+: another process uses this port/,
    },
    {
      change: () => writeFileSync(kek, Buffer.alloc(32, 1)),
      expected: /the KEK is not the one that the key database in /,
    },
    {
      change: () => writeFileSync(policy, good.replace('outbound:', 'outbuond:')),
      expected: /contoso\.yaml:\d+:1: unknown key "outbuond"; did you mean "outbound"\?/,
    },
    {
      change: () => writeFileSync(policy, good.replace(/key: \S+tenant-contoso\.key/, 'key: gone.key')),
      expected: /contoso\.yaml:\d+:\d+: leg key: gone\.key cannot be read: there is no such file/,
    },
    {
      change: () =>
        writeFileSync(
          policy,
          good.replace(/certificate: \S+bob@remote\.example\.crt/, 'certificate: gone.crt'),
        ),
      expected: /contoso\.yaml:\d+:\d+: bob@remote\.example: gone\.crt cannot be read: there is no such file/,
    },
  ];
  for (const { change, expected } of cases) {
    change();
    const { code, stdout, stderr } = await postern(['serve', ...on]);
    writeFileSync(config.file, original);
    writeFileSync(policy, good);
    writeFileSync(kek, goodKek);
    assert.equal(code, 4, stderr);
    assert.equal(stdout, '');
    assert.match(stderr, expected);
    assert.doesNotMatch(stderr, /\n\s+at /);
  }
  taken.close();
});

test('wrong use is exit code 2 with a pointer to the help; every command has one', async () => {
  for (const [args, expected] of [
    [['nonsense'], /postern: no command nonsense/],
    [['serve', '--colour'], /Unknown option '--colour'/],
    [['keys', 'show'], /missing argument: <key>\nSee: postern keys show --help/],
  ] as const) {
    const { code, stderr } = await postern(args);
    assert.equal(code, 2);
    assert.match(stderr, expected);
  }
  const { code, stdout } = await postern(['queue', 'retry', '--help']);
  assert.equal(code, 0);
  assert.match(stdout, /^postern queue retry <id>\n[^]*--json/);
});
