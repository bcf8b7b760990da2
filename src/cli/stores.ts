// The operations for a command: through the control socket while a gateway runs, on the opened stores otherwise.
import { connectControl } from '../admin/control-client.ts';
import { readConfig } from '../config.ts';
import { openLog } from '../core/log.ts';
import type { Operations } from '../operations.ts';
import { configPath, type Invocation } from './command.ts';

/** Runs `use` with the operations and closes whatever was opened for it. */
export async function withOperations<T>(
  invocation: Invocation,
  use: (operations: Operations) => Promise<T>,
): Promise<T> {
  const config = await readConfig(configPath(invocation));
  const remote = await connectControl(config.controlSocket);
  if (remote) return use(remote);
  // The output is the command's; of the log only what is wrong is of interest here.
  const log = openLog(config.logLevel === 'silent' ? 'silent' : 'warn');
  // Loaded late: most commands are answered by the running gateway, and help needs none of it.
  const { openStores } = await import('../gateway.ts');
  await using stores = await openStores(config, { log });
  return await use(stores.operations);
}
