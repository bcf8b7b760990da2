import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GatewayError } from '../../../src/core/errors.ts';
import { type Log, openLog } from '../../../src/core/log.ts';
import {
  type DirectorySettings,
  openDirectory,
  type RecipientDirectory,
} from '../../../src/tenant/recipients/directory.ts';
import {
  formatSnapshot,
  parseSnapshot,
  type SnapshotStore,
} from '../../../src/tenant/recipients/snapshot.ts';
import {
  listSource,
  type LoadContext,
  parseProxyAddress,
  type RecipientSource,
  type Listing,
  type SourceName,
} from '../../../src/tenant/recipients/source.ts';
import { rewriteSender } from '../../../src/tenant/sender-rewriting.ts';
import { address, TENANT_A } from '../../support/policy.ts';
import { ManualClock, MINUTE_MS, testKek } from '../../support/storage.ts';

const HOUR_MS = 60 * MINUTE_MS;

/** A source whose next answers are set by the test. */
class ScriptedSource implements RecipientSource {
  readonly name: SourceName;
  settings = 'first';
  answer: readonly string[] | Error = [];
  readonly states: unknown[] = [];
  #loads = 0;

  constructor(name: SourceName, ...answer: readonly string[]) {
    this.name = name;
    this.answer = answer;
  }

