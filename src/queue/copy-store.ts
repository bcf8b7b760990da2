// Bytes of a queued copy at rest: sealed record and body under one DEK that the KEK wraps. Small bodies lie in the row,
// large ones in a file that is durable before its row. Destroying the DEK ends them all.
import { createHash } from 'node:crypto';
import { type ByteSource, bytesSource, collect } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import { formatLeg } from '../core/leg.ts';
import { Secret } from '../core/secret.ts';
import { openMessageFile, removeMessageFile, writeMessageFile } from '../storage/message-file.ts';
import type { Row, Sql } from '../storage/queue-database.ts';
import { makeKey, openRecord, sealRecord } from '../storage/seal.ts';
import { damagedError } from '../storage/storage-error.ts';
import { type CopyRecord, formatCopyRecord, parseCopyRecord } from './copy-record.ts';

/** Bodies up to this size are sealed in the row. */
export const ROW_BODY_BYTES = 65_536;

export interface CopySeal {
  readonly kek: Secret;
  readonly storeId: string;
  /** Folder of the message files. */
  readonly folder: string;
}

/** A copy whose body is durable or in memory, ready for its row. */
export interface PreparedCopy {
  readonly id: string;
  readonly record: CopyRecord;
  readonly wrappedDek: Buffer;
  readonly sealedRecord: Buffer;
  /** undefined: the body is in a file. */
  readonly sealedBody?: Buffer;
}

/** Seals a copy; writes its file where the body is large. The caller removes the file if the row is not written. */
export async function prepareCopy(
  seal: CopySeal,
  id: string,
  record: Omit<CopyRecord, 'size' | 'sha256'>,
  body: ByteSource,
): Promise<PreparedCopy> {
  const dek = makeKey();
  const wrappedDek = sealRecord(seal.kek, dek.reveal(), place(seal, id, 'dek'));
  const stored =
    body.size <= ROW_BODY_BYTES ? await sealBody(seal, id, dek, body) : await fileBody(seal, id, dek, body);
  const whole: CopyRecord = { ...record, size: stored.bytes, sha256: stored.sha256 };
  return {
    id,
    record: whole,
    wrappedDek,
    sealedRecord: sealRecord(dek, formatCopyRecord(whole), place(seal, id, 'record')),
    ...(stored.sealedBody ? { sealedBody: stored.sealedBody } : {}),
  };
}

/** Inserts the rows of a copy that is due at `at`. */
export function insertCopy(sql: Sql, messageId: string, copy: PreparedCopy, at: Date): void {
  const { id, record } = copy;
  const now = at.getTime();
  sql.run(
    `INSERT INTO copies (id, message_id, leg, direction, tenant, rule, is_encrypted, size, state, attempts, first_at, next_at, is_file, dek, record)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'queued', 0, ?, ?, ?, ?, ?)`,
    id,
    messageId,
    formatLeg(record.leg),
    record.direction,
    record.tenant,
    record.rule,
    Number(record.isEncrypted),
    record.size,
    now,
    now,
    Number(copy.sealedBody === undefined),
    copy.wrappedDek,
    copy.sealedRecord,
  );
  if (copy.sealedBody) sql.run('INSERT INTO bodies (copy_id, body) VALUES (?, ?)', id, copy.sealedBody);
  for (const [position, { address }] of record.recipients.entries()) {
    sql.run(
      `INSERT INTO recipients (copy_id, position, address, state) VALUES (?, ?, ?, 'queued')`,
      id,
      position,
      address.key,
    );
  }
}

