// `postern lab` as a user runs it: a child process, mail handed in over SMTP, what it says that arrived.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, rmSync, mkdtempSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { readConfig } from '../../src/config.ts';
import { sampleMessage } from '../../src/lab/messages.ts';
import type { Arrived } from '../../src/lab/rehearsal.ts';
import { submit } from '../../src/lab/submission.ts';

interface Facts {
  readonly gateway: string;
  readonly isGatewayStarted: boolean;
  readonly folder: string;
  readonly tenantOutbox: string;
  readonly internetOutbox: string;
}

const temporary = mkdtempSync(join(tmpdir(), 'postern-lab-test-'));
after(() => rmSync(temporary, { recursive: true, force: true }));

/** Runs the lab with --json; `next` gives its lines. It is killed at the end, should a test have failed. */
function startLab(...args: readonly string[]) {
  const child: ChildProcess = spawn(process.execPath, ['src/main.ts', 'lab', '--json', ...args], {
    env: { ...process.env, TMPDIR: temporary },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  assert.ok(child.stdout);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    next: async <T>(): Promise<T> => JSON.parse(String((await lines.next()).value)) as T,
    stop: async (): Promise<number | null> => {
      child.kill('SIGINT');
      const [code] = (await once(child, 'exit')) as [number | null];
      return code;
    },
    [Symbol.dispose]: () => child.kill('SIGKILL'),
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function handIn(outbox: string, from: string, to: string, author = from): Promise<string> {
  const [host = '', port] = outbox.split(':');
  const { recipients } = await submit(
    { host, port: Number(port) },
    { hello: 'client.example' },
    { sender: from, recipients: [to], message: sampleMessage('plain', { from: author, to: [to] }) },
  );
  return `${recipients[0]?.code} ${recipients[0]?.text}`;
}

test('mail handed in for the tenant and from the Internet goes through the gateway; what arrives is told', async () => {
  using lab = startLab();
  const { folder, tenantOutbox, internetOutbox, isGatewayStarted } = await lab.next<Facts>();
  assert.ok(isGatewayStarted);

  assert.match(
    await handIn(tenantOutbox, 'user@contoso.example', 'bob@remote.example'),
    /^250 2\.0\.0 Queued/,
  );
  const out = (await lab.next<{ arrived: Arrived }>()).arrived;
  const { file, tls, ...rest } = out;
  assert.equal(tls, 'TLSv1.3');
  assert.deepEqual(rest, {
    at: 'internet',
    sender: 'user@contoso.example',
    recipients: ['bob@remote.example'],
    certificateNames: [],
    attribution: null,
  });
  assert.match(
    readFileSync(file, 'latin1'),
    /^Content-Type: application\/pkcs7-mime; smime-type=enveloped-data/m,
  );
  assert.equal(dirname(file), join(folder, 'arrived'));

  assert.match(
    await handIn(internetOutbox, 'bob@remote.example', 'user@contoso.example'),
    /^250 2\.0\.0 Queued/,
  );
  const into = (await lab.next<{ arrived: Arrived }>()).arrived;
  assert.equal(into.at, 'contoso');
  assert.deepEqual(into.attribution, { direction: 'incoming', isInternal: false });
  assert.match(into.certificateNames.join(), /\.t\.gw\.example$/);

  const spoofed = await handIn(tenantOutbox, 'x@evil.example', 'bob@remote.example', 'boss@contoso.example');
  assert.match(spoofed, /^550 5\.7\.1 Relaying denied/);
  assert.match(await handIn(tenantOutbox, 'x@nobody.example', 'bob@remote.example'), /^550 5\.7\.60 /);
  assert.match(readFileSync(join(folder, 'gateway.log'), 'utf8'), /"event":"message-decided"/);

  assert.equal(await lab.stop(), 0);
  assert.deepEqual(readdirSync(temporary), []);
});

test('without a gateway: the files of one, the port to use, and 450 while nobody listens there', async () => {
  const port = await freePort();
  using lab = startLab('--no-gateway', '--port', String(port));
  const { folder, gateway, isGatewayStarted, tenantOutbox } = await lab.next<Facts>();
  assert.equal(isGatewayStarted, false);
  assert.equal(gateway, `127.0.0.1:${port}`);
  const config = await readConfig(join(folder, 'postern.yaml'));
  assert.equal(config.listener.port, port);
  assert.equal(config.logLevel, 'info');
  assert.ok(existsSync(config.listener.certificate));
  assert.match(await handIn(tenantOutbox, 'user@contoso.example', 'bob@remote.example'), /^450 4\.4\.316 /);
  assert.equal(await lab.stop(), 0);
  assert.deepEqual(readdirSync(temporary), []);
});

test('a wrong port is a wrong use', () => {
  for (const port of ['x', '0', '65536', '-1', '1e3']) {
    const { status, stderr } = spawnSync(process.execPath, ['src/main.ts', 'lab', `--port=${port}`], {
      encoding: 'utf8',
    });
    assert.equal(status, 2, port);
    assert.match(stderr, /write a number from 1 to 65535/);
  }
});
