// PGP/MIME against GnuPG: one large mail encrypted, decrypted, signed and verified, whole processes with their start. Both
// sides read the same bytes, turn by turn, after one run each that does not count; what is decrypted and verified was
// written by GnuPG. When we sign we also look whether the mail survives transport and write it; GnuPG writes the signature.
// Compiled code of ours is cached: a gateway strips types and compiles once.
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createReadStream, createWriteStream, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type BenchRow, median } from './table.ts';

export interface PgpBenchOptions {
  readonly runs: number;
  /** Size of the mail, in millions of bytes. */
  readonly megabytes: number;
}

type Operation = 'encrypt' | 'decrypt' | 'sign-encrypt' | 'decrypt-verify' | 'sign' | 'verify';

interface Side {
  /** The child's operation, or GnuPG's arguments. */
  readonly args: readonly string[];
  readonly input: string;
}

interface Measurement {
  readonly seconds: number;
  readonly peakRssMiB: number;
}

const DEFAULTS: PgpBenchOptions = { runs: 3, megabytes: 150 };
const USER = 'bench@contoso.example';
const LINE_BYTES = 57;
const LINES_PER_BLOCK = 16_384;
const TO_USER = ['--trust-model', 'always', '--recipient', USER, '-z0', '--armor'];

/** Runs the bench in a temporary folder, which it removes. Ours and the peer's times are in seconds. */
export async function run(options: Partial<PgpBenchOptions> = {}): Promise<readonly BenchRow[]> {
  const { runs, megabytes } = { ...DEFAULTS, ...options };
  // Short: the agent's socket path has a limit of 108 characters.
  const folder = mkdtempSync(join(tmpdir(), 'pb-'));
  try {
    makeKey(folder);
    const cases = await writeCases(folder, megabytes * 1_000_000);
    return Object.entries(cases).map(([operation, [ours, peer]]) =>
      compare(folder, `OpenPGP ${operation}, ${megabytes} MB`, runs, ours, peer),
    );
  } finally {
    spawnSync('gpgconf', ['--homedir', homeOf(folder), '--kill', 'all']);
    rmSync(folder, { recursive: true });
  }
}

function compare(folder: string, name: string, runs: number, ours: Side, peer: Side): BenchRow {
  const measured: { ours: Measurement; peer: Measurement }[] = [];
  for (let count = 0; count <= runs; count += 1) {
    measured.push({ peer: gpg(folder, peer.args, peer.input), ours: child(folder, ours) });
  }
  const counted = measured.slice(1);
  const ourMedian = median(counted.map(({ ours }) => ours.seconds));
  const peerMedian = median(counted.map(({ peer }) => peer.seconds));
  return {
    case: name,
    ours: ourMedian,
    peer: peerMedian,
    ratio: ourMedian / peerMedian,
    peakRssMiB: Math.max(...measured.map(({ ours }) => ours.peakRssMiB)),
    unit: 's',
  };
}

function child(folder: string, { args, input }: Side): Measurement {
  const script = join(import.meta.dirname, 'pgp-child.ts');
  const files = [input, join(folder, 'output'), keyOf(folder)];
  const env = { ...process.env, NODE_COMPILE_CACHE: join(folder, 'cache') };
  const { seconds, stdout } = timed(process.execPath, [script, ...args, ...files], env);
  const { maxRssKiB } = JSON.parse(stdout) as { maxRssKiB: number };
  return { seconds, peakRssMiB: maxRssKiB / 1_024 };
}

/** `args` may name an output; the input comes last. */
function gpg(folder: string, args: readonly string[], input: string): Measurement {
  const fixed = ['--homedir', homeOf(folder), '--batch', '--yes', '--quiet', '--no-tty'];
  return { seconds: timed('gpg', [...fixed, ...args, input], process.env).seconds, peakRssMiB: 0 };
}

