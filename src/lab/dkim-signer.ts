// DKIM signatures of the lab's senders: relaxed/relaxed, rsa-sha256 (RFC 6376 §3.3, §3.4), whole body. Written apart from
// the verifier that the gateway uses.
import { createHash, createPublicKey, createSign, type KeyObject } from 'node:crypto';
import type { ByteSource, Chunks } from '../core/bytes.ts';
import { hasName, type RawField, rawField, readRawMessage, writeRawMessage } from './raw-header.ts';

export interface DkimKey {
  readonly domain: string;
  readonly selector: string;
  readonly key: KeyObject;
  /** More tags, as written: `x=1700000000`. A body length, l=, must be that of the whole body. */
  readonly tags?: readonly string[];
}

/** The fields that Exchange Online signs (observed). */
const SIGNED_FIELDS = [
  'From',
  'Date',
  'Subject',
  'Message-ID',
  'Content-Type',
  'MIME-Version',
  'X-MS-Exchange-SenderADCheck',
];

/** The DKIM-Signature field for the message. */
export function signDkim(message: ByteSource, signer: DkimKey, at: Date): Promise<RawField> {
  return signMessage('DKIM-Signature', ['v=1'], message, signer, at);
}

/** A signature over header and body, in the field and with the first tags of DKIM or of ARC. */
export async function signMessage(
  field: string,
  first: readonly string[],
  message: ByteSource,
  signer: DkimKey,
  at: Date,
): Promise<RawField> {
  const { fields, rest } = await readRawMessage(message);
  const bodyHash = await hashRelaxedBody(rest.open({ start: Math.min(2, rest.size) }));
  const present = SIGNED_FIELDS.filter((name) => fields.some((candidate) => hasName(candidate, name)));
  const tags = [
    ...first,
    'a=rsa-sha256',
    'c=relaxed/relaxed',
    `d=${signer.domain}`,
    `s=${signer.selector}`,
    `t=${Math.floor(at.getTime() / 1000)}`,
    `h=${present.join(':')}`,
    `bh=${bodyHash}`,
    ...(signer.tags ?? []),
  ];
  // Of a repeated field the last one is signed (RFC 6376 §5.4.2).
  const signed = present.flatMap((name) => fields.findLast((candidate) => hasName(candidate, name)) ?? []);
  return signFields(field, tags, signed, signer);
}

/** Signs these fields and, last, the new one without its `b=`. */
export function signFields(
  name: string,
  tags: readonly string[],
  signed: readonly RawField[],
  signer: DkimKey,
): RawField {
  const unsigned = [...tags, 'b='].join(';\r\n ');
  const sign = createSign('RSA-SHA256');
  for (const field of signed) sign.update(relaxedField(field));
  sign.update(relaxedField(rawField(name, unsigned)).replace(/\r\n$/, ''));
  const signature = sign.sign(signer.key, 'base64').replace(/.{70}(?=.)/g, '$&\r\n ');
  return rawField(name, `${unsigned}${signature}`);
}

/** The message with its DKIM-Signature in front. */
export async function withDkim(message: ByteSource, signer: DkimKey, at: Date): Promise<ByteSource> {
  const { fields, rest } = await readRawMessage(message);
  return writeRawMessage({ fields: [await signDkim(message, signer, at), ...fields], rest });
}

/** The TXT record for `<selector>._domainkey.<domain>`. */
export function dkimRecord(signer: DkimKey): string {
  const der = createPublicKey(signer.key).export({ type: 'spki', format: 'der' });
  return `v=DKIM1; k=rsa; p=${der.toString('base64')}`;
}

function relaxedField(field: RawField): string {
  const value = field.raw
    .toString('latin1')
    .slice(field.name.length + 1)
    .replace(/\r\n/g, '')
    .replace(/[ \t]+/g, ' ')
    .trim();
  return `${field.name.toLowerCase().trimEnd()}:${value}\r\n`;
}

/** RFC 6376 §3.4.4: blanks at line ends go, runs of blanks become one, empty lines at the end go. */
async function hashRelaxedBody(body: Chunks): Promise<string> {
  const hash = createHash('sha256');
  let pending = '';
  let emptyLines = '';
  const update = (line: string): void => {
    const relaxed = line.replace(/[ \t]+/g, ' ').replace(/ $/, '');
    if (relaxed === '') {
      emptyLines += '\r\n';
      return;
    }
    hash.update(`${emptyLines}${relaxed}\r\n`, 'latin1');
    emptyLines = '';
  };
  for await (const chunk of body) {
    const lines = (pending + Buffer.from(chunk).toString('latin1')).split('\r\n');
    pending = lines.pop() ?? '';
    for (const line of lines) update(line);
  }
  if (pending !== '') update(pending);
  return hash.digest('base64');
}
