// The simulated Exchange Online over real connections, with certificates of choice: the right set-up, and the wrong ones
// that operators build.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesSource } from '../../../src/core/bytes.ts';
import { openAuthority, serverAndClient, type TlsIdentity } from '../../../src/lab/certificates.ts';
import { type ExchangeServer, openExchangeServer } from '../../../src/lab/exchange-server.ts';
import type { InboundConnector, LabTenant } from '../../../src/lab/exchange-tenant.ts';
import { openLabClock } from '../../../src/lab/lab-clock.ts';
import { openInternet } from '../../../src/lab/internet.ts';
import { sampleMessage } from '../../../src/lab/messages.ts';
import { type LabTlsOptions, openLabConnection } from '../../../src/lab/smtp-client.ts';
import { submit, type SubmissionResult } from '../../../src/lab/submission.ts';
import { withLab } from '../../support/world.ts';

const A = 'user@contoso.example';
const B = 'user@fabrikam.example';
const X = 'user@partner.example';
const REMOTE = 'x@remote.example';
const plain = sampleMessage('plain', { from: A, to: [X] });
const HOST = 'host.mail.protection.outlook.example';

interface Sending {
  readonly from?: string;
  readonly to: string;
  readonly as?: { readonly key: string; readonly cert: string };
  readonly message?: typeof plain;
  readonly tls?: false;
  readonly ca?: string;
}

async function deliver(exchange: ExchangeServer, sending: Sending): Promise<string> {
  const tls: LabTlsOptions = { ...sending.as, ...(sending.ca ? { ca: [sending.ca], servername: HOST } : {}) };
  const result: SubmissionResult = await submit(
    { host: exchange.address, port: exchange.port },
    { hello: 'gw.example', ...(sending.tls === false ? {} : { tls }) },
    { sender: sending.from ?? REMOTE, recipients: [sending.to], message: sending.message ?? plain },
  );
  const [reply] = result.recipients;
  return `${reply?.code} ${reply?.text}`;
}

function tenant(
  name: string,
  connectors: readonly InboundConnector[],
  ...domains: readonly string[]
): LabTenant {
  return {
    name,
    id: `${name.length}1111111-2222-4333-8444-555555555555`,
    initialDomain: `${name}.onmicrosoft.example`,
    acceptedDomains: [
      { name: `${name}.example`, type: 'authoritative' },
      ...domains.map((domain) => ({ name: domain, type: 'authoritative' }) as const),
    ],
    connectors,
  };
}

async function withExchange(
  tenants: readonly LabTenant[],
  run: (
    exchange: ExchangeServer,
    issue: (name: string, ...more: readonly string[]) => Promise<TlsIdentity>,
    rootPem: string,
  ) => Promise<void>,
  options: { route?: (tenant: LabTenant, bytes: Buffer) => Promise<boolean> } = {},
): Promise<void> {
  const ca = await openAuthority('public');
  const server = await ca.issue(serverAndClient(HOST));
  await using exchange = await openExchangeServer({
    tenants,
    tls: { ...server, ca: [ca.rootPem] },
    route: async (of, message) => options.route?.(of, message.delivered) ?? false,
  });
  await run(exchange, (name, ...more) => ca.issue(serverAndClient(name, ...more)), ca.rootPem);
}

const onPremises = (certificate: string): InboundConnector => ({
  name: 'loop in',
  type: 'on-premises',
  requireTls: true,
  tlsSenderCertificateName: certificate,
});
const partner = (certificate: string): InboundConnector => ({
  name: 'in',
  type: 'partner',
  senderDomains: ['*'],
  requireTls: true,
  restrictDomainsToCertificate: true,
  tlsSenderCertificateName: certificate,
});

