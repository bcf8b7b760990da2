// Transport rules: which of them act on a message, what they make of its header, and where they send it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  connectorForDomain,
  type OutboundConnector,
  type RuleInput,
  runRules,
  type TransportRule,
} from '../../../src/lab/exchange-rules.ts';
import { rawField, rawValue } from '../../../src/lab/raw-header.ts';

const out: OutboundConnector = { name: 'out', type: 'partner', isTransportRuleScoped: true };
const off: OutboundConnector = { ...out, name: 'off', isEnabled: false };
const input = (
  changes: Partial<RuleInput> = {},
  ...fields: readonly (readonly [string, string])[]
): RuleInput => ({
  fields: [rawField('Subject', 'x'), ...fields.map(([name, value]) => rawField(name, value))],
  isAuthenticated: true,
  areRecipientsInside: false,
  ...changes,
});
const route: TransportRule = { name: 'route', routeMessageOutboundConnector: 'out' };

const MATCHES: readonly (readonly [string, Partial<TransportRule>, RuleInput, boolean])[] = [
  ['no condition', {}, input(), true],
  ['disabled', { isEnabled: false }, input(), false],
  ['from inside', { fromScope: 'in-organization' }, input(), true],
  ['from inside, forwarded', { fromScope: 'in-organization' }, input({ isAuthenticated: false }), false],
  ['from outside, forwarded', { fromScope: 'not-in-organization' }, input({ isAuthenticated: false }), true],
  ['to outside', { sentToScope: 'not-in-organization' }, input(), true],
  [
    'to outside, internal',
    { sentToScope: 'not-in-organization' },
    input({ areRecipientsInside: true }),
    false,
  ],
  ['to inside, internal', { sentToScope: 'in-organization' }, input({ areRecipientsInside: true }), true],
  ['header', { headerMatches: { header: 'x-a', pattern: /^b$/ } }, input({}, ['X-A', 'b']), true],
  [
    'header, other value',
    { headerMatches: { header: 'x-a', pattern: /^b$/ } },
    input({}, ['X-A', 'c']),
    false,
  ],
  ['exception', { exceptIfHeaderMatches: { header: 'X-A', pattern: /b/ } }, input({}, ['x-a', 'b']), false],
  ['exception, absent', { exceptIfHeaderMatches: { header: 'X-A', pattern: /b/ } }, input(), true],
  [
    'out of office',
    { exceptIfMessageTypeMatches: ['oof'] },
    input({}, ['X-MS-Exchange-Inbox-Rules-Loop', 'user@contoso.example']),
    false,
  ],
  ['ordinary', { exceptIfMessageTypeMatches: ['oof', 'signed', 'encrypted', 'read-receipt'] }, input(), true],
  [
    'invitation',
    { exceptIfMessageTypeMatches: ['calendaring'] },
    input({}, ['Content-Class', 'urn:content-classes:calendarmessage']),
    false,
  ],
  [
    'signed',
    { exceptIfMessageTypeMatches: ['signed'] },
    input({}, ['Content-Type', 'multipart/signed; micalg=sha-256']),
    false,
  ],
];

test('conditions and exceptions', () => {
  for (const [name, rule, given, isRouted] of MATCHES) {
    const { connector, applied } = runRules([{ ...route, ...rule }], [out], given);
    assert.equal(connector !== undefined, isRouted, name);
    assert.deepEqual(applied, isRouted ? ['route'] : [], name);
  }
});

test('headers are set in place of what is there, and removed; later rules see it; processing stops', () => {
  const rules: readonly TransportRule[] = [
    { name: 'set', setHeader: { name: 'X-A', value: 'rule' } },
    {
      name: 'sees it',
      headerMatches: { header: 'X-A', pattern: /rule/ },
      removeHeader: 'x-b',
      stopRuleProcessing: true,
    },
    { name: 'never', setHeader: { name: 'X-C', value: 'c' } },
  ];
  const { fields, applied } = runRules(
    rules,
    [],
    input({}, ['X-A', 'sender'], ['X-B', 'b'], ['x-a', 'again']),
  );
  assert.deepEqual(applied, ['set', 'sees it']);
  assert.deepEqual(
    fields.map((field) => [field.name, rawValue(field)]),
    [
      ['X-A', 'rule'],
      ['Subject', 'x'],
    ],
  );
});

test('a rule that cannot be carried out is ignored, or defers the mail', () => {
  for (const connector of ['off', 'missing']) {
    const broken: TransportRule = {
      name: 'broken',
      routeMessageOutboundConnector: connector,
      setHeader: { name: 'X-A', value: 'a' },
    };
    const ignored = runRules([broken], [out, off], input());
    assert.deepEqual([ignored.connector, ignored.deferred, ignored.applied], [undefined, undefined, []]);
    assert.equal(ignored.fields.length, 1);
    const deferred = runRules([{ ...broken, ruleErrorAction: 'defer' }], [out, off], input());
    assert.match(deferred.deferred ?? '', /^4\.7\.0 Transport rule broken /);
  }
});

test('without a rule the connector of the domain takes the mail, one for rules alone does not', () => {
  const all: OutboundConnector = {
    name: 'all',
    type: 'partner',
    isTransportRuleScoped: false,
    recipientDomains: ['*'],
  };
  const close: OutboundConnector = { ...all, name: 'close', recipientDomains: ['remote.example'] };
  const scoped: OutboundConnector = { ...close, name: 'scoped', isTransportRuleScoped: true };
  const nameFor = (connectors: readonly OutboundConnector[], domain: string) =>
    connectorForDomain(connectors, domain)?.name;
  assert.equal(nameFor([scoped, all, close], 'remote.example'), 'close');
  assert.equal(nameFor([scoped, all, close], 'isp.example'), 'all');
  assert.equal(nameFor([scoped, { ...all, isEnabled: false }], 'remote.example'), undefined);
});
