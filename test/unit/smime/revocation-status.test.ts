import assert from 'node:assert/strict';
import { test } from 'node:test';
import { freshnessProblem } from '../../../src/smime/revocation-status.ts';

test('an answer holds from its update to the next one, give or take five minutes', () => {
  const minute = (count: number) => new Date(Date.UTC(2026, 0, 1, 0, count));
  const judge = (from: number, to: number) => freshnessProblem('it', minute(from), minute(to), minute(0));
  assert.equal(judge(-60, 60), undefined);
  assert.equal(judge(4, 60), undefined);
  assert.equal(judge(6, 60), 'it is from the future');
  assert.equal(judge(-60, -4), undefined);
  assert.equal(judge(-60, -6), 'it has expired');
});
