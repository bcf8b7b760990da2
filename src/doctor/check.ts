// What a check of the doctor is: a value with a state, what was found and what to do about it. Running one never throws and
// always ends.
import { GatewayError } from '../core/errors.ts';

/** `skipped`: it could not be judged here, or does not apply. Only `fail` makes the doctor's exit code 1. */
export type CheckState = 'ok' | 'warn' | 'fail' | 'skipped';

/** A judgement without its name. */
export interface Finding {
  readonly state: CheckState;
  /** One line, for people. Never holds a secret. */
  readonly found: string;
  /** What to do; empty where nothing is to be done. */
  readonly advice: string;
}

export interface Check extends Finding {
  /** `mx contoso.example`. */
  readonly name: string;
}

export const ok = (found: string): Finding => ({ state: 'ok', found, advice: '' });
export const warn = (found: string, advice: string): Finding => ({ state: 'warn', found, advice });
export const fail = (found: string, advice: string): Finding => ({ state: 'fail', found, advice });
export const skipped = (found: string, advice = ''): Finding => ({ state: 'skipped', found, advice });

/** A check that is still to be made. */
export interface PlannedCheck {
  readonly name: string;
  readonly run: (signal: AbortSignal) => Promise<Finding | readonly Finding[]>;
}

const MAX_TEXT = 1_000;
const SEVERITY: readonly CheckState[] = ['fail', 'warn', 'ok', 'skipped'];

/** Makes the check. An error is a failed check, and so is one that takes longer than `limitMs`. */
export async function makeCheck({ name, run }: PlannedCheck, limitMs: number): Promise<Check> {
  const stop = new AbortController();
  const late = Promise.withResolvers<Finding>();
  // Not the clock's sleep, which lets the process end: a check that hangs may be all there is.
  const timer = setTimeout(() => {
    late.resolve(
      fail(`no result within ${limitMs / 1000} s`, 'Something does not answer; see the other checks.'),
    );
    stop.abort();
  }, limitMs);
  try {
    const running = Promise.resolve(run(stop.signal));
    running.catch(() => undefined);
    const findings = await Promise.race([running, late.promise]);
    return { name, ...printable(merge([findings].flat())) };
  } catch (error) {
    return { name, ...printable(fail(reasonOf(error), 'See the reason.')) };
  } finally {
    clearTimeout(timer);
    stop.abort();
  }
}

/** Several findings about one thing as one: the worst state, and every finding of that state. */
export function merge(findings: readonly Finding[]): Finding {
  const state = SEVERITY.find((one) => findings.some((finding) => finding.state === one)) ?? 'skipped';
  const same = findings.filter((finding) => finding.state === state);
  return {
    state,
    found: join(
      same.map(({ found }) => found),
      '; ',
    ),
    advice: join(
      same.map(({ advice }) => advice),
      ' ',
    ),
  };
}

function printable({ state, found, advice }: Finding): Finding {
  return { state, found: plain(found), advice: plain(advice) };
}

/** SECURITY: names, records and greetings come from others, and terminals obey control characters (test: hostile text). */
function plain(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '?').slice(0, MAX_TEXT);
}

function join(texts: readonly string[], separator: string): string {
  return [...new Set(texts.filter((text) => text !== ''))].join(separator);
}

/** SECURITY: what is no failure of ours may hold anything; its code is all that is shown of it. */
export function reasonOf(error: unknown): string {
  if (error instanceof GatewayError) return error.message.split('\n')[0] ?? '';
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : 'unknown error';
}
