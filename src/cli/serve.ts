// `postern serve`: the gateway until it is told to stop.
import { readConfig } from '../config.ts';
import { openGateway } from '../gateway.ts';
import { asGatewayError } from '../core/errors.ts';
import { openLog } from '../core/log.ts';
import { type Command, configOption, configPath, EXIT, print, printJson, untilAborted } from './command.ts';

export const serve: Command = {
  name: 'serve',
  summary: 'Run the gateway until SIGTERM or SIGINT.',
  count: [0, 0],
  options: { config: configOption },
  notes: `SIGHUP reads the policy files anew; one with an error never replaces the running policy. A second SIGINT ends the
process at once. The log goes to standard error, one JSON object per line.`,
  async run(invocation) {
    const { io, isJson } = invocation;
    const config = await readConfig(configPath(invocation));
    const log = openLog(config.logLevel);
    await using gateway = await openGateway(config, { log });
    const { address, port } = gateway;
    const { tenants } = await gateway.operations.status();
    if (isJson) printJson(io, { address, port, tenants });
    else print(io, `Postern listens on ${address}:${port} for ${tenants.join(', ')}. Stop it with Ctrl-C.`);

    const reload = (): void => {
      gateway.operations.applyPolicies().catch((error: unknown) => {
        const { code, message } = asGatewayError(error);
        log.error('policy-reload-failed', { code, reason: message });
      });
    };
    process.on('SIGHUP', reload);
    await untilAborted(io.signal);
    process.off('SIGHUP', reload);
    return EXIT.success;
  },
};
