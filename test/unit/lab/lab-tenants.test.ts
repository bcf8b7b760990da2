// The hosted tenants of the lab have what the product's own set-up makes in a real one, setting by setting: what is shown to
// work in the lab is what an operator gets.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OutboundConnector, TransportRule } from '../../../src/lab/exchange-rules.ts';
import type { InboundConnector } from '../../../src/lab/exchange-tenant.ts';
import { clientCertificateName, GATEWAY_NAME, labTenants } from '../../../src/lab/lab-tenants.ts';
import { objectsOf, type TenantObject } from '../../../src/tenant/setup-objects.ts';

/** The lab has no part that these are about, or they differ from tenant to tenant. */
const NOT_MODELLED = new Set([
  'UseMXRecord',
  'SmartHosts',
  'Comment',
  'Comments',
  'Enabled',
  'Priority',
  'SetHeaderValue',
  'ExceptIfHeaderMatchesPatterns',
  'ExceptIfSCLOver',
  'SenderAddressLocation',
]);

const settingsOf = ({ name, settings }: TenantObject) => ({
  name,
  ...Object.fromEntries(
    settings
      .filter((setting) => !NOT_MODELLED.has(setting.name))
      .map((setting) => [setting.name, setting.value]),
  ),
});

/** `in-organization` as PowerShell writes it. */
const word = (value: string) =>
  value === 'oof'
    ? 'OOF'
    : value
        .split('-')
        .map((part) => `${part.charAt(0).toUpperCase()}${part.slice(1)}`)
        .join('');

const given = (settings: Readonly<Record<string, unknown>>) =>
  Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));

const outbound = (connector: OutboundConnector) =>
  given({
    name: connector.name,
    ConnectorType: word(connector.type),
    IsTransportRuleScoped: connector.isTransportRuleScoped,
    TlsSettings: connector.tlsSettings && word(connector.tlsSettings),
    TlsDomain: connector.tlsDomain,
    CloudServicesMailEnabled: connector.cloudServicesMailEnabled ?? false,
  });

const inbound = (connector: InboundConnector) =>
  given({
    name: connector.name,
    ConnectorType: word(connector.type),
    SenderDomains: connector.senderDomains?.map((domain) => `smtp:${domain};1`).join(),
    RequireTls: connector.requireTls,
    RestrictDomainsToCertificate: connector.restrictDomainsToCertificate,
    TlsSenderCertificateName: connector.tlsSenderCertificateName,
    CloudServicesMailEnabled: connector.cloudServicesMailEnabled ?? false,
    EFSkipLastIP: connector.efSkipLastIp,
  });

const rule = (each: TransportRule) =>
  given({
    name: each.name,
    FromScope: each.fromScope && word(each.fromScope),
    SentToScope: each.sentToScope && word(each.sentToScope),
    ExceptIfHeaderMatchesMessageHeader: each.exceptIfHeaderMatches?.header,
    ExceptIfMessageTypeMatches: each.exceptIfMessageTypeMatches?.map(word).join(),
    RouteMessageOutboundConnector: each.routeMessageOutboundConnector,
    RuleErrorAction: each.ruleErrorAction && word(each.ruleErrorAction),
    SetHeaderName: each.setHeader?.name,
    StopRuleProcessing: each.stopRuleProcessing,
    RemoveHeader: each.removeHeader,
  });

for (const [topology, setup] of [
  ['inline', 'partner'],
  ['loop-back', 'on-premises'],
] as const)
  test(`the ${topology} set-up`, () => {
    const certificateName = clientCertificateName('contoso', setup);
    const own = {
      id: '11111111-2222-3333-4444-555555555555',
      domains: ['contoso.example', 'contoso.onmicrosoft.example'],
      host: 'contoso-example.mail.protection.outlook.example',
      serverName: 'contoso-example.mail.protection.outlook.example',
      certificateNames: [certificateName],
      ...(topology === 'loop-back' ? { doneTokens: { inbound: 'token-in', outbound: 'token-out' } } : {}),
    } as const;
    const { contoso } = labTenants(setup, { contoso: 'a', fabrikam: 'b' }, own);
    const objects = objectsOf({
      topology,
      tenant: { id: contoso.id, name: contoso.name, domains: own.domains },
      gatewayHost: GATEWAY_NAME,
      certificateName,
      exchangeHost: own.host,
      arcSealer: GATEWAY_NAME,
    });
    assert.deepEqual(contoso.outboundConnectors?.map(outbound), [settingsOf(objects.outbound)]);
    assert.deepEqual(contoso.connectors.map(inbound), [settingsOf(objects.inbound)]);
    assert.deepEqual(contoso.rules?.map(rule), objects.rules.map(settingsOf));
  });
