// Keeps our signature off what readers may take for two different messages.
import type { ByteSource } from '../../core/bytes.ts';
import { GatewayError } from '../../core/errors.ts';
import type { Limits } from '../../core/limits.ts';
import type { StageOutcome } from '../../core/outcome.ts';
import { readHeader } from '../../mime/header-section.ts';
import { mimeShape } from '../../mime/shape.ts';

/** Runs `stage` unless the labels of the message are ambiguous: then throws GatewayError `mime-malformed`. */
export async function* oneReading(
  message: ByteSource,
  limits: Limits,
  stage: () => AsyncGenerator<Uint8Array, StageOutcome>,
): AsyncGenerator<Uint8Array, StageOutcome> {
  const header = await readHeader(message, limits);
  const shape = mimeShape(header);
  if (shape.kind === 'ambiguous') throw new GatewayError('mime-malformed', shape.reason);
  return yield* stage();
}
