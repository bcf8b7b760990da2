// Where the public test vectors are: beside the repository, since they are not ours to publish. And how a suite of them is
// judged: each vector as expected, or listed as an exception with its reason.
import assert, { AssertionError } from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';

const ROOT = join(import.meta.dirname, '../../../shared/vectors');
const VECTOR_MS = 5_000;

/** The path of a vector file or folder, as `collection/name`. Throws where it is missing: a suite never skips in silence. */
export function vectorPath(name: string): string {
  const path = join(ROOT, name);
  if (!existsSync(path))
    throw new Error(
      `test vectors are missing: there is no ${path}; put the collection ${name.split('/')[0]} there`,
    );
  return path;
}

export function readVector(name: string): Buffer {
  return readFileSync(vectorPath(name));
}

/** Files of a collection that match a pattern, as `collection/name`, sorted. */
export function vectorFiles(collection: string, pattern: string): readonly string[] {
  return globSync(`${collection}/${pattern}`, { cwd: ROOT }).sort();
}

/** A message with CRLF line ends, as it would come off the wire. */
export function readMail(name: string): Buffer {
  return Buffer.from(readVector(name).toString('latin1').replace(/\r?\n/g, '\r\n'), 'latin1');
}

/** Runs one vector; a failed assertion means that the result is not the expected one. */
export type Vector = readonly [id: string, run: () => Promise<void> | void];

export interface VectorSuites {
  /**
   * A test over one collection; where its folder is missing it says so and counts as skipped. `count` guards against files
   * that nobody looks at any more. Ids are unique in all suites.
   */
  suite(collection: string, title: string, count: number, read: () => readonly Vector[]): void;
  /** A last test: each exception belongs to a vector. */
  end(): void;
}

/** Suites that share a file of exceptions, which groups vectors by the reason why they do not come out as expected. */
export function openVectorSuites(exceptionsFile: string): VectorSuites {
  const exceptions = readExceptions(exceptionsFile);
  const seen = new Set<string>();
  let isComplete = true;
  return {
    suite(collection, title, count, read) {
      const isMissing = !existsSync(join(ROOT, collection));
      if (isMissing) isComplete = false;
      const skip = isMissing && `there is no public test suite ${join(ROOT, collection)}`;
      test(`${collection}: ${title}`, { skip }, async (t) => {
        const vectors = read();
        assert.equal(vectors.length, count, 'number of vectors');
        for (const [id, run] of vectors) {
          assert(!seen.has(id), `${id} is there twice`);
          seen.add(id);
          await judgeVector(t, id, run, exceptions.get(id));
        }
      });
    },
    end() {
      const skip = !isComplete && 'suites are missing';
      test(`every exception in ${exceptionsFile} is a vector`, { skip }, () => {
        assert.deepEqual(
          [...exceptions.keys()].filter((id) => !seen.has(id)),
          [],
        );
      });
    },
  };
}

async function judgeVector(
  t: TestContext,
  id: string,
  run: () => Promise<void> | void,
  reason: string | undefined,
): Promise<void> {
  await t.test(id, { timeout: VECTOR_MS }, async () => {
    if (reason === undefined) return run();
    // Anything but a wrong result is a fault of its own, also where the result is known to be wrong.
    await assert.rejects(
      async () => run(),
      AssertionError,
      `right answer, but listed as an exception: ${reason}`,
    );
  });
}

function readExceptions(file: string): ReadonlyMap<string, string> {
  const groups = JSON.parse(readFileSync(join(import.meta.dirname, '../vectors', file), 'utf8')) as Record<
    string,
    readonly string[]
  >;
  return new Map(Object.entries(groups).flatMap(([reason, ids]) => ids.map((id) => [id, reason] as const)));
}
