// One end-to-end run: a queue full of messages goes through the gateway (TLS with client certificate, proof, policy, S/MIME
// encryption, durable commit, delivery) and through a plain Postfix relay, both from the same sending Postfix to the same
// smtp-sink. Timed from the moment the sender's queue is let go until the sink has the last message.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { collect } from '../src/core/bytes.ts';
import { initStores } from '../src/gateway.ts';
import { prepareTenantMail } from '../src/lab/exchange-client.ts';
import { largeMessage } from '../src/lab/messages.ts';
import { type Lab, openLab } from '../src/lab/world.ts';
import { writeLabGateway } from '../src/lab/lab-gateway.ts';
import { freePort, type Postfix, startPostfix } from '../test/support/postfix.ts';
import type { BenchRow } from './table.ts';

interface Case {
  readonly name: string;
  readonly messages: number;
  readonly bytes: number;
}

const CASES: readonly Case[] = [
  { name: '1,000 messages of 10 KB, S/MIME to one recipient', messages: 1_000, bytes: 10_000 },
  { name: '1 message of 100 MB, S/MIME to one recipient', messages: 1, bytes: 100_000_000 },
];
const SESSIONS = 8;
const RUN_TIMEOUT_MS = 120_000;

export async function run(): Promise<readonly BenchRow[]> {
  const folder = await mkdtemp(join(tmpdir(), 'postern-bench-'));
  const lab = await openLab();
  try {
    await using sink = await openSink();
    const rows: BenchRow[] = [];
    for (const each of CASES) {
      const file = join(folder, 'message.eml');
      await writeFile(file, await stampedMessage(lab, each.bytes));
      const { seconds: ours, peakRssMiB } = await throughGateway(lab, sink, each, file);
      const peer = await throughPostfix(lab, sink, each, file, folder);
      rows.push({ case: each.name, ours, peer, ratio: ours / peer, peakRssMiB, unit: 's' });
    }
    return rows;
  } finally {
    await lab[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  }
}

async function throughGateway(
  lab: Lab,
  sink: Sink,
  each: Case,
  file: string,
): Promise<{ seconds: number; peakRssMiB: number }> {
  const folder = await mkdtemp(join(tmpdir(), 'postern-bench-gw-'));
  const config = await writeLabGateway(lab, folder, {
    partners: [await lab.makePerson('bob@remote.example')],
    outbound: 'deliver: smarthost\notherwise: { sign: none, encrypt: required, formats: [smime] }',
    config: `smarthost: { host: 127.0.0.1, port: ${sink.port}, tls: opportunistic }`,
  });
  await initStores(config);
  const gateway = spawn(process.execPath, ['src/main.ts', 'serve', '--json', '--config', config.file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const port = await readPort(gateway);
    const seconds = await timeRelay(lab, sink, each, file, `[127.0.0.1]:${port}`, folder);
    return { seconds, peakRssMiB: await peakRss(gateway) };
  } finally {
    gateway.kill('SIGTERM');
    await once(gateway, 'exit');
    await rm(folder, { recursive: true, force: true });
  }
}

async function throughPostfix(
  lab: Lab,
  sink: Sink,
  each: Case,
  file: string,
  folder: string,
): Promise<number> {
  const { key, cert } = lab.identities.gatewayServer;
  const tls = await writeTls(folder, 'relay', key, cert);
  await using relay = await startPostfix({
    relayHost: `[127.0.0.1]:${sink.port}`,
    settings: {
      smtpd_tls_security_level: 'may',
      smtpd_tls_cert_file: tls.cert,
      smtpd_tls_key_file: tls.key,
    },
  });
  return await timeRelay(lab, sink, each, file, `[127.0.0.1]:${relay.port}`, folder);
}

/** Fills the queue of a sending Postfix, lets it go to `nextHop`, and waits for the sink. In seconds. */
async function timeRelay(
  lab: Lab,
  sink: Sink,
  { messages }: Case,
  file: string,
  nextHop: string,
  folder: string,
): Promise<number> {
  const { key, cert } = lab.identities.exchangeClient;
  const tls = await writeTls(folder, 'sender', key, cert);
  await using sender = await startPostfix({
    relayHost: nextHop,
    settings: {
      defer_transports: 'smtp',
      queue_run_delay: '1s',
      smtp_tls_security_level: 'encrypt',
      smtp_tls_cert_file: tls.cert,
      smtp_tls_key_file: tls.key,
      smtp_destination_concurrency_limit: String(SESSIONS),
      initial_destination_concurrency: String(SESSIONS),
    },
  });
  fill(sender, messages, file);
  await waitForDeferred(sender, messages);
  const before = sink.count();
  setting(sender, 'defer_transports', '');
  const start = performance.now();
  command('postqueue', ['-c', join(sender.folder, 'etc'), '-f']);
  while (sink.count() < before + messages) {
    if (performance.now() - start > RUN_TIMEOUT_MS)
      throw new Error(
        `${sink.count() - before} of ${messages} messages arrived\n${sender.log().slice(-2000)}`,
      );
    await sleep(10);
  }
  return (performance.now() - start) / 1000;
}

function fill({ port }: Postfix, messages: number, file: string): void {
  const envelope = ['-f', 'user@contoso.example', '-t', 'bob@remote.example'];
  command('smtp-source', [
    '-s',
    String(Math.min(4, messages)),
    '-m',
    String(messages),
    ...envelope,
    '-F',
    file,
    `127.0.0.1:${port}`,
  ]);
}

async function waitForDeferred(sender: Postfix, messages: number): Promise<void> {
  for (let tries = 0; tries < 600; tries += 1) {
    if ((sender.log().match(/status=deferred/g)?.length ?? 0) >= messages) return;
    await sleep(100);
  }
  throw new Error(`the sender's queue did not fill\n${sender.log().slice(-2000)}`);
}

function setting({ folder }: Postfix, name: string, value: string): void {
  const config = join(folder, 'etc');
  command('postconf', ['-c', config, `${name}=${value}`]);
  command('postfix', ['-c', config, 'reload']);
}

function command(name: string, args: readonly string[]): void {
  const result = spawnSync(name, args, { encoding: 'utf8' });
  if (result.status !== 0) throw new Error(`${name} failed: ${result.stderr}`);
}

/** The message as Exchange Online hands it over: evidence in the header. */
async function stampedMessage(lab: Lab, bytes: number): Promise<Buffer> {
  const head = { from: 'user@contoso.example', to: ['bob@remote.example'], subject: 'bench' };
  const mail = { from: head.from, to: head.to, message: largeMessage(head, bytes) };
  const { message } = await prepareTenantMail(lab.tenants.contoso, mail, new Date());
  // smtp-source ends the lines itself.
  const text = await collect(message.open(), bytes + 100_000);
  return Buffer.from(text.toString('latin1').replaceAll('\r\n', '\n'), 'latin1');
}

interface Sink extends AsyncDisposable {
  readonly port: number;
  count(): number;
}

async function openSink(): Promise<Sink> {
  const port = await freePort();
  const child = spawn('smtp-sink', ['-u', 'postfix', '-c', `127.0.0.1:${port}`, '100'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let seen = 0;
  child.stdout.on('data', (part: Buffer) => {
    const counts = [...part.toString('latin1').matchAll(/mesg=(\d+)/g)];
    seen = Number(counts.at(-1)?.[1] ?? seen);
  });
  await sleep(300);
  return {
    port,
    count: () => seen,
    [Symbol.asyncDispose]: async () => {
      child.kill();
      await once(child, 'exit');
    },
  };
}

async function readPort(gateway: ChildProcess): Promise<number> {
  const { stdout } = gateway;
  if (!stdout) throw new Error('no output of the gateway');
  let text = '';
  stdout.on('data', (part: Buffer) => (text += part.toString()));
  while (gateway.exitCode === null) {
    const port = /"port": (\d+)/.exec(text)?.[1];
    if (port !== undefined) return Number(port);
    await sleep(50);
  }
  throw new Error('the gateway did not start');
}

async function peakRss({ pid }: ChildProcess): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Math.round(Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024);
}

async function writeTls(folder: string, name: string, key: string, cert: string) {
  const paths = { key: join(folder, `${name}.key`), cert: join(folder, `${name}.crt`) };
  await writeFile(paths.key, key, { mode: 0o600 });
  await writeFile(paths.cert, cert);
  return paths;
}
