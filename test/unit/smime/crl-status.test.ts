// What revocation lists say about a certificate (RFC 5280 §6.3.3): who may sign them, what they are about, what a delta CRL
// changes. Lists and certificates are made here; PKITS and openssl are in test/vectors and test/interop.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Certificate } from '../../../src/smime/certificate.ts';
import type { RevocationList } from '../../../src/smime/crl.ts';
import { judgeByLists } from '../../../src/smime/crl-status.ts';
import {
  caExtension,
  element,
  extension,
  makeCertificate,
  name,
  type RawIdentity,
  type RawRequest,
} from '../../support/certificates.ts';
import {
  crlIssuer,
  deltaOf,
  directoryName,
  fullName,
  INDIRECT,
  listNumber,
  makeList,
  pointers,
  relativeName,
  scope,
  someReasons,
  uriName,
} from '../../support/lists.ts';

const at = new Date('2026-06-01T00:00:00Z');
const usage = (bits: number): Buffer => extension('2.5.29.15', element(0x03, Buffer.of(0, bits)), true);
const SIGNS_LISTS = usage(0x06);
const caName = name('Postern test CA');
const root = makeCertificate({ subject: name('Postern test root'), extensions: [caExtension()] });
const otherRoot = makeCertificate({ subject: name('Other root'), extensions: [caExtension()] });
const caWith = (request: RawRequest): RawIdentity =>
  makeCertificate({ subject: caName, issuer: root, extensions: [caExtension(), SIGNS_LISTS], ...request });
const ca = caWith({});
const userWith = (...extensions: readonly Buffer[]): Certificate =>
  makeCertificate({ subject: name('User'), issuer: ca, extensions }).certificate;
const user = userWith();
const revokes = (certificate: Certificate, reason?: number) => ({
  entries: [{ serial: certificate.serial, ...(reason !== undefined && { reason }) }],
});

interface Others {
  readonly pool?: readonly RawIdentity[];
  readonly signer?: 'good' | 'revoked' | 'unknown';
}

/** The verdict on a certificate of the CA, in words. */
async function judge(lists: readonly RevocationList[], certificate = user, others: Others = {}) {
  const status = await judgeByLists(lists, certificate, [ca.certificate, root.certificate], {
    at,
    others: {
      pool: (others.pool ?? []).map((one) => one.certificate),
      statusOf: () => Promise.resolve(others.signer ?? 'good'),
    },
  });
  return status.state === 'good' ? 'good' : `${status.state}: ${status.reason}`;
}

test('a list by another key of the CA', async (t) => {
  const renewed = caWith({});
  const revoked = makeList(renewed, revokes(user, 1));
  const stranger = caWith({ issuer: otherRoot });
  const cases: readonly (readonly [string, RawIdentity, Others, string])[] = [
    ['with a path to the same anchor', renewed, {}, 'good'],
    [
      'that is not at hand',
      renewed,
      { pool: [] },
      'unknown: the CRL is not signed by the issuer of the certificate',
    ],
    [
      'other anchor: a CA of the same name',
      stranger,
      {},
      'unknown: the signer of the CRL is not trusted: no path to a trusted root',
    ],
    [
      'that expired',
      caWith({ notAfter: '260101000000Z' }),
      {},
      'unknown: the signer of the CRL is not trusted: certificate expired on 2026-01-01T00:00:00.000Z',
    ],
    [
      'that signs certificates only',
      caWith({ extensions: [caExtension(), usage(0x04)] }),
      {},
      'unknown: the CRL is not signed by the issuer of the certificate',
    ],
    [
      'that was revoked',
      renewed,
      { signer: 'revoked' },
      'unknown: the certificate of the signer of the CRL was revoked',
    ],
    [
      'that cannot be checked does not clear',
      renewed,
      { signer: 'unknown' },
      'unknown: revocation of the signer of the CRL cannot be checked',
    ],
    ['that signs lists only', caWith({ extensions: [usage(0x02)] }), {}, 'good'],
  ];
  for (const [title, signer, others, expected] of cases)
    await t.test(title, async () => {
      assert.equal(await judge([makeList(signer)], user, { pool: [signer], ...others }), expected);
    });
  await t.test('that cannot be checked may revoke', async () =>
    assert.equal(
      await judge([revoked], user, { pool: [renewed], signer: 'unknown' }),
      'revoked: keyCompromise',
    ),
  );
  await t.test('where only keys of the path may sign', async () => {
    const path = [ca.certificate, root.certificate];
    assert.equal((await judgeByLists([makeList(renewed)], user, path, { at })).state, 'unknown');
    assert.equal((await judgeByLists([makeList(ca)], user, path, { at })).state, 'good');
  });
  await t.test('a signer of lists on its own list', async () => {
    const issuers = [root.certificate];
    const own = caWith({ extensions: [usage(0x02)], subject: root.subject });
    const status = (isOfSigner: boolean, list: RevocationList) =>
      judgeByLists([list], own.certificate, issuers, { at, isOfSigner });
    assert.equal((await status(true, makeList(own))).state, 'good');
    assert.equal((await status(true, makeList(own, revokes(own.certificate)))).state, 'revoked');
    assert.equal((await status(false, makeList(own))).state, 'unknown');
  });
});

