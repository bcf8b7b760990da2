// Several certificates for one address, as they really are: which one is used, and why not each of the others.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import type { KeyId, KeyRecord } from '../../../src/core/key.ts';
import { preferenceReason } from '../../../src/core/key-preference.ts';
import type { TenantKeys } from '../../../src/keys/store.ts';
import {
  altNames,
  element,
  emailName,
  extension,
  makeCertificate,
  oid,
  type RawRequest,
  sequence,
} from '../../support/certificates.ts';
import { keyIdOf, NOW, smimeKey, withStore } from '../../support/keys.ts';
import { address } from '../../support/policy.ts';

const BOB = 'bob@fabrikam.example';

interface Wish extends Omit<RawRequest, 'extensions'> {
  readonly for?: string;
  readonly more?: readonly Buffer[];
}

function certificateFor({ for: match = BOB, more = [], ...request }: Wish): KeyRecord {
  const { certificate } = makeCertificate({
    notBefore: '260101000000Z',
    notAfter: '270101000000Z',
    ...request,
    extensions: [altNames(emailName(BOB)), ...more],
  });
  const { record } = smimeKey(match);
  const { pem, fingerprint, notBefore, notAfter } = certificate;
  return { ...record, id: keyIdOf('smime', fingerprint), material: pem, notBefore, notAfter };
}

const usage = (unused: number, bits: number) =>
  extension('2.5.29.15', element(0x03, Buffer.of(unused, bits)), true);
const signOnly = usage(7, 0x80);
const agreement = usage(3, 0x08);
const forServers = extension('2.5.29.37', sequence(oid('1.3.6.1.5.5.7.3.1')));
const rsa = (modulusLength: number) => generateKeyPairSync('rsa', { modulusLength });
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' });

const good = certificateFor({});

const rows: readonly (readonly [string, KeyRecord, RegExp])[] = [
  [
    'F69 an expired one',
    certificateFor({ notBefore: '250101000000Z', notAfter: '260531235959Z' }),
    /expired on 2026-05-31/,
  ],
  [
    'one that is not valid yet',
    certificateFor({ notBefore: '260701000000Z' }),
    /not valid before 2026-07-01/,
  ],
  [
    'F70 one for signatures',
    certificateFor({ more: [signOnly] }),
    /does not allow encryption \(no keyAgreement\)/,
  ],
  ['one for servers', certificateFor({ more: [forServers] }), /does not include e-mail protection/],
  ['a weak RSA key', certificateFor({ keys: rsa(1_024) }), /RSA key has 1024 bits, fewer than 2048/],
  [
    'an unusual curve',
    certificateFor({ keys: generateKeyPairSync('ec', { namedCurve: 'secp256k1' }) }),
    /elliptic curve of the key is not supported/,
  ],
  [
    'one that signs only, by its type',
    certificateFor({ keys: generateKeyPairSync('ed25519'), issuer: makeCertificate({}) }),
    /key type of the certificate cannot encrypt/,
  ],
  [
    'F111 one of the domain',
    certificateFor({ for: '@fabrikam.example', notBefore: '260501000000Z' }),
    /closer match/,
  ],
];

test('a good certificate is used whatever else is declared, with a reason for what is not', async (t) => {
  for (const [name, other, reason] of rows) {
    await t.test(name, () =>
      withStore(async ({ keys }) => {
        for (const record of [other, good]) await keys.put(record);
        const lookup = await keys.lookup(address(BOB), 'smime', 'encrypt', NOW);
        assert(lookup.kind === 'usable');
        assert.deepEqual(
          lookup.keys.map(({ record }) => record.id),
          [good.id],
        );
        const [rejected, ...more] = lookup.rejected;
        assert.deepEqual([rejected?.id, more], [other.id, []]);
        assert.match(rejected?.reason ?? '', reason);
      }),
    );
  }
});

test('F106 what is declared for another address or domain is not even looked at', () =>
  withStore(async ({ keys }) => {
    for (const match of ['eve@fabrikam.example', '@other.example', '@sub.fabrikam.example', '@example'])
      await keys.put(certificateFor({ for: match }));
    const lookup = await keys.lookup(address(BOB), 'smime', 'encrypt', NOW);
    assert.deepEqual(lookup, { kind: 'none', rejected: [] });
  }));

async function order(keys: TenantKeys): Promise<readonly (readonly [KeyId, string])[]> {
  const lookup = await keys.lookup(address(BOB), 'smime', 'encrypt', NOW);
  assert(lookup.kind === 'usable');
  const [chosen, ...others] = lookup.keys;
  return [
    [chosen.record.id, 'chosen'],
    ...others.map((other) => [other.record.id, preferenceReason(chosen, other)] as const),
  ];
}

const renewed = certificateFor({ notBefore: '260501000000Z', notAfter: '270501000000Z' });
const strong = certificateFor({ keys: p384, more: [agreement] });
const rsa2048 = certificateFor({ keys: rsa(2_048) });
const rsa3072 = certificateFor({ keys: rsa(3_072) });
const longer = certificateFor({ notAfter: '280101000000Z' });

test('several good ones: the latest start, then the stronger key, then the later end, in whatever order they came', async (t) => {
  const stronger = 'another key that became valid at the same time is stronger';
  const table: readonly (readonly [string, KeyRecord, KeyRecord, string])[] = [
    [
      'F82 a renewed one beside the old one',
      renewed,
      good,
      'replaced by a key that became valid later, on 2026-05-01',
    ],
    [
      'a renewed one before a stronger one',
      renewed,
      strong,
      'replaced by a key that became valid later, on 2026-05-01',
    ],
    ['the longer curve', strong, good, stronger],
    ['P-256 before RSA of 2,048 bits', good, rsa2048, stronger],
    ['the longer RSA key', rsa3072, rsa2048, stronger],
    ['a stronger one before one that lasts longer', strong, longer, stronger],
    [
      'one that lasts longer',
      longer,
      good,
      'another key that became valid at the same time lasts longer, or has the lower id',
    ],
  ];
  for (const [name, first, second, reason] of table)
    for (const put of [
      [first, second],
      [second, first],
    ])
      await t.test(`${name}, ${put[0] === first ? 'first' : 'last'}`, () =>
        withStore(async ({ keys }) => {
          for (const record of put) await keys.put(record);
          assert.deepEqual(await order(keys), [
            [first.id, 'chosen'],
            [second.id, reason],
          ]);
        }),
      );
});