  load(state: unknown, { signal }: LoadContext) {
    signal.throwIfAborted();
    this.states.push(state);
    this.#loads += 1;
    if (this.answer instanceof Error) return Promise.reject(this.answer);
    return Promise.resolve({ addresses: new Set(this.answer), state: { loads: this.#loads } });
  }

  get loads(): number {
    return this.#loads;
  }
}

class MemoryStore implements SnapshotStore {
  bytes: Uint8Array | undefined;
  failure: Error | undefined;

  read(): Promise<Uint8Array | undefined> {
    return this.failure ? Promise.reject(this.failure) : Promise.resolve(this.bytes);
  }

  write(_: string, bytes: Uint8Array): Promise<void> {
    if (this.failure) return Promise.reject(this.failure);
    this.bytes = bytes;
    return Promise.resolve();
  }
}

interface Bench {
  readonly clock: ManualClock;
  readonly store: MemoryStore;
  readonly logged: () => readonly Readonly<Record<string, unknown>>[];
  open(sources: readonly RecipientSource[], more?: Partial<DirectorySettings>): Promise<RecipientDirectory>;
}

function openBench(): Bench {
  const clock = new ManualClock();
  const store = new MemoryStore();
  const lines: string[] = [];
  const log: Log = openLog('debug', { write: (line) => void lines.push(line) });
  const tenant = { id: TENANT_A, name: 'contoso' };
  return {
    clock,
    store,
    logged: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>),
    open: (sources, more) =>
      openDirectory(
        {
          sources,
          catchAll: [],
          hasPlusAddressing: true,
          refreshMs: 30 * MINUTE_MS,
          staleMs: 24 * HOUR_MS,
          ...more,
        },
        { tenant, store, rewritingKey: testKek, clock, log },
      ),
  };
}

const judge = (directory: RecipientDirectory, text: string): string => {
  const judgement = directory.judge(address(text));
  if (judgement.kind === 'known') return `known by ${judgement.by}`;
  return judgement.kind === 'unavailable' ? `unavailable: ${judgement.sources.join()}` : judgement.kind;
};

const failure = (reason: string): GatewayError => new GatewayError('recipients-unavailable', reason);

type Row = readonly [text: string, expected: string];
const JUDGED: readonly Row[] = [
  ['ann@contoso.example', 'known by ldap'],
  ['ANN@CONTOSO.EXAMPLE', 'known by ldap'],
  ['listed@contoso.example', 'known by list'],
  ['ann+tag@contoso.example', 'known by ldap'],
  ['plus+real@contoso.example', 'known by ldap'],
  ['plus@contoso.example', 'unknown'],
  ['plus+other@contoso.example', 'unknown'],
  ['+ann@contoso.example', 'unknown'],
  ['nobody@contoso.example', 'unknown'],
  ['nobody+ann@contoso.example', 'unknown'],
  ['ann@other.example', 'unknown'],
  ['postmaster@contoso.example', 'known by postmaster'],
  ['PostMaster@contoso.example', 'known by postmaster'],
  ['postmaster+x@contoso.example', 'unknown'],
  ['anybody@archive.contoso.example', 'known by catch_all'],
  ['anybody@below.archive.contoso.example', 'unknown'],
  ['b@xn--bcher-kva.example', 'known by ldap'],
  ['b@bücher.example', 'known by ldap'],
];

for (const [text, expected] of JUDGED)
  test(`${text}: ${expected}`, async () => {
    const bench = openBench();
    const people = ['ann@contoso.example', 'plus+real@contoso.example', 'b@xn--bcher-kva.example'];
    const sources = [listSource([address('listed@contoso.example')]), new ScriptedSource('ldap', ...people)];
    await using directory = await bench.open(sources, { catchAll: ['archive.contoso.example'] });
    await directory.refresh();
    assert.equal(judge(directory, text), expected);
  });

test('without plus addressing the tag is part of the name', async () => {
  await using directory = await openBench().open([listSource([address('ann@contoso.example')])], {
    hasPlusAddressing: false,
  });
  assert.equal(judge(directory, 'ann+tag@contoso.example'), 'unknown');
});

test('a report to a rewritten sender of the tenant finds its way; forged and old ones are nobody', async () => {
  const bench = openBench();
  await using directory = await bench.open([listSource([address('ann@contoso.example')])]);
  const scope = { key: testKek, tenant: TENANT_A, at: bench.clock.now() };
  const { text = '' } = rewriteSender(address('bob@remote.example'), 'contoso.example', scope) ?? {};
  assert.equal(judge(directory, text), 'known by rewritten_sender');
  assert.equal(judge(directory, text.replace('=bob', '=eve')), 'unknown');
  bench.clock.advance(30 * 24 * HOUR_MS);
  assert.equal(judge(directory, text), 'unknown');
});

test('rewritten by Exchange: reports on forwarded mail, with and without a user', async () => {
  await using directory = await openBench().open([listSource([address('ann@contoso.example')])], {
    hasPlusAddressing: false,
  });
  for (const [text, expected] of [
    ['ann+SRS=Yz1A=BQ@contoso.example', 'known by list'],
    ['ann+tag@contoso.example', 'unknown'],
    ['nobody+SRS=Yz1A=BQ@contoso.example', 'unknown'],
    ['bounces+SRS=Yz1A=BQ@contoso.example', 'known by rewritten_sender'],
    ['bounces+SRS=@contoso.example', 'unknown'],
    ['bounces@contoso.example', 'unknown'],
    ['xbounces+SRS=Yz1A=BQ@contoso.example', 'unknown'],
  ] as const)
    assert.equal(judge(directory, text), expected, text);
});

test('a list needs no loading; another source that has not loaded yet makes the rest unavailable', async () => {
  const bench = openBench();
  const sources = [
    listSource([address('ann@contoso.example')]),
    new ScriptedSource('ldap', 'b@contoso.example'),
  ];
  await using alone = await bench.open(sources.slice(0, 1));
  assert.equal(judge(alone, 'nobody@contoso.example'), 'unknown');
  await using directory = await bench.open(sources);
  assert.equal(judge(directory, 'ann@contoso.example'), 'known by list');
  assert.equal(judge(directory, 'nobody@contoso.example'), 'unavailable: ldap');
  await directory.refresh();
  assert.equal(judge(directory, 'nobody@contoso.example'), 'unknown');
  assert.equal(judge(directory, 'b@contoso.example'), 'known by ldap');
});

test('a failed refresh keeps the last good listing and says why; a stale one calls nobody unknown', async () => {
  const bench = openBench();
  const source = new ScriptedSource('microsoft_graph', 'ann@contoso.example');
  await using directory = await bench.open([source]);
  await directory.refresh();
  source.answer = failure('the server is gone');
  bench.clock.advance(24 * HOUR_MS);
  await directory.refresh();
  assert.equal(judge(directory, 'nobody@contoso.example'), 'unknown');
  assert.deepEqual(directory.status(), [
    {
      source: 'microsoft_graph',
      addresses: 1,
      loadedAt: '2026-03-01T12:00:00.000Z',
      state: 'good',
      failure: 'the server is gone',
    },
  ]);
  bench.clock.advance(1);
  assert.equal(judge(directory, 'nobody@contoso.example'), 'unavailable: microsoft_graph');
  assert.equal(judge(directory, 'ann@contoso.example'), 'known by microsoft_graph');
  assert.equal(directory.status()[0]?.state, 'stale');
  const warning = bench.logged().find(({ event }) => event === 'recipients-refresh-failed');
  assert.deepEqual(
    [warning?.['level'], warning?.['tenant'], warning?.['code'], warning?.['reason']],
    [40, 'contoso', 'recipients-unavailable', 'the server is gone'],
  );
  source.answer = ['new@contoso.example'];
  await directory.refresh();
  assert.equal(judge(directory, 'ann@contoso.example'), 'unknown');
  assert.equal(directory.status()[0]?.failure, null);
});

test('one source that fails does not hold up another', async () => {
  const bench = openBench();
  const [csv, ldap] = [new ScriptedSource('csv', 'a@contoso.example'), new ScriptedSource('ldap')];
  ldap.answer = failure('no');
  await using directory = await bench.open([csv, ldap]);
  await directory.refresh();
  csv.answer = ['c@contoso.example'];
  await directory.refresh();
  assert.equal(judge(directory, 'c@contoso.example'), 'known by csv');
  assert.equal(judge(directory, 'a@contoso.example'), 'unavailable: ldap');
});

test('a source that suddenly has nobody is taken for a fault', async () => {
  const bench = openBench();
  const source = new ScriptedSource('ldap', 'ann@contoso.example');
  await using directory = await bench.open([source]);
  await directory.refresh();
  source.answer = [];
  await directory.refresh();
  assert.equal(judge(directory, 'ann@contoso.example'), 'known by ldap');
  assert.equal(directory.status()[0]?.failure, 'it gives no mail address at all');
});

test('foreign error: its text is in neither log nor status', async () => {
  const bench = openBench();
  const source = new ScriptedSource('ldap');
  source.answer = new TypeError('canary ann@contoso.example');
  await using directory = await bench.open([source]);
  await directory.refresh();
  assert.equal(directory.status()[0]?.failure, 'TypeError');
  assert.doesNotMatch(JSON.stringify(bench.logged()), /canary|ann@/);
});

test('a restart without the directory: the snapshot answers, with the age that it has', async () => {
  const bench = openBench();
  const source = new ScriptedSource('ldap', 'ann@contoso.example');
  {
    await using directory = await bench.open([source]);
    await directory.refresh();
  }
  source.answer = failure('gone');
  bench.clock.advance(23 * HOUR_MS);
  await using directory = await bench.open([source]);
  await directory.refresh();
  assert.equal(judge(directory, 'ann@contoso.example'), 'known by ldap');
  assert.equal(judge(directory, 'nobody@contoso.example'), 'unknown');
  bench.clock.advance(2 * HOUR_MS);
  assert.equal(judge(directory, 'nobody@contoso.example'), 'unavailable: ldap');
});

test('a source goes on from its state, also after a restart; what the file lists is not kept', async () => {
  const bench = openBench();
  const source = new ScriptedSource('microsoft_graph', 'ann@contoso.example');
  const sources = [listSource([address('canary@contoso.example')]), source];
  {
    await using directory = await bench.open(sources);
    await directory.refresh();
    await directory.refresh();
  }
  await using directory = await bench.open(sources);
  await directory.refresh();
  assert.deepEqual(source.states, [undefined, { loads: 1 }, { loads: 2 }]);
  assert.doesNotMatch(Buffer.from(bench.store.bytes ?? []).toString(), /canary/);
});

test('changed settings: the listing serves those it knows, turns nobody away, and its state is not used', async () => {
  const bench = openBench();
  const source = new ScriptedSource('ldap', 'ann@contoso.example');
  {
    await using directory = await bench.open([source]);
    await directory.refresh();
  }
  source.settings = 'second';
  await using directory = await bench.open([source]);
  assert.equal(judge(directory, 'ann@contoso.example'), 'known by ldap');
  assert.equal(judge(directory, 'nobody@contoso.example'), 'unavailable: ldap');
  assert.equal(directory.status()[0]?.state, 'waiting');
  await directory.refresh();
  assert.equal(source.states.at(-1), undefined);
  assert.equal(judge(directory, 'nobody@contoso.example'), 'unknown');
});

test('a source that is no longer named does not count any more', async () => {
  const bench = openBench();
  const sources = [
    new ScriptedSource('csv', 'a@contoso.example'),
    new ScriptedSource('ldap', 'b@contoso.example'),
  ];
  {
    await using directory = await bench.open(sources);
    await directory.refresh();
  }
  await using directory = await bench.open(sources.slice(0, 1));
  assert.equal(judge(directory, 'b@contoso.example'), 'unknown');
});

test('a store that fails, or holds something else, is a warning', async () => {
  const bench = openBench();
  const source = new ScriptedSource('ldap', 'ann@contoso.example');
  bench.store.failure = new GatewayError('store-failed', 'disk');
  await using first = await bench.open([source]);
  await first.refresh();
  assert.equal(judge(first, 'ann@contoso.example'), 'known by ldap');
  bench.store.failure = undefined;
  bench.store.bytes = Buffer.from('{"version":2}');
  await using second = await bench.open([source]);
  assert.equal(judge(second, 'ann@contoso.example'), 'unavailable: ldap');
  assert.deepEqual(
    bench
      .logged()
      .filter(({ level }) => level === 40)
      .map(({ event, reason }) => [event, reason]),
    [
      ['recipients-snapshot-unreadable', 'disk'],
      ['recipients-snapshot-not-kept', 'disk'],
      ['recipients-snapshot-unreadable', 'it has another form'],
    ],
  );
});

/** Lets everything run that is ready to; nothing here waits for anything but the clock. */
async function settle(clock: ManualClock): Promise<void> {
  do await new Promise((resolve) => setImmediate(resolve));
  while (clock.sleepers() === 0);
}

test('in the background: at once, then at the interval; after failures sooner, and rarer each time', async () => {
  const bench = openBench();
  const source = new ScriptedSource('ldap', 'ann@contoso.example');
  const directory = await bench.open([source]);
  directory.start();
  directory.start();
  await settle(bench.clock);
  assert.equal(source.loads, 1);
  bench.clock.advance(30 * MINUTE_MS - 1);
  await settle(bench.clock);
  assert.equal(source.loads, 1);
  source.answer = failure('gone');
  bench.clock.advance(1);
  await settle(bench.clock);
  assert.equal(source.loads, 2);
  for (const [index, minutes] of [1, 2, 4, 8, 16, 30, 30].entries()) {
    bench.clock.advance(minutes * MINUTE_MS - 1);
    await settle(bench.clock);
    assert.equal(source.loads, 2 + index);
    bench.clock.advance(1);
    await settle(bench.clock);
    assert.equal(source.loads, 3 + index);
  }
  await directory[Symbol.asyncDispose]();
  assert.equal(bench.clock.sleepers(), 0);
});

test('closing aborts a load that is under way, without a warning', async () => {
  const bench = openBench();
  const hanging: RecipientSource = {
    name: 'ldap',
    settings: '',
    load: (_, { signal }) =>
      new Promise((__, reject) => {
        signal.addEventListener('abort', () => reject(new Error('canary')), { once: true });
      }),
  };
  const directory = await bench.open([hanging]);
  directory.start();
  await directory[Symbol.asyncDispose]();
  assert.deepEqual(bench.logged(), []);
});

test('two who ask for a refresh share one', async () => {
  const source = new ScriptedSource('ldap', 'ann@contoso.example');
  await using directory = await openBench().open([source]);
  await Promise.all([directory.refresh(), directory.refresh()]);
  assert.equal(source.loads, 1);
});

test('proxy addresses: SMTP and smtp, nothing else', () => {
  for (const [value, expected] of [
    ['SMTP:Ann@Contoso.example', 'ann@contoso.example'],
    ['smtp:a@contoso.example', 'a@contoso.example'],
    ['smtp: a@contoso.example', 'a@contoso.example'],
    ['SIP:a@contoso.example', undefined],
    ['X500:/o=a/cn=b@contoso.example', undefined],
    ['EUM:a@contoso.example', undefined],
    ['a@contoso.example', undefined],
    ['smtp:', undefined],
    ['smtp:a', undefined],
  ] as const)
    assert.equal(parseProxyAddress(value)?.key, expected, value);
});

test('a snapshot comes back as it was; anything else is none', () => {
  const listing: Listing = {
    source: 'microsoft_graph',
    settings: 's',
    loadedAt: new Date('2026-03-01T12:00:00Z'),
    addresses: new Set(['a@x.example', 'b@x.example']),
    state: { users: [['u', { mail: 'a@x.example' }]] },
  };
  const { state: _, ...plain } = { ...listing, source: 'csv' as const };
  assert.deepEqual(parseSnapshot(formatSnapshot([listing, plain])), [listing, plain]);
  const good = { source: 'csv', settings: '', loadedAt: listing.loadedAt, addresses: ['a@x.example'] };
  const text = (source: unknown) => JSON.stringify({ version: 1, sources: [source] });
  assert.ok(parseSnapshot(Buffer.from(text(good))));
  for (const bad of [
    '',
    'null',
    '[]',
    '{"version":1}',
    text(null),
    text({ ...good, source: 'other' }),
    text({ ...good, settings: 1 }),
    text({ ...good, loadedAt: 'yesterday' }),
    text({ ...good, addresses: [1] }),
    text({ ...good, addresses: ['nobody'] }),
    text({ ...good, addresses: {} }),
  ])
    assert.equal(parseSnapshot(Buffer.from(bad)), undefined, bad);
});
