// What a tenant's mail looks like when it reaches the gateway: stamps by class, the knobs, the shared certificate.
import assert from 'node:assert/strict';
import { createHash, createPublicKey, createVerify, generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { authenticate } from 'mailauth';
import DKIM from 'nodemailer/lib/dkim';
import { bytesSource, collect } from '../../../src/core/bytes.ts';
import { dkimRecord, signDkim } from '../../../src/lab/dkim-signer.ts';
import { prepareTenantMail, type TenantMail } from '../../../src/lab/exchange-client.ts';
import type { TemplateName } from '../../../src/lab/exchange-templates.ts';
import { labTenants } from '../../../src/lab/lab-tenants.ts';
import { sampleMessage } from '../../../src/lab/messages.ts';
import { hasName, rawValue, readRawMessage } from '../../../src/lab/raw-header.ts';

const USER = 'user@contoso.example';
const head = { from: USER, to: ['x@remote.example'] };
const { contoso, evil } = labTenants('partner', { contoso: 'secret-a', fabrikam: 'secret-b' });
const AT = new Date('2026-07-10T08:15:30.123Z');
const ID = 'X-MS-Exchange-CrossTenant-Id';

async function prepared(mail: Partial<TenantMail> = {}, tenant = contoso) {
  const submission = await prepareTenantMail(
    tenant,
    { from: USER, to: head.to, message: sampleMessage('plain', head), ...mail },
    AT,
  );
  const text = (await collect(submission.message.open(), submission.message.size)).toString('latin1');
  const { fields } = await readRawMessage(submission.message);
  const values = (name: string): string[] => fields.filter((field) => hasName(field, name)).map(rawValue);
  return { sender: submission.sender, text, values };
}

const TEMPLATES: readonly (readonly [
  TemplateName,
  sender: string,
  organization: string,
  ids: number,
  authAs: string | undefined,
  entity: string,
])[] = [
  ['user', USER, 'contoso.example', 1, 'Internal', 'Hosted'],
  ['oof', '', 'contoso.example', 1, 'Internal', 'Hosted'],
  ['system', '', 'contoso.example', 0, 'Internal', 'Hosted'],
  ['ndr', '', 'contoso.example', 0, 'Internal', 'Hosted'],
  ['forwarded', USER, 'contoso.example', 1, 'Anonymous', 'Internet'],
  ['hybrid', USER, 'contoso.example', 1, 'Anonymous', 'HybridOnPrem'],
  ['journal', '', 'contoso.example', 0, 'Internal', 'Hosted'],
  ['calendar', USER, 'contoso.example', 1, 'Internal', 'Hosted'],
  ['receipt', '', 'contoso.example', 1, 'Internal', 'Hosted'],
  ['consumer', USER, 'outlook.com', 1, 'Anonymous', 'Hosted,Internet'],
  ['legacy', USER, 'contoso.example', 0, undefined, 'Hosted'],
];

test('each class of message has its stamps', async () => {
  for (const [template, sender, organization, ids, authAs, entity] of TEMPLATES) {
    const seen = await prepared({ template });
    assert.equal(seen.sender, sender, template);
    assert.deepEqual(seen.values('X-OriginatorOrg'), [organization], template);
    assert.equal(seen.values(ID).length, ids, template);
    assert.deepEqual(seen.values('X-MS-Exchange-CrossTenant-AuthAs'), authAs ? [authAs] : [], template);
    assert.equal(seen.values('X-MS-Exchange-CrossTenant-FromEntityHeader').join(), entity, template);
    assert.deepEqual(seen.values('X-Postern-Tenant-Auth'), ['secret-a'], template);
  }
  assert.deepEqual((await prepared()).values(ID), [contoso.id]);
  assert.deepEqual((await prepared({}, evil)).values(ID), [evil.id]);
});

test('the knobs', async () => {
  const cased = await prepared({ knobs: { nameCase: 'lower', replace: { [ID]: contoso.id.toUpperCase() } } });
  assert.match(cased.text, new RegExp(`^x-ms-exchange-crosstenant-id: ${contoso.id.toUpperCase()}\r$`, 'm'));
  const folded = await prepared({ knobs: { fold: [ID] } });
  assert.match(folded.text, new RegExp(`^${ID}:\r\n ${contoso.id}\r$`, 'm'));
  const doubled = await prepared({ knobs: { before: [[ID, evil.id]] } });
  assert.deepEqual(doubled.values(ID), [evil.id, contoso.id]);
  const reversed = await prepared({ knobs: { after: [[ID, evil.id]], isReversed: true } });
  assert.deepEqual(reversed.values(ID), [contoso.id, evil.id]);
  assert.ok(reversed.text.indexOf(ID) < reversed.text.indexOf('X-OriginatorOrg'));
  assert.deepEqual((await prepared({ knobs: { remove: [ID.toLowerCase()] } })).values(ID), []);
  const labelled = await prepared({ knobs: { labels: [{ id: 'aaaa' }, { id: 'bbbb', siteId: evil.id }] } });
  const [labels = ''] = labelled.values('msip_labels');
  assert.match(labels, new RegExp(`MSIP_Label_aaaa_SiteId=${contoso.id}; `));
  assert.match(labels, new RegExp(`MSIP_Label_bbbb_SiteId=${evil.id}; `));
  assert.match(labelled.text, /msip_labels: MSIP_Label_aaaa_Enabled=true;\r\n MSIP/);
});

test('service headers that the sender put in are replaced, or kept on order', async () => {
  const forged = sampleMessage('plain', {
    ...head,
    fields: [`${ID}: ${contoso.id}`, 'X-Postern-Tenant-Auth: guess'],
  });
  const replaced = await prepared({ message: forged }, evil);
  assert.deepEqual(replaced.values(ID), [evil.id]);
  assert.deepEqual((await prepared({ message: forged, existing: 'keep' }, evil)).values(ID), [
    evil.id,
    contoso.id,
  ]);
  // The rule's SetHeader takes the place of what was there.
  assert.deepEqual((await prepared({ message: forged })).values('X-Postern-Tenant-Auth'), ['secret-a']);
});

test('a DKIM signature verifies, and covers the whole body', async () => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const dkim = { domain: 'contoso.example', selector: 'selector1', key: privateKey };
  const message = bytesSource(
    Buffer.from(
      'From:  A <user@contoso.example>\r\nSubject: a\r\n  folded\t value \r\nX-Other: x\r\n\r\n' +
        'a  b \t\r\n\r\n \r\nlast\r\n\r\n\r\n',
    ),
  );
  const tags = new Map(
    rawValue(await signDkim(message, dkim, AT))
      .split(';')
      .map((tag) => [tag.slice(0, tag.indexOf('=')).trim(), tag.slice(tag.indexOf('=') + 1).trim()]),
  );
  const body = 'a b\r\n\r\n\r\nlast\r\n';
  assert.equal(tags.get('bh'), createHash('sha256').update(body).digest('base64'));
  assert.equal(tags.get('h'), 'From:Subject');
  const own = `dkim-signature:${[...tags].map(([name, value]) => `${name}=${name === 'b' ? '' : value}`).join('; ')}`;
  const verify = createVerify('RSA-SHA256').update(
    `from:A <user@contoso.example>\r\nsubject:a folded value\r\n${own}`,
  );
  const key = createPublicKey({
    key: Buffer.from(dkimRecord(dkim).replace(/^.*p=/, ''), 'base64'),
    format: 'der',
    type: 'spki',
  });
  assert.ok(verify.verify(key, (tags.get('b') ?? '').replaceAll(' ', ''), 'base64'));
});

