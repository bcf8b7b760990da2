// `postern recipients`: the recipients directories of the tenants.
import type { Operations } from '../operations.ts';
import type { TenantRecipients } from '../pipeline/recipient-directories.ts';
import {
  type Command,
  configOption,
  EXIT,
  type ExitCode,
  type Invocation,
  print,
  printJson,
  table,
} from './command.ts';
import { withOperations } from './stores.ts';

const options = { config: configOption };

export const recipientsStatus: Command = {
  name: 'recipients status',
  summary: 'Show what each source of recipients gave, when, and why it failed last.',
  count: [0, 0],
  options,
  notes: 'good: answers for its tenant. stale: too old to call anybody unknown. waiting: nothing loaded yet.',
  run: (invocation) => show(invocation, (operations) => operations.listRecipients()),
};

export const recipientsRefresh: Command = {
  name: 'recipients refresh',
  summary: 'Load all sources of recipients now.',
  count: [0, 0],
  options,
  notes:
    'Works without a running gateway as well: try the settings of a policy file before you put it in force.',
  run: (invocation) => show(invocation, (operations) => operations.refreshRecipients()),
};

export const recipientsCheck: Command = {
  name: 'recipients check',
  summary: 'Say whether mail for an address is accepted, and which source knows it.',
  arguments: '<address>',
  count: [1, 1],
  options,
  async run(invocation) {
    const [address = ''] = invocation.positionals;
    const found = await withOperations(invocation, (operations) => operations.checkRecipient(address));
    const by = found.sources.join(', ');
    const text = {
      known: by === '' ? `accepted: ${found.tenant} has no recipients directory` : `known by ${by}`,
      unknown: `unknown to ${found.tenant}: 550 5.1.1`,
      unavailable: `cannot be said while there is no recent listing of ${by}: 451 4.3.0`,
    }[found.judgement];
    if (invocation.isJson) printJson(invocation.io, found);
    else print(invocation.io, `${found.address}: ${text}`);
    if (found.judgement === 'known') return EXIT.success;
    return found.judgement === 'unknown' ? EXIT.invalid : EXIT.error;
  },
};

async function show(
  invocation: Invocation,
  ask: (operations: Operations) => Promise<readonly TenantRecipients[]>,
): Promise<ExitCode> {
  const all = await withOperations(invocation, ask);
  if (invocation.isJson) printJson(invocation.io, all);
  else if (all.length === 0)
    print(invocation.io, 'No recipients directory: every address of the domains is accepted.');
  else print(invocation.io, table([HEADING, ...all.map(rowOf)]));
  return all.some(({ failure }) => failure !== null) ? EXIT.error : EXIT.success;
}

const HEADING = ['TENANT', 'SOURCE', 'STATE', 'ADDRESSES', 'LOADED', 'LAST FAILURE'];

function rowOf({ tenant, source, state, addresses, loadedAt, failure }: TenantRecipients): readonly string[] {
  return [tenant, source, state, String(addresses), loadedAt ?? 'never', failure ?? ''];
}
