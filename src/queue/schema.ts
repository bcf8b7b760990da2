// Tables of the queue database. Plain columns are what an operator searches and the runner sorts by; they decide nothing
// about where mail goes: that is read from the sealed record of a copy. Subjects and header fields are in no column.

/** Idempotent. Times are milliseconds since 1970. */
export const queueSchema = `
CREATE TABLE IF NOT EXISTS store (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS messages (
  id TEXT PRIMARY KEY,
  transaction_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  closed_at INTEGER,
  sender TEXT,
  is_report INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS messages_by_time ON messages (created_at);
CREATE INDEX IF NOT EXISTS messages_closed ON messages (closed_at) WHERE closed_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS copies (
  id TEXT PRIMARY KEY,
  message_id TEXT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
  leg TEXT NOT NULL,
  direction TEXT NOT NULL,
  tenant TEXT NOT NULL,
  rule TEXT NOT NULL,
  is_encrypted INTEGER NOT NULL,
  size INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('queued', 'closed', 'damaged')),
  attempts INTEGER NOT NULL,
  first_at INTEGER NOT NULL,
  next_at INTEGER NOT NULL,
  is_file INTEGER NOT NULL,
  dek BLOB,
  record BLOB
) STRICT;
CREATE INDEX IF NOT EXISTS copies_of_message ON copies (message_id);
CREATE INDEX IF NOT EXISTS copies_due ON copies (leg, next_at) WHERE state = 'queued';
CREATE INDEX IF NOT EXISTS copies_of_tenant ON copies (tenant) WHERE state = 'queued';
CREATE INDEX IF NOT EXISTS copies_damaged ON copies (id) WHERE state = 'damaged';
CREATE TABLE IF NOT EXISTS bodies (
  copy_id TEXT PRIMARY KEY REFERENCES copies (id) ON DELETE CASCADE,
  body BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS recipients (
  copy_id TEXT NOT NULL REFERENCES copies (id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  address TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('queued', 'delivered', 'failed', 'expired', 'removed')),
  closed_at INTEGER,
  reply_code INTEGER,
  reply_enhanced TEXT,
  reply_text BLOB,
  remote TEXT,
  PRIMARY KEY (copy_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS recipients_by_address ON recipients (address);
CREATE INDEX IF NOT EXISTS recipients_queued ON recipients (copy_id) WHERE state = 'queued';
`;
