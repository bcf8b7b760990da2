// Key store, queue and recipients: asked of the running gateway, or of the key store itself while none runs. The queue of a gateway that
// does not run is left alone: opening it would put things in order there, and the doctor changes nothing.
import { connectControl } from '../admin/control-client.ts';
import type { Config } from '../config.ts';
import { silentLog } from '../core/log.ts';
import { keyFolder } from '../gateway.ts';
import { openKeyStore } from '../keys/store.ts';
import type { Operations } from '../operations.ts';
import type { TenantRecipients } from '../pipeline/recipient-directories.ts';
import type { QueueEntry } from '../queue/message-types.ts';
import { hasKeyDatabase, openKeyDatabase } from '../storage/key-database.ts';
import { readKek } from '../storage/kek.ts';
import { fail, type Finding, merge, ok, skipped, warn } from './check.ts';

/** The gateway behind the control socket: none, one, or one that this user may not ask. */
export type Running =
  | { readonly kind: 'none' }
  | { readonly kind: 'running'; readonly operations: Operations }
  | { readonly kind: 'unknown'; readonly reason: string };

export interface KeyCounts {
  readonly keys: number;
  readonly damaged: readonly string[];
  /** Active, with an end of validity that has passed. */
  readonly expired: readonly string[];
}

const ANSWER_LIMIT_MS = 5_000;
const OLD_MS = 4 * 3_600_000;
const NEARLY_FULL = 0.8;

/** Never rejects, and does not wait for a gateway that hangs. */
export async function findRunning(
  { controlSocket }: Pick<Config, 'controlSocket'>,
  limitMs: number = ANSWER_LIMIT_MS,
): Promise<Running> {
  const late = Promise.withResolvers<Running>();
  const timer = setTimeout(() => late.resolve({ kind: 'unknown', reason: 'no answer in time' }), limitMs);
  const asked = connectControl(controlSocket).then(
    (operations): Running => (operations ? { kind: 'running', operations } : { kind: 'none' }),
    (error: NodeJS.ErrnoException): Running => ({ kind: 'unknown', reason: error.code ?? 'unknown error' }),
  );
  try {
    return await Promise.race([asked, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

export async function judgeRunning(running: Running): Promise<Finding> {
  switch (running.kind) {
    case 'none':
      return skipped('no gateway runs on this data folder');
    case 'unknown':
      return fail(
        `the control socket does not answer (${running.reason})`,
        "Run doctor as the gateway's user; if it was, restart the gateway.",
      );
    case 'running': {
      const { pid, tenants } = await running.operations.status();
      return ok(`process ${pid}, tenants ${tenants.join(', ')}`);
    }
  }
}

export async function checkKeys(config: Config, running: Running, at: Date): Promise<Finding> {
  if (running.kind === 'unknown') return skipped('the gateway does not answer');
  if (running.kind === 'running') {
    const keys = await running.operations.listKeys();
    return judgeKeys({
      keys: keys.length,
      damaged: keys.flatMap(({ id, state }) => (state === 'damaged' ? [id] : [])),
      expired: keys.flatMap(({ id, state, notAfter }) =>
        state === 'active' && notAfter !== null && new Date(notAfter) < at ? [id] : [],
      ),
    });
  }
  const folder = keyFolder(config);
  if (!(await hasKeyDatabase(folder)))
    return fail(`no key store in ${folder}`, 'Make one with `postern keys init`.');
  await using database = await openKeyDatabase({ folder, kek: await readKek(config.kek), log: silentLog });
  const store = openKeyStore({ database, log: silentLog });
  const found = await Promise.all(store.tenants().map((tenant) => store.forTenant(tenant).inspect()));
  const records = found.flatMap((one) => one.records);
  const damaged = found.flatMap((one) => one.unreadable);
  return judgeKeys({
    keys: records.length + damaged.length,
    damaged,
    expired: records.flatMap(({ id, isRetired, notAfter }) =>
      !isRetired && notAfter && notAfter < at ? [id] : [],
    ),
  });
}

export function judgeKeys({ keys, damaged, expired }: KeyCounts): Finding {
  if (damaged.length > 0)
    return fail(
      `${damaged.length} of ${keys} keys are damaged: ${few(damaged)}`,
      'Run `postern keys apply`, which brings declared keys anew, or remove them with `postern keys remove`.',
    );
  if (expired.length > 0)
    return warn(
      `${expired.length} of ${keys} keys have expired: ${few(expired)}`,
      'Replace them in the policy file; they are no longer used for new mail.',
    );
  return ok(`${keys} keys`);
}

export async function checkQueue({ queue }: Config, running: Running, at: Date): Promise<Finding> {
  if (running.kind !== 'running')
    return skipped('no running gateway to ask', '`postern queue list` shows what waits.');
  const entries = await running.operations.listQueue();
  return judgeQueue(entries, queue.maxMessages, at);
}

/** `entries`: what is open. Times may be texts, as the control socket has them. */
export function judgeQueue(
  entries: readonly Pick<QueueEntry, 'id' | 'createdAt' | 'copies'>[],
  maxMessages: number,
  at: Date,
): Finding {
  const damaged = entries.filter(({ copies }) => copies.some(({ state }) => state === 'damaged'));
  if (damaged.length > 0)
    return fail(
      `damaged: ${few(damaged.map(({ id }) => id))}`,
      'They are never sent: look at them with `postern queue show`, tell the senders, and remove them.',
    );
  if (entries.length > NEARLY_FULL * maxMessages)
    return fail(
      `${entries.length} of at most ${maxMessages} messages`,
      'See why they wait: `postern queue list`.',
    );
  const old = entries.filter(({ createdAt }) => at.getTime() - new Date(createdAt).getTime() > OLD_MS);
  return old.length > 0
    ? warn(
        `${entries.length} messages wait, ${old.length} of them for more than 4 hours`,
        'See why: `postern queue list`, and `postern queue show` for one.',
      )
    : ok(`${entries.length} messages wait`);
}

export async function checkRecipients(running: Running): Promise<Finding> {
  return running.kind === 'running'
    ? judgeRecipients(await running.operations.listRecipients())
    : skipped('no running gateway to ask', '`postern recipients refresh` tries the sources.');
}

/** Of a directory that is out of date nobody is called unknown: mail for addresses that it lacks waits at its sender. */
export function judgeRecipients(
  sources: readonly Pick<TenantRecipients, 'tenant' | 'source' | 'state' | 'failure'>[],
): Finding {
  if (sources.length === 0) return ok('no recipients directory');
  const told = ({ tenant, source, state, failure }: (typeof sources)[number]) =>
    `${source} of ${tenant} is ${state}${failure === null ? '' : `: ${failure}`}`;
  const advice = 'Mend the source, then see `postern recipients refresh`.';
  return merge(
    sources.map((one) => {
      if (one.state !== 'good') return fail(told(one), advice);
      return one.failure === null ? ok(told(one)) : warn(told(one), advice);
    }),
  );
}

function few(ids: readonly string[]): string {
  return `${ids.slice(0, 3).join(', ')}${ids.length > 3 ? ', ...' : ''}`;
}
