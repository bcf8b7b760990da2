// The independent witness of the demo: what openssl and gpg say about the mail that left the gateway. Where a program is
// not installed, that is said, and nothing is claimed.
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Person } from './people.ts';

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
  readonly code: number;
  readonly stdout: Buffer;
  readonly stderr: string;
}

const MAX_OUTPUT_BYTES = 400_000_000;
const TIMEOUT_MS = 20_000;

/** `signer` wrote the mail; `rootPem` is the root of all S/MIME certificates. */
export async function openVerifier(rootPem: string, signer: Person): Promise<Verifier> {
  // Short: the path of gpg's socket has a limit of 108 characters.
  const folder = await mkdtemp(join(tmpdir(), 'pd-'));
  const file = async (name: string, content: string | Uint8Array): Promise<string> => {
    const path = join(folder, name);
    await writeFile(path, content, { mode: 0o600 });
    return path;
  };
  const gpg = (...args: readonly string[]) =>
    run('gpg', [
      '--homedir',
      folder,
      '--batch',
      '--yes',
      '--no-tty',
      '--quiet',
      '--trust-model',
      'always',
      ...args,
    ]);
  return {
    smime: async (message, recipient) => {
      const recip = await file('recipient.crt', recipient.smime.certificatePem);
      const key = await file('recipient.key', recipient.smime.keyPem);
      const mail = await file('mail.eml', message);
      const inner = join(folder, 'inner.eml');
      const opened = await run('openssl', [
        'cms',
        '-decrypt',
        '-in',
        mail,
        '-recip',
        recip,
        '-inkey',
        key,
        '-out',
        inner,
      ]);
      if (!opened.isThere) return absent('openssl');
      if (opened.code !== 0) return failed('openssl cms -decrypt', opened);
      const root = await file('root.crt', rootPem);
      const verified = await run('openssl', ['cms', '-verify', '-crlfeol', '-in', inner, '-CAfile', root]);
      if (verified.code !== 0) return failed('openssl cms -verify', verified);
      return {
        facts: ['openssl cms -decrypt: opened', 'openssl cms -verify: signature good'],
        isGood: true,
        content: verified.stdout,
      };
    },
    pgp: async (message, recipient) => {
      const imported = await gpg('--import', await file('recipient.asc', recipient.pgp.privateKey));
      if (!imported.isThere) return absent('gpg');
      await gpg('--import', await file('signer.asc', signer.pgp.publicKey));
      const armor = /-----BEGIN PGP MESSAGE-----[^]*?-----END PGP MESSAGE-----/.exec(
        Buffer.from(message).toString('latin1'),
      );
      const out = join(folder, 'plain');
      const status = join(folder, 'status');
      const encrypted = await file('mail.asc', armor?.[0] ?? '');
      const opened = await gpg('--status-file', status, '--output', out, '--decrypt', encrypted);
      if (opened.code !== 0) return failed('gpg --decrypt', opened);
      const isSigned = (await readFile(status, 'latin1')).includes('VALIDSIG');
      return {
        facts: ['gpg --decrypt: opened', `gpg: signature ${isSigned ? 'good' : 'MISSING OR BAD'}`],
        isGood: isSigned,
        content: await readFile(out),
      };
    },
    [Symbol.asyncDispose]: async () => {
      await run('gpgconf', ['--homedir', folder, '--kill', 'all']);
      await rm(folder, { recursive: true, force: true });
    },
  };
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
        code: error ? 1 : 0,
        stdout,
        stderr: stderr.toString('latin1'),
      });
    });
  });
}
