// The set-ups between a gateway and Exchange Online, right and wrong, with a real Postern: what Exchange Online sees of it
// counts. And connections that carry several tenants' mail, or lead to several tenants on one host.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HostedTenantName } from '../../src/lab/lab-tenants.ts';
import { openLabGateway } from '../../src/lab/lab-gateway.ts';
import { sampleMessage } from '../../src/lab/messages.ts';
import { runSetUp, type SetUpName, setUpNames } from '../../src/lab/set-ups.ts';
import { openLab } from '../../src/lab/world.ts';

const A = 'user@contoso.example';
const B = 'user@fabrikam.example';
const X = 'user@partner.example';
const REMOTE = 'bob@remote.example';
const CERTIFICATE_A = '11111111-2222-3333-4444-555555555555.t.gw.example';
const CERTIFICATE_B = 'bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb.t.gw.example';

/** The rows of a set-up: who, what it was shown, whose it was, the code of the answer, what came of it. */
async function rowsOf(name: SetUpName): Promise<readonly string[]> {
  const { rows, isAsDescribed } = await runSetUp(name);
  assert.ok(isAsDescribed, JSON.stringify(rows, undefined, 2));
  return rows.map(({ by, certificate, attributed, answer, outcome }) =>
    [by, certificate, attributed, /^\d{3}( \d\.\d+\.\d+)?/.exec(answer)?.[0] ?? 'start', outcome].join(' | '),
  );
}

const EXPECTED: Readonly<Record<SetUpName, readonly string[]>> = {
  right: [
    'Postern | none | incoming partner | 250 | delivered, external',
    `Postern | ${CERTIFICATE_B} | incoming fabrikam | 250 | delivered, external`,
    `Postern | ${CERTIFICATE_A} | incoming contoso | 250 | delivered, external`,
  ],
  'wrong-1': [
    'Postern | - | - | start | refuses to start',
    `another gateway | ${CERTIFICATE_A} | originating contoso | 554 5.4.14 | a loop of 8 passes; never arrives`,
    'Postern | mx.t.gw.example | originating contoso | 554 5.4.6 | a loop of 2 passes; never arrives',
  ],
  'wrong-2': [
    'Postern | - | - | start | refuses to start',
    'another gateway | shared.gw.example | originating contoso | 250 2.6.0 | lands under the sender, whose rules send it out again',
    'another gateway | shared.gw.example | originating fabrikam | 250 2.6.0 | falls to the recipient, as its own mail',
  ],
  'wrong-3': [
    'another gateway | gw.not-accepted.example | nobody | 550 5.7.64 | not delivered',
    'Postern | none | nobody | 550 5.7.64 | the sender gets a report',
  ],
  'wrong-4': [
    `Postern | ${CERTIFICATE_A} | nobody | 550 5.7.51 | the sender gets a report`,
    `another gateway | ${CERTIFICATE_A} | nobody | 550 5.7.64 | not delivered`,
  ],
  'wrong-5': [
    'another gateway | none | nobody | 550 5.7.51 | not delivered',
    `Postern | ${CERTIFICATE_A} | nobody | 550 5.7.51 | the sender gets a report`,
  ],
  'wrong-6': [
    `another gateway | ${CERTIFICATE_A} | incoming contoso | 250 2.6.0 | delivered, INTERNAL`,
    `Postern | ${CERTIFICATE_A} | incoming contoso | 250 | delivered, external`,
  ],
};
const NAMES: Readonly<Partial<Record<SetUpName, string>>> = {
  'wrong-1':
    'T39 A’s certificate on the Internet leg: Postern does not start; another gateway makes a loop, 5.4.14',
};

for (const name of setUpNames)
  test(NAMES[name] ?? `set-up ${name}`, async () => assert.deepEqual(await rowsOf(name), EXPECTED[name]));

test('an operator’s tenant with the names and the id of one of the lab', async () => {
  const host = 'fabrikam-example.mail.protection.outlook.com';
  const own = {
    id: 'bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb',
    domains: ['fabrikam.example', 'fabrikam.onmicrosoft.example', 'partner.example'],
    host,
    serverName: host,
    certificateNames: ['gw.fabrikam.example'],
  } as const;
  const { rows, isAsDescribed } = await runSetUp('right', own);
  assert.ok(isAsDescribed, JSON.stringify(rows));
  assert.deepEqual(
    rows.map(({ certificate, attributed }) => [certificate, attributed]),
    [
      ['none', 'incoming partner'],
      ['bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb.t.gw.example', 'incoming fabrikam'],
      ['gw.fabrikam.example', 'incoming own tenant'],
    ],
  );
});

test('T39 the same connector and rules with the right identity: no loop', async () => {
  // The connector that makes the loop of wrong-1 is there, and nobody shows its certificate to the stranger.
  await using lab = await openLab({
    customise: (tenant) =>
      tenant.name === 'contoso'
        ? {
            ...tenant,
            connectors: [
              {
                name: 'in',
                type: 'on-premises',
                requireTls: true,
                tlsSenderCertificateName: '*.t.gw.example',
              },
            ],
          }
        : tenant,
  });
  const passesWith = async (
    name: string | undefined,
  ): Promise<readonly [passes: number, arrived: number]> => {
    lab.exchange.clear();
    const shows =
      name === undefined
        ? {}
        : { internet: await lab.publicCa.issue({ commonName: name, dnsNames: [name] }) };
    await using stack = new AsyncDisposableStack();
    stack.use(await openLabGateway(lab, { shows, proof: 'hybrid: relay' }));
    await lab.transport.send(lab.tenants.contoso, {
      from: A,
      to: [X],
      message: sampleMessage('plain', { from: A, to: [X] }),
    });
    // The report about the loop, or the message.
    await lab.exchange.waitForMessage(name === 'mx.t.gw.example' ? 'contoso' : 'partner', 1);
    assert.deepEqual(lab.exchange.directInternet(), []);
    return [lab.exchange.attributions().length, lab.exchange.sinkOf('partner').length];
  };
  assert.deepEqual(await passesWith('mx.t.gw.example'), [2, 0]);
  assert.deepEqual(await passesWith('mx.neutral.example'), [1, 1]);
  assert.deepEqual(await passesWith(undefined), [1, 1]);
});