test('right: each leg with its own identity, the Internet leg with none', async () => {
  await withLab(async ({ exchange, identities, publicCa }) => {
    const { contoso, fabrikam } = identities.tenantClient;
    assert.match(await deliver(exchange, { to: A, as: contoso }), /^250 /);
    assert.match(await deliver(exchange, { from: A, to: B, as: fabrikam }), /^250 /);
    assert.match(await deliver(exchange, { from: A, to: X }), /^250 /);
    assert.match(await deliver(exchange, { from: '', to: A, as: contoso }), /^250 /);
    assert.deepEqual(
      exchange.attributions().map((each) => [each.attributedTenant, each.direction, each.connector]),
      [
        ['contoso', 'incoming', 'Postern in'],
        ['fabrikam', 'incoming', 'Postern in'],
        ['partner', 'incoming', undefined],
        ['contoso', 'incoming', 'Postern in'],
      ],
    );
    assert.deepEqual(exchange.attributions()[2]?.tls?.presentedNames, []);
    assert.equal(exchange.lastAttribution().tlsVersion, 'TLSv1.3');
    assert.equal(exchange.sinkOf('contoso').length, 2);
    assert.equal(exchange.directInternet().length, 0);
    assert.equal(publicCa.rootPem.startsWith('-----BEGIN CERTIFICATE-----'), true);
  });
});

test('wrong-1: the tenant’s certificate on the Internet leg makes a loop', async () => {
  const a = tenant('contoso', [onPremises('gw.contoso.example')], 'gw.contoso.example');
  const ca = await openAuthority('gateway');
  const identity = await ca.issue(serverAndClient('gw.contoso.example'));
  const server = await ca.issue(serverAndClient(HOST));
  // A gateway that sends everything back to the MX of the recipient with that certificate.
  let target: ExchangeServer | undefined;
  const answers: string[] = [];
  await using gateway = await openInternet({
    onMessage: async ({ sender, recipients, bytes }) => {
      assert.ok(target);
      const message = bytesSource(Buffer.concat([Buffer.from('Received: by gw.example\r\n'), bytes]));
      const to = recipients[0]?.address ?? '';
      // Not waited for: a real gateway queues.
      void deliver(target, { from: sender, to, as: identity, message }).then((reply) => answers.push(reply));
    },
  });
  await using exchange = await openExchangeServer({
    tenants: [a, tenant('partner', [])],
    tls: { ...server, ca: [ca.rootPem] },
    route: async (_tenant, message) => {
      await submit(
        { host: gateway.address, port: gateway.port },
        { hello: 'exchange' },
        { sender: message.sender, recipients: message.recipients, message: bytesSource(message.delivered) },
      );
      return true;
    },
  });
  target = exchange;
  assert.match(await deliver(exchange, { from: A, to: X, as: identity }), /^250 /);
  await exchange.waitForLoop();
  assert.equal(exchange.loopsDetected(), 1);
  assert.equal(exchange.sinkOf('partner').length, 0);
  assert.ok(
    exchange
      .attributions()
      .every((each) => each.attributedTenant === 'contoso' && each.direction === 'originating'),
  );
  assert.ok(exchange.attributions().length >= 10);
});

test('wrong-2: one certificate for two tenants', async () => {
  const connector = onPremises('shared.gw.example');
  await withExchange(
    [tenant('contoso', [connector]), tenant('fabrikam', [connector])],
    async (exchange, issue) => {
      const as = await issue('shared.gw.example');
      // Mail of A meant for B lands under A, and its rules send it out.
      assert.match(await deliver(exchange, { from: A, to: B, as }), /^250 /);
      assert.equal(exchange.lastAttribution().attributedTenant, 'contoso');
      assert.equal(exchange.directInternet().length, 1);
      // The null sender falls to the recipient.
      assert.match(await deliver(exchange, { from: '', to: B, as }), /^250 /);
      assert.equal(exchange.lastAttribution().attributedTenant, 'fabrikam');
      assert.equal(exchange.lastAttribution().direction, 'originating');
    },
  );
});

test('wrong-3: OnPremises, foreign sender, certificate domain not accepted', async () => {
  await withExchange([tenant('contoso', [onPremises('gw.contoso.example')])], async (exchange, issue) => {
    const as = await issue('gw.contoso.example');
    assert.match(
      await deliver(exchange, { to: 'y@remote.example', as }),
      /^550 5\.7\.64 TenantAttribution; Relay Access Denied/,
    );
    assert.equal(exchange.lastAttribution().attributedTenant, undefined);
  });
});

