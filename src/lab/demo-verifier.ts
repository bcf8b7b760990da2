// The independent witness of the demo: what openssl and gpg say about the mail that left the gateway. Where a program is
// not installed, that is said, and nothing is claimed.
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Person } from './people.ts';
import { openTemporaryFolder } from './temporary-folder.ts';

export interface Checked {
  readonly facts: readonly string[];
  readonly isGood: boolean;
  /** The decrypted entity; undefined where nobody could check. */
  readonly content?: Buffer;
}

export interface Verifier extends AsyncDisposable {
  smime(message: Uint8Array, recipient: Person): Promise<Checked>;
  pgp(message: Uint8Array, recipient: Person): Promise<Checked>;
}

interface Run {
  readonly isThere: boolean;
  readonly isGood: boolean;
  readonly stdout: Buffer;
  readonly stderr: string;
}

interface Folder {
  readonly path: string;
  write(name: string, content: string | Uint8Array): Promise<string>;
}

const MAX_OUTPUT_BYTES = 400_000_000;
const TIMEOUT_MS = 20_000;

/** `signer` wrote the mail; `rootPem` is the root of all S/MIME certificates. */
export async function openVerifier(rootPem: string, signer: Person): Promise<Verifier> {
  // Short: the path of gpg's socket has a limit of 108 characters.
  const temporary = await openTemporaryFolder('pd-');
  const { path } = temporary;
  const folder: Folder = {
    path,
    write: async (name, content) => {
      const file = join(path, name);
      await writeFile(file, content, { mode: 0o600 });
      return file;
    },
  };
  return {
    smime: (message, recipient) => checkWithOpenssl(folder, message, recipient, signer, rootPem),
    pgp: (message, recipient) => checkWithGpg(folder, message, recipient, signer),
    [Symbol.asyncDispose]: async () => {
      await run('gpgconf', ['--homedir', path, '--kill', 'all']);
      await temporary[Symbol.asyncDispose]();
    },
  };
}

async function checkWithOpenssl(
  folder: Folder,
  message: Uint8Array,
  recipient: Person,
  signer: Person,
  rootPem: string,
): Promise<Checked> {
  const recip = await folder.write('recipient.crt', recipient.smime.certificatePem);
  const key = await folder.write('recipient.key', recipient.smime.keyPem);
  const mail = await folder.write('mail.eml', message);
  const inner = join(folder.path, 'inner.eml');
  const keys = ['-recip', recip, '-inkey', key];
  const opened = await run('openssl', ['cms', '-decrypt', '-in', mail, ...keys, '-out', inner]);
  if (!opened.isThere) return absent('openssl');
  if (!opened.isGood) return failed('openssl cms -decrypt', opened);
  const root = await folder.write('root.crt', rootPem);
  const by = join(folder.path, 'by.crt');
  const roots = ['-CAfile', root, '-signer', by];
  const verified = await run('openssl', ['cms', '-verify', '-crlfeol', '-in', inner, ...roots]);
  if (!verified.isGood) return failed('openssl cms -verify', verified);
  const isBySigner = onlyBase64(await readFile(by, 'latin1')) === onlyBase64(signer.smime.certificatePem);
  return {
    facts: [
      'openssl cms -decrypt: opened',
      `openssl cms -verify: signature good, by ${isBySigner ? signer.address : 'SOMEBODY ELSE'}`,
    ],
    isGood: isBySigner,
    content: verified.stdout,
  };
}

async function checkWithGpg(
  folder: Folder,
  message: Uint8Array,
  recipient: Person,
  signer: Person,
): Promise<Checked> {
  const usual = ['--batch', '--yes', '--no-tty', '--quiet', '--trust-model', 'always'];
  const gpg = (...args: readonly string[]) => run('gpg', ['--homedir', folder.path, ...usual, ...args]);
  const imported = await gpg('--import', await folder.write('recipient.asc', recipient.pgp.privateKey));
  if (!imported.isThere) return absent('gpg');
  await gpg('--import', await folder.write('signer.asc', signer.pgp.publicKey));
  const armor = /-----BEGIN PGP MESSAGE-----[^]*?-----END PGP MESSAGE-----/.exec(
    Buffer.from(message).toString('latin1'),
  );
  const out = join(folder.path, 'plain');
  const status = join(folder.path, 'status');
  const encrypted = await folder.write('mail.asc', armor?.[0] ?? '');
  const opened = await gpg('--status-file', status, '--output', out, '--decrypt', encrypted);
  if (!opened.isGood) return failed('gpg --decrypt', opened);
  const valid = /^\[GNUPG:\] VALIDSIG ([0-9A-F]+)/m.exec(await readFile(status, 'latin1'))?.[1];
  const isBySigner = valid?.toLowerCase() === signer.pgp.fingerprint;
  return {
    facts: [
      'gpg --decrypt: opened',
      `gpg: signature ${isBySigner ? `good, by ${signer.address}` : 'MISSING OR BAD'}`,
    ],
    isGood: isBySigner,
    content: await readFile(out),
  };
}

function onlyBase64(pem: string): string {
  const [, base64 = ''] = /-----BEGIN CERTIFICATE-----([^-]*)-----END/.exec(pem) ?? [];
  return base64.replace(/\s/g, '');
}

function absent(program: string): Checked {
  return { facts: [`${program} is not installed here: no independent check`], isGood: true };
}

function failed(command: string, { stderr }: Run): Checked {
  return { facts: [`${command} FAILED: ${stderr.split('\n')[0] ?? ''}`], isGood: false };
}

function run(program: string, args: readonly string[]): Promise<Run> {
  return new Promise((resolve) => {
    const options = { encoding: 'buffer' as const, maxBuffer: MAX_OUTPUT_BYTES, timeout: TIMEOUT_MS };
    execFile(program, args, options, (error, stdout, stderr) => {
      resolve({
        isThere: error?.code !== 'ENOENT',
        isGood: error === null,
        stdout,
        stderr: stderr.toString('latin1'),
      });
    });
  });
}
