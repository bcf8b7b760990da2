// Exchange Online as a sending service against a stand-in for the gateway: forks, TLS settings, queue, NDRs. Time is the
// lab's own, so that a day of retries takes no time.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesSource } from '../../../src/core/bytes.ts';
import type { TenantMail } from '../../../src/lab/exchange-client.ts';
import type { OutboundConnector, TlsSettings } from '../../../src/lab/exchange-rules.ts';
import type { LabTenant } from '../../../src/lab/exchange-tenant.ts';
import { type Internet, type InternetOptions, openInternet } from '../../../src/lab/internet.ts';
import { sampleMessage } from '../../../src/lab/messages.ts';
import { type Lab, type LabOptions, openLab } from '../../../src/lab/world.ts';
import { serverAndClient, type TlsIdentity } from '../../../src/lab/certificates.ts';

const USER = 'user@contoso.example';
const REMOTE = 'x@remote.example';
const MINUTE_MS = 60_000;
const plain = sampleMessage('plain', {
  from: USER,
  to: [REMOTE],
  subject: 'figures',
  messageId: '<once@contoso.example>',
});

interface Stage extends AsyncDisposable {
  readonly lab: Lab;
  readonly gateway: Internet;
  send(mail?: Partial<TenantMail>, tenant?: LabTenant): ReturnType<Lab['transport']['send']>;
  readonly mailbox: () => readonly string[];
}

