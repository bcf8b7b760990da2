// `postern lab`: the simulated world, for rehearsals.
import { type Arrived, openRehearsal, type Rehearsal } from '../lab/rehearsal.ts';
import { rehearsePolicy } from './lab-policy.ts';
import { type Command, EXIT, print, text, untilAborted, UsageError } from './command.ts';

/** Not the port of the example configuration, which may be running beside it. */
const OWN_GATEWAY_PORT = 10_025;

export const lab: Command = {
  name: 'lab',
  summary: 'Run the simulated Exchange Online, Internet, DNS and CA on loopback, with a gateway in between.',
  count: [0, 0],
  options: {
    policy: {
      type: 'string',
      value: '<file>',
      describe: 'rehearse this policy file instead: send, show what becomes of it, and end',
    },
    'no-gateway': { type: 'boolean', describe: 'start without a gateway, for one of your own' },
    port: {
      type: 'string',
      value: '<port>',
      describe: `where the gateway listens (default: a free one; without gateway ${OWN_GATEWAY_PORT})`,
    },
  },
  notes: `Runs until Ctrl-C, and shows what arrives at the tenants and on the Internet. Hand mail in with any mail program; the lab
prints how. Its temporary folder holds test certificates, keys, policies, the configuration and log of the gateway, and what
arrived; it is removed at the end. With --json one JSON value a line: the set-up, then each message that arrives.
docs/lab.md tells what is simulated, and how.

With --policy a gateway with that policy gets a fixed list of messages, among them one for each rule, and the right and six
wrong set-ups are run with its tenant and the names of its certificate. Nothing leaves loopback. Exit code 1 where the policy
has a problem, or a message did not go as it must.`,
  async run(invocation) {
    const { io, isJson, options } = invocation;
    const policy = text(options['policy']);
    if (policy !== undefined) {
      if (options['no-gateway'] !== undefined || options['port'] !== undefined)
        throw new UsageError('--policy goes without --no-gateway and --port');
      return rehearsePolicy(policy, invocation);
    }
    // The terminal was closed: at exit the temporary folders go.
    process.once('SIGHUP', () => process.exit(EXIT.error));
    const hasGateway = options['no-gateway'] !== true;
    await using rehearsal = await openRehearsal({
      hasGateway,
      port: portOf(text(options['port']), hasGateway),
      onArrival: (arrived) => print(io, isJson ? JSON.stringify({ arrived }) : describeArrived(arrived)),
    });
    const facts = factsOf(rehearsal, hasGateway);
    print(io, isJson ? JSON.stringify(facts) : describe(facts));
    await untilAborted(io.signal);
    return EXIT.success;
  },
};

function portOf(given: string | undefined, hasGateway: boolean): number {
  if (given === undefined) return hasGateway ? 0 : OWN_GATEWAY_PORT;
  const port = Number(given);
  if (!/^\d+$/.test(given) || port < 1 || port > 65_535)
    throw new UsageError(`--port ${given}: write a number from 1 to 65535`);
  return port;
}

type Facts = ReturnType<typeof factsOf>;

function factsOf(
  { lab: world, gateway, folder, tenantOutbox, internetOutbox, people }: Rehearsal,
  isGatewayStarted: boolean,
) {
  return {
    gateway: endpoint(gateway),
    isGatewayStarted,
    folder,
    tenantOutbox: endpoint(tenantOutbox),
    internetOutbox: endpoint(internetOutbox),
    dns: endpoint(world.dns),
    exchange: endpoint(world.exchange),
    internet: endpoint(world.internet),
    people: { own: people.own.address, outside: people.outside.address },
  };
}

function endpoint({ address, port }: { readonly address: string; readonly port: number }): string {
  return `${address}:${port}`;
}

function describe({ people: { own, outside }, folder, isGatewayStarted, ...at }: Facts): string {
  const config = `${folder}/postern.yaml`;
  const start = [`npx postern keys init -c ${config}`, `npx postern serve -c ${config}`];
  const change = [`edit ${folder}/policies/contoso.yaml`, `npx postern keys apply -c ${config}`];
  return [
    `gateway                    ${at.gateway}${isGatewayStarted ? '' : '  (yours; not started)'}`,
    `its configuration          ${config}`,
    `hand in as the tenant      ${at.tenantOutbox}`,
    `hand in from the Internet  ${at.internetOutbox}`,
    `Exchange Online takes mail ${at.exchange}  (contoso.example, fabrikam.example, ...)`,
    `MX of the Internet         ${at.internet}  (remote.example, isp.example, ...)`,
    `DNS                        ${at.dns}`,
    `people with keys           ${own} (private), ${outside} (public)`,
    '',
    ...(isGatewayStarted ? [] : ['Start the gateway, in another terminal:', ...indented(start), '']),
    'Send, for instance with swaks:',
    `  swaks --server ${at.tenantOutbox} --from ${own} --to ${outside}`,
    `  swaks --server ${at.internetOutbox} --from ${outside} --to ${own}`,
    `  swaks --server ${at.tenantOutbox} --from boss@evil.example --h-From boss@contoso.example --to ${outside}`,
    'or a file with curl:',
    `  curl smtp://${at.tenantOutbox} --mail-from ${own} --mail-rcpt ${outside} --crlf --upload-file message.eml`,
    'The answer of the gateway is the answer that you get.',
    '',
    'Change the policy while it runs:',
    ...indented(change),
    '',
    `What arrives is shown here, and kept in ${folder}/arrived. Stop it with Ctrl-C.`,
    '',
  ].join('\n');
}

function indented(lines: readonly string[]): readonly string[] {
  return lines.map((line) => `  ${line}`);
}

function describeArrived({
  at,
  sender,
  recipients,
  certificateNames,
  attribution,
  tls,
  file,
}: Arrived): string {
  const shown =
    certificateNames.length === 0 ? 'no client certificate' : `certificate ${certificateNames[0]}`;
  const taken = attribution
    ? `, taken as ${attribution.direction}, ${attribution.isInternal ? 'INTERNAL' : 'external'}`
    : '';
  return [
    `arrived at ${at}: from <${sender}> to ${recipients.map((address) => `<${address}>`).join(', ')}`,
    `  ${tls ?? 'in clear'}, ${shown}${taken}`,
    `  ${file}`,
  ].join('\n');
}
