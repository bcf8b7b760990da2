// Executes the steps of one copy and hands back the finished bytes. The last guard against plaintext stands here.
import type { ByteSource, Chunks } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import type { StageOutcome } from '../core/outcome.ts';
import type { Copy } from '../core/plan.ts';
import type { Hold, Holds } from '../storage/hold.ts';
import { inLayers } from './layers.ts';
import { stageFor } from './registry.ts';
import { type InnerHeader, replaces, type Stage, type StageContext } from './stage.ts';

export interface RunResult extends AsyncDisposable {
  readonly body: Hold;
  readonly outcomes: readonly StageOutcome[];
}

/** Room for base64 and MIME framing around a message of the largest size. */
const GROWTH = 2;

/**
 * Runs a copy over the held message. The caller disposes the result once the bytes are durable. Throws what the first
 * failing stage throws; then nothing is left behind.
 */
export async function runCopy(
  copy: Copy,
  source: ByteSource,
  holds: Holds,
  context: Omit<StageContext, 'done' | 'inner'>,
): Promise<RunResult> {
  const outcomes: StageOutcome[] = [];
  const inner: InnerHeader = {};
  await using open = new AsyncDisposableStack();
  const maxBytes = context.limits.maxMessageBytes * GROWTH;
  const hold = async (chunks: Chunks): Promise<Hold> => open.use(await holds.write(chunks, maxBytes));

  let current: ByteSource | Chunks = source;
  for (const step of inLayers(copy.steps, outcomes)) {
    const stage: Stage = await stageFor(step, { ...context, done: outcomes, inner });
    if (stage.input === 'source') {
      const input: ByteSource = isSource(current) ? current : await hold(current);
      const output = recordOutcome(stage.run(input), outcomes);
      current = stage.release === 'whole' ? await settle(output, input, hold, outcomes) : output;
    } else {
      current = recordOutcome(stage.run(isSource(current) ? current.open() : current), outcomes);
    }
  }
  const body = isHold(current) ? current : await hold(isSource(current) ? current.open() : current);
  // SECURITY: policy wanted encryption, so only an `encrypted` outcome may leave this function (test: no-key-no-clear).
  if (copy.mustEncrypt && !outcomes.some((outcome) => outcome.kind === 'encrypted')) {
    throw new GatewayError('unplanned', 'a copy that must be encrypted was not', {
      detail: { rule: copy.rule },
    });
  }
  const kept = open.move();
  return { body, outcomes, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** Holds the output of a `whole` stage until its end; the input stays the message where the output is none. */
async function settle(
  output: Chunks,
  input: ByteSource,
  hold: (chunks: Chunks) => Promise<Hold>,
  outcomes: readonly StageOutcome[],
): Promise<ByteSource> {
  const held = await hold(output);
  const outcome = outcomes.at(-1);
  return outcome && replaces(outcome) ? held : input;
}

async function* recordOutcome(
  stage: AsyncGenerator<Uint8Array, StageOutcome>,
  outcomes: StageOutcome[],
): AsyncGenerator<Uint8Array, void> {
  outcomes.push(yield* stage);
}

function isHold(input: ByteSource | Chunks): input is Hold {
  return 'sha256' in input;
}

function isSource(input: ByteSource | Chunks): input is ByteSource {
  return 'open' in input;
}