const bodyHash = (text: string): string | undefined => /bh=([^;]*);/.exec(text.replace(/\s/g, ''))?.[1];

test('the body hash agrees with another implementation', async () => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const other = new DKIM({
    domainName: 'contoso.example',
    keySelector: 'selector1',
    privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }),
  });
  for (const name of ['plain', 'html', 'latin1', 'long-lines', 'tricky', 'report'] as const) {
    const message = sampleMessage(name, head);
    const bytes = await collect(message.open(), message.size);
    const theirs = await collect(other.sign(bytes) as AsyncIterable<Uint8Array>, 2 * bytes.length + 4096);
    const ours = rawValue(
      await signDkim(message, { domain: 'contoso.example', selector: 's', key: privateKey }, AT),
    );
    assert.ok(bodyHash(ours), name);
    assert.equal(bodyHash(ours), bodyHash(theirs.toString('latin1')), name);
  }
});

test('the ARC set is a good one, and breaks with the body', async () => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const arc = { domain: 'microsoft.com', selector: 'arcselector10001', key: privateKey };
  const { text } = await prepared({ arc, dkim: { ...arc, domain: 'contoso.example' } });
  assert.match(text, /^ARC-Seal: i=1;\r\n a=rsa-sha256;/);
  const statusOf = async (message: string) => {
    const { arc: found } = await authenticate(Buffer.from(message, 'latin1'), {
      ip: '127.0.0.40',
      helo: 'x',
      sender: USER,
      disableDmarc: true,
      disableBimi: true,
      trustReceived: false,
      resolver: async () => [[dkimRecord(arc)]],
    });
    return found === false ? 'none' : found.status.result;
  };
  assert.equal(await statusOf(text), 'pass');
  assert.equal(await statusOf(text.replace('figures', 'Figures')), 'fail');
});