test('signer flood: few of many keys of one name are tried', async () => {
  const pool = Array.from({ length: 100 }, () => caWith({}));
  const verdicts = await Promise.all(pool.map((one) => judge([makeList(one)], user, { pool })));
  assert.deepEqual(
    verdicts.map((verdict) => verdict === 'good'),
    pool.map((_, index) => index < 4),
  );
});

test('indirect CRL', async (t) => {
  const office = makeCertificate({ subject: name('Office'), issuer: root, extensions: [usage(0x02)] });
  const others: Others = { pool: [office] };
  const named = userWith(pointers([fullName(uriName('http://a/')), crlIssuer(office.subject)]));
  const list = (entries: Parameters<typeof makeList>[1] = {}, ...fields: readonly Buffer[]) =>
    makeList(office, { ...entries, extensions: [scope(...fields, INDIRECT)] });
  const { serial } = named;
  await t.test('by the one that the certificate names', async () =>
    assert.equal(await judge([list()], named, others), 'good'),
  );
  await t.test('by one that it does not name', async () =>
    assert.equal(await judge([list()], user, others), 'unknown: the CRL is by another issuer'),
  );
  await t.test('that does not call itself indirect', async () =>
    assert.equal(await judge([makeList(office)], named, others), 'unknown: the CRL is by another issuer'),
  );
  await t.test('entries name their issuer, and those that follow keep it', async () => {
    const entries = [
      { serial: Buffer.of(1), issuer: ca.subject },
      { serial, reason: 4 },
    ];
    assert.equal(await judge([list({ entries })], named, others), 'revoked: superseded');
  });
  await t.test('the same serial number of another issuer', async () => {
    const entries = [
      { serial },
      { serial, issuer: name('Another CA') },
      { serial, issuer: name('One more CA') },
      { serial },
    ];
    assert.equal(await judge([list({ entries })], named, others), 'good');
  });
  await t.test('an issuer of an entry in a list that is not indirect', async () => {
    const direct = makeList(ca, { entries: [{ serial: Buffer.of(1), issuer: ca.subject }] });
    assert.match(
      await judge([direct]),
      /^unknown: an entry of the CRL has the critical extension 2\.5\.29\.29$/,
    );
  });
  await t.test('named by its issuer alone', async () => {
    const alone = userWith(pointers([crlIssuer(office.subject)]));
    const point = (subject: Buffer) => list({}, fullName(directoryName(subject)));
    assert.equal(await judge([point(office.subject)], alone, others), 'good');
    assert.equal(
      await judge([point(caName)], alone, others),
      'unknown: the CRL is for another distribution point',
    );
  });
});

test('distribution point', async (t) => {
  const pointed = userWith(pointers([fullName(uriName('http://a/1.crl'))]));
  const relative = userWith(pointers([relativeName('list 1')]));
  const with1 = (certificate: Certificate, ...fields: readonly Buffer[]) =>
    judge([makeList(ca, { extensions: [scope(...fields)] })], certificate);
  const other = 'unknown: the CRL is for another distribution point';
  const cases: readonly (readonly [string, Certificate, readonly Buffer[], string])[] = [
    ['of the certificate', pointed, [fullName(uriName('http://a/1.crl'))], 'good'],
    ['of others', pointed, [fullName(uriName('http://a/2.crl'))], other],
    ['of the whole CA', pointed, [], 'good'],
    ['relative to the signer on both sides', relative, [relativeName('list 1')], 'good'],
    ['relative, but another', relative, [relativeName('list 2')], other],
    [
      'the name of the CA, of which the certificate says nothing',
      user,
      [fullName(directoryName(caName))],
      'good',
    ],
    ['users only', user, [element(0x81, Buffer.of(0xff))], 'good'],
    ['CAs only', user, [element(0x82, Buffer.of(0xff))], 'unknown: the CRL is for certificates of CAs only'],
    [
      'attribute certificates only',
      user,
      [element(0x85, Buffer.of(0xff))],
      'unknown: the CRL is for attribute certificates',
    ],
  ];
  for (const [title, certificate, fields, expected] of cases)
    await t.test(title, async () => assert.equal(await with1(certificate, ...fields), expected));
});

