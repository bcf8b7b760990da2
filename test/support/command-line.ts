// The real command line as a child process, on files that openssl and gpg made in a folder of their own.
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const MAIN = join(import.meta.dirname, '../../src/main.ts');

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: string | Buffer;
  readonly env?: Readonly<Record<string, string>>;
  /** Called once the command runs. */
  readonly onStart?: (pid: number) => void;
  /** Closes standard output at the first byte, as `| head` does. */
  readonly isReaderGone?: boolean;
  /** Leaves standard input open. */
  readonly isOpenEnded?: boolean;
}

export interface Workshop extends Disposable {
  readonly folder: string;
  /** Runs `postern ...` in the folder. */
  readonly postern: (args: readonly string[], options?: RunOptions) => Promise<Finished>;
  /** Runs a foreign program in the folder; throws where it fails. Arguments without blanks may be one text. */
  readonly tool: (name: string, args: string | readonly string[], input?: string | Buffer) => string;
  readonly write: (name: string, content: string | Buffer) => void;
}

/** A folder for one test file; it goes with its gpg agent. */
export function openWorkshop(): Workshop {
  const folder = mkdtempSync(join(tmpdir(), 'postern-cli-test-'));
  const home = join(folder, 'gnupg');
  mkdirSync(home, { mode: 0o700 });
  const environment = {
    PATH: process.env['PATH'] ?? '',
    GNUPGHOME: home,
    TMPDIR: folder,
    // Most of the time of so many short commands is the start of each.
    NODE_COMPILE_CACHE: join(folder, 'compiled'),
  };
  const tool: Workshop['tool'] = (name, args, input) =>
    execFileSync(name, typeof args === 'string' ? args.split(' ') : args, {
      cwd: folder,
      env: environment,
      encoding: 'latin1',
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(input === undefined ? {} : { input }),
    });
  return {
    folder,
    tool,
    postern: (args, options = {}) => run(args, folder, { ...environment, ...options.env }, options),
    write: (name, content) => writeFileSync(join(folder, name), content),
    [Symbol.dispose]: () => {
      tool('gpgconf', ['--kill', 'all']);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** A root, and a certificate with key for an address, as `<name>.crt` and `<name>.key`. */
export function makeCertificates({ tool }: Workshop, people: Readonly<Record<string, string>>): void {
  const request = 'req -x509 -newkey rsa:2048 -nodes -days 2';
  tool(
    'openssl',
    `${request} -keyout ca.key -out ca.crt -subj /CN=Postern-test-root` +
      ' -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign',
  );
  for (const [name, address] of Object.entries(people)) {
    tool(
      'openssl',
      `${request} -keyout ${name}.key -out ${name}.crt -subj /CN=Postern-test-${name} -CA ca.crt -CAkey ca.key` +
        ` -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=email:${address}` +
        ' -addext keyUsage=digitalSignature,keyEncipherment -addext extendedKeyUsage=emailProtection',
    );
    tool('chmod', `600 ${name}.key`);
  }
}

/** An OpenPGP key for an address, in gpg's ring and as `<name>.pub.asc` and `<name>.sec.asc`. */
export function makePgpKeys({ tool, write }: Workshop, people: Readonly<Record<string, string>>): void {
  const quiet = ['--batch', '--quiet', '--pinentry-mode', 'loopback', '--passphrase', ''];
  for (const [name, address] of Object.entries(people)) {
    tool('gpg', [...quiet, '--quick-gen-key', `Postern test <${address}>`, 'default', 'default', '2d']);
    write(`${name}.pub.asc`, tool('gpg', ['--armor', '--export', address]));
    write(`${name}.sec.asc`, tool('gpg', [...quiet, '--armor', '--export-secret-keys', address]));
    tool('chmod', `600 ${name}.sec.asc`);
  }
}

function run(
  args: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>>,
  { input = '', onStart, isOpenEnded = false, isReaderGone = false }: RunOptions,
): Promise<Finished> {
  const { promise, resolve, reject } = Promise.withResolvers<Finished>();
  const child = spawn(process.execPath, [MAIN, ...args], { cwd, env });
  const [stdout, stderr] = [partsOf(child.stdout), partsOf(child.stderr)];
  child.on('error', reject);
  child.on('close', (code) =>
    resolve({
      code,
      stdout: Buffer.concat(stdout).toString('latin1'),
      stderr: Buffer.concat(stderr).toString('utf8'),
    }),
  );
  if (isReaderGone) child.stdout.once('data', () => child.stdout.destroy());
  // A command that refuses its arguments does not read.
  child.stdin.on('error', () => undefined);
  child.stdin.write(input);
  if (!isOpenEnded) child.stdin.end();
  if (child.pid !== undefined) onStart?.(child.pid);
  return promise;
}

function partsOf(stream: NodeJS.ReadableStream): readonly Buffer[] {
  const parts: Buffer[] = [];
  stream.on('data', (part: Buffer) => parts.push(part));
  return parts;
}
