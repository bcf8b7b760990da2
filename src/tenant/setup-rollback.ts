// The way back: what the set-up made is taken out in the reverse order, and what it changed is put back as it was before.
import { quote } from './powershell.ts';
import { objectsOf, safeLinksRule, type SetupInput, type TenantObject } from './setup-objects.ts';
import { cmdlet, connectStep, find, READ_SEALERS, type ScriptStep, writeScript } from './setup-parts.ts';

/** The script. Pure; throws GatewayError `config-invalid` for a value that cannot be written into one. */
export function rollbackScript(input: SetupInput): string {
  const purpose = `Takes the set-up for the gateway ${input.gatewayHost} (topology ${input.topology}) out of Exchange Online.
The first steps lead mail past the gateway at once: it then leaves without encryption and arrives encrypted. The rest asks before each step. Running it again is harmless.
Leave the gateway running until its queue is empty (postern queue list): what waits there needs the inbound connector.`;
  return writeScript(input, purpose, READ_SEALERS, rollbackSteps(input));
}

/** Its steps, for who wants them one by one. */
export function rollbackSteps(input: SetupInput): readonly ScriptStep[] {
  const { outbound, inbound, rules } = objectsOf(input);
  const isInline = input.topology === 'inline';
  const routing = rules.filter(({ settings }) =>
    settings.some(({ name }) => name === 'RouteMessageOutboundConnector'),
  );
  // SECURITY: with the connector open, anybody can bring the mark that exempts from Safe Links: that rule goes off as well.
  const exempting = isInline ? [safeLinksRule(input)] : [];
  return [
    connectStep(input),
    readStateStep(outbound),
    offStep([...routing, ...exempting]),
    ...(isInline ? [openStep(inbound), mxStep(input)] : [drainStep()]),
    removeStep('rules', 'They refer to the connectors, so they go first.', [...rules, ...exempting]),
    removeStep('inbound connector', 'From here on the gateway can no longer deliver to this tenant.', [
      inbound,
    ]),
    sealerStep(input),
    directSendStep(),
    removeStep('outbound connector', 'Last, because its comment holds what was set before.', [outbound]),
  ];
}

function readStateStep(outbound: TenantObject): ScriptStep {
  return {
    title: 'what was set before',
    why: 'The set-up kept it in the comment of the outbound connector. Where that is missing, the ARC sealers and direct send are left as they are.',
    code: [
      find(outbound),
      '$before = if ($found) { "$($found.Comment)" } else { \'\' }',
      "Write-Host $(if ($before) { $before } else { 'Not known.' })",
    ],
  };
}

/** Without a question: this is what has to be quick when something goes wrong. */
function offStep(rules: readonly TenantObject[]): ScriptStep {
  return {
    title: 'switch off the routing',
    why: 'At once, without a question. New mail goes past the gateway as soon as the change has reached all servers.',
    code: rules.flatMap((rule) => [
      find(rule),
      `if ($found -and "$($found.State)" -ne 'Disabled') { ${cmdlet('Disable', rule)} -Confirm:$false }`,
    ]),
  };
}

function openStep(inbound: TenantObject): ScriptStep {
  return {
    title: 'open the inbound connector to everybody',
    why: 'At once, without a question. As long as the connector insists on the certificate of the gateway, Exchange Online would refuse all mail that follows the old MX.',
    code: [
      find(inbound),
      `if ($found -and $found.Enabled) { ${cmdlet('Set', inbound)} -RequireTls $false -RestrictDomainsToCertificate $false -EFSkipLastIP $false }`,
    ],
  };
}

function mxStep({ exchangeHost, gatewayHost }: SetupInput): ScriptStep {
  return {
    title: 'move the MX back',
    why: `In the DNS, not here: from ${gatewayHost} to the host that Microsoft names for each domain (that of the policy file is ${exchangeHost}). Go on when the TTL has passed and \`postern queue list\` is empty; the rest can wait for days.`,
    code: [waitFor('Does the MX lead to Microsoft, has the old TTL passed, and is the queue empty?')].flat(),
  };
}

function drainStep(): ScriptStep {
  return {
    title: 'let the gateway empty its queue',
    why: 'What is on its way has to come back through the inbound connector. Wait half an hour, then look at `postern queue list`.',
    code: waitFor('Have the rules been off for half an hour, and is the queue empty?'),
  };
}

function waitFor(question: string): string[] {
  return [
    `if (-not (Confirm-Step ${quote(question)})) {`,
    "  Write-Host 'Run the script again then.'",
    '  return',
    '}',
  ];
}

function removeStep(title: string, why: string, objects: readonly TenantObject[]): ScriptStep {
  return {
    title: `remove the ${title}`,
    why,
    code: objects.flatMap((object) => [
      find(object),
      `if ($found -and (Confirm-Step ${quote(`Remove the ${object.kind} ${object.name}?`)})) { ${cmdlet('Remove', object)} -Confirm:$false }`,
    ]),
  };
}

function sealerStep({ arcSealer }: SetupInput): ScriptStep {
  return {
    title: 'trusted ARC sealer',
    why: 'Taken off the list only if it was not there before the set-up; the others stay.',
    code: [
      `$sealer = ${quote(arcSealer)}`,
      '$sealers = @(Get-Sealers)',
      "if ($before -match 'ArcSealer=absent' -and $sealers -contains $sealer) {",
      '  Set-ArcConfig -Identity Default -ArcTrustedSealers @($sealers | Where-Object { $_ -ne $sealer })',
      '}',
    ],
  };
}

function directSendStep(): ScriptStep {
  return {
    title: 'direct send',
    why: 'Put back to what it was before the set-up.',
    code: [
      "if ($before -match 'RejectDirectSend=False' -and (Get-OrganizationConfig).RejectDirectSend) {",
      '  Set-OrganizationConfig -RejectDirectSend $false',
      '}',
    ],
  };
}
