// The process that is killed. `child.ts queue <folder>` plays the scenario against a real queue, `child.ts hold <folder>`
// holds a large message; each step is said before and after, and what was said survives the kill.
import { calls } from './fault-point.ts';
import { writeSync } from 'node:fs';
import { bytesSource } from '../../src/core/bytes.ts';
import { silentLog } from '../../src/core/log.ts';
import { openQueue } from '../../src/queue/queue.ts';
import { openHolds } from '../../src/storage/hold.ts';
import { allDue, ManualClock, messageText, queueOptions, resultsOf } from '../support/storage.ts';
import { MARKER, messageOf, type Saying, scenario } from './scenario.ts';

function say(line: Saying): void {
  writeSync(1, `${line}\n`);
}

async function playQueue(folder: string): Promise<void> {
  const clock = new ManualClock();
  await using queue = await openQueue(queueOptions(folder, clock));
  for (const [index, message] of scenario.entries()) {
    say(`committing ${index}`);
    await queue.commit(messageOf(message));
    say(`committed ${index}`);
  }
  const planned = new Map(
    scenario.flatMap(({ copies }) => copies).map((copy) => [copy.recipient, copy.status]),
  );
  for (const delivery of allDue(queue, clock)) {
    const recipient = delivery.shipment.recipients[0].address.key;
    const status = planned.get(recipient);
    // Reports stay in the queue.
    if (status === undefined) continue;
    say(`settling ${recipient}`);
    await queue.settle(delivery, resultsOf(delivery, status), clock.now());
    say(`settled ${recipient}`);
  }
  await queue.tidy(clock.now());
}

async function playHold(folder: string): Promise<void> {
  const holds = await openHolds({ folder, memoryBytes: 1_000, log: silentLog });
  const bytes = Buffer.alloc(300_000, MARKER);
  const first = await holds.write(bytesSource(bytes).open(), bytes.length);
  await holds.write(bytesSource(messageText(MARKER, 5_000)).open(), bytes.length);
  await first[Symbol.asyncDispose]();
  await holds[Symbol.asyncDispose]();
}

const [mode, folder = ''] = process.argv.slice(2);
await (mode === 'hold' ? playHold(folder) : playQueue(folder));
say(`calls ${JSON.stringify(calls)}`);
