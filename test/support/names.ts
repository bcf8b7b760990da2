// DNS for the judgements of the doctor, as a literal: what is not there does not exist, `failed` does not answer.
import type { Lookup, MxHost, Names } from '../../src/doctor/names.ts';

export interface NameRecords {
  readonly txt?: readonly string[];
  readonly a?: readonly string[];
  readonly mx?: readonly MxHost[];
}

export function namesOf(
  zones: Readonly<Record<string, NameRecords | 'failed'>>,
): Names & { asked: string[] } {
  const asked: string[] = [];
  const find = <T>(
    name: string,
    pick: (records: NameRecords) => readonly T[] | undefined,
  ): Promise<Lookup<T>> => {
    asked.push(name);
    const records = zones[name];
    if (records === 'failed') return Promise.resolve({ kind: 'failed', reason: 'ESERVFAIL' });
    const found = records ? (pick(records) ?? []) : [];
    return Promise.resolve(found.length > 0 ? { kind: 'found', records: found } : { kind: 'none' });
  };
  return {
    asked,
    txt: (name) => find(name, ({ txt }) => txt),
    addresses: (name) => find(name, ({ a }) => a),
    mx: (name) => find(name, ({ mx }) => mx),
    tlsa: () => Promise.resolve({ kind: 'none' }),
    reverse: () => Promise.resolve({ kind: 'none' }),
  };
}