test('lists for some reasons', async (t) => {
  const forReasons = (bits: number, more = {}) =>
    makeList(ca, { ...more, extensions: [scope(someReasons(0x83, bits))] });
  const [compromise, rest] = [0x60, 0x1f];
  const last = makeList(ca, { extensions: [scope(element(0x83, Buffer.of(7, 0, 0x80)))] });
  await t.test('together they tell all', async () =>
    assert.equal(await judge([forReasons(compromise), forReasons(rest), last]), 'good'),
  );
  await t.test('one reason is missing', async () =>
    assert.equal(
      await judge([forReasons(compromise), forReasons(rest)]),
      'unknown: the CRLs cover some reasons only',
    ),
  );
  await t.test('one of them is enough to revoke', async () =>
    assert.equal(await judge([forReasons(rest, revokes(user, 4))]), 'revoked: superseded'),
  );
  await t.test('the certificate limits them, too', async () => {
    const limited = userWith(pointers([fullName(uriName('http://a/')), someReasons(0x81, compromise)]));
    const list = makeList(ca, { extensions: [scope(fullName(uriName('http://a/')))] });
    assert.equal(await judge([list], limited), 'unknown: the CRLs cover some reasons only');
  });
});

test('delta CRL', async (t) => {
  const HOLD = 6;
  const REMOVE = 8;
  const complete = (more = {}) => makeList(ca, { extensions: [listNumber(5)], ...more });
  const delta = (more = {}, base = 5, number = 7, signer = ca) =>
    makeList(signer, { extensions: [listNumber(number), deltaOf(base)], ...more });
  const expired = { nextUpdate: '260520000000Z' };
  const hold = { entries: [{ serial: user.serial, reason: HOLD }] };
  const remove = { entries: [{ serial: user.serial, reason: REMOVE }] };
  const bad = revokes(user, 1);
  const BAD = 'revoked: keyCompromise';
  const cases: readonly (readonly [string, readonly RevocationList[], string])[] = [
    ['revokes', [complete(), delta(bad)], BAD],
    ['in any order', [delta(bad), complete()], BAD],
    ['for an older list', [complete(), delta(bad, 3)], BAD],
    ['says nothing', [complete(bad), delta()], BAD],
    ['takes off hold', [complete(hold), delta(remove)], 'good'],
    ['takes off nothing else', [complete(bad), delta(remove)], BAD],
    ['takes off what is not there', [complete(), delta(remove)], 'good'],
    ['removal in a complete list', [complete(remove)], 'revoked: removeFromCRL'],
    [
      'the newest counts',
      [complete(hold), delta(remove, 5, 7), delta(hold, 5, 8)],
      'revoked: certificateHold',
    ],
    ['brings a list up to date that expired', [complete(expired), delta()], 'good'],
    ['for a newer list', [complete(), delta(bad, 6)], 'good'],
    ['older than the list', [complete(), delta(bad, 3, 4)], 'good'],
    ['that expired', [complete(), delta({ ...bad, ...expired })], 'good'],
    ['that expired, as the list did', [complete(expired), delta(expired)], 'unknown: the CRL has expired'],
    ['by another key', [complete(), delta(bad, 5, 7, caWith({}))], 'good'],
    [
      'of another scope',
      [
        complete(),
        makeList(ca, {
          ...bad,
          extensions: [listNumber(7), deltaOf(5), scope(element(0x81, Buffer.of(0xff)))],
        }),
      ],
      'good',
    ],
    ['for a list without a number', [makeList(ca), delta(bad)], 'good'],
    ['alone', [delta(bad)], 'unknown: there is no complete CRL'],
  ];
  for (const [title, lists, expected] of cases)
    await t.test(title, async () => assert.equal(await judge(lists), expected));
});
