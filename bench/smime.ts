// S/MIME against OpenSSL's cms command. A mail of 150 MB is encrypted, signed, decrypted and verified in whole processes
// with their start, one of 25 MB in this process once it is warm; both sides read and write files, turn by turn, after
// one run each that does not count. Mails of 10 KB stay in memory, against the key operation alone.
import { spawnSync } from 'node:child_process';
import { createWriteStream, mkdtempSync, rmSync, statSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { peakRssKiB } from './memory.ts';
import { runOnFile, type SmimeOperation } from './smime-operation.ts';
import { type PersonFiles, readPerson, writePerson } from './smime-person.ts';
import { type BenchRow, median } from './table.ts';

export interface SmimeBenchOptions {
  readonly runs: number;
  /** Size of the mail for whole processes, in millions of bytes. */
  readonly megabytes: number;
}

interface Paths {
  readonly folder: string;
  readonly rsa: PersonFiles;
  readonly p256: PersonFiles;
}

/** A mail, and what becomes of it. */
interface Files extends PersonFiles {
  readonly message: string;
  readonly encrypted: string;
  readonly signed: string;
  readonly output: string;
  /** Compiled code of ours: a gateway strips types and compiles once. */
  readonly cache: string;
}

interface Measurement {
  readonly seconds: number;
  readonly peakRssMiB: number;
}

const DEFAULTS: SmimeBenchOptions = { runs: 5, megabytes: 150 };
const WARM_MEGABYTES = 25;
// The first two write what the last two read.
const OPERATIONS: readonly SmimeOperation[] = ['encrypt', 'sign', 'decrypt', 'verify'];
const LINE_BYTES = 57;
const LINES_PER_BLOCK = 16_384;
const SMALL_BYTES = 10_000;

/** Runs the bench in a temporary folder, which it removes. */
export async function run(options: Partial<SmimeBenchOptions> = {}): Promise<readonly BenchRow[]> {
  const { runs, megabytes } = { ...DEFAULTS, ...options };
  const folder = mkdtempSync(join(tmpdir(), 'postern-bench-'));
  try {
    const paths: Paths = {
      folder,
      rsa: await writePerson(folder, 'rsa'),
      p256: await writePerson(folder, 'p256'),
    };
    const [large, warm, least] = [
      await filesOf(paths, megabytes),
      await filesOf(paths, WARM_MEGABYTES),
      await filesOf(paths, 1),
    ];
    const rows: BenchRow[] = [];
    for (const operation of OPERATIONS) {
      inProcess(operation, least);
      const growth = { leastRssMiB: inProcess(operation, least).peakRssMiB };
      const row = await compare(operation, large, runs, async () => inProcess(operation, large));
      rows.push({ ...row, case: `S/MIME ${operation}, ${megabytes} MB`, ...growth });
    }
    for (const operation of OPERATIONS) {
      const row = await compare(operation, warm, runs, () => here(operation, warm));
      rows.push({ ...row, case: `S/MIME ${operation}, ${WARM_MEGABYTES} MB, warm` });
    }
    return [...rows, ...(await smallRows(paths, large.cache))];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function compare(
  operation: SmimeOperation,
  files: Files,
  runs: number,
  measure: () => Promise<Measurement>,
): Promise<Omit<BenchRow, 'case'>> {
  await measure();
  timed('openssl', peerArguments(operation, files), files.cache);
  const ours: Measurement[] = [];
  const peer: number[] = [];
  for (let count = 0; count < runs; count += 1) {
    peer.push(timed('openssl', peerArguments(operation, files), files.cache).seconds);
    ours.push(await measure());
  }
  const [ourMedian, peerMedian] = [median(ours.map(({ seconds }) => seconds)), median(peer)];
  return {
    ours: ourMedian,
    peer: peerMedian,
    ratio: ourMedian / peerMedian,
    peakRssMiB: Math.max(...ours.map(({ peakRssMiB }) => peakRssMiB)),
    unit: 's',
  };
}

/** In a process of its own. */
function inProcess(operation: SmimeOperation, files: Files): Measurement {
  const child = join(import.meta.dirname, 'smime-child.ts');
  const { input, output } = pathsFor(operation, files);
  const args = [child, operation, input, output, files.key, files.certificate, files.ca];
  const { seconds, stdout } = timed(process.execPath, args, files.cache);
  const { maxRssKiB } = JSON.parse(stdout) as { maxRssKiB: number };
  return { seconds, peakRssMiB: maxRssKiB / 1_024 };
}

/** In this process, whose memory it shows. */
async function here(operation: SmimeOperation, files: Files): Promise<Measurement> {
  const person = readPerson(files);
  const { input, output } = pathsFor(operation, files);
  const start = performance.now();
  await runOnFile(operation, input, output, person);
  const seconds = (performance.now() - start) / 1_000;
  return { seconds, peakRssMiB: peakRssKiB() / 1_024 };
}

/** Milliseconds of CPU for a mail of 10 KB, beside those that OpenSSL needs for the one operation with the key. */
async function smallRows(paths: Paths, cache: string): Promise<readonly BenchRow[]> {
  const message = join(paths.folder, 'small.eml');
  await pipeline(mailOf(SMALL_BYTES), createWriteStream(message));
  const speed = keySpeed();
  const cases = [
    { name: 'encrypt (RSA-2048)', operation: 'encrypt', person: paths.rsa, peer: speed.rsaPublicMs },
    { name: 'sign (RSA-2048)', operation: 'sign', person: paths.rsa, peer: speed.rsaPrivateMs },
    { name: 'sign (P-256)', operation: 'sign', person: paths.p256, peer: speed.p256SignMs },
    { name: 'decrypt (RSA-2048)', operation: 'decrypt', person: paths.rsa, peer: speed.rsaPrivateMs },
  ] as const;
  return cases.map(({ name, operation, person, peer }) => {
    const child = join(import.meta.dirname, 'smime-messages-child.ts');
    const args = [child, operation, message, person.key, person.certificate, person.ca];
    const { stdout } = timed(process.execPath, args, cache);
    const { cpuMs, maxRssKiB } = JSON.parse(stdout) as { cpuMs: number; maxRssKiB: number };
    return {
      case: `S/MIME ${name}, 10 KB`,
      ours: cpuMs,
      peer,
      ratio: cpuMs / peer,
      peakRssMiB: maxRssKiB / 1_024,
      unit: 'ms',
      messagesPerSecondAndCore: Math.round(1_000 / cpuMs),
    };
  });
}

/** `openssl speed -mr` says: +F2:index:bits:private a second:public a second; +F4: the same of curves. */
function keySpeed(): { rsaPrivateMs: number; rsaPublicMs: number; p256SignMs: number } {
  const args = ['speed', '-mr', '-seconds', '1', 'rsa2048', 'ecdsap256'];
  const { stdout } = spawnSync('openssl', args, { encoding: 'utf8' });
  const rates = (mark: string): readonly number[] => {
    const line = stdout.split('\n').find((one) => one.startsWith(mark)) ?? '';
    return line.split(':').slice(3).map(Number);
  };
  const [rsaPrivate = Number.NaN, rsaPublic = Number.NaN] = rates('+F2:');
  const [p256Sign = Number.NaN] = rates('+F4:');
  return {
    rsaPrivateMs: 1_000 / rsaPrivate,
    rsaPublicMs: 1_000 / rsaPublic,
    p256SignMs: 1_000 / p256Sign,
  };
}

function pathsFor(operation: SmimeOperation, files: Files): { input: string; output: string } {
  const { message, encrypted, signed, output } = files;
  switch (operation) {
    case 'encrypt':
      return { input: message, output: encrypted };
    case 'sign':
      return { input: message, output: signed };
    case 'decrypt':
      return { input: encrypted, output };
    case 'verify':
      return { input: signed, output };
  }
}

function peerArguments(operation: SmimeOperation, files: Files): readonly string[] {
  const { key, certificate, ca } = files;
  const { input, output } = pathsFor(operation, files);
  const common = ['cms', `-${operation}`, '-in', input, '-out', output];
  switch (operation) {
    case 'encrypt':
      return [...common, '-stream', '-aes256', '-recip', certificate];
    case 'decrypt':
      return [...common, '-inkey', key, '-recip', certificate];
    case 'sign':
      return [...common, '-stream', '-signer', certificate, '-inkey', key];
    case 'verify':
      return [...common, '-CAfile', ca, '-purpose', 'any'];
  }
}

function timed(command: string, args: readonly string[], cache: string): { seconds: number; stdout: string } {
  const start = performance.now();
  const result = spawnSync(command, args, {
    encoding: 'utf8',
    env: { ...process.env, NODE_COMPILE_CACHE: cache },
  });
  const seconds = (performance.now() - start) / 1_000;
  if (result.status !== 0) throw new Error(`${command} ${args.join(' ')}\n${result.stderr}`);
  return { seconds, stdout: result.stdout };
}

async function filesOf({ folder, rsa }: Paths, megabytes: number): Promise<Files> {
  const path = (name: string): string => join(folder, `${megabytes}-${name}`);
  const files: Files = {
    ...rsa,
    message: path('message.eml'),
    encrypted: path('encrypted.eml'),
    signed: path('signed.eml'),
    output: path('output'),
    cache: join(folder, 'cache'),
  };
  const size = megabytes * 1_000_000;
  await pipeline(mailOf(size), createWriteStream(files.message));
  if (statSync(files.message).size < size) throw new Error('the mail is too small');
  return files;
}

/** A mail with one attachment. */
async function* mailOf(size: number): AsyncGenerator<Buffer, void> {
  const head = [
    'From: bench@contoso.example',
    'To: bench@contoso.example',
    'Subject: bench',
    'MIME-Version: 1.0',
    'Content-Type: multipart/mixed; boundary="=_bench"',
    '',
    '--=_bench',
    'Content-Type: application/octet-stream; name="data.bin"',
    'Content-Transfer-Encoding: base64',
    'Content-Disposition: attachment; filename="data.bin"',
    '',
    '',
  ];
  yield Buffer.from(head.join('\r\n'));
  const block = randomBytes(LINE_BYTES * LINES_PER_BLOCK)
    .toString('base64')
    .replace(/.{76}/g, '$&\r\n');
  for (let written = 0; written < size; written += block.length) {
    yield Buffer.from(block.slice(0, Math.ceil((size - written) / 78) * 78));
  }
  yield Buffer.from('--=_bench--\r\n');
}
