// Many small messages, one after the other in one warm process, from memory to memory:
// node bench/smime-messages-child.ts encrypt|decrypt|sign MESSAGE KEY.pem CERTIFICATE.pem CA.pem
// Run it with --cpu-prof for a profile of where the time goes.
import { readFileSync } from 'node:fs';
import { bytesSource, collect } from '../src/core/bytes.ts';
import { peakRssKiB } from './memory.ts';
import { readPerson } from './smime-person.ts';
import { runOnMessage, type SmimeOperation } from './smime-operation.ts';
import { median } from './table.ts';

const ROUNDS = 5;
const MESSAGES = 1_000;
const LIMIT_BYTES = 1_000_000;

const [operation = '', file = '', key = '', certificate = '', ca = ''] = process.argv.slice(2);
const person = readPerson({ key, certificate, ca });
const mail = readFileSync(file);
// What is decrypted has to be encrypted first.
const message =
  operation === 'decrypt'
    ? await collect(runOnMessage('encrypt', bytesSource(mail), person), LIMIT_BYTES)
    : mail;

await runRound();
const rounds: number[] = [];
for (let round = 0; round < ROUNDS; round += 1) rounds.push(await runRound());
console.log(JSON.stringify({ cpuMs: median(rounds), maxRssKiB: peakRssKiB(), messages: MESSAGES }));

/** Milliseconds of CPU for one message, all threads together. */
async function runRound(): Promise<number> {
  const start = process.cpuUsage();
  for (let count = 0; count < MESSAGES; count += 1) {
    await collect(runOnMessage(operation as SmimeOperation, bytesSource(message), person), LIMIT_BYTES);
  }
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1_000 / MESSAGES;
}
