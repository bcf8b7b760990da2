// The machine: clock, disk, permissions. Judgements are pure; what they judge is gathered beside them.
import { stat, statfs } from 'node:fs/promises';
import type { Config } from '../config.ts';
import { readKek } from '../storage/kek.ts';
import { fail, type Finding, ok, reasonOf, skipped, warn } from './check.ts';

const WARN_CLOCK_MS = 30_000;
const FAIL_CLOCK_MS = 300_000;
const MESSAGES_OF_ROOM = 3;

/** `notBefore`: a time that has certainly passed. `reference`: what another host's clock says. */
export function judgeClock(now: Date, notBefore: Date, reference?: Date): Finding {
  const advice = 'Let the machine take its time from NTP: signatures, certificates and TLS depend on it.';
  if (now < notBefore) return fail(`${now.toISOString()} lies before ${notBefore.toISOString()}`, advice);
  if (!reference) return ok(`${now.toISOString()}, not compared: no other clock was reached`);
  const seconds = Math.round((now.getTime() - reference.getTime()) / 1000);
  const distance = Math.abs(now.getTime() - reference.getTime());
  const found = `${Math.abs(seconds)} s ${seconds < 0 ? 'behind' : 'ahead of'} another host`;
  if (distance > FAIL_CLOCK_MS) return fail(found, advice);
  return distance > WARN_CLOCK_MS ? warn(found, advice) : ok(`${now.toISOString()}, as another host's`);
}

export function judgeDisk(freeBytes: number, minFreeBytes: number, maxMessageBytes: number): Finding {
  const found = `${mebibytes(freeBytes)} free`;
  if (freeBytes < minFreeBytes)
    return fail(
      `${found}, less than queue.min_free_bytes (${mebibytes(minFreeBytes)})`,
      'Make room: new mail is answered with 452 until then.',
    );
  const wanted = minFreeBytes + MESSAGES_OF_ROOM * maxMessageBytes;
  return freeBytes < wanted
    ? warn(
        `${found}, less than ${mebibytes(wanted)}`,
        `Make room for ${MESSAGES_OF_ROOM} messages of the largest size.`,
      )
    : ok(found);
}

export function judgeFolder(folder: string, mode: number): Finding {
  return (mode & 0o077) === 0
    ? ok(`${folder}, mode ${octal(mode)}`)
    : fail(`${folder} is open to other users (mode ${octal(mode)})`, `chmod 700 ${folder}`);
}

export async function checkDisk({ dataFolder, queue, limits }: Config): Promise<Finding> {
  const { bavail, bsize } = await statfs(dataFolder);
  return judgeDisk(bavail * bsize, queue.minFreeBytes, limits.maxMessageBytes);
}

export async function checkFolder({ dataFolder }: Config): Promise<Finding> {
  try {
    return judgeFolder(dataFolder, (await stat(dataFolder)).mode & 0o777);
  } catch (error) {
    return fail(`${dataFolder} cannot be entered (${reasonOf(error)})`, 'Make it with `postern keys init`.');
  }
}

/** A reference that only the gateway's own environment resolves says nothing about a gateway that runs. */
export async function checkKek({ kek }: Config, isRunning: boolean): Promise<Finding> {
  const kind = kek.slice(0, kek.indexOf(':'));
  if (isRunning && kind !== 'file') return skipped(`${kind} reference; the running gateway has it`);
  try {
    await readKek(kek);
    return ok(`${kind} reference, readable by this user alone`);
  } catch (error) {
    return fail(
      reasonOf(error),
      'Put the KEK back from its copy, or make a new store with `postern keys init`.',
    );
  }
}

function mebibytes(bytes: number): string {
  return `${Math.floor(bytes / 1_048_576)} MiB`;
}

function octal(mode: number): string {
  return mode.toString(8).padStart(4, '0');
}
