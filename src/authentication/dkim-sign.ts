// DKIM signatures of our own (RFC 6376), made by mailauth: a message that the gateway has changed has lost the one that Exchange
// Online put on it.
import { Readable } from 'node:stream';
import { dkimSign } from 'mailauth/lib/dkim/sign.js';
import type { ByteSource } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import type { Limits } from '../core/limits.ts';
import type { Secret } from '../core/secret.ts';
import { type HeaderField, parseHeaderSection } from '../mime/header-section.ts';

export interface DkimSigner {
  /** d=, a lower-case A-label. */
  readonly domain: string;
  readonly selector: string;
  /** PKCS#8 PEM: RSA, or Ed25519 (RFC 8463). */
  readonly key: Secret;
}

/** What is signed where it is there; From twice, so that a second one put before it breaks the signature (RFC 6376 §8.15). */
const FIELDS = [
  'From',
  'From',
  'Sender',
  'Reply-To',
  'To',
  'Cc',
  'Subject',
  'Date',
  'Message-ID',
  'In-Reply-To',
  'References',
  'MIME-Version',
  'Content-Type',
  'Content-Transfer-Encoding',
];

/** The DKIM-Signature field for the whole message, without l=. Throws GatewayError `unplanned` where it cannot be made. */
export async function signDkim(
  message: ByteSource,
  { domain, selector, key }: DkimSigner,
  at: Date,
  limits: Limits,
): Promise<HeaderField> {
  const { signatures, errors } = await dkimSign(Readable.from(message.open(), { objectMode: false }), {
    signingDomain: domain,
    selector,
    privateKey: key.reveal(),
    // What we sign has short lines without blanks at their ends, which nobody changes on the way.
    canonicalization: 'relaxed/simple',
    headerList: FIELDS,
    signTime: at,
    strict: true,
    signatureData: [{ signingDomain: domain, selector, privateKey: key.reveal() }],
  });
  const [field, ...more] = parseHeaderSection(Buffer.from(signatures), limits).fields;
  if (!field || more.length > 0 || errors.length > 0)
    throw new GatewayError('unplanned', `the message cannot be signed with DKIM for ${domain}`);
  return field;
}
