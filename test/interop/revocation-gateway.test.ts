// Revocation through the whole gateway: a tenant whose policy asks, a partner whose CA is OpenSSL, mail to the partner.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openLog } from '../../src/core/log.ts';
import { openLabGateway } from '../../src/lab/lab-gateway.ts';
import { sampleMessage } from '../../src/lab/messages.ts';
import { openLab } from '../../src/lab/world.ts';
import { OpensslCa, serveWeb } from '../support/openssl-ca.ts';

const web = await serveWeb();
const ca = new OpensslCa('partners');
const lab = await openLab();
const logged: string[] = [];
const log = openLog('info', { write: (line) => void logged.push(line) });
const server = await openLabGateway(lab, {
  environment: { log },
  outbound: 'otherwise: { sign: none, encrypt: required, formats: [smime] }',
});
after(async () => {
  await server[Symbol.asyncDispose]();
  await lab[Symbol.asyncDispose]();
  await web.close();
  ca[Symbol.dispose]();
});

const partners = ['good', 'revoked', 'silent'].map((name) => {
  const mail = ['keyUsage=digitalSignature,keyAgreement', `subjectAltName=email:${name}@remote.example`];
  ca.issue(name, [...mail, `authorityInfoAccess=OCSP;URI:${web.url}/${name}`]);
  writeFileSync(join(server.folder, `${name}.crt`), ca.read(`${name}.crt`));
  return `    - { for: ${name}@remote.example, smime: { certificate: ../${name}.crt } }`;
});
ca.revoke('revoked');
web.answers.set('/good', (body) => ca.ocsp(body, 'ca', '-nmin', '60'));
web.answers.set('/revoked', (body) => ca.ocsp(body, 'ca', '-nmin', '60'));
writeFileSync(join(server.folder, 'partners.crt'), ca.read('ca.crt'));
const policyFile = join(server.folder, 'policies', 'contoso.yaml');
const written = readFileSync(policyFile, 'utf8');

async function useRevocation(mode: string): Promise<void> {
  const text = written
    .replace(/^ {2}partners: \[\]/m, `  partners:\n${partners.join('\n')}`)
    .replace(/^trust:\n {2}anchors: \[/m, `trust:\n  revocation: ${mode}\n  anchors: [../partners.crt, `);
  writeFileSync(policyFile, text);
  await server.gateway.operations.applyPolicies();
}

async function send(name: string): Promise<readonly [number | undefined, string]> {
  const [from, to] = ['user@contoso.example', [`${name}@remote.example`]];
  const message = sampleMessage('plain', { from, to, subject: 'revocation' });
  const { recipients } = await lab.sendFromTenant('contoso', { from, to, message });
  return [recipients[0]?.code, recipients[0]?.text ?? ''];
}

const asked = () => [...web.asked.keys()];

test('off: nobody is asked', async () => {
  await useRevocation('off');
  assert.equal((await send('revoked'))[0], 250);
  assert.deepEqual(asked(), []);
});

test('check: what is revoked is not used, what cannot be checked is', async () => {
  await useRevocation('check');
  assert.equal((await send('good'))[0], 250);
  const [code, text] = await send('revoked');
  assert.equal(code, 550);
  assert.match(text, /cannot be used \(expired, not yet valid, revoked or not meant for encryption\)/);
  assert.match(
    logged.join(''),
    /"state":"revoked","reason":"certificate was revoked on 20.*Z \(keyCompromise\)"/,
  );
  assert.equal((await send('silent'))[0], 250);
  assert.deepEqual(asked(), ['/good', '/revoked', '/silent']);
});

test('require: what cannot be checked now waits', async () => {
  await useRevocation('require');
  assert.equal((await send('good'))[0], 250);
  assert.equal((await send('revoked'))[0], 550);
  assert.equal((await send('silent'))[0], 451);
});