test('wrong-4: the intermediate certificate is missing', async () => {
  const tenants = [
    tenant('contoso', [partner('a.t.gw.example')]),
    tenant('fabrikam', [onPremises('a.t.gw.example')]),
  ];
  await withExchange(tenants, async (exchange, issue) => {
    const { key, leafOnly } = await issue('a.t.gw.example');
    const as = { key, cert: leafOnly };
    assert.match(await deliver(exchange, { to: A, as }), /^550 5\.7\.51 /);
    assert.match(await deliver(exchange, { from: B, to: REMOTE, as }), /^550 5\.7\.64 /);
    const { tls, certNames } = exchange.lastAttribution();
    assert.equal(tls?.presentedNames[0], 'a.t.gw.example');
    assert.equal(tls?.isVerified, false);
    assert.deepEqual(certNames, []);
  });
});

test('wrong-5: Partner restriction and no certificate, a rogue, an expired, another’s, or no TLS', async () => {
  await withExchange([tenant('contoso', [partner('a.t.gw.example')])], async (exchange, issue, rootPem) => {
    const rogue = await (await openAuthority('public')).issue(serverAndClient('a.t.gw.example'));
    const refused = /^550 5\.7\.51 TenantInboundAttribution;/;
    assert.match(await deliver(exchange, { to: A }), refused);
    assert.match(await deliver(exchange, { to: A, as: rogue }), refused);
    assert.match(await deliver(exchange, { to: A, as: await issue('b.t.gw.example') }), refused);
    assert.match(
      await deliver(exchange, { to: A, tls: false }),
      /^550 5\.7\.3 STARTTLS is required to send mail/,
    );
    assert.match(await deliver(exchange, { to: A, as: await issue('a.t.gw.example'), ca: rootPem }), /^250 /);
  });
});

test('wrong-5: an expired certificate proves nothing', async () => {
  const ca = await openAuthority('public');
  const server = await ca.issue(serverAndClient(HOST));
  const expired = await ca.issue({
    ...serverAndClient('a.t.gw.example'),
    notAfter: new Date(Date.now() - 60_000),
  });
  const serverOnly = await ca.issue({
    commonName: 'a',
    dnsNames: ['a.t.gw.example'],
    extendedKeyUsage: ['serverAuth'],
  });
  await using exchange = await openExchangeServer({
    tenants: [tenant('contoso', [partner('a.t.gw.example')])],
    tls: { ...server, ca: [ca.rootPem] },
  });
  assert.match(await deliver(exchange, { to: A, as: expired }), /^550 5\.7\.51 /);
  assert.equal(exchange.lastAttribution().tls?.verifyError, 'CERT_HAS_EXPIRED');
  assert.match(await deliver(exchange, { to: A, as: serverOnly }), /^550 5\.7\.51 /);
});

test('wrong-6: retained service headers let a forged field in', async () => {
  const forged = sampleMessage('plain', {
    from: REMOTE,
    to: [A],
    fields: [
      'X-MS-Exchange-CrossPremises-AuthAs: Internal',
      'X-MS-Exchange-Organization-SCL: -1',
      'X-MS-Exchange-Forest-RulesExecuted: x',
      'X-MS-Exchange-CrossTenant-Id: eeeeeeee-eeee-4eee-8eee-eeeeeeeeeeee',
    ],
  });
  const right = partner('a.t.gw.example');
  for (const [connector, isInternal] of [
    [right, false],
    [{ ...right, cloudServicesMailEnabled: true }, true],
  ] as const) {
    await withExchange([tenant('contoso', [connector])], async (exchange, issue) => {
      await deliver(exchange, { to: A, as: await issue('a.t.gw.example'), message: forged });
      const [message] = exchange.sinkOf('contoso');
      const text = message?.delivered.toString() ?? '';
      assert.equal(message?.isInternal, isInternal);
      assert.equal(/^X-MS-Exchange-Organization-AuthAs: Internal/m.test(text), isInternal);
      assert.doesNotMatch(text, /CrossPremises|Organization-SCL|Forest-|eeeeeeee/);
      assert.match(text, /^X-MS-Exchange-Transport-CrossTenantHeadersStripped:/m);
      assert.match(text, /^X-EOPTenantAttributedMessage: 71111111-2222-4333-8444-555555555555:0\r$/m);
      assert.match(message?.received.toString() ?? '', /CrossPremises-AuthAs/);
    });
  }
});

