// One CA, a certificate of it, and what its servers say about that: lists and answers, signed.
import { createHash, sign } from 'node:crypto';
import { caExtension, element, makeCertificate, name, oid, sequence } from './certificates.ts';

export const at = new Date('2026-06-01T00:00:00Z');
export const issuer = makeCertificate({ subject: name('Postern test CA'), extensions: [caExtension()] });
export const { certificate } = makeCertificate({ subject: name('User'), issuer });
const algorithm = sequence(oid('1.2.840.10045.4.3.2'));
export const THIS = '20260531000000Z';
const NEXT = '20260701000000Z';
export const question = { certificate, issuer: issuer.certificate, nonce: Buffer.alloc(32) };

function signed(body: Buffer): Buffer {
  return element(0x03, Buffer.of(0), sign('sha256', body, issuer.key));
}

export function listOf(entry: Buffer): Buffer {
  const times = [element(0x18, THIS), element(0x18, NEXT)];
  const body = sequence(element(0x02, Buffer.of(1)), algorithm, issuer.subject, ...times, sequence(entry));
  return sequence(body, algorithm, signed(body));
}

export function answerWith(status: Buffer): Buffer {
  const key = issuer.certificate.publicKey.export({ type: 'spki', format: 'der' }).subarray(-65);
  const hashOf = (bytes: Uint8Array) => element(0x04, createHash('sha1').update(bytes).digest());
  const id = sequence(
    sequence(oid('1.3.14.3.2.26'), element(0x05)),
    hashOf(issuer.subject),
    hashOf(key),
    element(0x02, certificate.serial),
  );
  const single = sequence(id, status, element(0x18, THIS), element(0xa0, element(0x18, NEXT)));
  const data = sequence(element(0xa1, issuer.subject), element(0x18, THIS), sequence(single));
  const basic = sequence(data, algorithm, signed(data));
  const response = sequence(oid('1.3.6.1.5.5.7.48.1.1'), element(0x04, basic));
  return sequence(element(0x0a, Buffer.of(0)), element(0xa0, response));
}

export const revokedList = listOf(sequence(element(0x02, certificate.serial), element(0x18, THIS)));
export const revokedAnswer = answerWith(element(0xa1, element(0x18, THIS)));
