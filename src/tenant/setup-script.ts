// The PowerShell that sets a tenant up for the gateway, in an order in which no mail is lost on the way: everything is made
// first and without effect on mail flow, then switched on piece by piece, each after a question. Running it again goes on
// where it stopped.
import { quote } from './powershell.ts';
import { objectsOf, safeLinksRule, type SetupInput } from './setup-objects.ts';
import {
  cmdlet,
  connectStep,
  find,
  makeStep,
  READ_SEALERS,
  READ_SECRET,
  type ScriptStep,
  writeScript,
} from './setup-parts.ts';
import { switchOnSteps } from './setup-switch-on.ts';

/** The script. Pure; throws GatewayError `config-invalid` for a value that cannot be written into one. */
export function setupScript(input: SetupInput): string {
  return writeScript(input, purposeOf(input), [...READ_SECRET, ...READ_SEALERS], setupSteps(input));
}

/** Its steps, for who wants them one by one. */
export function setupSteps(input: SetupInput): readonly ScriptStep[] {
  const { outbound, inbound, rules } = objectsOf(input);
  const made = [outbound, ...rules, inbound, ...(input.topology === 'inline' ? [safeLinksRule(input)] : [])];
  return [
    connectStep(input),
    showStep(),
    checkStep(input),
    rememberStep(input),
    ...made.map((object) => makeStep(object, input.secrets)),
    sealerStep(input),
    ...switchOnSteps(input, validateStep(input)),
  ];
}

function purposeOf({ topology, gatewayHost, pilotDomain, secrets }: SetupInput): string {
  const lines = [
    `Sets up Exchange Online for the gateway ${gatewayHost}, topology ${topology}${pilotDomain === undefined ? '' : `, pilot for ${pilotDomain}`}.`,
    'Read it first. Save it as a file (setup.ps1) and run that; pasted line by line, its questions would take the next line for an answer.',
    'Nothing takes effect on mail before you answer a question with yes. Run it again at any time: what is there is left as it is, and it goes on where it stopped.',
  ];
  if (secrets !== undefined)
    lines.push('THIS FILE HOLDS SECRETS. Keep it from others, and delete it once it has run.');
  return lines.join('\n');
}

function showStep(): ScriptStep {
  return {
    title: 'what is there already',
    why: 'Reads only. Look for connectors of another gateway, for rules that route mail, and for rules that add text or a word such as [EXTERNAL]: they break signatures where they act on signed mail. Keep the output.',
    code: [
      "Get-AcceptedDomain | Format-Table -Property @('DomainName', 'DomainType', 'Default', 'MatchSubDomains')",
      "Get-InboundConnector | Format-Table -Property @('Name', 'Enabled', 'ConnectorType', 'SenderDomains', 'TlsSenderCertificateName', 'RestrictDomainsToCertificate')",
      "Get-OutboundConnector | Format-Table -Property @('Name', 'Enabled', 'ConnectorType', 'RecipientDomains', 'SmartHosts', 'IsTransportRuleScoped', 'RouteAllMessagesViaOnPremises')",
      "Get-TransportRule -ResultSize Unlimited | Format-Table -Property @('Priority', 'Name', 'State', 'RouteMessageOutboundConnector')",
    ],
  };
}

