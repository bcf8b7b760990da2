// What the operator sees of the queue: entries and counts as plain data, read from the plain columns. Only the text of a
// last reply is unsealed, and only while the copy is queued.
import type { Sql, Row } from '../storage/queue-database.ts';
import { type CopySeal, openCopy, openReply } from './copy-store.ts';
import type {
  QueueCounts,
  QueuedCopy,
  QueuedRecipient,
  QueueEntry,
  QueueFilter,
  RecipientState,
} from './message-types.ts';

const DEFAULT_LIMIT = 100;

interface View {
  readonly sql: Sql;
  readonly seal: CopySeal;
  readonly inFlight: ReadonlySet<string>;
}

/** Entries that match all parts of the filter, newest first. */
export function listEntries(view: View, filter: QueueFilter): readonly QueueEntry[] {
  const state = filter.state ?? 'open';
  const address = filter.address?.toLowerCase() ?? null;
  const rows = view.sql.all(
    `SELECT * FROM messages WHERE (?1 = 'all' OR (closed_at IS NULL) = (?1 = 'open'))
       AND (?2 IS NULL OR EXISTS (SELECT 1 FROM copies WHERE message_id = messages.id AND tenant = ?2))
       AND (?3 IS NULL OR ${matches('lower(sender)')} OR EXISTS (
         SELECT 1 FROM copies JOIN recipients ON copy_id = copies.id
         WHERE message_id = messages.id AND ${matches('address')}))
     ORDER BY created_at DESC, id LIMIT ?4`,
    state,
    filter.tenant ?? null,
    address,
    filter.limit ?? DEFAULT_LIMIT,
  );
  return rows.map((row) => entryOf(view, row));
}

/** One entry by the id of its message or of one of its copies. */
export function showEntry(view: View, id: string): QueueEntry | undefined {
  const row = view.sql.one(
    'SELECT * FROM messages WHERE id = ?1 OR id = (SELECT message_id FROM copies WHERE id = ?1)',
    id,
  );
  return row && entryOf(view, row);
}

export function countQueue({ sql, inFlight }: View): QueueCounts {
  const copies = sql.one(
    `SELECT count(*) AS copies, count(DISTINCT message_id) AS messages, total(size) AS bytes, min(first_at) AS oldest
     FROM copies WHERE state = 'queued'`,
  );
  const recipients = sql.one(
    `SELECT count(*) AS n FROM recipients JOIN copies ON id = copy_id
     WHERE recipients.state = 'queued' AND copies.state = 'queued'`,
  );
  const damaged = sql.one(`SELECT count(*) AS n FROM copies WHERE state = 'damaged'`);
  const oldest = copies?.['oldest'];
  return {
    messages: Number(copies?.['messages'] ?? 0),
    copies: Number(copies?.['copies'] ?? 0),
    recipients: Number(recipients?.['n'] ?? 0),
    bytes: Number(copies?.['bytes'] ?? 0),
    inFlight: inFlight.size,
    damaged: Number(damaged?.['n'] ?? 0),
    ...(oldest === null || oldest === undefined ? {} : { oldestAt: new Date(Number(oldest)) }),
  };
}

/** `@domain` matches the end of the address, anything else the whole. */
function matches(column: string): string {
  return `(${column} = ?3 OR (substr(?3, 1, 1) = '@' AND substr(${column}, -length(?3)) = ?3))`;
}

function entryOf(view: View, row: Row): QueueEntry {
  const id = String(row['id']);
  const copies = view.sql.all('SELECT * FROM copies WHERE message_id = ? ORDER BY id', id);
  return {
    id,
    transactionId: String(row['transaction_id']),
    createdAt: new Date(Number(row['created_at'])),
    ...(row['closed_at'] === null ? {} : { closedAt: new Date(Number(row['closed_at'])) }),
    sender: row['sender'] === null ? null : String(row['sender']),
    isReport: row['is_report'] === 1,
    copies: copies.map((copy) => copyOf(view, copy)),
  };
}

function copyOf(view: View, row: Row): QueuedCopy {
  const id = String(row['id']);
  const state = row['state'] as QueuedCopy['state'];
  const readReply = replyReader(view, row, state);
  const recipients = view.sql.all('SELECT * FROM recipients WHERE copy_id = ? ORDER BY position', id);
  return {
    id,
    leg: String(row['leg']),
    direction: row['direction'] === 'inbound' ? 'inbound' : 'outbound',
    tenant: String(row['tenant']),
    rule: String(row['rule']),
    isEncrypted: row['is_encrypted'] === 1,
    sizeBytes: Number(row['size']),
    state,
    isInFlight: view.inFlight.has(id),
    attempts: Number(row['attempts']),
    ...(state === 'queued' ? { nextAt: new Date(Number(row['next_at'])) } : {}),
    recipients: recipients.map((recipient) => recipientOf(recipient, readReply)),
  };
}

function recipientOf(row: Row, readReply: (sealed: Uint8Array) => string): QueuedRecipient {
  const text = row['reply_text'] instanceof Uint8Array ? ` ${readReply(row['reply_text'])}` : '';
  return {
    address: String(row['address']),
    state: row['state'] as RecipientState,
    ...(row['reply_code'] === null
      ? {}
      : { reply: `${String(row['reply_code'])} ${String(row['reply_enhanced'])}${text}` }),
    ...(row['remote'] === null ? {} : { remote: String(row['remote']) }),
    ...(row['closed_at'] === null ? {} : { closedAt: new Date(Number(row['closed_at'])) }),
  };
}

function replyReader({ seal, sql }: View, row: Row, state: string): (sealed: Uint8Array) => string {
  return (sealed) => {
    if (state !== 'queued') return '';
    try {
      return openReply(seal, openCopy(seal, sql, row).dek, String(row['id']), sealed);
    } catch {
      return '(text is damaged)';
    }
  };
}
