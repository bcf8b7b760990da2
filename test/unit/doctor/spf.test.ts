import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judgeSpf, readSpf } from '../../../src/doctor/spf.ts';
import { namesOf, type NameRecords } from '../../support/names.ts';

const MS = 'include:spf.protection.outlook.com';
const GATEWAY = ['192.0.2.1'];
const common: Readonly<Record<string, NameRecords>> = {
  'spf.protection.outlook.com': { txt: ['v=spf1 ip4:40.92.0.0/15 -all'] },
  'gw.example': { a: ['192.0.2.1', '2001:db8::1'] },
  'mx.example': { mx: [{ exchange: 'gw.example', priority: 10 }] },
  'nested.example': { txt: ['v=spf1 include:deeper.example -all'] },
  'deeper.example': { txt: ['v=spf1 ip4:192.0.2.0/24 -all'] },
  'loop.example': { txt: ['v=spf1 include:loop.example -all'] },
  'two.example': { txt: ['v=spf1 -all', 'v=spf1 ~all'] },
  'dead.example': 'failed' as unknown as NameRecords,
};

const judge = async (
  txt: readonly string[],
  topology: 'inline' | 'loop-back' = 'inline',
  gateway = GATEWAY,
) => {
  const names = namesOf({ ...common, 'contoso.example': { txt } });
  return judgeSpf(await readSpf(names, 'contoso.example'), topology, gateway);
};

test('what a record allows and costs', async () => {
  for (const [record, state, found] of [
    [`v=spf1 ${MS} ip4:192.0.2.1 -all`, 'ok', /one record, look-ups: 1/],
    [`v=spf1 ${MS} ip4:192.0.2.0/24 -all`, 'ok', /look-ups: 1/],
    [`v=spf1 ${MS} a:gw.example -all`, 'ok', /look-ups: 2/],
    [`v=spf1 ${MS} a:gw.example/24//64 -all`, 'ok', /look-ups: 2/],
    [`v=spf1 ${MS} mx:mx.example ~all`, 'ok', /look-ups: 2/],
    [`v=spf1 ${MS} include:nested.example -all`, 'ok', /look-ups: 3/],
    [`v=spf1 ${MS} redirect=deeper.example`, 'ok', /look-ups: 2/],
    [`v=spf1 ${MS} exists:%{i}.x.example -all`, 'ok', /look-ups: 2/],
    [`V=SPF1  ${MS}  +ip4:192.0.2.1  -all`, 'ok', /look-ups: 1/],
    [`v=spf1 ${MS} -ip4:192.0.2.1 -all`, 'warn', /does not allow 192\.0\.2\.1/],
    [`v=spf1 ${MS} -all redirect=deeper.example`, 'warn', /does not allow/],
    [`v=spf1 ip4:192.0.2.1 -all`, 'warn', /no include:spf\.protection/],
    [`v=spf1 ${MS} +all`, 'fail', /everybody/],
    [`v=spf1 ${MS} all`, 'fail', /everybody/],
    [`v=spf1 ${MS} include:none.example -all`, 'fail', /none\.example has no SPF record/],
    [`v=spf1 ${MS} include:two.example -all`, 'fail', /several SPF records/],
    [`v=spf1 ${MS} ip4:192.0.2.999 -all`, 'fail', /no address range/],
    [`v=spf1 ${MS} ip4:192.0.2.1/99 -all`, 'fail', /no address range/],
    [`v=spf1 ${MS} ipv4:192.0.2.1 -all`, 'fail', /"ipv4:192\.0\.2\.1" is no SPF mechanism/],
    [`v=spf1 ${MS} include:loop.example -all`, 'fail', /more than 10 look-ups/],
    [`v=spf1 ${MS} ${'a:gw.example '.repeat(10)}-all`, 'fail', /more than 10 look-ups/],
    [`v=spf1 ${MS} include:dead.example -all`, 'warn', /no answer from DNS/],
    ['v=spf10 -all', 'warn', /no SPF record/],
  ] as const) {
    const finding = await judge([record]);
    assert.equal(finding.state, state, `${record}: ${finding.found}`);
    assert.match(finding.found, found, record);
    assert.equal(finding.advice === '', state === 'ok');
  }
});

test('no record, two records, other TXT records beside it', async () => {
  const none = await judge(['google-site-verification=x']);
  assert.equal(none.state, 'warn');
  assert.match(none.advice, /v=spf1 include:spf\.protection\.outlook\.com ip4:192\.0\.2\.1 -all/);
  assert.equal((await judge(['v=spf1 -all', 'v=spf1 ~all'])).state, 'fail');
  assert.equal((await judge(['x', `v=spf1 ${MS} ip4:192.0.2.1 -all`])).state, 'ok');
});

test('with the loop-back Microsoft sends, and with a smarthost the gateway does not', async () => {
  assert.equal((await judge([`v=spf1 ${MS} -all`], 'loop-back')).state, 'ok');
  assert.equal((await judge(['v=spf1 ip4:192.0.2.1 -all'], 'loop-back')).state, 'fail');
  assert.equal((await judge([`v=spf1 ${MS} -all`], 'inline', [])).state, 'ok');
});

test('a record that includes itself is read a bounded number of times', async () => {
  const names = namesOf({ ...common, 'contoso.example': { txt: ['v=spf1 include:loop.example -all'] } });
  await readSpf(names, 'contoso.example');
  assert.ok(names.asked.length < 15);
});
