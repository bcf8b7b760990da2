// Keys of the S/MIME bench, as both sides read them from files.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Certificate, parsePemCertificates } from '../src/smime/certificate.ts';
import { readPrivateKey } from '../src/smime/private-key.ts';
import type { SmimePerson } from './smime-operation.ts';

export interface PersonFiles {
  readonly key: string;
  readonly certificate: string;
  readonly ca: string;
}

/** Makes a person with a key of this type, in a folder. */
export async function writePerson(folder: string, keyType: 'rsa' | 'p256'): Promise<PersonFiles> {
  // Only the parent makes keys: a child does not pay for the modules that this needs.
  const { createTestCa } = await import('../src/lab/ca.ts');
  const ca = await createTestCa('bench');
  const person = await ca.issue({ commonName: 'bench', emails: ['bench@contoso.example'], keyType });
  const files = {
    key: join(folder, `${keyType}-key.pem`),
    certificate: join(folder, `${keyType}-certificate.pem`),
    ca: join(folder, `${keyType}-ca.pem`),
  };
  writeFileSync(files.key, person.keyPem, { mode: 0o600 });
  writeFileSync(files.certificate, person.certificatePem);
  writeFileSync(files.ca, ca.certificatePem);
  return files;
}

export function readPerson({ key, certificate, ca }: PersonFiles): SmimePerson {
  return {
    certificate: onlyCertificate(certificate),
    chain: [],
    key: readPrivateKey(readFileSync(key)),
    ca: onlyCertificate(ca),
  };
}

function onlyCertificate(path: string): Certificate {
  const [found] = parsePemCertificates(readFileSync(path, 'utf8'));
  if (!found) throw new Error('no certificate');
  return found;
}
