// `postern lab`: the simulated world, for rehearsals.
import { openLabGateway } from '../lab/lab-gateway.ts';
import { openLab } from '../lab/world.ts';
import { type Command, EXIT, print, printJson, untilAborted } from './command.ts';

export const lab: Command = {
  name: 'lab',
  summary: 'Run the simulated Exchange Online, Internet, DNS and CA on loopback, with a gateway in between.',
  count: [0, 0],
  options: { 'no-gateway': { type: 'boolean', describe: 'start without a gateway, for one of your own' } },
  notes: `Runs until Ctrl-C. The folder that it names holds test certificates, keys and the configuration of the gateway; it is
removed at the end. docs/lab.md tells what is simulated.`,
  async run({ io, isJson, options }) {
    await using world = await openLab();
    const [user, bob] = await Promise.all([
      world.makePerson('user@contoso.example'),
      world.makePerson('bob@remote.example'),
    ]);
    await using server =
      options['no-gateway'] === true
        ? undefined
        : await openLabGateway(world, { own: [user], partners: [bob] });
    const facts = {
      gateway: server ? `${server.gateway.address}:${server.gateway.port}` : null,
      folder: server?.folder ?? null,
      dns: `${world.dns.address}:${world.dns.port}`,
      mxPort: world.mxPort,
      exchange: { address: world.exchange.address, contoso: world.exchangeHostOf('contoso') },
      internet: world.internet.address,
      people: { own: user.address, outside: bob.address },
    };
    if (isJson) printJson(io, facts);
    else {
      print(
        io,
        [
          `gateway                ${facts.gateway ?? 'none'}`,
          `its configuration      ${facts.folder === null ? 'none' : `${facts.folder}/postern.yaml`}`,
          `DNS                    ${facts.dns}`,
          `Exchange Online        ${facts.exchange.address}:${facts.mxPort}  (${facts.exchange.contoso})`,
          `MX of the Internet     ${facts.internet}:${facts.mxPort}  (remote.example, isp.example, ...)`,
          `people with keys       ${user.address}, ${bob.address}`,
          '',
          'Stop it with Ctrl-C.',
        ].join('\n'),
      );
    }
    await untilAborted(io.signal);
    return EXIT.success;
  },
};
