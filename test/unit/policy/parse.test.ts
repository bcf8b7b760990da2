// Policy files: what is read, and what an operator is told about each mistake.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePolicy, policyVersion } from '../../../src/policy/parse.ts';
import { policyOf, policyText, problemsOf } from '../../support/policy.ts';

const clear = 'otherwise: { sign: none, encrypt: never }';

test('every field arrives, in canonical form', () => {
  const policy = policyOf(`version: 1
tenant:
  id: 11111111-2222-3333-4444-55555555555A
  name: Contoso
  domains: [Contoso.Example, bücher.example]
  match_subdomains: true
  enabled: false
  leg: { host: MX.contoso.example, port: 2525, server_name: mx2.contoso.example, certificate: c, key: k, password: env:P, ca: ca.pem }
keys:
  own:
    - for: User@Contoso.example
      smime: { pkcs12: u.p12, password: file:u.txt }
      pgp: { key: u.asc, password: env:U }
    - for: a.contoso.example
      smime: { certificate: d.pem, key: d.key }
  partners:
    - { for: Remote.example, smime: { certificate: r.pem }, pgp: { key: r.asc } }
trust: { anchors: [root.pem], certificate_policies: ["1.3.6.1.4.1.99999.1"] }
outbound:
  deliver: smarthost
  rules:
    - name: one
      when:
        sender: [User@contoso.example]
        recipient: ["*@Remote.example", "*.remote.example"]
        subject_tag: "[secure]"
        header: { name: X-Label, matches: "^(?i)secret" }
        calendar: false
        automatic: true
        shape: [plain, signed]
      sign: smime
      encrypt: required
      fallback: refuse
      already_encrypted: refuse
      calendar: exempt
      smime: { group: separate }
    - name: two
      when: { header: { name: X-Label, present: false } }
      refuse: "Not like this."
  otherwise: { sign: auto, encrypt: when-possible, formats: [pgp, smime], fallback: plain }
inbound: { decrypt: false, verify: false, on_invalid_signature: refuse, mark: false, learn_capabilities: false }
`);
  const { tenant, keys, outbound } = policy;
  assert.equal(tenant.id, '11111111-2222-3333-4444-55555555555a');
  assert.deepEqual(tenant.domains, ['contoso.example', 'xn--bcher-kva.example']);
  assert.deepEqual([tenant.matchSubDomains, tenant.isEnabled], [true, false]);
  assert.deepEqual(tenant.leg, {
    host: 'mx.contoso.example',
    port: 2525,
    serverName: 'mx2.contoso.example',
    certificate: 'c',
    key: 'k',
    password: 'env:P',
    ca: 'ca.pem',
    position: { file: 'policy.yaml', line: 8, column: 3 },
  });
  assert.deepEqual(keys.own[0], {
    match: 'User@contoso.example',
    smime: { pkcs12: 'u.p12', password: 'file:u.txt' },
    pgp: { key: 'u.asc', password: 'env:U' },
    position: { file: 'policy.yaml', line: 11, column: 7 },
  });
  assert.equal(keys.own[1]?.match, 'a.contoso.example');
  assert.deepEqual(keys.partners[0]?.match, 'remote.example');
  assert.deepEqual(policy.trust.anchors, [
    { path: 'root.pem', position: { file: 'policy.yaml', line: 18, column: 20 } },
  ]);
  assert.deepEqual(policy.trust.certificatePolicies, ['1.3.6.1.4.1.99999.1']);
  assert.equal(outbound.deliver, 'smarthost');
  const [one, two] = outbound.rules;
  assert.deepEqual(
    one?.when.recipient?.map(({ kind, value }) => `${kind} ${value}`),
    ['domain remote.example', 'subdomains remote.example'],
  );
  assert.deepEqual(
    [one?.when.isCalendar, one?.when.isAutomatic, one?.when.shape],
    [false, true, ['plain', 'signed']],
  );
  assert.deepEqual(one?.treatment, {
    kind: 'protect',
    sign: 'smime',
    encrypt: 'required',
    formats: ['smime'],
    alreadyEncrypted: 'refuse',
    isCalendarExempt: true,
    protectHeaders: 'off',
    hasLegacyDisplay: true,
    smime: { content: 'auto', group: 'separate', mlKem: 'off' },
  });
  assert.deepEqual(two?.when.header, { name: 'x-label', kind: 'present', isPresent: false });
  assert.deepEqual(two?.treatment, { kind: 'refuse', text: 'Not like this.' });
  assert.ok(outbound.otherwise.kind === 'protect');
  assert.deepEqual(outbound.otherwise.formats, ['pgp', 'smime']);
  assert.deepEqual(policy.inbound, {
    decrypt: false,
    verify: false,
    onDecryptFailure: 'deliver-marked',
    onInvalidSignature: 'refuse',
    weakAlgorithms: [],
    mark: false,
    learnsCapabilities: false,
    readsProtectedHeaders: true,
    isTlsRequired: false,
  });
});