test('while the gateway is away Exchange Online keeps the mail; it goes through once it is back', async () => {
  await using lab = await openLab();
  const message = sampleMessage('plain', { from: A, to: [REMOTE] });
  const [copy] = await lab.transport.send(lab.tenants.contoso, { from: A, to: [REMOTE], message });
  assert.deepEqual(copy?.pending, [REMOTE]);
  await using stack = new AsyncDisposableStack();
  stack.use(await openLabGateway(lab));
  await lab.clock.advance(15 * 60_000);
  assert.deepEqual(copy?.pending, []);
  await lab.internet.waitForMessage(1);
  await lab.clock.advance(48 * 3_600_000);
  assert.equal(lab.internet.messages().length, 1);
  assert.deepEqual(lab.exchange.mailboxOf(A), []);
});

test('what a rule refuses comes to the sender’s mailbox in the rule’s own words; the others get their copies', async () => {
  await using lab = await openLab({ customise: (tenant) => ({ ...tenant, recipientLimit: 2 }) });
  const outbound = `rules:
  - { name: not there, when: { recipient: [isp.example] }, refuse: 'Use the portal instead.' }
otherwise: { sign: none, encrypt: never }`;
  await using stack = new AsyncDisposableStack();
  stack.use(await openLabGateway(lab, { outbound }));
  const to = ['x@isp.example', 'y@isp.example', 'a@remote.example', 'b@remote.example', 'c@remote.example'];
  const message = sampleMessage('plain', { from: A, to, messageId: '<split@contoso.example>' });
  await lab.transport.send(lab.tenants.contoso, { from: A, to, message });
  const arrived = await lab.internet.waitForMessage(2);
  assert.deepEqual(
    arrived.flatMap(({ recipients }) => recipients.map(({ address }) => address)).toSorted(),
    to.slice(2),
  );
  assert.ok(arrived.every(({ bytes }) => bytes.includes('Message-ID: <split@contoso.example>')));
  const [ndr, ...more] = lab.exchange.mailboxOf(A).map(({ delivered }) => delivered.toString());
  assert.equal(more.length, 0);
  for (const recipient of to.slice(0, 2))
    assert.ok(ndr?.includes(`Final-Recipient: rfc822;${recipient}\r\n`));
  assert.match(ndr ?? '', /Remote server returned '550 5\.7\.1 Use the portal instead\./);
  assert.deepEqual(lab.exchange.directInternet(), []);
});

test('one connection of Exchange Online carries mail of several tenants: each is judged by itself', async () => {
  await using lab = await openLab();
  await using stack = new AsyncDisposableStack();
  stack.use(await openLabGateway(lab));
  const mail = (from: string, subject: string) => ({
    from,
    to: [REMOTE],
    message: sampleMessage('plain', { from, to: [REMOTE], subject }),
  });
  const results = await lab.sendTogether([
    { tenant: 'contoso', mail: mail(A, 'one') },
    { tenant: 'evil', mail: mail(A, 'after a proven one') },
    { tenant: 'fabrikam', mail: mail(B, 'two') },
    { tenant: 'fabrikam', mail: mail(A, 'the neighbour’s name') },
    { tenant: 'contoso', mail: mail(A, 'three') },
  ]);
  assert.deepEqual(
    results.map(({ recipients }) => recipients[0]?.code),
    [250, 550, 250, 550, 250],
  );
  const arrived = await lab.internet.waitForMessage(3);
  assert.deepEqual(arrived.map(({ sender }) => sender).toSorted(), [A, A, B]);
});

test('legs to one host: what is shown there belongs to the recipient’s tenant, on no connection to two', async () => {
  await using lab = await openLab();
  await using stack = new AsyncDisposableStack();
  stack.use(await openLabGateway(lab));
  const send = (tenant: HostedTenantName, from: string, to: string) =>
    lab.sendFromTenant(tenant, { from, to: [to], message: sampleMessage('plain', { from, to: [to] }) });
  const rounds = Array.from({ length: 4 }, () => [
    send('contoso', A, X),
    send('contoso', A, B),
    send('fabrikam', B, A),
    send('fabrikam', B, X),
    lab.sendFromInternet({
      sender: REMOTE,
      recipients: [A],
      message: sampleMessage('plain', { from: REMOTE, to: [A] }),
    }),
  ]).flat();
  await Promise.all(rounds);
  const seen = await lab.exchange.waitForAttribution(rounds.length);
  assert.equal(seen.length, rounds.length);
  const wanted: Readonly<Record<string, string>> = { [A]: CERTIFICATE_A, [B]: CERTIFICATE_B, [X]: 'none' };
  const identities = new Map<number, Set<string>>();
  for (const { recipient, sender, tls, connection, direction } of seen) {
    const shown = tls?.presentedNames[0] ?? 'none';
    assert.equal(shown, wanted[recipient], `${sender} to ${recipient}`);
    assert.equal(tls?.isResumed, false);
    assert.equal(direction, 'incoming');
    identities.set(connection, (identities.get(connection) ?? new Set()).add(shown));
  }
  assert.ok([...identities.values()].every(({ size }) => size === 1));
});
