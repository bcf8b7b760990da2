// Compares the header that was protected with the outer one, and puts a Subject that was encrypted back in its place.
// SECURITY: nothing else of an inner header comes out (test: only the subject).
import type { StageOutcome } from '../../core/outcome.ts';
import type { Step } from '../../core/plan.ts';
import { compareHeaders, type Comparison, type Layers, withSubject } from '../../mime/header-compare.ts';
import {
  type HeaderField,
  makeField,
  readHeader,
  readMessage,
  writeHeaderSection,
} from '../../mime/header-section.ts';
import { dropLegacyDisplay } from '../../mime/legacy-display.ts';
import { readProtectedHeader } from '../../mime/protected-header.ts';
import type { Stage, StageContext } from '../stage.ts';
import { joined } from './mark.ts';

export function compareHeaderStage(
  { isMarked }: Extract<Step, { kind: 'compare-header' }>,
  { done, inner, limits, hostname }: StageContext,
): Stage {
  return {
    name: 'compare-header',
    input: 'source',
    release: 'streaming',
    async *run(input) {
      const layers = layersOf(done);
      const found = layers && (await readProtectedHeader(input, inner.header, limits));
      const outer = await readHeader(input, limits);
      const compared = layers && found && compareHeaders(found, outer, layers);
      const isSpare = layers?.isDecrypted && compared && showsSubject(compared.outcome);
      const shown = isSpare ? await dropLegacyDisplay(input, limits) : undefined;
      const { header, body } = await readMessage(shown ?? input.open(), limits);
      const { fields } = compared?.subject ? withSubject(header, compared.subject) : header;
      const marks = isMarked && compared ? [markOf(compared.outcome, hostname)] : [];
      yield writeHeaderSection([...marks, ...fields]);
      yield Buffer.from('\r\n');
      yield* body;
      return compared?.outcome ?? { kind: 'headers' };
    },
  };
}

/** RFC 9788 §4.5.3: then a Subject on top of the text says it a second time. */
function showsSubject({ form, subject }: Comparison['outcome']): boolean {
  return form === 'hp-cipher' && (subject === 'same' || subject === 'restored');
}

/** Written here and not by the mark stage, which begins before the end of this one. Names only, never values. */
function markOf({ form, subject, differs }: Comparison['outcome'], hostname: string): HeaderField {
  const parts = [hostname, `form=${form}`, `subject=${subject}`];
  const changed = differs.length > 0 ? [`differs=${differs.join(',')}`] : [];
  return makeField('X-Postern-Protected-Header', joined([...parts, ...changed]));
}

/** Undefined where neither an encryption nor a good signature vouches for what is inside. */
function layersOf(done: readonly StageOutcome[]): Layers | undefined {
  const isDecrypted = done.some(({ kind }) => kind === 'decrypted');
  const signatures = done.flatMap((outcome) =>
    outcome.kind === 'decrypted' || outcome.kind === 'verified' ? outcome.signatures : [],
  );
  const isBroken = signatures.some(({ integrity }) => integrity === 'broken');
  const isUnread = done.some((outcome) => outcome.kind === 'not-verified' && outcome.reason !== 'not-signed');
  const isSigned = signatures.some(({ integrity }) => integrity === 'intact');
  const isSound = !isBroken && !isUnread;
  return isDecrypted || (isSigned && isSound) ? { isDecrypted, isSound } : undefined;
}
