import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GatewayError } from '../../../src/core/errors.ts';
import { fail, makeCheck, merge, ok, skipped, warn } from '../../../src/doctor/check.ts';

test('the worst finding decides, and those of its kind are told together', () => {
  for (const [findings, expected] of [
    [[ok('a'), ok('b')], ok('a; b')],
    [[ok('a'), ok(''), ok('a')], ok('a')],
    [[ok('a'), warn('b', 'do b'), fail('c', 'do c.'), fail('d', 'do d.')], fail('c; d', 'do c. do d.')],
    [[skipped('x'), ok('a')], ok('a')],
    [[], skipped('')],
  ] as const)
    assert.deepEqual(merge(findings), expected);
});

test('a check that throws is a failed check; what it shows is no text of a library', async () => {
  const thrown = async (reason: Error) => {
    const run = async () => {
      await Promise.resolve();
      throw reason;
    };
    return makeCheck({ name: 'x', run }, 1_000);
  };
  assert.equal((await thrown(new GatewayError('config-invalid', 'the reason\nmore'))).found, 'the reason');
  assert.equal((await thrown(new Error('PRIVATE KEY'))).found, 'unknown error');
  assert.equal((await thrown(Object.assign(new Error('x'), { code: 'ENOENT' }))).found, 'ENOENT');
  const synchronous = await makeCheck(
    {
      name: 'x',
      run: () => {
        throw new Error('x');
      },
    },
    1_000,
  );
  assert.equal(synchronous.state, 'fail');
});

test('a check that does not end is ended, and told so', async () => {
  const aborted = Promise.withResolvers<boolean>();
  const check = await makeCheck(
    {
      name: 'slow',
      run: (signal) => {
        signal.addEventListener('abort', () => aborted.resolve(true));
        return new Promise(() => undefined);
      },
    },
    5,
  );
  assert.equal(check.state, 'fail');
  assert.match(check.found, /no result within 0\.005 s/);
  assert.equal(await aborted.promise, true);
});

test('hostile text: what others say cannot steer the terminal, and has an end', async () => {
  const run = () => Promise.resolve([warn(`mx \u001b[2J\r\n${'x'.repeat(5_000)}`, '\u202edo \u009b it')]);
  const { found, advice } = await makeCheck({ name: 'x', run }, 1_000);
  assert.match(found, /^mx \?\[2J\?\?x+$/);
  assert.equal(found.length, 1_000);
  assert.equal(advice, '?do ? it');
});
