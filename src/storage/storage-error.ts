// One place that turns errors of disk and database into the gateway's codes: full is full, everything else has failed.
import { GatewayError } from '../core/errors.ts';

const FULL = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);
/** SQLITE_FULL. */
const SQLITE_FULL = 13;

/**
 * A GatewayError for whatever a file or database operation threw: `queue-full` where there is no room, `store-failed`
 * otherwise. A GatewayError passes unchanged. `what` says what was tried, for the log.
 */
export function asStorageError(error: unknown, what: string): GatewayError {
  if (error instanceof GatewayError) return error;
  const code = errorCode(error);
  const isFull = FULL.has(code) || primaryResult(error) === SQLITE_FULL;
  const reason = error instanceof Error ? error.message : String(error);
  return new GatewayError(isFull ? 'queue-full' : 'store-failed', `${what}: ${reason}`, {
    detail: code === '' ? {} : { code },
    cause: error,
  });
}

/** Stored bytes that are not what was written: `store-failed`, told apart from a disk that could not be read. */
export function damagedError(reason: string): GatewayError {
  return new GatewayError('store-failed', reason, { detail: { damaged: true } });
}

export function isDamage(error: unknown): boolean {
  return error instanceof GatewayError && error.detail['damaged'] === true;
}

/** The `code` of a Node error, or the empty string. */
export function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

/** The primary SQLite result code of an error of node:sqlite; undefined for any other error. */
export function primaryResult(error: unknown): number | undefined {
  return error instanceof Error && 'errcode' in error && typeof error.errcode === 'number'
    ? error.errcode & 0xff
    : undefined;
}