test('defaults: port 25, server name = host, Internet, no rules, inbound all on', () => {
  const { tenant, outbound, inbound, keys } = policyOf(policyText(clear));
  assert.deepEqual([tenant.leg.port, tenant.leg.serverName], [25, tenant.leg.host]);
  assert.deepEqual([outbound.deliver, outbound.rules, keys.own, keys.partners], ['internet', [], [], []]);
  assert.deepEqual(
    [inbound.decrypt, inbound.verify, inbound.onInvalidSignature, inbound.mark],
    [true, true, 'deliver-marked', true],
  );
  assert.ok(outbound.otherwise.kind === 'protect');
  assert.deepEqual(outbound.otherwise.formats, ['smime', 'pgp']);
});

/** `rule` stands at line 13, its keys at column 7. */
const ruleText = (rule: string) =>
  policyText(`${clear}\nrules:\n  - name: r\n${rule.replace(/^/gm, '    ')}`);
const when = 'when: { calendar: true }';

const mistakes: readonly [name: string, text: string, ...problems: string[]][] = [
  ['empty file', '', '1:1 must be a mapping (key: value), but is empty'],
  ['a list', '- 1', '1:1 must be a mapping (key: value), but is a list'],
  ['no YAML', 'a: b: c', '1:4 is not YAML: Nested mappings are not allowed in compact mappings'],
  ['tab', 'version: 1\n\tx: 1', '2:1 is not YAML: Tabs are not allowed as indentation'],
  ['duplicate key', 'version: 1\nversion: 1', '2:1 key is there twice'],
  ['two documents', 'a: 1\n---\nb: 2', '2:1 a policy file holds one document; remove the line ---'],
  ['YAML 1.1', '%YAML 1.1\n---\nversion: 1', '1:1 only YAML 1.2 is read; remove the %YAML line'],
  ['too large', `#${'x'.repeat(256 * 1024)}`, '1:1 a policy file has at most 256 kB'],
  [
    'anchor, alias, merge key',
    policyText(clear, 'inbound: &a { mark: true }\nkeys: *a\n<<: *a\n'),
    '12:13 anchors (&name) are not read; remove it',
    '13:7 aliases (*name) are not read; write the value again',
    '14:1 unknown key "<<"; allowed: version, tenant, keys, trust, outbound, inbound',
    '14:5 aliases (*name) are not read; write the value again',
  ],
  [
    'tag',
    policyText(clear, 'inbound: { mark: !!bool "true" }\n'),
    '12:25 tags (!name) are not read; remove it',
  ],
  ['key that is no text', policyText(clear, '? [a]\n: 1\n'), '12:3 a key must be plain text'],
  ['proto', policyText(clear, '__proto__: { mark: true }\n'), '12:1 unknown key "__proto__"'],
  [
    'constructor',
    policyText(clear, 'constructor: 1\n'),
    '12:1 unknown key "constructor"; allowed: version, tenant, keys, trust, outbound, inbound',
  ],
  [
    'unknown key, nearest name',
    policyText(clear, 'inbond: {}\n'),
    '12:1 unknown key "inbond"; did you mean "inbound"?',
  ],
  [
    'key in another spelling',
    policyText(clear, 'inbound: { onInvalidSignature: refuse }\n'),
    '12:12 unknown key "onInvalidSignature"; did you mean "on_invalid_signature"?',
  ],
  [
    'value that is not allowed',
    policyText(clear, 'inbound: { on_invalid_signature: refused }\n'),
    '12:34 is not allowed here; did you mean refuse?; allowed: deliver-marked, refuse',
  ],
  [
    'yes is no boolean',
    policyText(clear, 'inbound: { mark: yes }\n'),
    '12:18 must be true or false, but is a text',
  ],
  ['empty value', policyText(clear, 'inbound:\n'), '12:1 must be a mapping (key: value), but is empty'],
  ['otherwise is missing', policyText('deliver: internet'), '10:1 key "otherwise" is missing'],
  [
    'otherwise says nothing',
    policyText('otherwise: {}'),
    '11:3 key "sign" is missing; allowed: none, smime, pgp, auto (or write refuse)',
    '11:3 key "encrypt" is missing; allowed: never, when-possible, required (or write refuse)',
  ],
  [
    'when-possible without words',
    ruleText(`${when}\nsign: auto\nencrypt: when-possible`),
    '13:7 encrypt: when-possible sends in clear where no key is usable: say so with fallback: plain',
  ],
  [
    'when-possible that refuses',
    ruleText(`${when}\nsign: auto\nencrypt: when-possible\nfallback: refuse`),
    '17:17 encrypt: when-possible goes only with fallback: plain; to refuse write encrypt: required',
  ],
  [
    'required that falls back',
    ruleText(`${when}\nsign: auto\nencrypt: required\nfallback: plain`),
    '17:17 encrypt: required goes only with fallback: refuse; for plain write encrypt: when-possible',
  ],
  [
    'a Subject on top of the text that is not hidden',
    ruleText(`${when}\nsign: auto\nencrypt: required\nlegacy_display: true`),
    '17:23 goes with protect_headers: confidential-subject only; remove it',
  ],
  [
    'never with fallback',
    ruleText(`${when}\nsign: auto\nencrypt: never\nfallback: plain`),
    '17:17 has no meaning beside encrypt: never; remove it',
  ],
  [
    'exempt calendar where nothing is required',
    ruleText(`${when}\nsign: auto\nencrypt: never\ncalendar: exempt`),
    '17:17 exempts from encrypt: required only; other rules leave invitations alone anyway',
  ],
  [
    'signature of one format, encryption of the other',
    ruleText(`${when}\nsign: smime\nencrypt: required\nformats: [smime, pgp]`),
    '17:7 sign: smime goes with formats: [smime]; write sign: auto for both formats',
  ],
  [
    'format twice',
    ruleText(`${when}\nsign: auto\nencrypt: required\nformats: [smime, smime]`),
    '17:7 names a format twice',
  ],
  [
    'refuse beside other words',
    ruleText(`${when}\nrefuse: "no"\nencrypt: required`),
    '16:16 has no meaning beside refuse; remove one of the two',
  ],
  [
    'refuse with a line end',
    ruleText(`${when}\nrefuse: "no\\r\\nQUIT"`),
    '15:15 must be one line of at most 300 ASCII characters: it becomes the SMTP reply',
  ],
  [
    'rule without conditions',
    ruleText('when: {}\nrefuse: "no"'),
    '14:7 at least one condition is needed; what holds for everybody else belongs to otherwise',
  ],
  ['rule without when', ruleText('refuse: "no"'), '13:7 key "when" is missing'],
  [
    'quotes forgotten around a tag',
    ruleText('when: { subject_tag: [secure] }\nrefuse: "no"'),
    '14:15 must be a text, but is a list; put quotes around a text that begins with "["',
  ],
  [
    'single pattern',
    ruleText('when: { recipient: remote.example }\nrefuse: "no"'),
    '14:26 must be a list, but is a text; put [ ] around a single value',
  ],
  [
    'bad patterns',
    ruleText('when: { sender: ["a*@b.example", "@b.example", "b", "*"] }\nrefuse: "no"'),
    ...[24, 40, 54, 59].map(
      (column) =>
        `14:${column} is not a pattern; write user@remote.example, remote.example, *@remote.example or *.remote.example`,
    ),
  ],
  [
    'expression that RE2 does not take',
    ruleText('when: { header: { name: X, matches: "(a)\\\\1" } }\nrefuse: "no"'),
    '14:43 is not an RE2 expression (no look-around, no back references)',
  ],
  [
    'header condition that says two things',
    ruleText('when: { header: { name: X, equals: a, contains: b } }\nrefuse: "no"'),
    '14:15 write exactly one of equals, contains, matches, present beside name',
  ],
  [
    'two rules of one name, one of a reserved name',
    policyText(
      `${clear}\nrules:\n  - { name: a, ${when}, refuse: x }\n  - { name: a, ${when}, refuse: x }\n  - { name: otherwise, ${when}, refuse: x }`,
    ),
    '14:15 another rule has this name already',
    '15:15 is not a rule name; use up to 64 letters, digits, blanks, ".", "_", "-", and not "otherwise"',
  ],
  [
    'own key for a foreign address and for a foreign domain',
    policyText(
      clear,
      'keys:\n  own:\n    - { for: a@remote.example, pgp: { key: k } }\n    - { for: x.contoso.example, pgp: { key: k } }\n',
    ),
    '14:14 an own key must belong to a domain of the tenant: contoso.example, contoso.onmicrosoft.example',
    '15:14 an own key must belong to a domain of the tenant: contoso.example, contoso.onmicrosoft.example',
  ],
  [
    'keys that name no key, half a key, two keys',
    policyText(
      clear,
      'keys:\n  own:\n    - { for: contoso.example }\n    - { for: contoso.example, smime: { key: k } }\n    - { for: contoso.example, smime: { pkcs12: p, certificate: c } }\n',
    ),
    '14:7 name at least one of smime, pgp',
    '15:31 name either certificate and key, or pkcs12 alone',
    '16:31 name either certificate and key, or pkcs12 alone',
  ],
  [
    'certificate policies that are none',
    policyText(
      clear,
      'trust:\n  certificate_policies: ["medium", "1.3.6.01", "3.1.2", "2.5.29.32.0", "2.16.840.1.101"]\n',
    ),
    ...[26, 36, 48].map(
      (column) =>
        `13:${column} is not an object identifier; write the policy like 1.3.6.1.4.1.99999.1, in quotes`,
    ),
    '13:57 is anyPolicy, which stands for no policy of its own; name the policies that you accept',
  ],
  [
    'certificate policies without quotes',
    policyText(clear, 'trust: { certificate_policies: [1.2] }\n'),
    '12:33 must be a text, but is a number; put quotes around it',
  ],
  [
    'partner with a private key',
    policyText(clear, 'keys:\n  partners:\n    - { for: r.example, smime: { certificate: c, key: k } }\n'),
    '14:50 unknown key "key"; allowed: certificate',
  ],
];

