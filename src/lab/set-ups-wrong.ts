// The wrong set-ups, one by one. Each is what it takes to make the mistake, and what Exchange Online does then.
import { serverAndClient, type TlsIdentity } from './certificates.ts';
import { LOOP_TEXT } from './exchange-session.ts';
import { openInternet } from './internet.ts';
import { type LabGatewayOptions, openLabGateway } from './lab-gateway.ts';
import type { OwnTenant } from './lab-tenants.ts';
import { sampleMessage } from './messages.ts';
import { openNaiveGateway } from './naive-gateway.ts';
import {
  attributionRow,
  certificateNameOf,
  changeConnector,
  DIRECT,
  directRow,
  type Expected,
  openSetUpLab,
  placeOf,
  type SetUpRow,
  type SetUpStage,
  startRow,
  withOnPremises,
} from './set-up-rows.ts';
import type { Lab } from './world.ts';

const RESTRICTED = { attributed: 'nobody', answer: /^550 5\.7\.51 TenantInboundAttribution;/ } as const;
const NO_RELAY = { attributed: 'nobody', answer: /^550 5\.7\.64 TenantAttribution;/ } as const;
const TAKEN = /^250\b/;
const SOMEBODY = 'somebody@isp.example';
const ABROAD = 'own tenant to a stranger in Office 365';
const INBOUND = 'Internet to the own tenant';

/** Postern compares the names of its legs. It cannot see that a connector covers another name with a wildcard. */
export async function runCertificateOnInternetLeg(own: OwnTenant | undefined): Promise<readonly SetUpRow[]> {
  const rows: SetUpRow[] = [];
  {
    await using stage = await openSetUpLab(own);
    rows.push(await startRow(stage.lab, { shows: { internet: stage.lab.identities.tenantClient.contoso } }));
  }
  {
    await using stage = await openSetUpLab(own, {
      contoso: (tenant) => withOnPremises(certificateNameOf(tenant))(tenant),
    });
    stage.stack.use(await openNaiveGateway(stage.lab, stage.lab.identities.tenantClient.contoso));
    rows.push(await loopRow(stage, DIRECT));
  }
  let parent = '';
  await using stage = await openSetUpLab(own, {
    contoso: (tenant) => {
      parent = certificateNameOf(tenant).replace(/^[^.]+\./, '');
      return withOnPremises(`*.${parent}`)(tenant);
    },
  });
  const internet = await stage.lab.publicCa.issue(serverAndClient(`mx.${parent}`));
  stage.stack.use(await openLabGateway(stage.lab, { shows: { internet }, proof: 'hybrid: relay' }));
  rows.push(await loopRow(stage, 'Postern'));
  return rows;
}

/**
 * Each pass comes back as the tenant's own mail, and its rule sends it to the gateway once more: until Exchange Online has
 * counted enough, or Postern finds its own trace in it.
 */
async function loopRow({ lab, people }: SetUpStage, by: SetUpRow['by']): Promise<SetUpRow> {
  const { own, stranger } = people;
  const message = sampleMessage('plain', { from: own, to: [stranger] });
  await lab.transport.send(lab.tenants.contoso, { from: own, to: [stranger], message });
  if (by === DIRECT) await lab.exchange.waitForLoop();
  // The report about the loop.
  else await lab.exchange.waitForMessage('contoso', 1);
  const refused = lab.transport
    .copies()
    .flatMap(({ results }) => results.filter(({ code }) => code >= 500))[0];
  const passes = lab.exchange.attributions().filter(({ recipient }) => recipient === stranger);
  const [first] = passes;
  if (!first) throw new Error('no attribution');
  const arrived = lab.exchange.sinkOf('partner').length;
  const outcome = `a loop of ${passes.length} passes; ${arrived === 0 ? 'never arrives' : 'arrives'}`;
  const answer = refused ? `${refused.code} ${refused.text}` : `554 ${LOOP_TEXT}`;
  const row = attributionRow(by, ABROAD, first, answer, outcome, {
    attributed: 'originating contoso',
    answer: by === DIRECT ? /^554 5\.4\.14 / : /^554 5\.4\.6 /,
  });
  const isLoop = passes.length > 1 && passes.every(({ direction }) => direction === 'originating');
  return { ...row, isExpected: row.isExpected && isLoop && arrived === 0 };
}

export async function runSharedCertificate(own: OwnTenant | undefined): Promise<readonly SetUpRow[]> {
  const rows: SetUpRow[] = [];
  {
    await using stage = await openSetUpLab(own);
    const fabrikam = stage.lab.identities.tenantClient.contoso;
    rows.push(await startRow(stage.lab, { shows: { fabrikam } }));
  }
  const shared = withOnPremises('shared.gw.example');
  await using stage = await openSetUpLab(own, { contoso: shared, fabrikam: shared });
  const { lab, people } = stage;
  await using gateway = await openInternet({ tls: lab.identities.gatewayServer });
  lab.useGateway({ host: gateway.address, port: gateway.port });
  const as = await lab.publicCa.issue(serverAndClient('shared.gw.example'));
  const toHosted = { to: people.hosted, as };
  rows.push(
    await directRow(
      stage,
      'own tenant to another hosted tenant',
      { from: people.own, ...toHosted },
      () => 'lands under the sender, whose rules send it out again',
      { attributed: 'originating contoso', answer: TAKEN },
    ),
  );
  await gateway.waitForMessage(1);
  rows.push(
    await directRow(
      stage,
      'a report (null sender) to the other tenant',
      { from: '', ...toHosted },
      () => 'falls to the recipient, as its own mail',
      { attributed: 'originating fabrikam', answer: TAKEN },
    ),
  );
  return rows;
}

