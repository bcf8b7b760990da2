// Public suites of mail authentication: SPF of RFC 7208 with its own expected results, and signed mail for DKIM.
import assert from 'node:assert/strict';
import { parseAllDocuments } from 'yaml';
import { type DkimVerdict, verifyDkim } from '../../src/authentication/dkim.ts';
import type { DnsLookup } from '../../src/authentication/dns-lookup.ts';
import { verifySpf } from '../../src/authentication/spf.ts';
import { parseAddress } from '../../src/core/address.ts';
import { bytesSource } from '../../src/core/bytes.ts';
import { readMessage } from '../../src/mime/header-section.ts';
import { latin1, limits } from '../support/mime.ts';
import { openVectorSuites, readMail, readVector, type Vector } from '../support/vectors.ts';

const suites = openVectorSuites('authentication-exceptions.json');

/** Records of a name: `{ TYPE: value }`, or TIMEOUT for every type that has none before it. */
type Zone = Readonly<Record<string, readonly ('TIMEOUT' | Readonly<Record<string, unknown>>)[]>>;

interface SpfScenario {
  readonly description: string;
  readonly tests: Readonly<
    Record<
      string,
      {
        readonly helo: string;
        readonly host: string;
        readonly mailfrom: string;
        readonly result: string | readonly string[];
      }
    >
  >;
  readonly zonedata: Zone;
}

suites.suite('mailauth', 'SPF of RFC 7208', 200, () => spfVectors('rfc7208-tests'));
suites.suite('mailauth', 'SPF of RFC 7208, edition of 2014', 193, () => spfVectors('rfc7208-tests-2014-05'));

function spfVectors(name: string): readonly Vector[] {
  const documents = parseAllDocuments(readVector(`mailauth/fixtures/spf/${name}.yml`).toString());
  assert(Array.isArray(documents));
  return documents
    .map((document) => document.toJS() as SpfScenario)
    .flatMap(({ description, tests, zonedata }) =>
      Object.entries(tests).map(([id, vector]): Vector => [
        `${name}: ${description}: ${id}`,
        async () => {
          const { helo, host, mailfrom, result } = vector;
          const sender = mailfrom === '' ? null : parseAddress(mailfrom);
          assert.notEqual(sender, undefined, 'the address cannot be read');
          const verdict = await verifySpf(
            { address: host, helo },
            sender ?? null,
            'gateway.example',
            zoneLookup(zonedata),
          );
          assert([result].flat().includes(verdict.reason), `${verdict.reason}, not ${String(result)}`);
          const simple = { pass: 'pass', temperror: 'unavailable' }[verdict.reason] ?? 'fail';
          assert.equal(verdict.result, simple);
        },
      ]),
    );
}

function zoneLookup(zone: Zone): DnsLookup {
  return async (name, type) => {
    const key = Object.keys(zone).find((known) => known.toLowerCase() === name.toLowerCase());
    const records = key === undefined ? [] : (zone[key] ?? []);
    // As the suite says: records of the old type SPF stand for TXT where the name has none.
    const hasTxt = records.some((record) => record !== 'TIMEOUT' && 'TXT' in record);
    const found: unknown[] = [];
    for (const record of records) {
      if (record === 'TIMEOUT') {
        if (found.length === 0) throw Object.assign(new Error('timeout'), { code: 'ETIMEOUT' });
        continue;
      }
      for (const [kind, value] of Object.entries(record)) {
        if ((kind === 'SPF' && !hasTxt ? 'TXT' : kind) !== type || value === 'NONE') continue;
        if (value === 'TIMEOUT') throw Object.assign(new Error('timeout'), { code: 'ETIMEOUT' });
        found.push(answerOf(type, value));
      }
    }
    if (found.length > 0) return found;
    throw Object.assign(new Error('no record'), { code: key === undefined ? 'ENOTFOUND' : 'ENODATA' });
  };
}

function answerOf(type: string, value: unknown): unknown {
  if (type === 'TXT') return [value].flat();
  if (type === 'MX' && Array.isArray(value))
    return { priority: value[0] as unknown, exchange: value[1] as unknown };
  return value;
}

// --- DKIM ---

const SIGNED = 'mailauth/dkim/ec/fixtures/signed.eml';
const PASS = { domain: 'football.example.com', result: 'pass', reason: 'pass' };

function dkimLookup(): DnsLookup {
  const records = JSON.parse(readVector('mailauth/dkim/ec/fixtures/dns.json').toString()) as Readonly<
    Record<string, Readonly<Record<string, unknown>>>
  >;
  return async (name, type) => {
    const found = records[name]?.[type];
    if (found === undefined) throw Object.assign(new Error('no record'), { code: 'ENODATA' });
    return found;
  };
}

async function dkimOf(message: Buffer): Promise<readonly DkimVerdict[]> {
  const source = bytesSource(message);
  const { header } = await readMessage(source.open(), limits);
  const at = new Date('2019-06-01');
  return verifyDkim(source, header, { isWanted: () => true, lookup: dkimLookup(), at });
}

/** The message with one text in place of another that it must hold. */
function changed(message: Buffer, from: string, to: string): Buffer {
  const text = message.toString('latin1');
  assert(text.includes(from));
  return latin1(text.replace(from, to));
}

// RFC 8463 appendix A: one message with an Ed25519 and an RSA signature.
suites.suite('mailauth', 'DKIM signatures of RFC 8463', 6, () => [
  ['dkim as signed', async () => assert.deepEqual(await dkimOf(readMail(SIGNED)), [PASS, PASS])],
  ...(
    [
      ['From', 'From: Joe', 'From: Jim'],
      ['Subject', 'Subject: Is', 'Subject: Was'],
      ['body', 'Hi.', 'Ho.'],
      ['a second From', 'From: Joe', 'From: Eve <eve@example.com>\r\nFrom: Joe'],
      ['text behind the body', 'Joe.\r\n', 'Joe.\r\nmore\r\n'],
    ] as const
  ).map(([name, from, to]): Vector => [
    `dkim, changed: ${name}`,
    async () => {
      const verdicts = await dkimOf(changed(readMail(SIGNED), from, to));
      assert.deepEqual(
        verdicts.map(({ result }) => result),
        ['fail', 'fail'],
      );
    },
  ]),
]);

/** Signing domains; their keys are not part of the collection, so no signature can pass. */
const domainsWithoutKey: Readonly<Record<string, readonly string[]>> = {
  'arc-fail': ['zonevs.eu', 'srs3.zonevs.eu'],
  'arc-fail2': ['zonevs.eu', 'srs3.zonevs.eu'],
  'arc-fail3': ['ekiri.ee'],
  'arc-pass': ['ekiri.ee'],
  'arc-pass2': ['zonevs.eu', 'srs3.zonevs.eu'],
  authtest: ['ekiri.ee'],
  bimi: ['out.srv.dev', 'eu.mailgun.org'],
  message1: [],
  message2: ['mail.projectpending.com'],
  message3: ['cronweekly.ma.ttias.be', 'eu.mailgun.org'],
  message4: ['out.srv.dev'],
  zbimi: ['zone.ee'],
  zproov: ['gmail.com'],
};

suites.suite('mailauth', 'DKIM signatures without a key', 13, () =>
  Object.entries(domainsWithoutKey).map(([name, domains]): Vector => [
    `dkim of ${name}`,
    async () => {
      const verdicts = await dkimOf(readMail(`mailauth/fixtures/${name}.eml`));
      assert.deepEqual(
        verdicts.map(({ domain, result }) => [domain, result]),
        domains.map((domain) => [domain, 'fail']),
      );
    },
  ]),
);

suites.end();
