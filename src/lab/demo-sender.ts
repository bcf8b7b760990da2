// The Internet's side of the demo: somebody outside who signs and encrypts to the tenant's user.
import { bytesSource, type ByteSource, type Chunks, collect } from '../core/bytes.ts';
import { defaultLimits } from '../core/limits.ts';
import { parsePrivateKey, parsePublicKey } from '../pgp/certificate.ts';
import { signAndEncryptMessage } from '../pgp/message.ts';
import { parsePemCertificates } from '../smime/certificate.ts';
import { encryptMessage, signMessage } from '../smime/message.ts';
import { readPrivateKey } from '../smime/private-key.ts';
import type { Person } from './people.ts';

/** Signs as `from` and encrypts to `to`. */
export async function encryptForDemo(
  message: ByteSource,
  format: 'S/MIME' | 'OpenPGP',
  from: Person,
  to: Person,
): Promise<ByteSource> {
  const options = { limits: defaultLimits, at: new Date() };
  if (format === 'OpenPGP') {
    const keys = [await parsePublicKey(to.pgp.publicKey)] as const;
    return held(signAndEncryptMessage(message, keys, await parsePrivateKey(from.pgp.privateKey), options));
  }
  const [certificate] = certificatesOf(from.smime.certificatePem);
  const signer = {
    certificate,
    chain: parsePemCertificates(from.smime.chainPem),
    key: readPrivateKey(from.smime.keyPem),
  };
  const signed = await held(signMessage(message, signer, options));
  return held(encryptMessage(signed.open(), certificatesOf(to.smime.certificatePem), options));
}

function certificatesOf(pem: string) {
  const [certificate] = parsePemCertificates(pem);
  if (!certificate) throw new Error('a person of the lab has no certificate');
  return [certificate] as const;
}

async function held(chunks: Chunks): Promise<ByteSource> {
  return bytesSource(await collect(chunks, 2 * defaultLimits.maxMessageBytes));
}