export async function runForeignSender(own: OwnTenant | undefined): Promise<readonly SetUpRow[]> {
  const name = 'gw.not-accepted.example';
  await using stage = await openSetUpLab(own, { contoso: withOnPremises(name) });
  const { lab, people } = stage;
  const as = await lab.publicCa.issue(serverAndClient(name));
  const mail = 'forwarded Internet mail, out through the tenant';
  const foreign = { from: people.outside, to: SOMEBODY, as };
  const direct = await directRow(stage, mail, foreign, () => 'not delivered', NO_RELAY);
  // Postern sends through a smart host without any certificate, so a tenant is none that it could use.
  const options = {
    config: `smarthost: { host: ${lab.exchangeHostOf('contoso')}, port: ${lab.mxPort}, ca: keys/public-ca.crt }`,
    outbound: 'deliver: smarthost\notherwise: { sign: none, encrypt: never }',
  };
  stage.stack.use(await openLabGateway(lab, options));
  const message = sampleMessage('plain', { from: people.own, to: [SOMEBODY] });
  await lab.transport.send(lab.tenants.contoso, { from: people.own, to: [SOMEBODY], message });
  const seen = (await lab.exchange.waitForAttribution(2))[1];
  if (!seen) throw new Error('no attribution');
  await lab.exchange.waitForMessage('contoso', 1);
  const outcome = 'the sender gets a report';
  const relayed = 'own mail, the tenant as smart host without its certificate';
  return [direct, attributionRow('Postern', relayed, seen, seen.reply, outcome, NO_RELAY)];
}

/** What a client sends that forgot its intermediate. */
function leafOnly(identity: TlsIdentity): TlsIdentity {
  return { ...identity, cert: identity.leafOnly };
}

export async function runMissingIntermediate(own: OwnTenant | undefined): Promise<readonly SetUpRow[]> {
  const rows: SetUpRow[] = [];
  {
    await using stage = await openSetUpLab(own);
    const contoso = leafOnly(stage.lab.identities.tenantClient.contoso);
    rows.push(await inboundRow(stage, { shows: { contoso } }, 'the sender gets a report', RESTRICTED));
  }
  await using stage = await openSetUpLab(own, {
    contoso: (tenant) => withOnPremises(certificateNameOf(tenant))(tenant),
  });
  const { lab, people } = stage;
  const as = leafOnly(lab.identities.tenantClient.contoso);
  const sending = { from: people.own, to: SOMEBODY, as };
  const mail = 'own mail, out through an on-premises connector';
  rows.push(await directRow(stage, mail, sending, () => 'not delivered', NO_RELAY));
  return rows;
}

export async function runRestriction(own: OwnTenant | undefined): Promise<readonly SetUpRow[]> {
  const rows: SetUpRow[] = [];
  {
    await using stage = await openSetUpLab(own);
    const { outside, own: to } = stage.people;
    rows.push(await directRow(stage, INBOUND, { from: outside, to }, (lab) => placeOf(lab, to), RESTRICTED));
  }
  const other = changeConnector({ tlsSenderCertificateName: 'renewed.gw.example' });
  await using stage = await openSetUpLab(own, { contoso: other });
  rows.push(await inboundRow(stage, {}, 'the sender gets a report', RESTRICTED));
  return rows;
}

export async function runRetainedHeaders(own: OwnTenant | undefined): Promise<readonly SetUpRow[]> {
  const promoting = changeConnector({ cloudServicesMailEnabled: true });
  const rows: SetUpRow[] = [];
  const taken = { attributed: 'incoming contoso', answer: TAKEN };
  {
    await using stage = await openSetUpLab(own, { contoso: promoting });
    const { outside, own: to } = stage.people;
    const as = stage.lab.identities.tenantClient.contoso;
    const sending = { from: outside, to, as, fields: FORGED };
    const place = (lab: Lab) => placeOf(lab, to);
    const expected = { ...taken, outcome: 'delivered, INTERNAL' };
    rows.push(await directRow(stage, `${INBOUND}, forged`, sending, place, expected));
  }
  await using stage = await openSetUpLab(own, { contoso: promoting });
  const expected = { ...taken, outcome: 'delivered, external' };
  rows.push(await inboundRow(stage, {}, undefined, expected, FORGED));
  return rows;
}

const FORGED = ['X-MS-Exchange-CrossPremises-AuthAs: Internal'];

/** Mail of the Internet through a real Postern. A report to its sender is waited for where one is the outcome. */
async function inboundRow(
  { lab, people, stack }: SetUpStage,
  options: LabGatewayOptions,
  outcome: 'the sender gets a report' | undefined,
  expected: Expected,
  fields: readonly string[] = [],
): Promise<SetUpRow> {
  stack.use(await openLabGateway(lab, options));
  const { outside, own } = people;
  const message = sampleMessage('plain', { from: outside, to: [own], fields });
  await lab.sendFromInternet({ sender: outside, recipients: [own], message });
  const [seen] = await lab.exchange.waitForAttribution(1);
  if (!seen) throw new Error('no attribution');
  if (outcome) await lab.internet.waitForMessage(1);
  else if (seen.reply === '250') await lab.exchange.waitForMessage('contoso', 1);
  const mail = fields.length === 0 ? INBOUND : `${INBOUND}, forged`;
  return attributionRow('Postern', mail, seen, seen.reply, outcome ?? placeOf(lab, own), expected);
}
