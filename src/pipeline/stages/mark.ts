// Writes what decrypt and verify found into X-Postern-* fields on top of the message. Forged ones are gone by then.
import type { SignatureResult, StageOutcome } from '../../core/outcome.ts';
import type { Step } from '../../core/plan.ts';
import { type HeaderField, type HeaderSection, makeField } from '../../mime/header-section.ts';
import { isFarFromDate, matchSigner } from '../signer-match.ts';
import type { Stage, StageContext } from '../stage.ts';
import { rewriteHeader } from './rewrite-header.ts';

export function markStage(_step: Extract<Step, { kind: 'mark' }>, context: StageContext): Stage {
  const { done, hostname, limits } = context;
  return rewriteHeader(
    'mark',
    (header) => ({ fields: [...marks(done, header, hostname), ...header.fields] }),
    limits,
  );
}

const BARE_TEXT = 'content=bare-text';

function marks(done: readonly StageOutcome[], header: HeaderSection, hostname: string): HeaderField[] {
  const innermost = done.findLastIndex(({ kind }) => kind === 'decrypted');
  const fields = done.flatMap((outcome, index) => {
    switch (outcome.kind) {
      case 'decrypted':
        return [
          makeField(
            'X-Postern-Decryption',
            joined([
              hostname,
              `decrypted=${outcome.format}`,
              `algorithm=${outcome.algorithm}`,
              `authenticated=${outcome.authenticated ? 'yes' : 'no'}`,
              ...(outcome.weak ? ['weak=yes'] : []),
              ...(outcome.isBareText ? [BARE_TEXT] : []),
            ]),
          ),
          ...outcome.signatures.map((signature) => signatureField(signature, header, hostname)),
        ];
      case 'not-decrypted':
        // SECURITY: one text for every failure that a private key decides (test: oracle-uniform).
        return outcome.reason === 'not-encrypted'
          ? []
          : [
              makeField(
                'X-Postern-Decryption',
                joined([hostname, `decrypted=no`, `reason=${outcome.reason}`]),
              ),
            ];
      case 'verified':
        return outcome.signatures.map((signature) =>
          signatureField(signature, header, hostname, [
            // SECURITY: whoever signs around a ciphertext need not know what is in it (test: triple wrap).
            ...(index < innermost ? ['covers=ciphertext'] : []),
            ...(outcome.isBareText ? [BARE_TEXT] : []),
          ]),
        );
      case 'not-verified':
        return outcome.reason === 'not-signed'
          ? []
          : [
              makeField(
                'X-Postern-Signature',
                joined([hostname, 'signature=unchecked', `reason=${outcome.reason}`]),
              ),
            ];
      case 'header-compared':
      case 'headers':
      case 'signed':
      case 'encrypted':
      case 'decompressed':
        return [];
    }
  });
  return [...fields, ...layersField(done, hostname)];
}

/** What was taken off, outermost first, where it is more than one layer or one that no other field tells of. */
function layersField(done: readonly StageOutcome[], hostname: string): HeaderField[] {
  const layers = done.flatMap((outcome) => {
    if (outcome.kind === 'verified') return ['signed'];
    if (outcome.kind === 'decrypted') return ['encrypted'];
    return outcome.kind === 'decompressed' ? ['compressed'] : [];
  });
  if (layers.length < 2 && !layers.includes('compressed')) return [];
  return [makeField('X-Postern-Layers', joined([hostname, `layers=${layers.join(',')}`]))];
}

function signatureField(
  result: SignatureResult,
  header: HeaderSection,
  hostname: string,
  notes: readonly string[] = [],
): HeaderField {
  const from = matchSigner(result, header, 'From');
  const sender = matchSigner(result, header, 'Sender');
  return makeField(
    'X-Postern-Signature',
    joined([
      hostname,
      `signature=${result.integrity}`,
      `trust=${result.trust}`,
      `format=${result.format}`,
      `from=${from === 'none' ? 'unclear' : from}`,
      ...(sender === 'none' ? [] : [`sender=${sender}`]),
      ...(isFarFromDate(result, header) ? ['date=far'] : []),
      ...(result.revocation === undefined ? [] : [`revocation=${result.revocation}`]),
      ...(result.weak ? ['weak=yes'] : []),
      ...notes,
      ...(result.signer.length > 0 ? [`signer=${result.signer.slice(0, 5).map(plain).join(',')}`] : []),
      ...(result.reason === undefined ? [] : [`reason="${plain(result.reason)}"`]),
    ]),
  );
}

/** Folded so that no line grows beyond 78 characters by much. */
export function joined(parts: readonly string[]): string {
  return parts.join(';\r\n ');
}

function plain(text: string): string {
  return text.replace(/[^\x20-\x21\x23-\x3a\x3c-\x5b\x5d-\x7e]/g, '?').slice(0, 200);
}
