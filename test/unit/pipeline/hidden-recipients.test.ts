// Recipients whom no field names: nobody else's ciphertext tells of them, in its bytes.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { bytesSource } from '../../../src/core/bytes.ts';
import { readMessage } from '../../../src/mime/header-section.ts';
import { parseBer } from '../../../src/smime/der.ts';
import { isNamedBy, parseRecipientInfo } from '../../../src/smime/recipient-info.ts';
import { decodedBody } from '../../../src/smime/detect.ts';
import { bytesOf } from '../../support/mime.ts';
import {
  ANNA,
  BOB,
  CARL,
  OTTO,
  openPassage,
  type PassedCopy,
  PETRA,
  REQUIRED,
} from '../../support/passage.ts';
import { limits, mail } from '../../support/smime.ts';

const passage = await openPassage('hidden recipients');
after(() => passage[Symbol.asyncDispose]());
const { people } = passage;
const NAMED = { [ANNA]: people.anna, [OTTO]: people.otto, [BOB]: people.bob, [CARL]: people.carl };

/** Whose certificates a ciphertext names; `?` for one of nobody here. */
async function readersOf({ bytes }: PassedCopy): Promise<readonly string[]> {
  const { header, body } = await readMessage(bytesSource(bytes).open(), limits);
  const envelope = parseBer(await bytesOf(decodedBody(header, body))).children[1]?.children[0];
  const infos = envelope?.children[1]?.children ?? [];
  return infos.flatMap(({ raw }) =>
    parseRecipientInfo(raw).map((entry) => {
      if (entry.kind !== 'transport') return '?';
      const found = Object.entries(NAMED).find(([, person]) => isNamedBy(person.certificate, entry.id));
      return found?.[0] ?? '?';
    }),
  );
}

const message = (to: string): Buffer => mail(`From: ${ANNA}`, `To: ${to}`, 'Subject: s', '', 'the text', '');

const cases: readonly (readonly [
  string,
  string,
  readonly string[],
  readonly string[],
  readonly (readonly string[])[],
])[] = [
  ['one visible, one hidden', BOB, [BOB], [CARL], [[BOB], [CARL]]],
  ['two visible', `${BOB}, ${CARL}`, [BOB, CARL], [], [[BOB, CARL]]],
  [
    'two visible, one hidden',
    `${BOB}, Carl <${CARL.toUpperCase()}>`,
    [BOB, CARL],
    [OTTO],
    [[BOB, CARL], [OTTO]],
  ],
  ['all hidden', 'undisclosed-recipients:;', [], [BOB, CARL, OTTO], [[BOB], [CARL], [OTTO]]],
  ['in a group of To', `friends: ${BOB}, ${CARL};`, [BOB, CARL], [], [[BOB, CARL]]],
];
for (const [name, to, visible, hidden, expected] of cases) {
  test(`each ciphertext names its own recipients and nobody else: ${name}`, async () => {
    const { copies } = await passage.send(message(to), REQUIRED, visible, hidden);
    assert.deepEqual(
      copies.map((copy) => copy.to),
      expected,
    );
    for (const copy of copies) assert.deepEqual(await readersOf(copy), copy.to);
  });
}

test('a hidden recipient of the other format has a message of its own', async () => {
  const { copies } = await passage.send(message(BOB), REQUIRED, [BOB], [PETRA, CARL]);
  assert.deepEqual(
    copies.map((copy) => copy.to),
    [[BOB], [PETRA], [CARL]],
  );
  const [first, second] = copies;
  assert.ok(first && second);
  assert.deepEqual(await readersOf(first), [BOB]);
  assert.match(second.text, /multipart\/encrypted/);
});