/** Ends a copy: body, record and DEK go. A file is the caller's to remove after the commit. */
export function eraseCopy(sql: Sql, id: string): void {
  sql.run('DELETE FROM bodies WHERE copy_id = ?', id);
  sql.run('UPDATE recipients SET reply_text = NULL WHERE copy_id = ?', id);
  sql.run(`UPDATE copies SET state = 'closed', dek = NULL, record = NULL WHERE id = ?`, id);
  const message = sql.one('SELECT message_id FROM copies WHERE id = ?', id)?.['message_id'] ?? null;
  sql.run(
    `UPDATE messages SET closed_at = (SELECT max(closed_at) FROM recipients JOIN copies ON id = copy_id WHERE message_id = ?1)
     WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM copies WHERE message_id = ?1 AND state <> 'closed')`,
    message,
  );
}

export interface OpenedCopy {
  readonly id: string;
  readonly record: CopyRecord;
  readonly dek: Secret;
  readonly body: ByteSource;
  readonly isFile: boolean;
}

/** Opens a copy; `row` needs the columns id, dek, record and is_file. Throws GatewayError `store-failed` if damaged. */
export function openCopy(seal: CopySeal, sql: Sql, row: Row): OpenedCopy {
  const id = String(row['id']);
  const dek = new Secret(openRecord(seal.kek, blob(row['dek']), place(seal, id, 'dek')));
  const record = parseCopyRecord(openRecord(dek, blob(row['record']), place(seal, id, 'record')));
  const isFile = row['is_file'] === 1;
  const body = isFile
    ? openMessageFile(seal.folder, dek, id, record.size)
    : rowBody(
        record.size,
        () => sql.one('SELECT body FROM bodies WHERE copy_id = ?', id),
        (sealed) => openRecord(dek, sealed, place(seal, id, 'body')),
      );
  return { id, record, dek, body, isFile };
}

/** Seals the text of a reply, which may quote the message. */
export function sealReply(seal: CopySeal, dek: Secret, id: string, text: string): Buffer {
  return sealRecord(dek, Buffer.from(text), place(seal, id, 'reply'));
}

export function openReply(seal: CopySeal, dek: Secret, id: string, sealed: Uint8Array): string {
  return openRecord(dek, sealed, place(seal, id, 'reply')).toString('utf8');
}

/** Removes the body files of closed copies. */
export async function removeCopyFiles(seal: CopySeal, ids: readonly string[]): Promise<void> {
  for (const id of ids) await removeMessageFile(seal.folder, id);
}

interface StoredBody {
  readonly bytes: number;
  readonly sha256: string;
  readonly sealedBody?: Buffer;
}

async function sealBody(seal: CopySeal, id: string, dek: Secret, body: ByteSource): Promise<StoredBody> {
  const bytes = await collect(body.open(), ROW_BODY_BYTES);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return checkLength(body, {
    bytes: bytes.length,
    sha256,
    sealedBody: sealRecord(dek, bytes, place(seal, id, 'body')),
  });
}

async function fileBody(seal: CopySeal, id: string, dek: Secret, body: ByteSource): Promise<StoredBody> {
  const stored = await writeMessageFile(seal.folder, dek, id, body);
  if (stored.bytes !== body.size) await removeMessageFile(seal.folder, id);
  return checkLength(body, stored);
}

/** A source that ended early must not become a shorter message. */
function checkLength(body: ByteSource, stored: StoredBody): StoredBody {
  if (stored.bytes !== body.size) throw new GatewayError('unplanned', 'a copy is not as long as it said');
  return stored;
}

function rowBody(
  size: number,
  read: () => Row | undefined,
  open: (sealed: Uint8Array) => Buffer,
): ByteSource {
  return {
    size,
    async *open(range) {
      const bytes = open(blob(read()?.['body']));
      if (bytes.length !== size) throw damagedError('a queued body has another size');
      yield* bytesSource(bytes).open(range);
    },
  };
}

function blob(value: Row[string] | undefined): Uint8Array {
  if (value instanceof Uint8Array) return value;
  throw damagedError('a queue row has lost its content');
}

function place(seal: CopySeal, id: string, part: 'dek' | 'record' | 'body' | 'reply'): string {
  return `queue|${seal.storeId}|${part}|${id}`;
}
