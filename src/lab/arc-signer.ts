// The ARC set that Exchange Online puts on mail it sends (RFC 8617): always the first one, for mail that begins there.
import type { ByteSource } from '../core/bytes.ts';
import { type DkimKey, signFields, signMessage } from './dkim-signer.ts';
import { rawField, readRawMessage, writeRawMessage } from './raw-header.ts';

/** The message with seal, message signature and results in front. `author`: the domain of From. */
export async function withArc(
  message: ByteSource,
  signer: DkimKey,
  author: string,
  at: Date,
): Promise<ByteSource> {
  const { fields, rest } = await readRawMessage(message);
  const results = rawField(
    'ARC-Authentication-Results',
    `i=1; mx.microsoft.com 1; spf=pass\r\n smtp.mailfrom=${author}; dmarc=pass action=none header.from=${author};\r\n dkim=pass header.d=${author}; arc=none`,
  );
  const signature = await signMessage('ARC-Message-Signature', ['i=1'], message, signer, at);
  const tags = [
    'i=1',
    'a=rsa-sha256',
    `t=${Math.floor(at.getTime() / 1000)}`,
    'cv=none',
    `d=${signer.domain}`,
    `s=${signer.selector}`,
  ];
  const seal = signFields('ARC-Seal', tags, [results, signature], signer);
  return writeRawMessage({ fields: [seal, signature, results, ...fields], rest });
}
