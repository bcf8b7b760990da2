// Messages in several wrappings, from their bytes to the marks: which layers are found, in which order they are opened,
// and where it ends.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { deflateSync } from 'node:zlib';
import { bytesSource, collect } from '../../../src/core/bytes.ts';
import type { KeyId } from '../../../src/core/key.ts';
import { defaultLimits } from '../../../src/core/limits.ts';
import { silentLog } from '../../../src/core/log.ts';
import type { Step } from '../../../src/core/plan.ts';
import type { StageOutcome } from '../../../src/core/outcome.ts';
import { Secret } from '../../../src/core/secret.ts';
import { memoryTenantKeys } from '../../../src/keys/memory.ts';
import { readMessage } from '../../../src/mime/header-section.ts';
import { scanStructure } from '../../../src/mime/shape.ts';
import { inspect } from '../../../src/pipeline/inspect.ts';
import { inLayers } from '../../../src/pipeline/layers.ts';
import { runCopy } from '../../../src/pipeline/run-copy.ts';
import { decideInbound } from '../../../src/policy/decide.ts';
import { ID } from '../../../src/smime/algorithms.ts';
import {
  algorithmIdentifier,
  element,
  integer,
  octetString,
  oid,
  sequence,
  tagged,
} from '../../../src/smime/ber-writer.ts';
import { coversEncrypted } from '../../../src/smime/layers.ts';
import { encryptMessage, signMessage } from '../../../src/smime/message.ts';
import { writeDetachedSignature } from '../../../src/smime/signed-data.ts';
import { openHolds } from '../../../src/storage/hold.ts';
import { address, factsOf, policyOf, policyText, TENANT_A } from '../../support/policy.ts';
import { cmsMail, createWorld, limits, mail, runStage } from '../../support/smime.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-layers-'));
const holds = await openHolds({ folder, memoryBytes: 1_000, log: silentLog });
after(async () => {
  await holds[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});
const world = await createWorld('layers');
const anna = await world.person('anna');
const signer = await world.person('rsa');
const keys = await memoryTenantKeys(TENANT_A, [
  {
    record: {
      id: `smime:${anna.certificate.fingerprint}` as KeyId,
      tenant: TENANT_A,
      format: 'smime',
      role: 'own',
      addresses: ['anna@contoso.example'],
      material: anna.certificatePem,
      hasPrivateKey: true,
      notBefore: new Date(0),
      source: 'policy',
    },
    privateMaterial: new Secret(anna.keyPem),
  },
]);
const context = {
  tenant: TENANT_A,
  keys,
  trust: world.trust,
  dkimSigners: [],
  limits: defaultLimits,
  at: new Date(),
  hostname: 'gw.example',
};
const policy = policyOf(policyText());
const ENTITY = mail('Content-Type: text/plain', '', 'the innermost text', '');
const PLAIN = Buffer.concat([mail('From: rsa@contoso.example', 'MIME-Version: 1.0', ''), ENTITY]);

type Wrap = (message: Buffer) => Promise<Buffer>;

/** What stands below the outer fields: the entity that a wrapping covers. */
function entityOf(message: Buffer): Buffer {
  const start = message.indexOf('Content-Type:');
  return message.subarray(start);
}

const encrypted: Wrap = async (message) =>
  (await runStage(encryptMessage(bytesSource(message).open(), [anna.certificate], { limits }))).bytes;
const detached: Wrap = async (message) =>
  (await runStage(signMessage(bytesSource(message), signer.signer, { limits, at: context.at }))).bytes;

function opaqueCms(content: Buffer): Buffer {
  const digest = createHash('sha256').update(content).digest();
  const bare = writeDetachedSignature(digest, signer.signer, context.at);
  const marker = sequence(oid(ID.data));
  const at = bare.indexOf(marker);
  const start = bare.indexOf(Buffer.from([0x02, 0x01, 0x01, 0x31]));
  const full = sequence(oid(ID.data), tagged(0, octetString(content)));
  const body = sequence(bare.subarray(start, at), full, bare.subarray(at + marker.length));
  return sequence(oid(ID.signedData), tagged(0, body));
}
const opaque: Wrap = (message) => Promise.resolve(cmsMail(opaqueCms(entityOf(message))));

function compressedCms(content: Uint8Array, algorithm = '1.2.840.113549.1.9.16.3.8'): Buffer {
  const inner = sequence(oid(ID.data), tagged(0, octetString(deflateSync(content))));
  const body = sequence(integer(0), algorithmIdentifier(algorithm), inner);
  return sequence(oid(ID.compressedData), tagged(0, body));
}
const compressed: Wrap = (message) => Promise.resolve(cmsMail(compressedCms(entityOf(message))));

async function received(message: Buffer): Promise<{ text: string; outcomes: readonly StageOutcome[] }> {
  const source = bytesSource(message);
  const { header, body } = await readMessage(source.open(), limits);
  await collect(body, message.length);
  const { envelope } = factsOf({ from: 'rsa@contoso.example', to: ['anna@contoso.example'] });
  const facts = await inspect(source, header, envelope, limits);
  const [copy] = decideInbound(policy, facts).copies;
  assert.ok(copy);
  await using result = await runCopy(copy, source, holds, context);
  const bytes = await collect(result.body.open(), 10_000_000);
  return { text: bytes.toString('latin1'), outcomes: result.outcomes };
}

const kinds = (outcomes: readonly StageOutcome[]): readonly string[] =>
  outcomes.map(({ kind }) => kind).filter((kind) => kind !== 'headers');

// Outermost wrapping first, as in the names.
const table: readonly (readonly [string, readonly Wrap[], readonly string[]])[] = [
  ['encrypted', [encrypted], ['decrypted', 'not-verified']],
  ['encrypted, signed inside', [encrypted, detached], ['decrypted', 'verified']],
  ['encrypted, opaque inside', [encrypted, opaque], ['decrypted', 'verified']],
  ['triple wrap, opaque', [opaque, encrypted, opaque], ['verified', 'decrypted', 'verified']],
  ['triple wrap, detached', [detached, encrypted, detached], ['verified', 'decrypted', 'verified']],
  ['triple wrap, mixed', [detached, encrypted, opaque], ['verified', 'decrypted', 'verified']],
  ['two signatures around', [opaque, opaque, encrypted], ['verified', 'verified', 'decrypted']],
  ['two detached around', [detached, detached, encrypted], ['verified', 'verified', 'decrypted']],
  ['detached around opaque', [detached, opaque, encrypted], ['verified', 'verified', 'decrypted']],
  ['opaque around detached', [opaque, detached, encrypted], ['verified', 'verified', 'decrypted']],
  [
    'signed, compressed, encrypted, signed',
    [detached, compressed, encrypted, detached],
    ['verified', 'decompressed', 'decrypted', 'verified'],
  ],
  [
    'encrypted, two detached, encrypted',
    [encrypted, detached, detached, encrypted],
    ['decrypted', 'verified', 'verified', 'decrypted'],
  ],
  ['encrypted twice', [encrypted, encrypted], ['decrypted', 'not-verified', 'decrypted']],
  ['encrypted, triple inside', [encrypted, detached, encrypted], ['decrypted', 'verified', 'decrypted']],
  ['compressed', [compressed], ['decompressed']],
  ['signed, compressed inside', [opaque, compressed], ['verified', 'decompressed']],
  [
    'encrypted, compressed, signed',
    [encrypted, compressed, opaque],
    ['decrypted', 'decompressed', 'verified'],
  ],
];

test('triple wrap: every layer is opened and reported', async (t) => {
  for (const [title, wraps, expected] of table) {
    await t.test(title, async () => {
      let message: Buffer = PLAIN;
      for (const wrap of wraps.toReversed()) message = await wrap(message);
      const { text, outcomes } = await received(message);
      assert.deepEqual(kinds(outcomes), expected);
      assert.match(text, /the innermost text/);
      const signatures = outcomes.flatMap((one) => (one.kind === 'verified' ? one.signatures : []));
      assert.ok(signatures.every(({ integrity, trust }) => integrity === 'intact' && trust === 'trusted'));
      const isMarked = /^X-Postern-Layers:/m.test(text);
      const opened = expected.filter((kind) => kind !== 'not-verified');
      assert.equal(isMarked, opened.length > 1 || opened.includes('decompressed'));
    });
  }
});

test('triple wrap: a signature around a ciphertext is marked as such, the one inside is not', async () => {
  const { text } = await received(await detached(await encrypted(await opaque(PLAIN))));
  assert.equal(text.match(/X-Postern-Signature/g)?.length, 2);
  assert.equal(text.match(/covers=ciphertext/g)?.length, 1);
  assert.match(text, /X-Postern-Layers: gw\.example;\r\n layers=signed,encrypted,signed\r\n/);
});

test('two detached signatures without a ciphertext below stay where they are', async () => {
  const message = await detached(await detached(PLAIN));
  const { text, outcomes } = await received(message);
  assert.deepEqual(kinds(outcomes), ['verified']);
  assert.ok(text.endsWith(entityOf(message).toString('latin1')));
});

test('deep signatures: what lies below five of them is not looked for', async () => {
  let message = await encrypted(PLAIN);
  for (let level = 0; level < 4; level += 1) message = await opaque(message);
  assert.equal(await coversEncrypted(bytesSource(message), limits), true);
  assert.equal(await coversEncrypted(bytesSource(await opaque(message)), limits), false);
  assert.equal(await coversEncrypted(bytesSource(await detached(message)), limits), false);
});

test('an encrypted message below two broken signatures is opened, and both are reported', async () => {
  const inner = await detached(await encrypted(PLAIN));
  const forged = Buffer.from(
    inner.toString('latin1').replace('name="smime.p7m"', 'name="sm1me.p7m"'),
    'latin1',
  );
  const outer = (await detached(forged)).toString('latin1').replace('micalg=sha-256', 'micalg=sha-512');
  const { text, outcomes } = await received(Buffer.from(outer.replace('sm1me', 'smlme'), 'latin1'));
  assert.deepEqual(kinds(outcomes), ['verified', 'verified', 'decrypted']);
  const results = outcomes.flatMap((one) => (one.kind === 'verified' ? one.signatures : []));
  assert.deepEqual(
    results.map(({ integrity }) => integrity),
    ['broken', 'broken'],
  );
  assert.match(text, /the innermost text/);
});

test('bare text: the marks say that a content had no MIME header', async () => {
  const { text } = await received(cmsMail(opaqueCms(Buffer.from('a text'))));
  assert.match(text, /X-Postern-Signature: gw\.example;\r\n signature=intact;[^]*;\r\n content=bare-text;/);
  assert.match(text, /\r\n\r\na text\r\n$/);
});

test('legacy display: on top of the encrypted text, and gone where the Subject is back', async (t) => {
  const plain = Buffer.concat([mail('Subject: Dinner plans', ''), PLAIN]);
  const protection = { hp: 'cipher', isSubjectHidden: true, hasLegacyDisplay: true } as const;
  const id = `smime:${anna.certificate.fingerprint}` as KeyId;
  const copy = (steps: readonly Step[]) => ({
    recipients: [{ address: address('anna@contoso.example') }] as const,
    steps,
    leg: { kind: 'internet' } as const,
    mustEncrypt: true,
    rule: 'r',
  });
  const encrypt = { kind: 'encrypt', format: 'smime', keys: [id] } as const;
  const cases: readonly (readonly [string, readonly Step[], boolean])[] = [
    ['encrypted', [{ kind: 'legacy-display' }, { ...encrypt, protection }], true],
    [
      'signed inside: the signature covers it',
      [{ kind: 'legacy-display' }, { kind: 'sign', format: 'smime', key: id, protection }, encrypt],
      false,
    ],
  ];
  for (const [title, steps, isGone] of cases) {
    await t.test(title, async () => {
      await using sent = await runCopy(copy(steps), bytesSource(plain), holds, context);
      const bytes = await collect(sent.body.open(), 10_000_000);
      assert.match(bytes.toString('latin1'), /^Subject: \[\.\.\.\]\r\n/m);
      const { text, outcomes } = await received(bytes);
      const compared = outcomes.find((outcome) => outcome.kind === 'header-compared');
      assert.equal(compared?.subject, 'restored');
      assert.match(text, /^Subject: Dinner plans\r\n/m);
      assert.equal(/\r\n\r\nSubject: Dinner plans\r\n\r\nthe innermost text/.test(text), !isGone);
      assert.equal(text.includes('hp-legacy-display'), !isGone);
      assert.match(text, /\r\n\r\nthe innermost text\r\n/);
    });
  }
});

test('an invitation that arrives encrypted is one afterwards, at its place and byte for byte', async (t) => {
  const entity = mail(
    'Content-Type: multipart/alternative; boundary="=_alt"',
    '',
    '--=_alt',
    'Content-Type: text/plain; charset=utf-8',
    '',
    'Please come.',
    '--=_alt',
    'Content-Type: text/calendar; charset="utf-8"; METHOD=REQUEST; name="meeting.ics"',
    'Content-Transfer-Encoding: base64',
    'Content-Class: urn:content-classes:calendarmessage',
    '',
    Buffer.from('BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nEND:VCALENDAR\r\n').toString('base64'),
    '--=_alt--',
    '',
  );
  const invitation = Buffer.concat([mail('From: rsa@contoso.example', 'MIME-Version: 1.0', ''), entity]);
  const bare = mail(
    'From: rsa@contoso.example',
    'MIME-Version: 1.0',
    'Content-Type: text/calendar; method=CANCEL; charset=utf-8',
    '',
    'BEGIN:VCALENDAR',
    '',
  );
  for (const [title, wraps] of [
    ['encrypted', [encrypted]],
    ['signed inside', [encrypted, opaque]],
    ['triple wrap', [opaque, encrypted, opaque]],
  ] as const) {
    await t.test(title, async () => {
      for (const original of [invitation, bare]) {
        let message = original;
        for (const wrap of wraps.toReversed()) message = await wrap(message);
        const { text } = await received(message);
        assert.ok(text.endsWith(entityOf(original).toString('latin1')));
        const { isCalendar } = await scanStructure(bytesSource(Buffer.from(text, 'latin1')), limits);
        assert.equal(isCalendar, true);
      }
    });
  }
});

test('layers end: below eight the rest is delivered as it is', async () => {
  let message: Buffer = PLAIN;
  for (let level = 0; level < 10; level += 1) message = await opaque(message);
  const { text, outcomes } = await received(message);
  assert.equal(kinds(outcomes).length, 8);
  assert.doesNotMatch(text, /the innermost text/);
});

test('tried once: what cannot be opened or read is reported one time', async () => {
  const stranger = await world.person('stranger');
  const foreign = await runStage(
    encryptMessage(bytesSource(PLAIN).open(), [stranger.certificate], { limits }),
  );
  const bytes = await encrypted(PLAIN);
  const damaged = bytes.subarray(0, bytes.length - 80);
  const unsigned = mail(
    'From: rsa@contoso.example',
    'Content-Type: multipart/signed; boundary=b',
    '',
    '--b--',
    '',
  );
  for (const [message, expected, marks] of [
    [foreign.bytes, ['not-decrypted', 'not-verified'], /reason=no-recipient/g],
    [damaged, ['not-decrypted', 'not-verified'], /reason=failed/g],
    [unsigned, ['not-verified'], /signature=unchecked/g],
  ] as const) {
    const { text, outcomes } = await received(message);
    assert.deepEqual(kinds(outcomes), expected);
    assert.equal(text.match(marks)?.length, 1);
  }
});

test('steps that open nothing run once, whatever stands around them', () => {
  const steps = [{ kind: 'strip', direction: 'inbound' }, { kind: 'mark' }] as const;
  assert.deepEqual([...inLayers(steps, [])], steps);
});

test('cms-bomb: content that unpacks to too much stays packed', async (t) => {
  const head = mail('Content-Type: text/plain', '', '');
  const zeros = Buffer.concat([head, Buffer.alloc(5_000_000, 'a')]);
  const small = Buffer.concat([head, Buffer.alloc(900_000, 'a')]);
  const cut = compressedCms(zeros);
  cut.fill(0, cut.length - 200);
  const cases: readonly (readonly [string, Buffer, string])[] = [
    ['bomb', compressedCms(zeros), 'not-verified'],
    ['long runs in a small mail', compressedCms(small), 'decompressed'],
    ['damaged', cut, 'not-verified'],
    ['another algorithm', compressedCms(small, '1.2.3.4'), 'not-verified'],
    ['bytes behind', Buffer.concat([compressedCms(small), element(0x05)]), 'not-verified'],
  ];
  for (const [title, cms, expected] of cases) {
    await t.test(title, async () => {
      const { outcomes } = await received(cmsMail(cms));
      assert.deepEqual(kinds(outcomes), [expected]);
    });
  }
});
