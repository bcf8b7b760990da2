// `postern queue`: committed mail that waits for delivery.
import type { QueuedCopy, QueueEntry } from '../queue/message-types.ts';
import type { Operations } from '../operations.ts';
import { type Command, configOption, EXIT, type Invocation, print, printJson, table } from './command.ts';
import { withOperations } from './stores.ts';

const options = { config: configOption };
const notes = '<id> is an id of `postern queue list`.';

export const queueList: Command = {
  name: 'queue list',
  summary: 'List the queued messages with the state of their recipients.',
  count: [0, 0],
  options,
  async run(invocation) {
    const entries = await withOperations(invocation, (operations) => operations.listQueue());
    if (invocation.isJson) printJson(invocation.io, entries);
    else if (entries.length === 0) print(invocation.io, 'The queue is empty.');
    else print(invocation.io, describe(entries));
    return EXIT.success;
  },
};

export const queueShow: Command = oneOf('queue show', 'Show one queued message.', '', (operations, id) =>
  operations.showQueued(id),
);

export const queueRetry: Command = oneOf(
  'queue retry',
  'Try one queued message again now.',
  'will be tried again now',
  (operations, id) => operations.retryQueued(id),
);

export const queueRemove: Command = oneOf(
  'queue remove',
  'Remove one queued message. It is gone, and nobody is told.',
  'removed',
  (operations, id) => operations.removeQueued(id),
);

function oneOf(
  name: string,
  summary: string,
  done: string,
  act: (operations: Operations, id: string) => Promise<QueueEntry>,
): Command {
  return {
    name,
    summary,
    arguments: '<id>',
    count: [1, 1],
    options,
    notes,
    async run(invocation: Invocation) {
      const id = invocation.positionals[0] ?? '';
      const entry = await withOperations(invocation, (operations) => act(operations, id));
      if (invocation.isJson) printJson(invocation.io, entry);
      else print(invocation.io, done === '' ? describe([entry]) : `${id}: ${done}`);
      return EXIT.success;
    },
  };
}

/** One block per message: who, since when, and per recipient what the last answer was. */
function describe(entries: readonly QueueEntry[]): string {
  return entries
    .map((entry) => {
      const sender = entry.isReport ? 'delivery report' : (entry.sender ?? '<>');
      const head = `${entry.id}  ${String(entry.createdAt)}  from ${sender}`;
      return [head, table(entry.copies.flatMap(copyRows))].join('\n');
    })
    .join('\n');
}

function copyRows(copy: QueuedCopy): readonly (readonly string[])[] {
  const next = copy.isInFlight
    ? 'being sent'
    : copy.nextAt === undefined
      ? ''
      : `next ${String(copy.nextAt)}`;
  return copy.recipients.map(({ address, state, reply }) => [
    `  ${address}`,
    copy.state === 'damaged' ? 'damaged' : state,
    copy.direction,
    copy.leg,
    copy.isEncrypted ? 'encrypted' : 'clear',
    `${copy.attempts} attempts`,
    next,
    reply ?? '',
  ]);
}
