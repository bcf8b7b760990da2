import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ID } from '../../../src/smime/algorithms.ts';
import { algorithmIdentifier, integer, NULL, sequence } from '../../../src/smime/ber-writer.ts';
import {
  certificateCapabilities,
  readCapabilities,
  writeCapabilities,
} from '../../../src/smime/capabilities.ts';
import { parseDer } from '../../../src/smime/der.ts';
import { extension, makeCertificate } from '../../support/certificates.ts';

const DES3 = '1.2.840.113549.3.7';
const RC2 = '1.2.840.113549.3.2';

test('what we announce can be read', () => {
  assert.deepEqual(readCapabilities(parseDer(writeCapabilities())), [
    'aes-256-gcm',
    'aes-128-gcm',
    'aes-256-cbc',
    'aes-128-cbc',
    'cek-hkdf-sha256',
  ]);
});

test('the order counts, doubles and unknown ones do not, parameters are passed over', () => {
  const value = sequence(
    algorithmIdentifier(DES3),
    algorithmIdentifier(RC2, integer(128)),
    algorithmIdentifier('1.2.3.4', NULL),
    algorithmIdentifier(ID.aes256Cbc),
    algorithmIdentifier(RC2, integer(40)),
  );
  assert.deepEqual(readCapabilities(parseDer(value)), ['3des', 'rc2', 'aes-256-cbc']);
  assert.deepEqual(readCapabilities(parseDer(sequence())), []);
  assert.throws(() => readCapabilities(parseDer(sequence(NULL))), { code: 'config-invalid' });
});

test('a certificate may announce too', async (t) => {
  for (const [name, extensions, expected] of [
    ['good', [extension(ID.smimeCapabilities, writeCapabilities())], 'aes-256-gcm'],
    ['malformed', [extension(ID.smimeCapabilities, NULL as Buffer)], undefined],
    ['none', [], undefined],
  ] as const) {
    await t.test(name, () => {
      const { certificate } = makeCertificate({ extensions });
      assert.equal(certificateCapabilities(certificate)?.[0], expected);
    });
  }
});
