// Parts that the set-up, the roll-back and the report have in common: the head of a script, the connection and whose
// tenant it is, making and finding things.
import { comment, quote, render } from './powershell.ts';
import type { SecretName, SetupInput, TenantObject } from './setup-objects.ts';

/** One step of a script: what a person reads, and the lines that PowerShell runs. */
export interface ScriptStep {
  readonly title: string;
  readonly why: string;
  readonly code: readonly string[];
}

const RULE_LINE = `# ${'-'.repeat(100)}`;

const FUNCTIONS = [
  'function Find-Named($Objects, [string] $Name) {',
  '  $Objects | Where-Object { $_.Name -eq $Name } | Select-Object -First 1',
  '}',
  'function Confirm-Step([string] $Question) {',
  "  (Read-Host ($Question + ' Type yes to do it; anything else leaves it')) -eq 'yes'",
  '}',
];

const CMDLET: Readonly<Record<TenantObject['kind'], { readonly noun: string; readonly all: string }>> = {
  'outbound connector': { noun: 'OutboundConnector', all: 'Get-OutboundConnector' },
  'inbound connector': { noun: 'InboundConnector', all: 'Get-InboundConnector' },
  rule: { noun: 'TransportRule', all: 'Get-TransportRule -ResultSize Unlimited' },
};

const SECRET_FORM = '\\A[\\x21-\\x7e]{16,200}\\z';
const TOKEN_FORM = '\\A[A-Za-z0-9_-]{16,200}\\z';

/** What the script asks for, and the form that the gateway takes. */
const QUESTIONS: Readonly<Record<SecretName, { readonly text: string; readonly form: string }>> = {
  tenantAuth: {
    text: 'Secret of the tenant, the first of tenant.proof.secrets in the policy file',
    form: SECRET_FORM,
  },
  inboundToken: {
    text: 'Token for inbound mail, tenant.loop_back.inbound_token in the policy file',
    form: TOKEN_FORM,
  },
  outboundToken: {
    text: 'Token for outbound mail, tenant.loop_back.outbound_token in the policy file',
    form: TOKEN_FORM,
  },
};

/** The whole script as text, in ASCII. */
export function writeScript(
  { tenant }: SetupInput,
  purpose: string,
  functions: readonly string[],
  steps: readonly ScriptStep[],
): string {
  const head = [
    ...comment(`${purpose}\nTenant: ${tenant.name} (${tenant.id})`),
    '',
    'Set-StrictMode -Version 1',
    "$ErrorActionPreference = 'Stop'",
    '',
    ...FUNCTIONS,
    ...functions,
  ];
  return `${[...head, ...steps.flatMap(writeStep)].join('\n')}\n`;
}

function writeStep({ title, why, code }: ScriptStep, index: number): readonly string[] {
  const name = `Step ${index + 1}: ${title}`;
  return [
    '',
    RULE_LINE,
    ...comment(name),
    ...comment(why),
    RULE_LINE,
    `Write-Host ${quote(name)} -ForegroundColor Cyan`,
    ...code,
  ];
}

/** Connects, and stops where the account is in another tenant than the policy. */
export function connectStep({ tenant }: SetupInput): ScriptStep {
  return {
    title: 'connect',
    why: 'Needs the module ExchangeOnlineManagement, version 3 or later (Install-Module ExchangeOnlineManagement), and an account that may change mail flow. The script stops if the account is in another tenant than the one of the policy file.',
    code: [
      'Import-Module ExchangeOnlineManagement',
      "$connections = @(Get-ConnectionInformation | Where-Object { $_.State -eq 'Connected' -and -not $_.IsEopSession })",
      'if ($connections.Count -eq 0) {',
      '  Connect-ExchangeOnline -ShowBanner:$false',
      "  $connections = @(Get-ConnectionInformation | Where-Object { $_.State -eq 'Connected' -and -not $_.IsEopSession })",
      '}',
      `$tenantId = ${quote(tenant.id)}`,
      '$connected = @($connections | ForEach-Object { "$($_.TenantID)" } | Select-Object -Unique)',
      'if ($connected.Count -ne 1 -or $connected[0] -ne $tenantId) {',
      "  throw ('Connected to tenant ' + ($connected -join ', ') + ', but the policy file is for tenant ' + $tenantId)",
      '}',
    ],
  };
}

/** A line that puts the object, or nothing, into `$found`. */
export function find({ kind, name }: TenantObject): string {
  return `$found = Find-Named (${CMDLET[kind].all}) ${quote(name)}`;
}

/** `New-`, `Set-`, `Remove-` and so on for this object. */
export function cmdlet(verb: string, { kind, name }: TenantObject): string {
  return `${verb}-${CMDLET[kind].noun} -Identity ${quote(name)}`;
}

/** Makes the object where it is missing, and asks for the secrets that it needs only then. */
export function makeStep(object: TenantObject, secrets: SetupInput['secrets']): ScriptStep {
  const { kind, name, why, settings } = object;
  const label = `${kind} ${name}`;
  return {
    title: label,
    why,
    code: [
      find(object),
      'if ($found) {',
      `  Write-Host ${quote(`There already, left as it is: ${label}. The report (--verify) shows whether it differs.`)}`,
      '} else {',
      ...object.secrets.map((secret) => `  ${secretLine(secret, secrets?.[secret])}`),
      '  $settings = @{',
      `    Name = ${quote(name)}`,
      ...settings.map((setting) => `    ${setting.name} = ${render(setting.value)}`),
      '  }',
      `  New-${CMDLET[kind].noun} @settings | Out-Null`,
      `  Write-Host ${quote(`Made: ${label}`)}`,
      '}',
    ],
  };
}

/** SECURITY: a secret is in the script only where the operator asked for that (test: no secret). */
function secretLine(name: SecretName, value: string | undefined): string {
  const { text, form } = QUESTIONS[name];
  return value === undefined
    ? `if (-not $${name}) { $${name} = Read-Secret ${quote(text)} ${quote(form)} }`
    : `$${name} = ${quote(value)}`;
}

/** Reads a secret without echo. Two rules may need the same one: it is asked for once. */
export const READ_SECRET = [
  'function Read-Secret([string] $What, [string] $Form) {',
  '  $secure = Read-Host -AsSecureString -Prompt $What',
  "  $value = [System.Net.NetworkCredential]::new('', $secure).Password",
  "  if ($value -cnotmatch $Form) { throw 'That is not in the form that the policy asks for: ' + $What }",
  '  $value',
  '}',
  ...Object.keys(QUESTIONS).map((name) => `$${name} = $null`),
];

/** The trusted ARC sealers as a list, however they are stored. */
export const READ_SEALERS = [
  'function Get-Sealers {',
  '  @(Get-ArcConfig | Select-Object -ExpandProperty ArcTrustedSealers | ForEach-Object { "$_" -split \'[,;\\s]+\' } | Where-Object { $_ })',
  '}',
];
