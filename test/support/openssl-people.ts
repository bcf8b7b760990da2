// People with keys of every kind, as files for the openssl command; and what it makes of them.
import { execFileSync } from 'node:child_process';
import type { KeyObject } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TrustContext } from '../../src/smime/chain.ts';
import type { SmimeDecryptionKey, SmimeSigner } from '../../src/smime/message.ts';
import {
  altNames,
  caExtension,
  element,
  emailName,
  extension,
  makeCertificate,
  name,
} from './certificates.ts';

export interface FilePerson {
  readonly decryption: SmimeDecryptionKey;
  readonly signer: SmimeSigner;
  readonly crt: string;
  readonly key: string;
}

export class OpensslPeople {
  readonly folder = mkdtempSync(join(tmpdir(), 'postern-people-'));
  readonly root = makeCertificate({ subject: name('Postern test people'), extensions: [caExtension()] });
  readonly trust: TrustContext = { anchors: [this.root.certificate], intermediates: [], at: new Date() };

  constructor() {
    this.file('ca.crt', this.root.certificate.pem);
  }

  file(path: string, bytes?: Uint8Array | string): string {
    const whole = join(this.folder, path);
    if (bytes !== undefined) writeFileSync(whole, bytes, { mode: 0o600 });
    return whole;
  }

  /** With a subject key identifier, so that `-keyid` finds them. */
  person(title: string, keys: { publicKey: KeyObject; privateKey: KeyObject }): FilePerson {
    const extensions = [
      altNames(emailName('rsa@contoso.example')),
      extension('2.5.29.14', element(0x04, Buffer.from(title))),
    ];
    const { certificate } = makeCertificate({ subject: name(title), issuer: this.root, keys, extensions });
    const key = keys.privateKey;
    return {
      decryption: { certificate, key },
      signer: { certificate, chain: [], key },
      crt: this.file(`${title}.crt`, certificate.pem),
      key: this.file(`${title}.key`, key.export({ type: 'pkcs8', format: 'pem' })),
    };
  }

  openssl(...args: readonly string[]): Buffer {
    return execFileSync('openssl', args, { maxBuffer: 10_000_000, stdio: ['ignore', 'pipe', 'pipe'] });
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true });
  }
}

export function keyOptions(options: readonly string[]): readonly string[] {
  return options.flatMap((option) => ['-keyopt', option]);
}
