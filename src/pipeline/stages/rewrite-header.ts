// A stage that changes the outer header section alone. The body passes byte for byte.
import type { Limits } from '../../core/limits.ts';
import { type HeaderSection, readMessage, writeHeaderSection } from '../../mime/header-section.ts';
import type { Stage } from '../stage.ts';

export function rewriteHeader(
  name: string,
  rewrite: (header: HeaderSection) => HeaderSection,
  limits: Limits,
): Stage {
  return {
    name,
    input: 'stream',
    release: 'streaming',
    async *run(input) {
      const { header, body } = await readMessage(input, limits);
      yield writeHeaderSection(rewrite(header).fields);
      yield Buffer.from('\r\n');
      yield* body;
      return { kind: 'headers' };
    },
  };
}
