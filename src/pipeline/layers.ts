// A message can be wrapped more than once: encrypted and signed inside, signed around both, compressed. The steps that
// open a layer are run again as long as they open one.
import type { StageOutcome } from '../core/outcome.ts';
import type { Step } from '../core/plan.ts';
import { replaces } from './stage.ts';

/** SECURITY: each layer costs a pass over the message and perhaps a private key operation (test: layers end). */
const MAX_ROUNDS = 5;

/**
 * The steps in the order in which they run. `outcomes` grows while they are carried out; what a further round did not find
 * is taken out of it again.
 */
export function* inLayers(steps: readonly Step[], outcomes: StageOutcome[]): Generator<Step, void> {
  const opening = steps.filter(({ kind }) => kind === 'decrypt' || kind === 'verify');
  for (const step of steps) {
    if (step !== opening[0]) {
      if (!opening.includes(step)) yield step;
      continue;
    }
    for (let round = 0, isOpened = true; isOpened && round < MAX_ROUNDS; round += 1) {
      const before = outcomes.length;
      for (const each of opening) if (each.kind !== 'verify' || !isJudged(outcomes)) yield each;
      const found = outcomes.slice(before);
      isOpened = found.some((outcome) => replaces(outcome));
      if (round > 0) outcomes.splice(before, found.length, ...found.filter((outcome) => !isNothing(outcome)));
    }
  }
}

function isNothing(outcome: StageOutcome): boolean {
  if (outcome.kind === 'not-decrypted') return outcome.reason === 'not-encrypted';
  return outcome.kind === 'not-verified' && outcome.reason === 'not-signed';
}

/** Whether the signature of what is there now was looked at already: a detached one stays in the message. */
function isJudged(outcomes: readonly StageOutcome[]): boolean {
  const judged = outcomes.findLastIndex(({ kind }) => kind === 'verified' || kind === 'not-verified');
  return judged > outcomes.findLastIndex((outcome) => replaces(outcome));
}
