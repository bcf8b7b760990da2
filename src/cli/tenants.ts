// `postern tenants`: the tenants in force, and what their proof has had to say.
import type { TenantSummary } from '../operations.ts';
import { type Command, configOption, EXIT, print, printJson, table } from './command.ts';
import { withOperations } from './stores.ts';

export const tenants: Command = {
  name: 'tenants',
  summary: 'Show the tenants, what they have in the queue, and what the conditions of their proof observed.',
  count: [0, 0],
  options: { config: configOption },
  notes: `C3 is the address of Exchange Online, C8 a DKIM signature of the tenant, C9 its secret. Where one is observed, the number
is that of proven messages of the last seven days that require would have refused: at 0, require it.`,
  async run(invocation) {
    const all = await withOperations(invocation, (operations) => operations.listTenants());
    if (invocation.isJson) printJson(invocation.io, all);
    else print(invocation.io, table([HEADING, ...all.map(rowOf)]));
    return EXIT.success;
  },
};

const HEADING = ['TENANT', 'STATE', 'TOPOLOGY', 'QUEUED', 'PROVEN (7 DAYS)', 'C3', 'C8', 'C9'];

function rowOf({ name, state, topology, queued, proven, conditions }: TenantSummary): readonly string[] {
  const { C3, C8, C9 } = conditions;
  const shown = [C3, C8, C9].map(({ mode, observed }) =>
    mode === 'observe' ? `observed ${observed}` : mode,
  );
  return [name, state, topology, String(queued), String(proven), ...shown];
}
