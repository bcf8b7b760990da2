// A rehearsal of an operator's policy: a real gateway with that policy between the simulated Exchange Online and Internet,
// a fixed list of messages, and what became of each. Nothing leaves loopback; all that is written goes with the temporary
// folder.
import { join } from 'node:path';
import { openLog } from '../core/log.ts';
import type { DkimKey } from './dkim-signer.ts';
import type { DnsZones } from './dns.ts';
import type { TenantMail } from './exchange-client.ts';
import type { LabTenant } from './exchange-tenant.ts';
import { writePersonFiles } from './gateway-files.ts';
import { openLabGateway } from './lab-gateway.ts';
import { internetMx, type OwnTenant } from './lab-tenants.ts';
import { copyPolicy, type OwnPolicy } from './policy-copy.ts';
import { planMessages, type RehearsalMessage, type RehearsalPlan } from './rehearsal-messages.ts';
import { type Observed, openWatch, type Watch } from './rehearsal-watch.ts';
import { type RehearsalRow, rowFor } from './rehearsal-rows.ts';
import { openTemporaryFolder } from './temporary-folder.ts';
import { type Lab, openLab } from './world.ts';

export interface PolicyRehearsal extends AsyncDisposable {
  readonly plan: RehearsalPlan;
  /** Sends one of the plan's messages and waits for its end. */
  run(message: RehearsalMessage): Promise<RehearsalRow>;
}

/** Opens the lab and a gateway with the policy. The caller disposes it. Throws GatewayError where the gateway does not start. */
export async function openPolicyRehearsal(policy: OwnPolicy): Promise<PolicyRehearsal> {
  await using stack = new AsyncDisposableStack();
  const { path: folder } = stack.use(await openTemporaryFolder('postern-rehearsal-'));
  const plan = planMessages(policy.policy);
  const watch = openWatch();
  const lab = stack.use(
    await openLab({
      own: policy.own,
      connectors: policy.policy.tenant.loopBack ? 'on-premises' : 'partner',
      zones: zonesFor(plan, policy.own),
      onArrival: watch.arrived,
      onAttribution: watch.attributed,
    }),
  );
  await openGatewayWith(policy, lab, folder, watch, stack);
  const open = stack.move();
  return {
    plan,
    run: async (message) => rowFor(policy.policy, message, await observe(policy, lab, watch, message)),
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}

/** Every domain that mail goes to has the Internet host as its MX, but for the operator's own and those of strangers. */
function zonesFor({ messages }: RehearsalPlan, { domains }: OwnTenant): DnsZones {
  const known = [...domains, 'partner.example', 'evil.example'];
  const outside = messages
    .map(({ to }) => to.slice(to.lastIndexOf('@') + 1).toLowerCase())
    .filter((domain) => !known.some((name) => domain === name || domain.endsWith(`.${name}`)));
  return Object.assign({}, ...outside.map(internetMx)) as DnsZones;
}

async function openGatewayWith(
  policy: OwnPolicy,
  lab: Lab,
  folder: string,
  watch: Watch,
  stack: AsyncDisposableStack,
): Promise<void> {
  const keys = join(folder, 'keys');
  const standIns = new Map(
    await Promise.all(
      [...policy.standIns].map(async ([index, { match }]) => {
        const person = await lab.makePerson(match.includes('@') ? match : `user@${match}`);
        return [index, await writePersonFiles(person, keys)] as const;
      }),
    ),
  );
  const isSmarthost = policy.policy.outbound.deliver === 'smarthost';
  stack.use(
    await openLabGateway(lab, {
      folder,
      policies: (files) => ({
        own: copyPolicy(policy, {
          port: lab.mxPort,
          leg: files.tenants.contoso,
          ca: files.publicCa,
          standIns,
        }),
      }),
      ...(isSmarthost
        ? { config: `smarthost: { host: mx.remote.example, port: ${lab.mxPort}, ca: keys/public-ca.crt }` }
        : {}),
      environment: { log: openLog('info', { write: watch.logged }) },
    }),
  );
}

async function observe(
  { policy }: OwnPolicy,
  lab: Lab,
  watch: Watch,
  mail: RehearsalMessage,
): Promise<Observed> {
  watch.expect(mail.messageId, mail.to);
  const { from, to, message, template } = mail;
  const isLoopBack = policy.tenant.loopBack !== undefined;
  if (mail.by === 'Internet' && !isLoopBack) {
    const { recipients } = await lab.sendFromInternet({ sender: from, recipients: [to], message });
    return watch.settled(recipients[0]);
  }
  const { contoso, evil } = lab.tenants;
  const tenant = mail.by === 'hostile tenant' ? evil : contoso;
  // In loop-back, Internet mail comes to Exchange Online first, and its rule sends it here.
  const [copy] =
    mail.by === 'Internet'
      ? await lab.transport.send(tenant, { from, to: [to], message, template: 'forwarded' })
      : await lab.transport.send(tenant, {
          from,
          to: [to],
          message,
          template,
          dkim: keyFor(lab, mail, tenant),
          arc: lab.dkimKey('microsoft.com'),
          ...(mail.forged === undefined ? {} : forgedAs(mail.forged, contoso)),
        });
  const [result] = copy?.results ?? [];
  const observed = await watch.settled(result);
  const isTold = result && result.code >= 500 && tenant === contoso;
  const ndr = isTold ? lab.exchange.mailboxOf(from).at(-1)?.delivered.toString() : undefined;
  const [, told] = /^Remote server returned '(.*)'\r$/m.exec(ndr ?? '') ?? [];
  return { ...observed, isDirect: copy?.way === 'direct', ...(told === undefined ? {} : { told }) };
}

/** The stamps of the tenant on another's mail; no signature and no secret, which nobody else has. */
function forgedAs(user: string, { id, acceptedDomains }: LabTenant): Pick<TenantMail, 'mailFrom' | 'knobs'> {
  const replace = { 'X-MS-Exchange-CrossTenant-Id': id, 'X-OriginatorOrg': acceptedDomains[0].name };
  return { mailFrom: user, knobs: { replace } };
}

/** Exchange signs its reports with the initial domain. */
function keyFor(lab: Lab, { template }: RehearsalMessage, tenant: LabTenant): DkimKey {
  return lab.dkimKey(template === 'ndr' ? tenant.initialDomain : tenant.acceptedDomains[0].name);
}
