// The scripts by their structure: that they are whole, in which order they act, that they guard what they make, and that
// they hold no secret. The strings of a script are read as PowerShell reads them.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { objectsOf, type SetupInput, type Topology } from '../../../src/tenant/setup-objects.ts';
import { rollbackScript, rollbackSteps } from '../../../src/tenant/setup-rollback.ts';
import { setupScript, setupSteps } from '../../../src/tenant/setup-script.ts';
import { verifyScript } from '../../../src/tenant/setup-verify.ts';
import { tokenize } from '../../support/powershell.ts';

const TENANT = '11111111-2222-3333-4444-555555555555';
const inline: SetupInput = {
  topology: 'inline',
  tenant: { id: TENANT, name: 'Contoso', domains: ['contoso.example', 'contoso.onmicrosoft.example'] },
  gatewayHost: 'gw.example',
  certificateName: `${TENANT}.t.gw.example`,
  exchangeHost: 'contoso-example.mail.protection.outlook.com',
  arcSealer: 'gw.example',
};
const loopBack: SetupInput = {
  ...inline,
  topology: 'loop-back',
  tenant: { ...inline.tenant, domains: [...inline.tenant.domains, 'gw.contoso.example'] },
  certificateName: 'gw.contoso.example',
};
const secrets = {
  tenantAuth: "auth-secret-'1234567890",
  inboundToken: 'inbound-token-123456',
  outboundToken: 'outbound-token-12345',
};
const inputs: readonly (readonly [string, SetupInput])[] = [
  ['inline', inline],
  ['inline, pilot', { ...inline, pilotDomain: 'contoso.example' }],
  ['loop-back', loopBack],
  ['loop-back, pilot', { ...loopBack, pilotDomain: 'contoso.example' }],
  ['inline, secrets', { ...inline, secrets }],
  ['loop-back, secrets', { ...loopBack, secrets }],
];
const titles = (steps: readonly { readonly title: string }[]) => steps.map(({ title }) => title);
const codeOf = (script: string) => script.replace(/^#.*\n/gm, '');

/** The object made by `New-* @settings` of this name, as name and source of each setting. */
function madeBy(script: string, name: string): Readonly<Record<string, string>> {
  const [, body = ''] =
    new RegExp(`  \\$settings = @\\{\\n    Name = '${name}'\\n([^]*?)\\n  \\}\\n  New-`).exec(script) ?? [];
  return Object.fromEntries(
    body.split('\n').map((line) => {
      const [key = '', ...value] = line.trim().split(' = ');
      return [key, value.join(' = ')];
    }),
  );
}

describe('every script', () => {
  for (const [name, input] of inputs) {
    test(`${name}: ASCII, strings and brackets closed, stops at the first error, checks the tenant first`, () => {
      for (const script of [setupScript(input), rollbackScript(input), verifyScript(input)]) {
        assert.match(script, /^[\x20-\x7e\n]*$/);
        tokenize(script);
        const code = codeOf(script);
        assert.match(code, /^\s*Set-StrictMode -Version 1\n\$ErrorActionPreference = 'Stop'\n/);
        const check = code.indexOf('$connected[0] -ne $tenantId');
        const change = code.search(
          /\b(New|Set|Remove|Enable|Disable|Validate)-(?!StrictMode)\w+(Connector|Rule|Config)\b/,
        );
        assert.ok(check > 0 && (change < 0 || check < change));
      }
    });
  }
});

test('golden order, inline: made without effect, then connector, MX, closing, rule', () => {
  assert.deepEqual(titles(setupSteps(inline)), [
    'connect',
    'what is there already',
    'checks before anything is changed',
    'remember what was set before',
    'outbound connector Postern out',
    'rule Postern route',
    'inbound connector Postern in',
    'rule Postern signed mail',
    'trusted ARC sealer',
    'validate the outbound connector',
    'switch on the inbound connector, still open to others',
    'move the MX',
    'close the inbound connector',
    'refuse direct send',
    'switch on the rule Postern route',
  ]);
});

test('golden order, loop-back: connector, then the rules, that which cleans first; no MX', () => {
  assert.deepEqual(titles(setupSteps(loopBack)), [
    'connect',
    'what is there already',
    'checks before anything is changed',
    'remember what was set before',
    'outbound connector Postern loop out',
    'rule Postern 100 inbound',
    'rule Postern 200 outbound',
    'rule Postern 900 clean',
    'inbound connector Postern loop in',
    'trusted ARC sealer',
    'switch on the inbound connector',
    'validate the outbound connector',
    'switch on the rule Postern 900 clean',
    'switch on the rule Postern 200 outbound',
    'switch on the rule Postern 100 inbound',
    'refuse direct send',
  ]);
});

test('golden order of the roll-back: routing off first, what holds the state last', () => {
  assert.deepEqual(titles(rollbackSteps(inline)), [
    'connect',
    'what was set before',
    'switch off the routing',
    'open the inbound connector to everybody',
    'move the MX back',
    'remove the rules',
    'remove the inbound connector',
    'trusted ARC sealer',
    'direct send',
    'remove the outbound connector',
  ]);
  assert.equal(titles(rollbackSteps(loopBack))[3], 'let the gateway empty its queue');
});

test('inline: the connectors and the rule have what keeps mail from going elsewhere', () => {
  const script = setupScript(inline);
  assert.deepEqual(madeBy(script, 'Postern out'), {
    ConnectorType: "'Partner'",
    IsTransportRuleScoped: '$true',
    UseMXRecord: '$false',
    SmartHosts: "@('gw.example')",
    TlsSettings: "'DomainValidation'",
    TlsDomain: "'gw.example'",
    CloudServicesMailEnabled: '$false',
    Comment: '$before',
    Enabled: '$true',
  });
  assert.deepEqual(madeBy(script, 'Postern in'), {
    ConnectorType: "'Partner'",
    SenderDomains: "'smtp:*;1'",
    RequireTls: '$true',
    RestrictDomainsToCertificate: '$true',
    TlsSenderCertificateName: `'${TENANT}.t.gw.example'`,
    CloudServicesMailEnabled: '$false',
    EFSkipLastIP: '$true',
    Enabled: '$false',
  });
  const { Comments: _, ...rule } = madeBy(script, 'Postern route');
  assert.deepEqual(rule, {
    SentToScope: "'NotInOrganization'",
    RouteMessageOutboundConnector: "'Postern out'",
    RuleErrorAction: "'Defer'",
    Priority: '0',
    SetHeaderName: "'X-Postern-Tenant-Auth'",
    SetHeaderValue: '$tenantAuth',
    Enabled: '$false',
  });
});

test('loop-back: each direction has its own token as exception, and both rules set the secret', () => {
  const script = setupScript(loopBack);
  assert.equal(madeBy(script, 'Postern loop out')['ConnectorType'], "'OnPremises'");
  const connector = madeBy(script, 'Postern loop in');
  assert.equal(connector['TlsSenderCertificateName'], "'gw.contoso.example'");
  assert.equal(connector['RestrictDomainsToCertificate'], undefined);
  const [inbound, outbound] = [madeBy(script, 'Postern 100 inbound'), madeBy(script, 'Postern 200 outbound')];
  assert.equal(inbound['ExceptIfHeaderMatchesPatterns'], '([regex]::Escape($inboundToken))');
  assert.equal(outbound['ExceptIfHeaderMatchesPatterns'], '([regex]::Escape($outboundToken))');
  assert.equal(outbound['ExceptIfSCLOver'], undefined);
  for (const rule of [inbound, outbound]) {
    assert.equal(rule['RuleErrorAction'], "'Defer'");
    assert.equal(rule['StopRuleProcessing'], '$true');
    assert.equal(rule['SetHeaderName'], "'X-Postern-Tenant-Auth'");
    assert.equal(rule['SetHeaderValue'], '$tenantAuth');
    assert.equal(rule['Enabled'], '$false');
  }
  assert.equal(madeBy(script, 'Postern 900 clean')['RemoveHeader'], "'X-Postern-Done'");
  assert.match(script, /if \(\$accepted -notcontains 'gw\.contoso\.example'\) \{\n\s+throw /);
});

test('guards: everything that is made is looked for first, in the same step', () => {
  for (const [, input] of inputs) {
    for (const { title, code } of setupSteps(input)) {
      const text = code.join('\n');
      if (!text.includes('New-')) continue;
      const [, name] = /Find-Named \([^)]*\) ('[^']*')/.exec(text) ?? [];
      assert.ok(text.startsWith('$found = Find-Named'), title);
      assert.ok(text.includes(`Name = ${name}`), title);
      assert.ok(text.indexOf('if ($found)') < text.indexOf('New-'), title);
    }
  }
});

test('nothing takes effect on mail without a question, and lists are merged', () => {
  for (const [name, input] of inputs) {
    for (const { title, code } of setupSteps(input)) {
      const text = code.join('\n');
      const isEffective =
        /\b(Set-InboundConnector|Enable-TransportRule|Set-OrganizationConfig|Set-ArcConfig)\b/.test(text);
      if (isEffective) assert.ok(text.indexOf('Confirm-Step') > 0, `${name}: ${title}`);
    }
  }
  assert.match(
    setupScript(inline),
    /Set-ArcConfig -Identity Default -ArcTrustedSealers \(\$sealers \+ \$sealer\)/,
  );
});

test('the inbound connector refuses nobody before the MX has moved, nor after the roll-back has begun', () => {
  const code = codeOf(setupScript(inline));
  const [open, mx, closed] = [
    code.indexOf(
      '-RequireTls $false -RestrictDomainsToCertificate $false -EFSkipLastIP $false -Enabled $true',
    ),
    code.indexOf('Does the MX of contoso.example lead to gw.example'),
    code.indexOf('-RequireTls $true -RestrictDomainsToCertificate $true -EFSkipLastIP $true'),
  ];
  assert.ok(0 < open && open < mx && mx < closed);
  const back = codeOf(rollbackScript(inline));
  const reopened = back.indexOf(
    '-RequireTls $false -RestrictDomainsToCertificate $false -EFSkipLastIP $false',
  );
  assert.ok(0 < reopened && reopened < back.indexOf('Does the MX lead to Microsoft'));
});

test('the roll-back takes back only what the set-up changed', () => {
  const code = codeOf(rollbackScript(inline));
  assert.match(code, /if \(\$before -match 'ArcSealer=absent' -and [^\n]*\{\n\s+Set-ArcConfig/);
  assert.match(
    code,
    /if \(\$before -match 'RejectDirectSend=False' -and [^\n]*\{\n\s+Set-OrganizationConfig/,
  );
});

test('the roll-back: where the connector is open to everybody, nothing exempts from Safe Links by a mark', () => {
  const code = codeOf(rollbackScript(inline));
  const off = code.indexOf("Disable-TransportRule -Identity 'Postern signed mail'");
  assert.ok(off > 0 && off < code.indexOf('Set-InboundConnector'));
  assert.doesNotMatch(setupScript(loopBack), /SkipSafeLinksProcessing/);
});

test('the report changes nothing', () => {
  for (const [, input] of inputs)
    assert.doesNotMatch(
      verifyScript(input),
      /\b(New|Set|Remove|Enable|Disable|Validate)-(?!StrictMode)[A-Z]\w+/,
    );
});

test('no secret: the script asks without echo, and only where a rule is still to be made', () => {
  const script = setupScript(loopBack);
  const code = codeOf(script);
  assert.equal(code.match(/= Read-Secret /g)?.length, 4);
  for (const name of ['tenantAuth', 'inboundToken', 'outboundToken'])
    assert.ok(code.includes(`if (-not $${name}) { $${name} = Read-Secret '`));
  assert.match(code, /Read-Host -AsSecureString/);
  for (const { code: lines } of setupSteps(loopBack)) {
    const text = lines.join('\n');
    if (text.includes('Read-Secret')) assert.ok(text.indexOf('} else {') < text.indexOf('Read-Secret'));
  }
});

test('with secrets they are in the script, quoted, with a warning; never in the report or the roll-back', () => {
  const input = { ...loopBack, secrets };
  const script = setupScript(input);
  assert.match(script, /THIS FILE HOLDS SECRETS/);
  const strings = tokenize(script).flatMap(({ kind, text }) => (kind === 'string' ? [text] : []));
  for (const secret of Object.values(secrets)) {
    assert.ok(strings.includes(secret));
    for (const other of [verifyScript(input), rollbackScript(input)]) assert.ok(!other.includes(secret));
  }
  assert.doesNotMatch(codeOf(script), /= Read-Secret /);
  // The tokens of the loop-back are no business of the inline rules.
  const inlineScript = setupScript({ ...inline, secrets });
  assert.ok(inlineScript.includes("auth-secret-''1234567890"));
  assert.ok(!inlineScript.includes(secrets.inboundToken));
});

test('pilot: connector and rules are limited, the organisation is left alone', () => {
  for (const topology of ['inline', 'loop-back'] satisfies Topology[]) {
    const input = { ...(topology === 'inline' ? inline : loopBack), pilotDomain: 'contoso.example' };
    const script = setupScript(input);
    const { inbound } = objectsOf(input);
    assert.equal(madeBy(script, inbound.name)['AssociatedAcceptedDomains'], "@('contoso.example')");
    assert.doesNotMatch(script, /Set-OrganizationConfig/);
  }
  assert.equal(
    madeBy(setupScript({ ...inline, pilotDomain: 'contoso.example' }), 'Postern route')['SenderDomainIs'],
    "@('contoso.example')",
  );
  const rules = setupScript({ ...loopBack, pilotDomain: 'contoso.example' });
  assert.equal(madeBy(rules, 'Postern 100 inbound')['RecipientDomainIs'], "@('contoso.example')");
  assert.equal(madeBy(rules, 'Postern 200 outbound')['SenderDomainIs'], "@('contoso.example')");
});

test('hostile-names: a tenant name cannot leave its comment, a host name cannot leave its string', () => {
  const name = "x\nRemove-AcceptedDomain\r\u2028Remove-Mailbox'; \u2019; Remove-Domain";
  const host = "gw\u2019; Remove-Mailbox; '";
  const script = setupScript({ ...inline, tenant: { ...inline.tenant, name }, gatewayHost: host });
  assert.match(script, /^[\x20-\x7e\n]*$/);
  const words = tokenize(script).filter(({ kind }) => kind === 'word');
  assert.ok(words.every(({ text }) => !text.startsWith('Remove-')));
});