/** A lab, and a server in the gateway's place that keeps what it gets. */
async function openStage(
  options: Pick<InternetOptions, 'extensions' | 'faults'> = {},
  lab: LabOptions = {},
  identity?: (lab: Lab) => Promise<TlsIdentity>,
): Promise<Stage> {
  await using stack = new AsyncDisposableStack();
  const world = stack.use(await openLab(lab));
  const server = identity ? await identity(world) : world.identities.gatewayServer;
  const gateway = stack.use(
    await openInternet({ ...options, tls: { ...server, ca: [world.publicCa.rootPem] } }),
  );
  world.useGateway({ host: gateway.address, port: gateway.port });
  const open = stack.move();
  return {
    lab: world,
    gateway,
    send: (mail, tenant = world.tenants.contoso) =>
      world.transport.send(tenant, { from: USER, to: [REMOTE], message: plain, ...mail }),
    mailbox: () => world.exchange.mailboxOf(USER).map(({ delivered }) => delivered.toString()),
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}

test('a rule routes what goes outside; inside mail stays inside; nothing takes the direct way', async () => {
  await using stage = await openStage();
  const copies = await stage.send({ to: [REMOTE, 'colleague@contoso.example', 'y@isp.example'] });
  assert.deepEqual(
    copies.map(({ way, connector, rules, recipients }) => [way, connector, rules, recipients]),
    [
      ['mailbox', undefined, [], ['colleague@contoso.example']],
      ['gateway', 'Postern out', ['Postern route'], [REMOTE, 'y@isp.example']],
    ],
  );
  const [inside] = stage.lab.exchange.mailboxOf('colleague@contoso.example');
  assert.deepEqual([inside?.direction, inside?.isInternal], ['internal', true]);
  // The secret is for the gateway alone.
  assert.doesNotMatch(inside?.delivered.toString() ?? '', /X-Postern-Tenant-Auth/);
  const [outside] = stage.gateway.messages();
  assert.match(
    outside?.bytes.toString() ?? '',
    new RegExp(`^X-Postern-Tenant-Auth: ${stage.lab.secrets.contoso}\r$`, 'm'),
  );
  assert.deepEqual(outside?.tls?.presentedNames[0], 'mail.protection.outlook.com');
  assert.deepEqual(stage.lab.exchange.directInternet(), []);
});

test('mail that no rule routes leaves directly, unless the gateway is its MX', async () => {
  await using stage = await openStage(
    {},
    {
      customise: (tenant) => ({
        ...tenant,
        rules: tenant.rules?.map((rule) => ({ ...rule, isEnabled: false })) ?? [],
      }),
    },
  );
  const [copy] = await stage.send();
  assert.equal(copy?.way, 'direct');
  assert.deepEqual(
    stage.lab.exchange.directInternet().map(({ tenant, recipients }) => [tenant, recipients]),
    [['contoso', [REMOTE]]],
  );
  const [byMx] = await stage.send({ from: 'x@partner.example', to: [USER] }, stage.lab.tenants.partner);
  assert.deepEqual([byMx?.way, byMx?.connector], ['gateway', undefined]);
  assert.equal(stage.gateway.messages().length, 1);
});

test('forwarded mail and out-of-office replies slip past a rule for authenticated senders', async () => {
  await using stage = await openStage({}, { connectors: 'on-premises' });
  const wayOf = async (template: NonNullable<TenantMail['template']>) =>
    (await stage.send({ template }))[0]?.way;
  assert.equal(await wayOf('user'), 'gateway');
  assert.equal(await wayOf('forwarded'), 'direct');
  assert.equal(await wayOf('oof'), 'direct');
  assert.equal(stage.lab.exchange.directInternet().length, 2);
});

test('a broken rule defers by Defer and lets go by Ignore', async () => {
  for (const [ruleErrorAction, way] of [
    ['defer', 'held'],
    ['ignore', 'direct'],
  ] as const) {
    await using stage = await openStage(
      {},
      {
        customise: (tenant) => ({
          ...tenant,
          outboundConnectors: [],
          rules: tenant.rules?.map((rule) => ({ ...rule, ruleErrorAction })) ?? [],
        }),
      },
    );
    const [copy] = await stage.send();
    assert.equal(copy?.way, way);
    assert.equal(stage.gateway.connections(), 0);
    await stage.lab.clock.advance(24 * 60 * MINUTE_MS);
    assert.equal(stage.mailbox().length, way === 'held' ? 1 : 0);
  }
});

test('a long list is split: one Message-ID arrives several times', async () => {
  await using stage = await openStage({}, { customise: (tenant) => ({ ...tenant, recipientLimit: 3 }) });
  await stage.send({ to: Array.from({ length: 7 }, (_unused, index) => `r${index}@remote.example`) });
  assert.deepEqual(
    stage.gateway.messages().map(({ recipients }) => recipients.length),
    [3, 3, 1],
  );
  assert.ok(
    stage.gateway.messages().every(({ bytes }) => bytes.includes('Message-ID: <once@contoso.example>')),
  );
});

const connector = (tlsSettings?: TlsSettings): OutboundConnector => ({
  name: 'Postern out',
  type: 'partner',
  isTransportRuleScoped: true,
  ...(tlsSettings ? { tlsSettings, tlsDomain: 'gw.example' } : {}),
});
const CERTIFICATES = {
  right: (lab: Lab) => lab.publicCa.issue(serverAndClient('gw.example')),
  'other name': (lab: Lab) => lab.publicCa.issue(serverAndClient('other.example')),
  rogue: (lab: Lab) => lab.rogueCa.issue(serverAndClient('gw.example')),
};

test('TlsSettings: what is asked of the certificate of the gateway', async () => {
  const expected = [
    [undefined, 'right', true],
    [undefined, 'rogue', true],
    ['encryption-only', 'rogue', true],
    ['certificate-validation', 'rogue', false],
    ['certificate-validation', 'other name', true],
    ['domain-validation', 'other name', false],
    ['domain-validation', 'right', true],
  ] as const;
  for (const [settings, certificate, isGood] of expected) {
    const customise = (tenant: LabTenant) => ({ ...tenant, outboundConnectors: [connector(settings)] });
    await using stage = await openStage({}, { customise }, CERTIFICATES[certificate]);
    const [copy] = await stage.send();
    const [result] = copy?.results ?? [];
    const answer = `${result?.code} ${result?.text}`;
    const name = `${settings} ${certificate}`;
    assert.match(answer, isGood ? /^250 / : /^450 4\.4\.317 Cannot establish session/, name);
    assert.deepEqual(copy?.pending, isGood ? [] : [REMOTE], name);
  }
});

test('a connector with TlsSettings does not send in clear, one without does', async () => {
  for (const settings of ['encryption-only', undefined] as const) {
    const customise = (tenant: LabTenant) => ({ ...tenant, outboundConnectors: [connector(settings)] });
    await using world = await openLab({ customise });
    await using gateway = await openInternet();
    world.useGateway({ host: gateway.address, port: gateway.port });
    await world.transport.send(world.tenants.contoso, { from: USER, to: [REMOTE], message: plain });
    assert.equal(gateway.messages().length, settings === undefined ? 1 : 0);
  }
});

test('XOORG is sent where it is offered, and nowhere else', async () => {
  for (const [extensions, parameters] of [
    [['XOORG'], ['XOORG=contoso.example']],
    [['DSN'], []],
  ] as const) {
    await using stage = await openStage({ extensions });
    await stage.send();
    assert.deepEqual(stage.gateway.messages()[0]?.mailParameters, parameters);
  }
});

const bare = bytesSource(Buffer.from(`From: <${USER}>\r\nSubject: bare\r\n\r\none\ntwo\r\n.\n..dots\r\n`));

test('bare line feeds go by BDAT, byte for byte', async () => {
  await using stage = await openStage({ extensions: ['CHUNKING', 'SIZE'] });
  const [copy] = await stage.send({ message: bare });
  assert.deepEqual(
    copy?.results.map(({ code }) => code),
    [250],
  );
  const [got] = stage.gateway.messages();
  assert.ok(got?.bytes.toString().endsWith('\r\n\r\none\ntwo\r\n.\n..dots\r\n'));
  assert.equal(got?.wire.bareLineFeeds, 2);
  assert.equal(`SIZE=${got?.bytes.length}`, got?.mailParameters[0]);
});

test('T50 bare line feeds without CHUNKING: not sent, the sender gets an NDR 5.6.11', async () => {
  await using stage = await openStage();
  await stage.send({ message: bare });
  assert.equal(stage.gateway.messages().length, 0);
  assert.match(stage.mailbox()[0] ?? '', /^Status: 5\.6\.11\r$/m);
});

test('5xx: an NDR at once, for this recipient alone, with the words of the reply', async () => {
  const reply = '550 5.7.1 No key for this recipient: ask for one';
  await using stage = await openStage({ faults: [{ stage: 'rcpt', recipient: 'y@isp.example', reply }] });
  const [copy] = await stage.send({ to: [REMOTE, 'y@isp.example'] });
  assert.deepEqual(
    copy?.results.map(({ recipient, code }) => [recipient, code]),
    [
      ['y@isp.example', 550],
      [REMOTE, 250],
    ],
  );
  const [ndr, ...more] = stage.mailbox();
  assert.equal(more.length, 0);
  assert.match(ndr ?? '', /^Subject: Undeliverable: figures\r$/m);
  assert.match(ndr ?? '', /^Final-Recipient: rfc822;y@isp\.example\r\nAction: failed\r\nStatus: 5\.7\.1\r$/m);
  assert.ok(ndr?.includes(`Remote server returned '${reply}'`));
  assert.ok(!ndr?.includes('rfc822;x@remote.example'));
  assert.ok(!ndr?.includes('the figures are as agreed'), 'no body in the report');
});

test('4xx: tried again every fifteen minutes, and no sooner', async () => {
  await using stage = await openStage({
    faults: [{ stage: 'end', reply: '451 4.3.0 Try again later', times: 2 }],
  });
  const [copy] = await stage.send();
  const tries = () => copy?.attempts.map(({ result }) => result.recipients[0]?.code);
  assert.deepEqual(tries(), [451]);
  await stage.lab.clock.advance(15 * MINUTE_MS - 1);
  assert.deepEqual(tries(), [451]);
  await stage.lab.clock.advance(1);
  assert.deepEqual(tries(), [451, 451]);
  assert.deepEqual(copy?.pending, [REMOTE]);
  await stage.lab.clock.advance(15 * MINUTE_MS);
  assert.deepEqual(tries(), [451, 451, 250]);
  assert.deepEqual(copy?.pending, []);
  await stage.lab.clock.advance(48 * 60 * MINUTE_MS);
  assert.equal(stage.gateway.messages().length, 1);
  assert.deepEqual(stage.mailbox(), []);
});

test('a retry brings those alone who wait', async () => {
  await using stage = await openStage({
    faults: [{ stage: 'rcpt', recipient: 'y@isp.example', reply: '450 4.2.0 Busy', times: 1 }],
  });
  await stage.send({ to: [REMOTE, 'y@isp.example'] });
  await stage.lab.clock.advance(15 * MINUTE_MS);
  assert.deepEqual(
    stage.gateway.messages().map(({ recipients }) => recipients.map(({ address }) => address)),
    [[REMOTE], ['y@isp.example']],
  );
});

test('after a day, or the tenant’s own limit, an NDR ends it', async () => {
  for (const [hours, limit] of [
    [24, {}],
    [12, { messageExpirationHours: 12 }],
  ] as const) {
    await using stage = await openStage(
      { faults: [{ stage: 'mail', reply: '451 4.3.0 Not now' }] },
      { customise: (tenant) => ({ ...tenant, ...limit }) },
    );
    const [copy] = await stage.send();
    await stage.lab.clock.advance(hours * 60 * MINUTE_MS - 1);
    assert.deepEqual(stage.mailbox(), []);
    assert.equal(copy?.attempts.length, hours * 4);
    await stage.lab.clock.advance(1);
    const [ndr] = stage.mailbox();
    assert.match(ndr ?? '', /^Status: 4\.4\.7\r$/m);
    assert.ok(ndr?.includes('550 5.4.300 Message expired -> 451 4.3.0 Not now'));
    await stage.lab.clock.advance(48 * 60 * MINUTE_MS);
    assert.equal(copy?.attempts.length, hours * 4);
    assert.equal(stage.mailbox().length, 1);
  }
});

test('nobody there, and no name for it: queued with the words of Exchange', async () => {
  await using lab = await openLab();
  const mail = { from: USER, to: [REMOTE], message: plain };
  const [nameless] = await lab.transport.send(lab.tenants.contoso, mail);
  assert.deepEqual(
    nameless?.results.map(({ code, text }) => `${code} ${text}`),
    ['450 4.4.312 DNS query failed'],
  );
  lab.useGateway({ host: '127.0.0.99', port: 9 });
  const [refused] = await lab.transport.send(lab.tenants.contoso, mail);
  assert.match(refused?.results[0]?.text ?? '', /^4\.4\.316 Connection refused/);
  // The gateway comes up: both are delivered by their next attempts.
  await using gateway = await openInternet({
    tls: { ...lab.identities.gatewayServer, ca: [lab.publicCa.rootPem] },
  });
  lab.useGateway({ host: gateway.address, port: gateway.port });
  await lab.clock.advance(15 * MINUTE_MS);
  assert.equal(gateway.messages().length, 2);
});

test('a null sender is told nothing; an outside sender’s NDR goes out by the rules', async () => {
  await using stage = await openStage({ faults: [{ stage: 'end', reply: '550 5.7.1 No', times: 2 }] });
  await stage.send({ template: 'ndr' });
  assert.equal(stage.lab.transport.copies().length, 1);
  await stage.send({ template: 'forwarded', mailFrom: 'author@isp.example' });
  assert.deepEqual(
    stage.gateway.messages().map(({ sender, recipients }) => [sender, recipients[0]?.address]),
    [['', 'author@isp.example']],
  );
});

test('retained service headers leave where the connector keeps them', async () => {
  for (const cloudServicesMailEnabled of [false, true]) {
    const customise = (tenant: LabTenant) => ({
      ...tenant,
      outboundConnectors: [{ ...connector(), cloudServicesMailEnabled }],
    });
    await using stage = await openStage({}, { customise });
    await stage.send();
    const text = stage.gateway.messages()[0]?.bytes.toString() ?? '';
    assert.equal(/^X-MS-Exchange-CrossPremises-AuthAs: Internal\r$/m.test(text), cloudServicesMailEnabled);
    assert.equal(/^X-OrganizationHeadersPreserved: /m.test(text), cloudServicesMailEnabled);
  }
});
