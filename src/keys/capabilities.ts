// What signed mail of a key's owner announced (SMIMECapabilities, RFC 8551 §2.7.1): when it counts, and its form as a row.
// Pure: the rows are learned.ts' business.

/** What one signature said. */
export interface Lesson {
  /** `Address.key` of the author. */
  readonly address: string;
  /** Content ciphers, best first. */
  readonly ciphers: readonly string[];
  /** Signing time. */
  readonly signedAt: Date;
}

/** What is known of one address of a key. */
export interface Learned extends Lesson {
  /** When the gateway saw the mail. */
  readonly seenAt: Date;
}

/** `changed`: it says something else than before; `confirmed`: the same, later; `nothing`: it does not count. */
export type Taught = 'changed' | 'confirmed' | 'nothing';

/** Of a certificate with more addresses, the longest unheard go. */
export const MAX_ADDRESSES = 16;
const MAX_CIPHERS = 16;
const MAX_NAME_CHARACTERS = 254;
const CIPHER = /^[a-z0-9-]{1,32}$/;
/** A clock that is ahead by more says nothing (RFC 8551 §2.7.1). */
const MAX_SKEW_MS = 10 * 60_000;
/** How far a row may fall behind the signing time of mail that says the same. */
const REFRESH_MS = 60 * 60_000;

/**
 * What is known after a lesson, or undefined where it teaches nothing. SECURITY: only a later signing time counts and none of
 * the future, or whoever kept an old mail of the partner could send it again to bring a weaker cipher back (test: replayed mail).
 */
export function applyLesson(
  known: readonly Learned[],
  lesson: Lesson,
  at: Date,
): readonly Learned[] | undefined {
  const { address, ciphers, signedAt } = lesson;
  if (address.length > MAX_NAME_CHARACTERS || signedAt.getTime() > at.getTime() + MAX_SKEW_MS)
    return undefined;
  const before = known.find((each) => each.address === address);
  if (before && signedAt <= before.signedAt) return undefined;
  const others = known.filter((each) => each !== before);
  const heard = { address, ciphers: ciphers.slice(0, MAX_CIPHERS), signedAt, seenAt: at };
  return [heard, ...others.toSorted(bySeen)].slice(0, MAX_ADDRESSES);
}

/** Whether it is worth a write: mail that says what is known costs one in an hour at most. */
export function isNews(stored: readonly Learned[], { address, ciphers, signedAt }: Lesson): boolean {
  const before = stored.find((each) => each.address === address);
  return (
    !before ||
    before.ciphers.join() !== ciphers.join() ||
    signedAt.getTime() - before.signedAt.getTime() >= REFRESH_MS
  );
}

export function writeLearned(known: readonly Learned[]): Buffer {
  return Buffer.from(JSON.stringify(known));
}

/** Reads what `writeLearned` wrote; undefined for anything else. */
export function readLearned(bytes: Buffer): readonly Learned[] | undefined {
  try {
    const list: unknown = JSON.parse(bytes.toString('utf8'));
    if (!Array.isArray(list) || list.length > MAX_ADDRESSES) return undefined;
    const read = list.map(readOne);
    return read.every((each) => each !== undefined) ? read : undefined;
  } catch {
    return undefined;
  }
}

function readOne(value: unknown): Learned | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const field = new Map<string, unknown>(Object.entries(value));
  const address = field.get('address');
  const ciphers = field.get('ciphers');
  const signedAt = new Date(String(field.get('signedAt')));
  const seenAt = new Date(String(field.get('seenAt')));
  if (typeof address !== 'string' || !Array.isArray(ciphers) || ciphers.length > MAX_CIPHERS)
    return undefined;
  if (!ciphers.every((name): name is string => typeof name === 'string' && CIPHER.test(name)))
    return undefined;
  if (Number.isNaN(signedAt.getTime()) || Number.isNaN(seenAt.getTime())) return undefined;
  return { address, ciphers, signedAt, seenAt };
}

function bySeen(one: Learned, other: Learned): number {
  return other.seenAt.getTime() - one.seenAt.getTime() || (one.address < other.address ? -1 : 1);
}
