// S/MIME against OpenSSL's cms command: one large mail encrypted, decrypted, signed and verified, whole processes with
// their start. Both sides read the same files, turn by turn, after one run each that does not count. Compiled code of ours
// is cached, as OpenSSL's is: a gateway strips types and compiles once.
import { spawnSync } from 'node:child_process';
import { createWriteStream, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createTestCa } from '../src/lab/ca.ts';
import { type BenchRow, median } from './table.ts';

export interface SmimeBenchOptions {
  readonly runs: number;
  /** Size of the mail, in millions of bytes. */
  readonly megabytes: number;
}

interface Files {
  readonly message: string;
  readonly key: string;
  readonly certificate: string;
  readonly ca: string;
  readonly encrypted: string;
  readonly signed: string;
  readonly output: string;
  /** A folder. */
  readonly cache: string;
}

type Operation = 'encrypt' | 'decrypt' | 'sign' | 'verify';

interface Measurement {
  readonly seconds: number;
  readonly peakRssMiB: number;
}

const DEFAULTS: SmimeBenchOptions = { runs: 3, megabytes: 150 };
// The first two write what the last two read.
const OPERATIONS: readonly Operation[] = ['encrypt', 'sign', 'decrypt', 'verify'];
const LINE_BYTES = 57;
const LINES_PER_BLOCK = 16_384;

/** Runs the bench in a temporary folder, which it removes. Ours and the peer's times are in seconds. */
export async function run(options: Partial<SmimeBenchOptions> = {}): Promise<readonly BenchRow[]> {
  const { runs, megabytes } = { ...DEFAULTS, ...options };
  const folder = mkdtempSync(join(tmpdir(), 'postern-bench-'));
  try {
    const files = await writeFiles(folder, megabytes * 1_000_000);
    return OPERATIONS.map((operation) => compare(operation, files, { runs, megabytes }));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function compare(operation: Operation, files: Files, { runs, megabytes }: SmimeBenchOptions): BenchRow {
  measure(operation, files);
  const ours: Measurement[] = [];
  const peer: Measurement[] = [];
  for (let count = 0; count < runs; count += 1) {
    const measured = measure(operation, files);
    ours.push(measured.ours);
    peer.push(measured.peer);
  }
  const [ourMedian, peerMedian] = [median(secondsOf(ours)), median(secondsOf(peer))];
  return {
    case: `S/MIME ${operation}, ${megabytes} MB`,
    ours: ourMedian,
    peer: peerMedian,
    ratio: ourMedian / peerMedian,
    peakRssMiB: Math.max(...ours.map(({ peakRssMiB }) => peakRssMiB)),
    unit: 's',
  };
}

function measure(operation: Operation, files: Files): { ours: Measurement; peer: Measurement } {
  return {
    peer: timed('openssl', peerArguments(operation, files), files),
    ours: timed(process.execPath, ourArguments(operation, files), files),
  };
}

function ourArguments(operation: Operation, files: Files): readonly string[] {
  const input = {
    encrypt: files.message,
    sign: files.message,
    decrypt: files.encrypted,
    verify: files.signed,
  };
  const output = {
    encrypt: files.encrypted,
    sign: files.signed,
    decrypt: files.output,
    verify: files.output,
  };
  const child = join(import.meta.dirname, 'smime-child.ts');
  return [child, operation, input[operation], output[operation], files.key, files.certificate, files.ca];
}

function peerArguments(operation: Operation, files: Files): readonly string[] {
  const { message, encrypted, signed, output, key, certificate, ca } = files;
  switch (operation) {
    case 'encrypt':
      return ['cms', '-encrypt', '-stream', '-aes256', '-in', message, '-out', output, '-recip', certificate];
    case 'decrypt':
      return ['cms', '-decrypt', '-in', encrypted, '-out', output, '-inkey', key, '-recip', certificate];
    case 'sign':
      return [
        'cms',
        '-sign',
        '-stream',
        '-in',
        message,
        '-out',
        output,
        '-signer',
        certificate,
        '-inkey',
        key,
      ];
    case 'verify':
      return ['cms', '-verify', '-in', signed, '-out', output, '-CAfile', ca, '-purpose', 'any'];
  }
}

function timed(command: string, args: readonly string[], { cache }: Files): Measurement {
  const start = performance.now();
  const result = spawnSync(command, args, {
    encoding: 'utf8',
    env: { ...process.env, NODE_COMPILE_CACHE: cache },
  });
  const seconds = (performance.now() - start) / 1_000;
  if (result.status !== 0) throw new Error(`${command} ${args.join(' ')}\n${result.stderr}`);
  const { maxRssKiB } = (command === process.execPath ? JSON.parse(result.stdout) : { maxRssKiB: 0 }) as {
    maxRssKiB: number;
  };
  return { seconds, peakRssMiB: maxRssKiB / 1_024 };
}

function secondsOf(measurements: readonly Measurement[]): readonly number[] {
  return measurements.map(({ seconds }) => seconds);
}

/** A mail with one large attachment, and keys for it. */
async function writeFiles(folder: string, size: number): Promise<Files> {
  const ca = await createTestCa('bench');
  const person = await ca.issue({ commonName: 'bench', emails: ['bench@contoso.example'] });
  const files: Files = {
    message: join(folder, 'message.eml'),
    key: join(folder, 'key.pem'),
    certificate: join(folder, 'certificate.pem'),
    ca: join(folder, 'ca.pem'),
    encrypted: join(folder, 'encrypted.eml'),
    signed: join(folder, 'signed.eml'),
    output: join(folder, 'output'),
    cache: join(folder, 'cache'),
  };
  writeFileSync(files.key, person.keyPem, { mode: 0o600 });
  writeFileSync(files.certificate, person.certificatePem);
  writeFileSync(files.ca, ca.certificatePem);
  await pipeline(mailOf(size), createWriteStream(files.message));
  if (statSync(files.message).size < size) throw new Error('the mail is too small');
  return files;
}

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
