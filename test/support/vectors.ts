// Where the public test vectors are: beside the repository, since they are not ours to publish.
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '../../../shared/vectors');

/** The path of a vector file or folder, as `collection/name`. Throws where it is missing: a suite never skips in silence. */
export function vectorPath(name: string): string {
  const path = join(ROOT, name);
  if (!existsSync(path))
    throw new Error(
      `test vectors are missing: there is no ${path}; put the collection ${name.split('/')[0]} there`,
    );
  return path;
}
