import assert from 'node:assert/strict';
import { test } from 'node:test';
import { exchangeRanges, parseRanges } from '../../../src/tenant/address-ranges.ts';
import { message, peerWith, settings, verdict } from '../../support/proof.ts';

const cases: readonly [text: string, address: string, isIn: boolean][] = [
  ['40.92.0.0/15', '40.92.0.0', true],
  ['40.92.0.0/15', '40.93.255.255', true],
  ['40.92.0.0/15', '40.94.0.0', false],
  ['40.92.0.0/15', '::ffff:40.93.1.2', true],
  ['40.92.0.0/15', '::FFFF:40.94.1.2', false],
  ['192.0.2.1', '192.0.2.1', true],
  ['192.0.2.1', '192.0.2.2', false],
  ['# all\r\n\r\n 192.0.2.1/32 # one\r\n', '192.0.2.1', true],
  ['2a01:111:f400::/48', '2a01:111:f400:ffff::1', true],
  ['2a01:111:f400::/48', '2a01:111:f401::1', false],
  ['2A01:111:F400::/48', '2a01:0111:f400::1', true],
  ['192.0.2.0/24\n2a01:111:f400::/48', '192.0.2.200', true],
  ['192.0.2.0/24', 'localhost', false],
  ['192.0.2.0/24', '', false],
  [exchangeRanges.join('\n'), '40.107.22.1', true],
  [exchangeRanges.join('\n'), '127.0.0.1', false],
];
for (const [text, address, isIn] of cases) {
  test(`${JSON.stringify(text.slice(0, 40))} ${isIn ? 'has' : 'has not'} ${address}`, () => {
    const result = parseRanges(text);
    assert.ok('ranges' in result);
    assert.equal(result.ranges.has(address), isIn);
  });
}

for (const [text, line] of [
  ['40.92.0.0/33', 1],
  ['40.92.0.0/0', 1],
  ['::/0', 1],
  ['40.92.0.0/15/16', 1],
  ['40.92.0.0/', 1],
  ['40.92.0/15', 1],
  ['40.92.0.0/15\nmail.example', 2],
  ['40.92.0.0/15\n\n# x\n2a01::/129', 4],
  ['', 1],
  ['# none\n', 1],
] as const) {
  test(`no list: ${JSON.stringify(text)}`, () => {
    const result = parseRanges(text);
    assert.ok('line' in result);
    assert.equal(result.line, line);
  });
}

const parsed = parseRanges('192.0.2.0/24');
assert.ok('ranges' in parsed);
const { ranges } = parsed;
for (const [mode, address, expected] of [
  ['observe', '192.0.2.9', 'proven '],
  ['observe', '198.51.100.9', 'proven C3'],
  ['require', '192.0.2.9', 'proven '],
  ['require', '198.51.100.9', 'unproven C3'],
] as const) {
  test(`T20 ${mode}, from ${address}`, async () => {
    const peer = { ...peerWith(), address };
    const addresses = { mode, ranges };
    const origin = await verdict({
      name: '',
      text: message(),
      peer,
      expect: '',
      settings: { ...settings, addresses },
    });
    const failures = origin.kind === 'proven' ? origin.observed : origin.reasons;
    assert.equal(`${origin.kind} ${failures.map(({ condition }) => condition).join()}`, expected);
  });
}
