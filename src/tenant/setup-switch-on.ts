// The last steps of the set-up: what is switched on, in which order, and what has to be seen before the next.
import { isInitialDomain, objectsOf, type SetupInput, type TenantObject } from './setup-objects.ts';
import { cmdlet, find, type ScriptStep } from './setup-parts.ts';
import { quote } from './powershell.ts';

/**
 * Connector changes take a while to reach all servers, so every question asks for patience first. `validate` is the step that
 * sends a test message: with the loop-back it needs the inbound connector, through which the gateway brings it back.
 */
export function switchOnSteps(input: SetupInput, validate: ScriptStep): readonly ScriptStep[] {
  return input.topology === 'inline' ? [validate, ...inlineSteps(input)] : loopBackSteps(input, validate);
}

function inlineSteps(input: SetupInput): readonly ScriptStep[] {
  const { inbound, rules } = objectsOf(input);
  return [
    {
      title: 'switch on the inbound connector, still open to others',
      why: 'As long as the MX leads to Microsoft, a connector that insists on the certificate of the gateway would refuse all mail from the Internet. So it goes on without that, and without EFSkipLastIP, which is for mail that has passed the gateway; both come after the MX has moved.',
      code: [
        find(inbound),
        `if (-not $found.Enabled -and (Confirm-Step 'Switch on the inbound connector, open to other senders for now?')) {`,
        `  ${cmdlet('Set', inbound)} -RequireTls $false -RestrictDomainsToCertificate $false -EFSkipLastIP $false -Enabled $true`,
        '}',
      ],
    },
    mxStep(input, inbound),
    {
      title: 'close the inbound connector',
      why: 'From here on, mail from the Internet reaches these domains through the gateway only. Whoever still delivers to Microsoft directly is refused. Until here the filters have judged mail that passes the gateway by the address of the gateway, so do not leave much time between the MX and this.',
      code: [
        `if (-not ($found.RequireTls -and $found.RestrictDomainsToCertificate) -and (Confirm-Step 'Take mail from the gateway only?')) {`,
        `  ${cmdlet('Set', inbound)} -RequireTls $true -RestrictDomainsToCertificate $true -EFSkipLastIP $true`,
        '}',
      ],
    },
    ...directSendSteps(input),
    ...rules.map((rule) =>
      ruleStep(rule, 'From here on, mail for recipients outside goes through the gateway.'),
    ),
  ];
}

/** `$found` is the inbound connector, here and in the step after it. */
function mxStep({ tenant, gatewayHost, pilotDomain }: SetupInput, inbound: TenantObject): ScriptStep {
  const domains =
    pilotDomain === undefined ? tenant.domains.filter((domain) => !isInitialDomain(domain)) : [pilotDomain];
  return {
    title: 'move the MX',
    why: `In the DNS, not here. Wait at least half an hour after the connector went on, and see that \`postern doctor\` reports no failure. Put the addresses of the gateway into the SPF record of each domain, beside include:spf.protection.outlook.com. Then let the MX of ${domains.join(', ')} lead to ${gatewayHost}, and nowhere else. Go on when the TTL of the old records has passed and a test message from outside has arrived through the gateway.`,
    code: [
      find(inbound),
      `if (-not $found.Enabled) { throw 'The inbound connector is off. Run the script again when it may be switched on.' }`,
      `if (-not ($found.RequireTls -and $found.RestrictDomainsToCertificate)) {`,
      `  if (-not (Confirm-Step ${quote(`Does the MX of ${domains.join(', ')} lead to ${gatewayHost}, and has the old TTL passed?`)})) {`,
      `    Write-Host 'Run the script again then.'`,
      '    return',
      '  }',
      '}',
    ],
  };
}

function loopBackSteps(input: SetupInput, validate: ScriptStep): readonly ScriptStep[] {
  const { inbound, rules } = objectsOf(input);
  const [fromOutside, outward, clean] = rules;
  const inOrder = [
    [clean, 'The mark of the gateway no longer leaves the organisation.'],
    [
      outward,
      'From here on, mail of the organisation for recipients outside goes through the gateway and back.',
    ],
    [fromOutside, 'From here on, mail from outside goes through the gateway and back.'],
  ] as const;
  return [
    {
      title: 'switch on the inbound connector',
      why: 'It takes the mail that the gateway brings back. The MX stays where it is.',
      code: [
        find(inbound),
        `if (-not $found.Enabled -and (Confirm-Step 'Switch on the inbound connector?')) {`,
        `  ${cmdlet('Set', inbound)} -Enabled $true`,
        '}',
      ],
    },
    validate,
    ...inOrder.flatMap(([rule, effect]) => (rule ? [ruleStep(rule, effect)] : [])),
    ...directSendSteps(input),
  ];
}

function ruleStep(rule: TenantObject, effect: string): ScriptStep {
  return {
    title: `switch on the rule ${rule.name}`,
    why: `${effect} Wait at least half an hour after the step before, and see that \`postern doctor\` reports no failure.`,
    code: [
      find(rule),
      `if ("$($found.State)" -ne 'Enabled') {`,
      `  if (Confirm-Step ${quote(`Switch on the rule ${rule.name}?`)}) {`,
      `    ${cmdlet('Enable', rule)} -Confirm:$false`,
      '  } else {',
      `    Write-Host 'Run the script again when it may be switched on.'`,
      '    return',
      '  }',
      '}',
    ],
  };
}

/** Of the whole organisation, so a pilot leaves it alone. */
function directSendSteps({ pilotDomain }: SetupInput): readonly ScriptStep[] {
  if (pilotDomain !== undefined) return [];
  return [
    {
      title: 'refuse direct send',
      why: "Exchange Online then refuses mail from hosts that do not log in and name a sender of the organisation's own domains. It takes effect at once and for everybody: printers, applications and services that deliver so need a connector of their own or a login before.",
      code: [
        'if ((Get-OrganizationConfig).RejectDirectSend) {',
        "  Write-Host 'Set already.'",
        "} elseif (Confirm-Step 'Refuse direct send for the whole organisation?') {",
        '  Set-OrganizationConfig -RejectDirectSend $true',
        '}',
      ],
    },
  ];
}