test('other answers: unknown recipient, Direct Send, throttling, too many hops, too many recipients', async () => {
  const a = { ...tenant('contoso', []), recipients: [A], rejectDirectSend: true };
  await withExchange([a], async (exchange) => {
    assert.match(
      await deliver(exchange, { to: 'nobody@contoso.example' }),
      /^550 5\.4\.1 Recipient address rejected/,
    );
    assert.match(await deliver(exchange, { from: A, to: A }), /^550 5\.7\.68 TenantInboundAttribution/);
    exchange.fail({ stage: 'mail', reply: '451 4.7.500 Server busy', times: 1 });
    assert.match(await deliver(exchange, { to: A }), /^451 4\.7\.500 Server busy/);
    const hops = (count: number) =>
      sampleMessage('plain', { from: REMOTE, to: [A], fields: Array<string>(count).fill('Received: x') });
    assert.match(await deliver(exchange, { to: A, message: hops(20) }), /^250 /);
    assert.match(await deliver(exchange, { to: A, message: hops(21) }), /^554 5\.4\.14 Hop count exceeded/);
    assert.equal(exchange.loopsDetected(), 1);
  });
  await withExchange([tenant('contoso', [])], async (exchange) => {
    const recipients = Array.from({ length: 205 }, (_unused, index) => `u${index}@contoso.example`);
    const result = await submit(
      { host: exchange.address, port: exchange.port },
      { hello: 'gw.example' },
      { sender: REMOTE, recipients, message: plain },
    );
    assert.equal(result.transactions, 2);
    assert.ok(result.recipients.every(({ code }) => code === 250));
    assert.deepEqual(
      exchange.sinkOf('contoso').map((message) => message.recipients.length),
      [200, 5],
    );
  });
});

test('a connection is cut after twenty minutes, in the middle of a transaction too; a shorter one is not', async () => {
  const clock = openLabClock();
  const ca = await openAuthority('public');
  const server = await ca.issue(serverAndClient(HOST));
  await using exchange = await openExchangeServer({
    tenants: [tenant('contoso', [])],
    tls: { ...server, ca: [ca.rootPem] },
    clock,
  });
  await using open = await openLabConnection({ host: exchange.address, port: exchange.port });
  await open.hello('gw.example');
  await clock.advance(19 * 60_000);
  assert.equal((await open.command(`MAIL FROM:<${REMOTE}>`)).code, 250);
  await clock.advance(60_000);
  const last = await open.reply();
  assert.equal(`${last.code} ${last.text}`, '421 4.3.2 Session time limit exceeded');
  await assert.rejects(open.command(`RCPT TO:<${A}>`), { name: 'LabConnectionError', trouble: 'closed' });
  // The next one has twenty minutes of its own.
  assert.match(await deliver(exchange, { to: A }), /^250 /);
});

test('throttling, and Enhanced Filtering that looks past the gateway', async () => {
  const right = { ...partner('a.t.gw.example'), efSkipLastIp: true };
  await withExchange([tenant('contoso', [right])], async (exchange, issue) => {
    const as = await issue('a.t.gw.example');
    exchange.throttle(1);
    assert.equal(await deliver(exchange, { to: A, as }), '451 4.7.500 Server busy');
    assert.match(await deliver(exchange, { to: A, as }), /^250 /);
    assert.equal(exchange.lastAttribution().skipListedIp, '127.0.0.1');
    const text = exchange.mailboxOf(A)[0]?.delivered.toString() ?? '';
    assert.match(text, /^X-MS-Exchange-SkipListedInternetSender: ip=\[127\.0\.0\.1\];domain=gw\.example\r$/m);
    assert.deepEqual(exchange.mailboxOf(B), []);
  });
});