for (const [name, text, ...problems] of mistakes) {
  test(`problems: ${name}`, () => {
    assert.deepEqual(problemsOf(text), problems);
  });
}

test('password-not-echoed: a password written into the policy is refused and not repeated', () => {
  const text = policyText(clear).replace('key: leg.key', 'key: leg.key\n    password: hunter2');
  const problems = problemsOf(text);
  assert.deepEqual(problems, [
    '10:15 a password is never written into the policy; write env:NAME or file:path',
  ]);
});

test('syntax-not-echoed: what is not YAML is never quoted', () => {
  for (const text of [
    '`x: hunter2',
    'a: 1\n`hunter2',
    'a: b\n hunter2 hunter2: *x\n- hunter2',
    '{ a: "hunter2',
    'x: *hunter2 y',
  ])
    assert.doesNotMatch(problemsOf(text).join('\n'), /hunter2/, text);
});

test('at most 100 problems, in the order of their place', () => {
  const rules = Array.from({ length: 150 }, () => '  - { name: "?", when: {}, refuse: "" }').join('\n');
  const problems = problemsOf(policyText(`${clear}\nrules:\n${rules}`));
  assert.equal(problems.length, 100);
  const lines = problems.map((problem) => Number.parseInt(problem, 10));
  assert.deepEqual(
    lines,
    lines.toSorted((a, b) => a - b),
  );
});

test('hostile YAML of the largest size is answered in bounded time', () => {
  for (const bomb of ['[', '{a: ', '- ', '"', '&a ', '? ']) {
    const result = parsePolicy(bomb.repeat(Math.floor((256 * 1024) / bomb.length)), 'x');
    assert.ok('problems' in result && result.problems.length <= 100);
    assert.match(result.problems[0].message, /nested too deeply|is not YAML|must be/);
  }
});

test('policyVersion names the exact text', () => {
  assert.match(policyVersion('a'), /^[0-9a-f]{16}$/);
  assert.notEqual(policyVersion('a'), policyVersion('a\n'));
});
