// The report: compares a tenant with what the set-up makes. It reads and changes nothing.
import { quote, type Value } from './powershell.ts';
import { objectsOf, safeLinksRule, type SetupInput, type TenantObject } from './setup-objects.ts';
import { connectStep, find, READ_SEALERS, type ScriptStep, writeScript } from './setup-parts.ts';

const FUNCTIONS = [
  '$script:differences = 0',
  'function Test-Value([string] $What, $Value, [string] $Expected) {',
  '  $shown = @($Value | ForEach-Object { "$_" }) -join \',\'',
  '  if ($shown -eq $Expected) {',
  "    Write-Host ('  ok         ' + $What + ' = ' + $shown)",
  '  } else {',
  '    $script:differences += 1',
  "    Write-Host ('  DIFFERENT  ' + $What + ' = ' + $shown + ', expected ' + $Expected) -ForegroundColor Yellow",
  '  }',
  '}',
  'function Show-Missing([string] $What) {',
  '  $script:differences += 1',
  "  Write-Host ('  MISSING    ' + $What) -ForegroundColor Yellow",
  '}',
];

/** The script. Pure; throws GatewayError `config-invalid` for a value that cannot be written into one. */
export function verifyScript(input: SetupInput): string {
  const purpose = `Compares Exchange Online with the set-up for the gateway ${input.gatewayHost}, topology ${input.topology}. It reads and changes nothing, and shows no secret.`;
  return writeScript(input, purpose, [...READ_SEALERS, ...FUNCTIONS], verifySteps(input));
}

/** Its steps, for who wants them one by one. */
export function verifySteps(input: SetupInput): readonly ScriptStep[] {
  const { outbound, inbound, rules } = objectsOf(input);
  const objects = [
    outbound,
    inbound,
    ...rules,
    ...(input.topology === 'inline' ? [safeLinksRule(input)] : []),
  ];
  return [
    connectStep(input),
    domainStep(input),
    ...objects.map(compareStep),
    organizationStep(input),
    {
      title: 'sum',
      why: 'A setting that you changed on purpose shows here too.',
      code: ['Write-Host ("{0} differences" -f $script:differences)'],
    },
  ];
}

function domainStep({ tenant }: SetupInput): ScriptStep {
  return {
    title: 'accepted domains',
    why: 'Those of the policy file and no others.',
    code: [
      '$idn = [System.Globalization.IdnMapping]::new()',
      '$accepted = @(Get-AcceptedDomain | ForEach-Object { $idn.GetAscii("$($_.DomainName)").ToLowerInvariant() } | Sort-Object)',
      `Test-Value 'domains' $accepted (@(@(${tenant.domains.map(quote).join(', ')}) | Sort-Object) -join ',')`,
    ],
  };
}

function compareStep(object: TenantObject): ScriptStep {
  const { kind, name, settings } = object;
  const compared = settings.filter(({ isCompared }) => isCompared !== false);
  const state =
    kind === 'rule'
      ? `Write-Host ('  state      ' + $found.State)`
      : `Write-Host ('  state      ' + $(if ($found.Enabled) { 'Enabled' } else { 'Disabled' }))`;
  const secret = settings.some(({ name: setting }) => setting === 'SetHeaderValue')
    ? [`  if (-not $found.SetHeaderValue) { Show-Missing 'SetHeaderValue' }`]
    : [];
  return {
    title: `${kind} ${name}`,
    why: 'Whether it is on is shown, and not judged.',
    code: [
      find(object),
      `if (-not $found) {`,
      `  Show-Missing ${quote(`${kind} ${name}`)}`,
      '} else {',
      `  ${state}`,
      ...compared.map(
        (setting) =>
          `  Test-Value ${quote(setting.name)} $found.${setting.name} ${quote(asShown(setting.value))}`,
      ),
      ...(settings.some(({ name: setting }) => setting === 'AssociatedAcceptedDomains') ||
      kind !== 'inbound connector'
        ? []
        : [`  Test-Value 'AssociatedAcceptedDomains' $found.AssociatedAcceptedDomains ''`]),
      ...secret,
      '}',
    ],
  };
}

function organizationStep({ arcSealer, pilotDomain }: SetupInput): ScriptStep {
  return {
    title: 'organisation',
    why: 'The trusted ARC sealers have to hold the gateway; others may be there as well.',
    code: [
      `if (@(Get-Sealers) -notcontains ${quote(arcSealer)}) { Show-Missing ${quote(`trusted ARC sealer ${arcSealer}`)} }`,
      ...(pilotDomain === undefined
        ? ["Test-Value 'RejectDirectSend' ([bool](Get-OrganizationConfig).RejectDirectSend) 'True'"]
        : []),
    ],
  };
}

/** As PowerShell turns the value of a setting into text. */
function asShown(value: Value): string {
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'object' && 'code' in value) return '';
  return typeof value === 'object' ? value.join(',') : String(value);
}
