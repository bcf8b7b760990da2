// `postern keys`: the key store, seen and brought to the state that the policy declares.
import type { KeySummary, TenantApplied } from '../operations.ts';
import { readConfig } from '../config.ts';
import { type Command, configOption, configPath, EXIT, print, printJson, table } from './command.ts';
import { withOperations } from './stores.ts';

const options = { config: configOption };

export const keysInit: Command = {
  name: 'keys init',
  summary: 'Create the data folder, the key-encrypting key (KEK) file and an empty key store.',
  count: [0, 0],
  options,
  notes: `An existing store or KEK is never touched. Keep a copy of the KEK apart from the backup of the data folder:
without it no stored key can be read.`,
  async run(invocation) {
    const { initStores } = await import('../gateway.ts');
    const created = await initStores(await readConfig(configPath(invocation)));
    if (invocation.isJson) printJson(invocation.io, { created });
    else
      print(
        invocation.io,
        created.length === 0
          ? 'Nothing to do: the key store is there.'
          : created.map((path) => `created ${path}`).join('\n'),
      );
    return EXIT.success;
  },
};

export const keysApply: Command = {
  name: 'keys apply',
  summary: 'Bring the key store to the state that the policy files declare.',
  count: [0, 0],
  options,
  notes: 'While a gateway runs it reloads its policies as well. A policy with an error changes nothing.',
  async run(invocation) {
    const applied = await withOperations(invocation, (operations) => operations.applyPolicies());
    if (invocation.isJson) printJson(invocation.io, applied);
    else {
      print(invocation.io, applied.map(describeApplied).join('\n'));
    }
    return EXIT.success;
  },
};

export const keysList: Command = {
  name: 'keys list',
  summary: 'List the stored keys.',
  count: [0, 0],
  options,
  async run(invocation) {
    const keys = await withOperations(invocation, (operations) => operations.listKeys());
    if (invocation.isJson) printJson(invocation.io, keys);
    else if (keys.length === 0)
      print(invocation.io, 'No keys. Declare some in a policy file and run `postern keys apply`.');
    else
      print(
        invocation.io,
        table([['KEY', 'ROLE', 'ADDRESSES', 'EXPIRES', 'PRIVATE', 'SOURCE', 'LEARNED'], ...keys.map(rowOf)]),
      );
    return EXIT.success;
  },
};

export const keysShow: Command = {
  name: 'keys show',
  summary: 'Show one key with its public part. Private parts are never shown.',
  arguments: '<key>',
  count: [1, 1],
  options,
  notes: '<key> is an id of `postern keys list`, or the beginning of its fingerprint.',
  async run(invocation) {
    const key = await withOperations(invocation, (operations) =>
      operations.showKey(invocation.positionals[0] ?? ''),
    );
    if (invocation.isJson) printJson(invocation.io, key);
    else {
      const { material, learned, ...facts } = key;
      const rows = Object.entries(facts).map(([name, value]) => [
        name,
        Array.isArray(value) ? value.join(', ') : String(value),
      ]);
      const heard = learned.map(({ address, ciphers, signedAt, seenAt }) => [
        'learned',
        `${address}: ${ciphers.join(', ') || 'no cipher'}; signed ${signedAt}, seen ${seenAt}`,
      ]);
      print(invocation.io, `${table([...rows, ...heard])}\n${material}`);
    }
    return EXIT.success;
  },
};

export const keysRemove: Command = {
  name: 'keys remove',
  summary: 'Remove one key and destroy its private part.',
  arguments: '<key>',
  count: [1, 1],
  options,
  notes:
    'Mail encrypted to a removed own key can never be read again. A key that the policy still declares comes back with the next apply.',
  async run(invocation) {
    const key = await withOperations(invocation, (operations) =>
      operations.removeKey(invocation.positionals[0] ?? ''),
    );
    if (invocation.isJson) printJson(invocation.io, key);
    else print(invocation.io, `removed ${key.id} (${key.addresses.join(', ')})`);
    return EXIT.success;
  },
};

export const keysForgetCapabilities: Command = {
  name: 'keys forget-capabilities',
  summary: 'Forget which S/MIME ciphers signed mail of a key announced.',
  arguments: '<key>',
  count: [1, 1],
  options,
  notes: `Until signed mail comes again, what the certificate announces counts. Where that mail should not be followed, write
smime: { content: cbc } into the rule.`,
  async run(invocation) {
    const key = await withOperations(invocation, (operations) =>
      operations.forgetCapabilities(invocation.positionals[0] ?? ''),
    );
    if (invocation.isJson) printJson(invocation.io, key);
    else {
      const addresses = key.learned.map(({ address }) => address).join(', ');
      print(
        invocation.io,
        `${key.id}: ${addresses === '' ? 'nothing was learned' : `forgotten for ${addresses}`}`,
      );
    }
    return EXIT.success;
  },
};

function describeApplied({ tenant, unreadable, ...changes }: TenantApplied): string {
  const counts = Object.entries(changes).map(([name, ids]) => `${ids.length} ${name}`);
  const damaged =
    unreadable.length === 0 ? '' : `; damaged, remove or declare them again: ${unreadable.join(', ')}`;
  return `${tenant}: ${counts.join(', ')}${damaged}`;
}

function rowOf(key: KeySummary): string[] {
  const [format, fingerprint = ''] = key.id.split(':');
  return [
    `${format ?? ''}:${fingerprint.slice(0, 16)}`,
    key.state,
    key.role,
    key.addresses.join(','),
    key.notAfter?.slice(0, 10) ?? 'never',
    key.hasPrivateKey ? 'yes' : 'no',
    key.source,
    learnedText(key.learned),
  ];
}

/** The latest of its addresses; `keys show` has them all. */
function learnedText(learned: KeySummary['learned']): string {
  const [latest] = learned.toSorted((one, other) => (one.signedAt < other.signedAt ? 1 : -1));
  if (!latest) return '-';
  return `${latest.ciphers.includes('aes-256-gcm') ? 'AES-GCM' : 'no AES-GCM'} ${latest.signedAt.slice(0, 10)}`;
}
