// A lab for one test: opened before, closed after, whatever the test did.
import { type Lab, type LabOptions, openLab } from '../../src/lab/world.ts';

export async function withLab<T>(run: (lab: Lab) => Promise<T>, options: LabOptions = {}): Promise<T> {
  await using lab = await openLab(options);
  return await run(lab);
}