function timed(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): { seconds: number; stdout: string } {
  const start = performance.now();
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', env });
  const seconds = (performance.now() - start) / 1_000;
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}\n${stderr}`);
  return { seconds, stdout };
}

/** A key as GnuPG makes it, known to both sides. */
function makeKey(folder: string): void {
  mkdirSync(homeOf(folder), { mode: 0o700 });
  const make = (args: readonly string[]) =>
    timed('gpg', ['--homedir', homeOf(folder), '--batch', '--quiet', ...args], process.env).stdout;
  make(['--passphrase', '', '--quick-gen-key', USER, 'rsa3072', 'sign', 'never']);
  const fingerprint = /^fpr:+([0-9A-F]+):/m.exec(make(['--with-colons', '--list-keys']))?.[1] ?? '';
  make(['--passphrase', '', '--quick-add-key', fingerprint, 'rsa3072', 'encr', 'never']);
  writeFileSync(keyOf(folder), make(['--armor', '--export-secret-keys', USER]), { mode: 0o600 });
}

function homeOf(folder: string): string {
  return join(folder, 'home');
}

function keyOf(folder: string): string {
  return join(folder, 'key.asc');
}

/** The files that the cases read, and for each case our side and the peer's. */
async function writeCases(
  folder: string,
  size: number,
): Promise<Readonly<Record<Operation, readonly [Side, Side]>>> {
  const path = (name: string) => join(folder, name);
  await pipeline(mailOf(size), createWriteStream(path('message.eml')));
  const write = async (name: string, args: readonly string[]) => {
    gpg(folder, [...args, '--output', path(`${name}.asc`)], path('message.eml'));
    const mail = name === 'signed' ? signedMail(folder) : encryptedMail(path(`${name}.asc`));
    await pipeline(mail, createWriteStream(path(`${name}.eml`)));
  };
  await write('encrypted', [...TO_USER, '--encrypt']);
  await write('both', [...TO_USER, '--sign', '--encrypt']);
  await write('signed', ['--armor', '--detach-sign']);
  const output = ['--output', path('peer-output')];
  const message = path('message.eml');
  const ours = (operation: string, name: string): Side => ({ args: [operation], input: path(`${name}.eml`) });
  const peer = (input: string, ...args: readonly string[]): Side => ({ args: [...output, ...args], input });
  return {
    encrypt: [ours('encrypt', 'message'), peer(message, ...TO_USER, '--encrypt')],
    decrypt: [ours('decrypt', 'encrypted'), peer(path('encrypted.asc'), '--decrypt')],
    'sign-encrypt': [ours('sign-encrypt', 'message'), peer(message, ...TO_USER, '--sign', '--encrypt')],
    'decrypt-verify': [ours('decrypt', 'both'), peer(path('both.asc'), '--decrypt')],
    sign: [ours('sign', 'message'), peer(message, '--armor', '--detach-sign')],
    verify: [ours('verify', 'signed'), { args: ['--verify', path('signed.asc')], input: message }],
  };
}

async function* encryptedMail(armored: string): AsyncGenerator<Uint8Array, void> {
  yield* multipart('encrypted', 'application/pgp-encrypted');
  yield lines('--=_pgp', 'Content-Type: application/pgp-encrypted', '', 'Version: 1', '');
  yield lines('--=_pgp', 'Content-Type: application/octet-stream', '');
  yield* withCrlf(armored);
  yield lines('--=_pgp--');
}

async function* signedMail(folder: string): AsyncGenerator<Uint8Array, void> {
  yield* multipart('signed', 'application/pgp-signature');
  yield lines('--=_pgp');
  yield* createReadStream(join(folder, 'message.eml'));
  yield lines('', '--=_pgp', 'Content-Type: application/pgp-signature', '');
  yield* withCrlf(join(folder, 'signed.asc'));
  yield lines('--=_pgp--');
}

/** GnuPG writes armour with the line ends of its system. */
async function* withCrlf(path: string): AsyncGenerator<Uint8Array, void> {
  for await (const chunk of createReadStream(path, 'latin1')) {
    yield Buffer.from((chunk as string).replaceAll('\n', '\r\n'), 'latin1');
  }
}

function* multipart(subtype: string, protocol: string): Generator<Uint8Array, void> {
  const type = `multipart/${subtype}; protocol="${protocol}"; boundary="=_pgp"`;
  yield lines(`From: ${USER}`, 'MIME-Version: 1.0', `Content-Type: ${type}`, '');
}

/** A mail with one large attachment. */
async function* mailOf(size: number): AsyncGenerator<Uint8Array, void> {
  yield lines(
    `From: ${USER}`,
    'Subject: bench',
    'MIME-Version: 1.0',
    'Content-Type: application/octet-stream; name="data.bin"',
    'Content-Transfer-Encoding: base64',
    '',
  );
  const text = randomBytes(LINE_BYTES * LINES_PER_BLOCK).toString('base64');
  const block = text.replace(/.{76}/g, '$&\r\n');
  for (let left = size; left > 0; left -= block.length) {
    yield Buffer.from(block.slice(0, Math.ceil(left / 78) * 78));
  }
}

function lines(...text: readonly string[]): Buffer {
  return Buffer.from(text.map((line) => `${line}\r\n`).join(''));
}
