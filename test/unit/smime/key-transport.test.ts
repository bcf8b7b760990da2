// RSA key transport: which OAEP parameters are read, and that malformed ones never come near the private key.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ID } from '../../../src/smime/algorithms.ts';
import {
  algorithmIdentifier,
  integer,
  NULL,
  octetString,
  sequence,
  tagged,
} from '../../../src/smime/ber-writer.ts';
import { parseDer } from '../../../src/smime/der.ts';
import { transportScheme } from '../../../src/smime/key-transport.ts';

const sha = (id: string): Buffer => algorithmIdentifier(id, NULL);
const mgf1 = (id: string): Buffer => algorithmIdentifier(ID.mgf1, sha(id));
const label = (bytes: Uint8Array): Buffer => algorithmIdentifier(ID.pSpecified, octetString(bytes));
const SHAKE256 = '2.16.840.1.101.3.4.2.12';

const table: readonly (readonly [
  string,
  Buffer | undefined,
  readonly [string, string, string] | undefined,
])[] = [
  ['absent', undefined, ['sha1', 'sha1', '']],
  ['all default', sequence(), ['sha1', 'sha1', '']],
  ['hash without parameters', sequence(tagged(0, algorithmIdentifier(ID.sha256))), ['sha256', 'sha1', '']],
  ['mask alone', sequence(tagged(1, mgf1(ID.sha512))), ['sha1', 'sha512', '']],
  ['label', sequence(tagged(2, label(Buffer.from('x')))), ['sha1', 'sha1', 'x']],
  [
    'all',
    sequence(tagged(0, sha(ID.sha384)), tagged(1, mgf1(ID.sha256)), tagged(2, label(Buffer.from('x')))),
    ['sha384', 'sha256', 'x'],
  ],
  ['NULL', Buffer.from(NULL), undefined],
  ['hash with other parameters', sequence(tagged(0, algorithmIdentifier(ID.sha256, integer(1)))), undefined],
  ['unknown hash', sequence(tagged(0, sha('1.2.3'))), undefined],
  ['SHAKE256', sequence(tagged(0, sha(SHAKE256))), undefined],
  ['another mask function', sequence(tagged(1, algorithmIdentifier('1.2.3', sha(ID.sha256)))), undefined],
  ['mask without a hash', sequence(tagged(1, algorithmIdentifier(ID.mgf1))), undefined],
  ['mask with more', sequence(tagged(1, algorithmIdentifier(ID.mgf1, sha(ID.sha256), NULL))), undefined],
  [
    'another source of the label',
    sequence(tagged(2, algorithmIdentifier('1.2.3', octetString(Buffer.alloc(1))))),
    undefined,
  ],
  ['label that is none', sequence(tagged(2, algorithmIdentifier(ID.pSpecified, NULL))), undefined],
  [
    'label with more',
    sequence(tagged(2, algorithmIdentifier(ID.pSpecified, octetString(Buffer.alloc(1)), NULL))),
    undefined,
  ],
  ['out of order', sequence(tagged(1, mgf1(ID.sha256)), tagged(0, sha(ID.sha256))), undefined],
  ['twice', sequence(tagged(0, sha(ID.sha256)), tagged(0, sha(ID.sha256))), undefined],
  ['two hashes', sequence(tagged(0, sha(ID.sha256), sha(ID.sha256))), undefined],
  ['something more', sequence(tagged(3, NULL)), undefined],
];

test('OAEP parameters: each valid form, and no malformed one', async (t) => {
  for (const [title, parameters, expected] of table) {
    await t.test(title, () => {
      const scheme = transportScheme(ID.rsaOaep, parameters && parseDer(parameters));
      assert.deepEqual(
        scheme?.kind === 'oaep' ? [scheme.digest, scheme.maskDigest, scheme.label.toString()] : scheme,
        expected,
      );
    });
  }
});
