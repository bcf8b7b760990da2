// One encrypted OpenPGP message: who may read it, the right session key, its content, and how it ended.
import type { Chunks } from '../core/bytes.ts';
import { type ErrorCode, GatewayError } from '../core/errors.ts';
import type { NotDecryptedReason, SignatureResult, StageOutcome } from '../core/outcome.ts';
import { unwrapMessage } from '../mime/entity.ts';
import type { HeaderSection } from '../mime/header-section.ts';
import { readMaybeArmor } from './armor.ts';
import { type PgpCertificate, pgpKeyId, type PgpPrivateKey } from './certificate.ts';
import { type EncryptedData, openEncryptedData } from './encrypted-data.ts';
import { type EncryptedHead, readEncryptedHead } from './encrypted-head.ts';
import { PgpFault } from './fault.ts';
import type { PgpOptions } from './options.ts';
import { type Attempt, openSessionKeys, selectAttempts, type SessionKey } from './session-key.ts';
import { readSignedMessage } from './signed-message.ts';

const MALFORMED_MAIL: ReadonlySet<ErrorCode> = new Set([
  'header-malformed',
  'mime-malformed',
  'bare-line-end',
]);

/**
 * Decrypts an armoured or binary message and yields the mail rebuilt around its content. Nothing that was yielded may be
 * used unless the outcome is `decrypted`. Throws only what the source of `encrypted` throws.
 */
export async function* decryptContent(
  outer: HeaderSection,
  encrypted: Chunks,
  keys: readonly PgpPrivateKey[],
  verification: readonly PgpCertificate[],
  options: PgpOptions,
): AsyncGenerator<Uint8Array, StageOutcome> {
  const source = watch(encrypted);
  const opened = await openHead(source.chunks);
  if ('refused' in opened) return notDecrypted(opened.refused);
  const { head, data } = opened;
  try {
    const attempts = selectAttempts(head.recipients, keys, options.limits.maxKeysTried);
    if (attempts.length === 0) return notDecrypted(whyNobody(head));
    const key = await findSessionKey(attempts, data);
    if (!key) return notDecrypted('failed');
    return yield* release(outer, data, key, verification, options);
  } catch (error) {
    source.check();
    if (error instanceof PgpFault) return notDecrypted('failed');
    throw error;
  } finally {
    await head.body.close();
  }
}

async function openHead(
  chunks: Chunks,
): Promise<{ head: EncryptedHead; data: EncryptedData } | { refused: NotDecryptedReason }> {
  try {
    const head = await readEncryptedHead(readMaybeArmor(chunks, ['MESSAGE']));
    try {
      return { head, data: await openEncryptedData(head) };
    } catch (error) {
      await head.body.close();
      throw error;
    }
  } catch (error) {
    if (error instanceof PgpFault) return { refused: error.reason };
    throw error;
  }
}

function whyNobody(head: EncryptedHead): NotDecryptedReason {
  if (head.recipients.length > 0) return 'no-recipient';
  return head.hasPassword ? 'password-only' : 'malformed';
}

/**
 * The first candidate that looks right, else any: that one fails at the end like damage does. SECURITY: to stop here
 * would tell by time which session keys have a good start (test: one outcome).
 */
async function findSessionKey(
  attempts: readonly Attempt[],
  data: EncryptedData,
): Promise<SessionKey | undefined> {
  let fallback: SessionKey | undefined;
  for (const attempt of attempts) {
    for (const candidate of await openSessionKeys(attempt)) {
      if (await data.opens(candidate)) return candidate;
      fallback ??= candidate;
    }
  }
  return fallback;
}

async function* release(
  outer: HeaderSection,
  data: EncryptedData,
  key: SessionKey,
  verification: readonly PgpCertificate[],
  options: PgpOptions,
): AsyncGenerator<Uint8Array, StageOutcome> {
  const plain = data.decrypt(key);
  let signatures: readonly SignatureResult[] = [];
  async function* content(): AsyncGenerator<Uint8Array, void> {
    signatures = yield* readSignedMessage(unclosed(plain), verification, options);
  }
  try {
    yield* unwrapMessage(outer, content(), options.limits, options.onInner);
  } catch (error) {
    if (!isContentError(error)) throw error;
    await readToEnd(plain);
    return notDecrypted('failed');
  } finally {
    await plain.return();
  }
  return {
    kind: 'decrypted',
    format: 'pgp',
    keyId: pgpKeyId(key.owner.certificate),
    authenticated: true,
    algorithm: data.algorithm(key),
    signatures,
  };
}

function isContentError(error: unknown): boolean {
  return error instanceof PgpFault || (error instanceof GatewayError && MALFORMED_MAIL.has(error.code));
}

/** A view that a reader cannot close, so that the rest can still be read. */
function unclosed(chunks: AsyncGenerator<Uint8Array, void>): Chunks {
  return { [Symbol.asyncIterator]: () => ({ next: () => chunks.next() }) };
}

/** SECURITY: content that is wrong from its start costs as much time as content that is wrong at its end (test: one outcome). */
async function readToEnd(plain: AsyncGenerator<Uint8Array, void>): Promise<void> {
  try {
    for await (const chunk of plain) void chunk;
  } catch (error) {
    if (!isContentError(error)) throw error;
  }
}

function notDecrypted(reason: NotDecryptedReason): StageOutcome {
  return { kind: 'not-decrypted', reason };
}

/** Remembers the error of the source: the library may wrap it, and it is the one error that is not an outcome. */
function watch(chunks: Chunks): { chunks: Chunks; check(): void } {
  let failure: { readonly error: unknown } | undefined;
  async function* watched(): AsyncGenerator<Uint8Array, void> {
    try {
      yield* chunks;
    } catch (error) {
      failure = { error };
      throw error;
    }
  }
  return {
    chunks: watched(),
    check() {
      if (failure) throw failure.error;
    },
  };
}
