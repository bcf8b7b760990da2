// Loop-back: the MX stays at Exchange Online, whose rules send mail here and take it back. Through real SMTP and TLS, with
// connectors that give rights, and the rule's exception that tells mail that has been here.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { bytesSource } from '../../src/core/bytes.ts';
import type { TenantMail } from '../../src/lab/exchange-client.ts';
import { openLabGateway } from '../../src/lab/lab-gateway.ts';
import { sampleMessage } from '../../src/lab/messages.ts';
import { openLab } from '../../src/lab/world.ts';

const IN = 'inbound-token-of-contoso';
const OUT = 'outbound-token-of-contoso';
process.env['POSTERN_TEST_IN'] = IN;
process.env['POSTERN_TEST_OUT'] = OUT;

const except = (token: string) => ({
  exceptIfHeaderMatches: { header: 'X-Postern-Done', pattern: new RegExp(token) },
});
const lab = await openLab({
  connectors: 'on-premises',
  // Without the rule that takes the mark away, so that the tests see it.
  customise: (tenant) => ({
    ...tenant,
    rules: (tenant.rules ?? [])
      .filter(({ removeHeader }) => removeHeader === undefined)
      .map((rule) => (rule.name === 'Postern 200 outbound' ? { ...rule, ...except(OUT) } : rule)),
  }),
});
const user = await lab.makePerson('user@contoso.example');
const bob = await lab.makePerson('bob@remote.example');
const server = await openLabGateway(lab, {
  own: [user],
  partners: [bob],
  tenant: 'loop_back: { inbound_token: env:POSTERN_TEST_IN, outbound_token: env:POSTERN_TEST_OUT }',
});
after(async () => {
  await server[Symbol.asyncDispose]();
  await lab[Symbol.asyncDispose]();
});

const DONE = /^X-Postern-Done: ([^;]*); mac=[\w-]{43}\r$/m;
const clean = (message: Buffer) => message.toString('latin1').replace(/^X-Postern-Done:.*\r\n/gm, '');

async function fromTenant(mail: Partial<TenantMail> & { readonly subject: string }): Promise<string> {
  const { from = user.address, to = [bob.address] } = mail;
  const message = sampleMessage('plain', { from, to: to.map(String), subject: mail.subject });
  const { recipients } = await lab.sendFromTenant('contoso', { message, ...mail, from, to });
  return `${recipients[0]?.code} ${recipients[0]?.text}`;
}

async function nextFromTenant(count: number): Promise<Buffer> {
  const messages = await lab.exchange.waitForDirect(count);
  return messages[count - 1]?.received ?? assert.fail();
}

test('outbound mail goes back to its tenant, encrypted and marked, and from there to the Internet', async () => {
  assert.match(await fromTenant({ subject: 'out' }), /^250 /);
  const marked = (await nextFromTenant(1)).toString('latin1');
  assert.equal(DONE.exec(marked)?.[1], OUT);
  assert.match(marked, /^Content-Type: application\/pkcs7-mime; smime-type=enveloped-data/m);
  assert.doesNotMatch(marked, /X-Postern-Tenant-Auth/i);
  assert.deepEqual(lab.internet.messages(), []);
  const { attributedTenant, direction, certNames } = lab.exchange.lastAttribution();
  assert.deepEqual([attributedTenant, direction], ['contoso', 'originating']);
  assert.ok(certNames.includes('gw.contoso.example'));
});

test('a message that has been here is a loop; a mark of another message, or a forged one, is nothing', async () => {
  const [done] = lab.exchange.directInternet();
  assert.ok(done);
  const again = bytesSource(done.received);
  assert.match(await fromTenant({ subject: '', message: again }), /^554 5\.4\.6 /);
  const withoutMark = bytesSource(Buffer.from(clean(done.received), 'latin1'));
  assert.match(await fromTenant({ subject: '', message: withoutMark }), /^250 /);
  const [mark = ''] = DONE.exec(done.received.toString('latin1')) ?? [];
  const fields = [mark.trim()];
  const other = sampleMessage('plain', { from: user.address, to: [bob.address], subject: 'other', fields });
  assert.match(await fromTenant({ subject: 'other', message: other }), /^250 /);
  const forged = sampleMessage('plain', {
    from: user.address,
    to: [bob.address],
    subject: 'forged',
    fields: [`X-Postern-Done: ${OUT}; mac=${'A'.repeat(43)}`],
  });
  assert.match(await fromTenant({ subject: 'forged', message: forged }), /^250 /);
  // Whatever was there, one mark leaves, and it is a new one.
  for (const { received } of lab.exchange.directInternet().slice(1))
    assert.equal(received.toString('latin1').match(/^X-Postern-Done:/gim)?.length, 1);
});

test('inbound mail that the rule of the tenant sends here goes back marked, with the other token', async () => {
  const mail = {
    subject: 'in',
    from: bob.address,
    to: [user.address],
    template: 'forwarded' as const,
  };
  assert.match(await fromTenant(mail), /^250 /);
  const [got] = await lab.exchange.waitForMessage('contoso', 1);
  assert.equal(DONE.exec(got?.received.toString('latin1') ?? '')?.[1], IN);
  // The inbound mark does not stop the message on its way out again, for instance when a user forwards it whole.
  assert.ok(got);
  const out = bytesSource(
    Buffer.from(got.received.toString('latin1').replace(/^From: .*/m, `From: ${user.address}`), 'latin1'),
  );
  assert.match(await fromTenant({ subject: '', message: out }), /^250 /);
  const back = bytesSource(got.received);
  assert.match(await fromTenant({ ...mail, message: back }), /^554 5\.4\.6 /);
});

test('loop-back-stranger: nobody else brings mail for the tenant', async () => {
  const message = sampleMessage('plain', { from: bob.address, to: [user.address], subject: 'x' });
  const { recipients } = await lab.sendFromInternet({
    sender: bob.address,
    recipients: [user.address],
    message,
  });
  assert.match(`${recipients[0]?.stage} ${recipients[0]?.code}`, /^rcpt 550/);
  const from = 'x@evil.example';
  const evil = await lab.sendFromTenant('evil', { from, to: [user.address], message });
  assert.match(
    `${evil.recipients[0]?.code} ${evil.recipients[0]?.text}`,
    /^550 5\.7\.1 .*tenant authentication missing/,
  );
});