function checkStep({ tenant, topology, certificateName }: SetupInput): ScriptStep {
  const loopBack = [
    `if ($accepted -notcontains ${quote(certificateName)}) {`,
    `  throw ${quote(`The certificate name ${certificateName} has to be an accepted domain of this tenant; add and verify it first.`)}`,
    '}',
  ];
  const changing =
    topology === 'inline'
      ? 'This rule changes messages; it must not act on signed mail (exception: header field X-Postern-Signature): '
      : 'This rule changes messages; give it a smaller priority number than the rules of Postern, or an exception for the header field X-Postern-Done: ';
  return {
    title: 'checks before anything is changed',
    why: 'Reads only. The accepted domains have to be those of the policy file, the initial domain (onmicrosoft.com) included: mail of a domain that the gateway does not know would be refused. A tenant that was never customised has to be unlocked once with Enable-OrganizationCustomization, which cannot be undone, so that is left to you.',
    code: [
      'if ((Get-OrganizationConfig).IsDehydrated) {',
      "  throw 'Run Enable-OrganizationCustomization, wait until it has taken effect, and run this script again.'",
      '}',
      '$idn = [System.Globalization.IdnMapping]::new()',
      '$accepted = @(Get-AcceptedDomain | ForEach-Object { $idn.GetAscii("$($_.DomainName)").ToLowerInvariant() })',
      `$declared = @(${tenant.domains.map(quote).join(', ')})`,
      '$undeclared = @($accepted | Where-Object { $declared -notcontains $_ })',
      '$unknown = @($declared | Where-Object { $accepted -notcontains $_ })',
      "if ($undeclared.Count -gt 0) { throw ('Accepted domains that the policy file lacks (tenant.domains): ' + ($undeclared -join ', ')) }",
      "if ($unknown.Count -gt 0) { throw ('Domains of the policy file that this tenant has not accepted: ' + ($unknown -join ', ')) }",
      ...(topology === 'loop-back' ? loopBack : []),
      'foreach ($other in @(Get-OutboundConnector | Where-Object { $_.Enabled -and $_.RouteAllMessagesViaOnPremises })) {',
      "  Write-Warning ('Centralised mail transport is on and would take mail past the gateway: ' + $other.Name)",
      '}',
      'foreach ($other in @(Get-TransportRule -ResultSize Unlimited | Where-Object { $_.ApplyHtmlDisclaimerText -or $_.PrependSubject })) {',
      `  Write-Warning (${quote(changing)} + $other.Name)`,
      '}',
    ],
  };
}

function rememberStep({ arcSealer }: SetupInput): ScriptStep {
  return {
    title: 'remember what was set before',
    why: 'Reads only. The first run keeps this in the comment of the outbound connector, where the roll-back finds it.',
    code: [
      `$sealer = ${quote(arcSealer)}`,
      '$sealers = @(Get-Sealers)',
      '$directSend = [bool](Get-OrganizationConfig).RejectDirectSend',
      "$before = 'Before Postern: RejectDirectSend={0}; ArcSealer={1}' -f $directSend, $(if ($sealers -contains $sealer) { 'present' } else { 'absent' })",
      'Write-Host $before',
    ],
  };
}

function sealerStep({ arcSealer }: SetupInput): ScriptStep {
  return {
    title: 'trusted ARC sealer',
    why: `Exchange Online then believes what ${arcSealer} seals about a message it had to change: whether SPF, DKIM and DMARC passed before. Postern does not seal yet, so this is for a sealer beside it or for a later version; without one it changes nothing. The call replaces the whole list, so the sealers that are there are kept.`,
    code: [
      'if ($sealers -contains $sealer) {',
      "  Write-Host ('There already: ' + $sealer)",
      "} elseif (Confirm-Step ('Trust the ARC seals of ' + $sealer + '?')) {",
      '  Set-ArcConfig -Identity Default -ArcTrustedSealers ($sealers + $sealer)',
      '}',
    ],
  };
}

function validateStep(input: SetupInput): ScriptStep {
  const { outbound } = objectsOf(input);
  return {
    title: 'validate the outbound connector',
    why: 'Exchange Online sends a test message through the gateway to an address that you name; it has to be outside the organisation. Its sender is O365ConnectorValidation at the default domain. It may come without the secret that the rule sets: keep `secret: off` or `observe` in the policy file until this has passed. A new connector takes a while to reach all servers: if it fails at once, wait half an hour and run the script again.',
    code: [
      find(outbound),
      'if ($found.IsValidated) {',
      "  Write-Host 'Validated already.'",
      '} else {',
      "  $probe = Read-Host 'Address outside for the test message (empty: not now)'",
      '  if ($probe) {',
      `    $tasks = @(${cmdlet('Validate', outbound)} -Recipients $probe)`,
      '    $tasks | Format-List',
      '    if ($tasks.Count -eq 0 -or @($tasks | Where-Object { -not $_.IsTaskSuccessful }).Count -gt 0) {',
      "      throw 'The validation failed; the list above says where. Run the script again when that is mended.'",
      '    }',
      `    ${cmdlet('Set', outbound)} -IsValidated $true -LastValidationTimestamp (Get-Date).ToUniversalTime()`,
      '  }',
      '}',
    ],
  };
}
