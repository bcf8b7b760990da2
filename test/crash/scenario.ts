// What the child of the crash tests does with a queue, as data for the child and for the test that looks afterwards.
import type { CommittedMessage } from '../../src/core/commit.ts';
import type { DeliveryResult } from '../../src/core/delivery.ts';
import { committed, finished, messageText, recipients } from '../support/storage.ts';

/** In every body: it must not be found on the disk. */
export const MARKER = 'plaintext-canary';

interface PlannedCopy {
  readonly recipient: string;
  readonly body: Buffer;
  /** What the one attempt of the child brings. */
  readonly status: DeliveryResult['status'];
}

export interface PlannedMessage {
  readonly copies: readonly PlannedCopy[];
  readonly refused?: string;
}

function copy(name: string, status: DeliveryResult['status'], size = 0): PlannedCopy {
  const body = messageText(`${MARKER} for ${name}`, size);
  return { recipient: `${name}@x.example`, body, status };
}

/** Larger than what is kept in a row. */
const FILE_BYTES = 70_000;

export const scenario: readonly PlannedMessage[] = [
  { copies: [copy('small', 'delivered')] },
  { copies: [copy('large', 'delivered', FILE_BYTES)] },
  {
    copies: [copy('pair-1', 'deferred'), copy('pair-2', 'delivered', FILE_BYTES)],
    refused: 'pair-refused@x.example',
  },
  { copies: [copy('failing', 'failed', FILE_BYTES)] },
];

export function messageOf({ copies, refused }: PlannedMessage): CommittedMessage {
  return committed({
    copies: copies.map(({ recipient, body }) => finished({ text: body, recipients: recipients(recipient) })),
    refused: refused === undefined ? [] : [{ recipient: recipients(refused)[0], explanation: 'no' }],
  });
}

/** What the child says on its standard output, one line each, written before it goes on. */
export type Saying =
  `${'committing' | 'committed'} ${number}` | `${'settling' | 'settled'} ${string}` | `calls ${string}`;
