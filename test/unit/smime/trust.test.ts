// Trust beyond one path: what happens where a CA on it turns out to be revoked, and what hostile certificates may cost.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { test } from 'node:test';
import type { Certificate } from '../../../src/smime/certificate.ts';
import type { PathRevocation } from '../../../src/smime/revocation.ts';
import { establishTrust } from '../../../src/smime/trust.ts';
import {
  altNames,
  caExtension,
  emailName,
  makeCertificate,
  name,
  type RawIdentity,
} from '../../support/certificates.ts';

const at = new Date('2026-06-01T00:00:00Z');
const rootNamed = (text: string) => makeCertificate({ subject: name(text), extensions: [caExtension()] });
const roots = [rootNamed('Root A'), rootNamed('Root B'), rootNamed('Root C')];
const newKeys = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });
const keys = newKeys();
const [viaA, viaB, viaC] = roots.map((issuer) =>
  makeCertificate({ subject: name('CA'), issuer, keys, extensions: [caExtension()] }),
) as [RawIdentity, RawIdentity, RawIdentity];
const person = altNames(emailName('user@contoso.example'));
const leaf = makeCertificate({ subject: name('User'), issuer: viaA, extensions: [person] });

type State = 'good' | 'superseded' | 'keyCompromise' | 'unknown' | 'asking failed';

/** Trust where these certificates are not good, with the paths that were asked about, by the names of their roots. */
async function judge(
  states: ReadonlyMap<RawIdentity, State>,
  isRequired: boolean,
  extra: readonly RawIdentity[] = [viaA, viaB, viaC],
) {
  const asked: string[] = [];
  const byFingerprint = new Map(
    [...states].map(([{ certificate }, state]) => [certificate.fingerprint, state]),
  );
  const check = (chain: readonly Certificate[]): Promise<PathRevocation> => {
    asked.push(chain.at(-1)?.subject.slice(-1) ?? '');
    const place = chain.findIndex(({ fingerprint }) => byFingerprint.has(fingerprint));
    const state = byFingerprint.get(chain[place]?.fingerprint ?? '') ?? 'good';
    return Promise.resolve({
      state:
        state === 'superseded' || state === 'keyCompromise'
          ? 'revoked'
          : state === 'good'
            ? state
            : 'unknown',
      isTemporary: state === 'asking failed',
      reason: state,
      ...(place >= 0 && { culprit: { place, isKeyCompromised: state === 'keyCompromise' } }),
    });
  };
  const trust = {
    anchors: roots.map(({ certificate }) => certificate),
    intermediates: [],
    at,
    online: { revocation: { isRequired, check } },
  };
  const result = await establishTrust(
    leaf.certificate,
    extra.map(({ certificate }) => certificate),
    trust,
    'sign',
  );
  const verdict = result.trusted ? `trusted by ${asked.at(-1)}` : result.reason;
  return { verdict, asked: asked.join(''), isTemporary: result.revocation?.isTemporary };
}

const cases: readonly (readonly [
  string,
  readonly (readonly [RawIdentity, State])[],
  boolean,
  string,
  string,
])[] = [
  ['nothing is revoked', [], false, 'trusted by A', 'A'],
  ['a cross certificate was revoked', [[viaA, 'superseded']], false, 'trusted by B', 'AB'],
  [
    'two were',
    [
      [viaA, 'superseded'],
      [viaB, 'superseded'],
    ],
    false,
    'trusted by C',
    'ABC',
  ],
  [
    'all were',
    [
      [viaA, 'superseded'],
      [viaB, 'superseded'],
      [viaC, 'superseded'],
    ],
    false,
    'superseded',
    'ABC',
  ],
  ['the key was stolen: no certificate for it helps', [[viaA, 'keyCompromise']], false, 'keyCompromise', 'A'],
  [
    'the key turns out stolen on the second path',
    [
      [viaA, 'superseded'],
      [viaB, 'keyCompromise'],
    ],
    false,
    'superseded',
    'AB',
  ],
  ['the leaf was revoked: so it is on every path', [[leaf, 'superseded']], false, 'superseded', 'A'],
  [
    'after a revoked one the other has to be good',
    [
      [viaA, 'superseded'],
      [viaB, 'unknown'],
      [viaC, 'unknown'],
    ],
    false,
    'superseded',
    'ABC',
  ],
  ['one that cannot be checked counts by itself', [[viaA, 'unknown']], false, 'trusted by A', 'A'],
  ['one that cannot be checked, where it has to be', [[viaA, 'unknown']], true, 'trusted by B', 'AB'],
];

