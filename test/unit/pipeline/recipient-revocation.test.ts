import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KeyLookup } from '../../../src/core/key.ts';
import { isNonEmpty } from '../../../src/core/non-empty.ts';
import { withoutRevoked } from '../../../src/pipeline/recipient-revocation.ts';
import type { Certificate } from '../../../src/smime/certificate.ts';
import type { TrustSettings } from '../../../src/smime/chain.ts';
import type { PathRevocation } from '../../../src/smime/revocation.ts';
import { bareRecord } from '../../support/keys.ts';
import { createWorld } from '../../support/smime.ts';

const world = await createWorld('recipient revocation');
const stranger = await (await createWorld('another')).person('x');
const [old, renewed] = [await world.person('old'), await world.person('renewed')];
const at = new Date();

const good: PathRevocation = { state: 'good', isTemporary: false, reason: 'no certificate is revoked' };
const revoked: PathRevocation = { state: 'revoked', isTemporary: false, reason: 'certificate was revoked' };
const silent: PathRevocation = {
  state: 'unknown',
  isTemporary: true,
  reason: 'cannot be checked: no answer',
};
const mute: PathRevocation = { state: 'unknown', isTemporary: false, reason: 'cannot be checked: nobody' };

function trustWith(states: ReadonlyMap<Certificate, PathRevocation>, isRequired: boolean): TrustSettings {
  const byPrint = new Map([...states].map(([{ fingerprint }, state]) => [fingerprint, state]));
  return {
    anchors: world.trust.anchors,
    intermediates: [],
    online: {
      revocation: {
        isRequired,
        check: ([leaf]) => Promise.resolve(byPrint.get(leaf?.fingerprint ?? '') ?? good),
      },
    },
  };
}

function lookupOf(...certificates: readonly Certificate[]): Extract<KeyLookup, { kind: 'usable' }> {
  const keys = certificates.map(({ pem }, index) => ({
    record: { ...bareRecord(String(index + 1)), material: pem },
    matchedBy: 'address' as const,
  }));
  assert(isNonEmpty(keys));
  return { kind: 'usable', keys, rejected: [] };
}

async function answer(
  states: readonly (readonly [Certificate, PathRevocation])[],
  isRequired: boolean,
  lookup: KeyLookup = lookupOf(renewed.certificate, old.certificate),
) {
  const found = await withoutRevoked(lookup, trustWith(new Map(states), isRequired), at);
  const chosen = found.kind === 'usable' ? found.keys[0].record.id : undefined;
  return [found.kind, chosen?.at(-1), found.rejected.map(({ reason }) => reason)];
}

test('the newest certificate that is not revoked is taken, the others with their reasons', async () => {
  assert.deepEqual(await answer([], false), ['usable', '1', []]);
  assert.deepEqual(await answer([[renewed.certificate, revoked]], false), ['usable', '2', [revoked.reason]]);
  const both = [
    [renewed.certificate, revoked],
    [old.certificate, revoked],
  ] as const;
  assert.deepEqual(await answer(both, false), ['none', undefined, [revoked.reason, revoked.reason]]);
});

test('a key of a less close match stands in for a revoked one', async () => {
  const lookup = lookupOf(renewed.certificate);
  const [domain] = lookupOf(old.certificate).keys;
  const record = { ...domain.record, id: bareRecord('9').id };
  const farther = [{ record, matchedBy: 'domain' as const }];
  const rejected = [{ id: record.id, reason: 'a key of a closer match is used' }];
  const both = { ...lookup, farther, rejected };
  assert.deepEqual(await answer([], false, both), ['usable', '1', [rejected[0]?.reason]]);
  const states = [[renewed.certificate, revoked]] as const;
  assert.deepEqual(await answer(states, false, both), ['usable', '9', [revoked.reason]]);
});

test('what cannot be checked is used or not, as the policy says', async () => {
  const states = [[renewed.certificate, silent]] as const;
  assert.deepEqual(await answer(states, false), ['usable', '1', []]);
  assert.deepEqual(await answer(states, true), ['usable', '2', [silent.reason]]);
});

test('unknown is not none: whoever holds up the question gets no mail in the clear', async () => {
  const silence = [
    [renewed.certificate, silent],
    [old.certificate, revoked],
  ] as const;
  assert.deepEqual(await answer(silence, true), ['unreadable', undefined, [silent.reason, revoked.reason]]);
  const nobody = [
    [renewed.certificate, mute],
    [old.certificate, mute],
  ] as const;
  assert.deepEqual(await answer(nobody, true), ['none', undefined, [mute.reason, mute.reason]]);
});

test('a certificate without a path is not asked about', async () => {
  const lookup = lookupOf(stranger.certificate);
  assert.deepEqual(await answer([[stranger.certificate, revoked]], false, lookup), ['usable', '1', []]);
  const [kind, , reasons] = await answer([], true, lookup);
  assert.equal(kind, 'none');
  assert.match(String(reasons), /^revocation of the certificate cannot be checked: /);
});

test('without a check the look-up stays as it is', async () => {
  const lookup = lookupOf(renewed.certificate);
  assert.equal(await withoutRevoked(lookup, world.trust, at), lookup);
});
