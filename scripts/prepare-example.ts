// Makes what the example configuration names, so that `npm start` works on a fresh clone: test certificates under
// keys/example (made anew when they have expired) and the stores under data/. Never touches anything else.
import { X509Certificate } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { readConfig } from '../src/config.ts';
import { initStores } from '../src/gateway.ts';
import { createTestCa, type TestIdentity } from '../src/lab/ca.ts';

const root = resolve(import.meta.dirname, '..');
const folder = join(root, 'keys/example');

async function main(): Promise<void> {
  if (!['gateway', 'tenant-contoso'].every(isValid)) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const ca = await createTestCa('Postern example');
    write('gateway', await ca.issue({ commonName: 'gw.contoso.example', ...tlsFor('gw.contoso.example') }));
    write(
      'tenant-contoso',
      await ca.issue({ commonName: 'contoso.gw.example', ...tlsFor('contoso.gw.example') }),
    );
    console.error('made test certificates in keys/example (they expire in 7 days)');
  }
  for (const path of await initStores(await readConfig(join(root, 'postern.yaml'))))
    console.error(`made ${path}`);
}

function isValid(name: string): boolean {
  try {
    const certificate = new X509Certificate(readFileSync(join(folder, `${name}.crt`)));
    return certificate.validToDate > new Date();
  } catch {
    return false;
  }
}

function write(name: string, { certificatePem, keyPem }: TestIdentity): void {
  writeFileSync(join(folder, `${name}.crt`), certificatePem);
  writeFileSync(join(folder, `${name}.key`), keyPem, { mode: 0o600 });
}

function tlsFor(name: string) {
  return { dnsNames: [name], extendedKeyUsage: ['serverAuth', 'clientAuth'], keyType: 'p256' as const };
}

await main();