test('another path after a revoked CA', async (t) => {
  for (const [title, states, isRequired, verdict, asked] of cases)
    await t.test(title, async () => {
      const found = await judge(new Map(states), isRequired);
      assert.deepEqual([found.verdict, found.asked], [verdict, asked]);
    });
  await t.test('another path that cannot be checked now: the verdict waits', async () => {
    const states = new Map<RawIdentity, State>([
      [viaA, 'superseded'],
      [viaB, 'asking failed'],
      [viaC, 'superseded'],
    ]);
    assert.equal((await judge(states, true)).isTemporary, true);
    states.set(viaB, 'unknown');
    assert.equal((await judge(states, true)).isTemporary, false);
  });
  await t.test('of many revoked cross certificates five paths are asked about', async () => {
    const many = Array.from({ length: 50 }, () =>
      makeCertificate({
        subject: name('CA'),
        issuer: roots[0] as RawIdentity,
        keys,
        extensions: [caExtension()],
      }),
    );
    const found = await judge(new Map(many.map((one) => [one, 'superseded'])), false, many);
    assert.deepEqual([found.verdict, found.asked], ['superseded', 'AAAAA']);
  });
});

/** `size` CAs of which each has certified every other one, the first of them by the root at the end of the list. */
function meshOf(size: number): { readonly all: readonly RawIdentity[]; readonly top: RawIdentity } {
  const cas = Array.from({ length: size }, (_, index) => ({ subject: name(`CA ${index}`), keys: newKeys() }));
  const signers = cas.map((one) => makeCertificate({ ...one, extensions: [caExtension()] }));
  const all = cas.flatMap((one, index) =>
    signers
      .filter((_, other) => other !== index)
      .map((issuer) => makeCertificate({ ...one, issuer, extensions: [caExtension()] })),
  );
  return { all, top: signers.at(-1) as RawIdentity };
}

test('mesh of 182 cross certificates ends at once, with a path or without', async (t) => {
  const { all, top } = meshOf(14);
  const first = all[0] as RawIdentity;
  const user = makeCertificate({ subject: name('User'), issuer: first, extensions: [person] });
  const root = roots[0] as RawIdentity;
  const judgeMesh = async (extra: readonly RawIdentity[], anchors: readonly RawIdentity[]) => {
    const certificates = extra.map(({ certificate }) => certificate);
    const trust = { anchors: anchors.map(({ certificate }) => certificate), intermediates: [], at };
    const started = performance.now();
    const result = await establishTrust(user.certificate, certificates, trust, 'sign');
    const elapsed = performance.now() - started;
    assert(elapsed < 1_000, `${elapsed} ms`);
    return result.trusted ? result.chain.length : result.reason;
  };
  await t.test('without', async () =>
    assert.equal(await judgeMesh(all, [root]), 'no path to a trusted root'),
  );
  await t.test('with the anchor as one of them', async () => {
    const found = await judgeMesh(all, [top]);
    assert(typeof found === 'number' && found <= 10, String(found));
  });
  await t.test('keys of the slowest kind, many signers: nothing else waits for long', async () => {
    const slow = Array.from({ length: 60 }, () =>
      makeCertificate({
        subject: name('Slow'),
        issuer: first,
        keys: generateKeyPairSync('ec', { namedCurve: 'P-521' }),
        extensions: [caExtension()],
      }),
    );
    const delay = monitorEventLoopDelay({ resolution: 5 });
    const trust = { anchors: [root.certificate], intermediates: [], at };
    const certificates = slow.map(({ certificate }) => certificate);
    const leaves = slow
      .slice(0, 8)
      .map((issuer) => makeCertificate({ subject: name('User'), issuer, extensions: [person] }).certificate);
    delay.enable();
    const results = await Promise.all(leaves.map((one) => establishTrust(one, certificates, trust, 'sign')));
    delay.disable();
    assert(results.every(({ trusted }) => !trusted));
    assert(delay.max < 500_000_000, `${delay.max / 1e6} ms`);
  });
  await t.test('every signature forged', async () => {
    const forged = Array.from({ length: 200 }, (_, index) =>
      makeCertificate({
        subject: first.subject,
        issuer: all[index % 182] as RawIdentity,
        extensions: [caExtension()],
      }),
    );
    assert.equal(typeof (await judgeMesh(forged, [root])), 'string');
  });
});
