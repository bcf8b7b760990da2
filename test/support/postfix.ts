// Real Postfix instances for tests and benches: configuration, queue and log in a folder of their own, on loopback ports,
// ended and removed with the object. Needs root, as Postfix itself does.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface PostfixOptions {
  /** Next hop of everything: `[127.0.0.1]:port`. Default: mail is delivered to files, see `received`. */
  readonly relayHost?: string;
  /** More lines of main.cf. */
  readonly settings?: Readonly<Record<string, string>>;
}

export interface Postfix extends AsyncDisposable {
  readonly port: number;
  readonly folder: string;
  /** Messages that arrived in the maildir, as they were delivered, oldest first. */
  received(): readonly Buffer[];
  log(): string;
}

const START_TIMEOUT_MS = 15_000;
const DAEMONS = '/usr/lib/postfix/sbin';

export async function startPostfix(options: PostfixOptions = {}): Promise<Postfix> {
  const port = await freePort();
  // A gateway in this process may have set a mask that keeps Postfix's own user out.
  const mask = process.umask(0o022);
  let postfix: Postfix;
  try {
    postfix = start(port, options);
  } finally {
    process.umask(mask);
  }
  await waitForPort(port, postfix);
  return postfix;
}

function start(port: number, options: PostfixOptions): Postfix {
  const folder = mkdtempSync(join(tmpdir(), 'pf-'));
  // Postfix's own user has to get to its queue below.
  chmodSync(folder, 0o755);
  const config = join(folder, 'etc');
  for (const name of ['etc', 'spool', 'data', 'mail']) mkdirSync(join(folder, name), { mode: 0o755 });
  const postfixId = idOf('postfix');
  chownSync(join(folder, 'data'), postfixId, -1);
  const settings: Readonly<Record<string, string>> = {
    compatibility_level: '3.6',
    queue_directory: join(folder, 'spool'),
    data_directory: join(folder, 'data'),
    command_directory: '/usr/sbin',
    daemon_directory: DAEMONS,
    myhostname: 'postfix.example',
    mydestination: '',
    inet_interfaces: '127.0.0.1',
    inet_protocols: 'ipv4',
    mynetworks: '127.0.0.0/8',
    smtpd_relay_restrictions: 'permit_mynetworks,reject',
    alias_maps: '',
    alias_database: '',
    local_recipient_maps: '',
    maillog_file: join(folder, 'log'),
    maillog_file_prefixes: folder,
    message_size_limit: '0',
    mailbox_size_limit: '0',
    minimal_backoff_time: '1s',
    queue_run_delay: '1s',
    smtp_host_lookup: 'native',
    ...(options.relayHost === undefined
      ? {
          virtual_mailbox_base: join(folder, 'mail'),
          virtual_mailbox_domains: 'static:all',
          virtual_mailbox_maps: 'static:inbox/',
          virtual_mailbox_limit: '0',
          virtual_minimum_uid: '1',
          virtual_uid_maps: `static:${postfixId}`,
          virtual_gid_maps: `static:${postfixId}`,
        }
      : { relayhost: options.relayHost }),
    ...options.settings,
  };
  chownSync(join(folder, 'mail'), postfixId, -1);
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}\n`);
  writeFileSync(join(config, 'main.cf'), lines.join(''));
  writeFileSync(join(config, 'master.cf'), master(port));
  const postfix: Postfix = {
    port,
    folder,
    received: () => readMaildir(join(folder, 'mail/inbox/new')),
    log: () => (existsSync(join(folder, 'log')) ? readFileSync(join(folder, 'log'), 'utf8') : ''),
    [Symbol.asyncDispose]: async () => {
      run(config, 'stop');
      rmSync(folder, { recursive: true, force: true });
      return Promise.resolve();
    },
  };
  run(config, 'start');
  return postfix;
}

function master(port: number): string {
  return [
    service(String(port), 'inet', false, '- -', 'smtpd'),
    service('pickup', 'unix', false, '60 1', 'pickup'),
    service('cleanup', 'unix', false, '- 0', 'cleanup'),
    service('qmgr', 'unix', false, '300 1', 'qmgr'),
    service('flush', 'unix', false, '1000? 0', 'flush'),
    service('showq', 'unix', false, '- -', 'showq'),
    service('postlog', 'unix-dgram', false, '- 1', 'postlogd'),
    service('tlsmgr', 'unix', true, '1000? 1', 'tlsmgr'),
    service('rewrite', 'unix', true, '- -', 'trivial-rewrite'),
    ...['bounce', 'defer', 'trace'].map((name) => service(name, 'unix', true, '- 0', 'bounce')),
    service('proxymap', 'unix', true, '- -', 'proxymap'),
    ...['smtp', 'relay'].map((name) => service(name, 'unix', true, '- -', 'smtp')),
    ...['error', 'retry'].map((name) => service(name, 'unix', true, '- -', 'error')),
    // Writes with the rights of the mailbox owner.
    'virtual unix y n n - - virtual\n',
    service('anvil', 'unix', true, '- 1', 'anvil'),
    service('scache', 'unix', true, '- 1', 'scache'),
  ].join('');
}

function service(name: string, kind: string, isPrivate: boolean, more: string, command: string): string {
  return `${name} ${kind} ${isPrivate ? 'y' : 'n'} - n ${more} ${command}\n`;
}

function run(config: string, command: 'start' | 'stop'): void {
  const result = spawnSync('postfix', ['-c', config, command], { encoding: 'utf8' });
  if (result.status !== 0) throw new Error(`postfix ${command} failed: ${result.stderr}`);
}

function idOf(user: string): number {
  const result = spawnSync('id', ['-u', user], { encoding: 'utf8' });
  if (result.status !== 0) throw new Error(`there is no user ${user}: is Postfix installed?`);
  return Number(result.stdout);
}

function readMaildir(folder: string): readonly Buffer[] {
  if (!existsSync(folder)) return [];
  const names = spawnSync('ls', ['-rt', folder], { encoding: 'utf8' }).stdout.split('\n').filter(Boolean);
  return names.map((name) => readFileSync(join(folder, name)));
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function waitForPort(port: number, postfix: Postfix): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (Date.now() < deadline) {
    const socket = connect({ port, host: '127.0.0.1' });
    const isOpen = await Promise.race([
      once(socket, 'data').then(() => true),
      once(socket, 'error').then(() => false),
    ]).catch(() => false);
    socket.destroy();
    if (isOpen) return;
    await sleep(50);
  }
  throw new Error(`Postfix does not answer on port ${port}:\n${postfix.log()}`);
}
