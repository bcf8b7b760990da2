// `postern policy` as an operator uses it: the real command on policy files with keys that openssl and gpg made.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { createTestCa } from '../../../src/lab/ca.ts';
import { makeCertificates, makePgpKeys, openWorkshop } from '../../support/command-line.ts';

const workshop = openWorkshop();
after(() => workshop[Symbol.dispose]());
const { folder, postern, tool, write } = workshop;
makeCertificates(workshop, {
  user: 'user@contoso.example',
  bob: 'bob@remote.example',
  leg: 'x@contoso.example',
});
makePgpKeys(workshop, { carol: 'carol@remote.example' });
const old = await (
  await createTestCa('old')
).issue({
  commonName: 'old',
  emails: ['old@remote.example'],
  notBefore: new Date('2020-01-01'),
  notAfter: new Date('2020-02-01'),
});
write('old.crt', old.certificatePem);

interface Parts {
  readonly own?: string;
  readonly partners?: string;
  readonly leg?: string;
  readonly trust?: string;
  readonly outbound?: string;
  readonly id?: string;
  readonly domain?: string;
}

const USER = '{ for: user@contoso.example, smime: { certificate: user.crt, key: user.key } }';
const BOB = '{ for: bob@remote.example, smime: { certificate: bob.crt } }';
const CAROL = '{ for: carol@remote.example, pgp: { key: carol.pub.asc } }';
const OLD = '{ for: old@remote.example, smime: { certificate: old.crt } }';
const RULES = `rules:
    - { name: partners only, when: { subject_tag: '[secure]', recipient: [remote.example] }, sign: auto, encrypt: required }
    - { name: no entry, when: { recipient: [blocked.example] }, refuse: No mail to this partner. }
  otherwise: { sign: auto, encrypt: when-possible, fallback: plain }`;

function policyText(parts: Parts = {}): string {
  const { own = USER, partners = `${BOB}, ${CAROL}`, leg = 'certificate: leg.crt, key: leg.key' } = parts;
  return `version: 1
tenant:
  id: ${parts.id ?? '11111111-2222-3333-4444-555555555555'}
  name: Contoso
  domains: [${parts.domain ?? 'contoso.example'}]
  leg: { host: mx.contoso.example, ${leg} }
keys:
  own: [${own}]
  partners: [${partners}]
trust: { anchors: [${parts.trust ?? 'ca.crt'}] }
outbound:
  ${parts.outbound ?? RULES}
`;
}

write('good.yaml', policyText());
write(
  'mail.eml',
  'From: user@contoso.example\nTo: bob@remote.example\nSubject: top [secure]\n\nsecret text\n',
);
write(
  'encrypted.eml',
  'From: bob@remote.example\nTo: user@contoso.example, other@contoso.example\nContent-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b\n\n--b\n\n--b--\n',
);

const bad: Readonly<Record<string, readonly [text: string, ...problems: RegExp[]]>> = {
  'all problems at once, with place and allowed values': [
    policyText({ outbound: 'deliver: post\n  otherwise: { sign: maybe, encrypt: required, colour: red }' }),
    /^p\.yaml:12:12: is not allowed here; allowed: internet, smarthost$/m,
    /^p\.yaml:13:22: is not allowed here; allowed: none, smime, pgp, auto$/m,
    /^p\.yaml:13:48: unknown key "colour"; allowed: sign, encrypt,/m,
  ],
  'all missing files': [
    policyText({
      own: '{ for: user@contoso.example, smime: { certificate: a.crt, key: b.key } }',
      trust: 'c.crt',
      leg: 'certificate: d.crt, key: e.key, ca: f.crt',
    }),
    /^p\.yaml:6:3: leg certificate: d\.crt cannot be read: there is no such file$/m,
    /^p\.yaml:6:3: leg key: e\.key cannot be read/m,
    /^p\.yaml:6:3: leg ca: f\.crt cannot be read/m,
    /^p\.yaml:8:9: user@contoso\.example: a\.crt cannot be read/m,
    /^p\.yaml:10:20: .*c\.crt cannot be read/m,
  ],
  'key of another certificate': [
    policyText({
      own: '{ for: user@contoso.example, smime: { certificate: user.crt, key: bob.key } }',
      leg: 'certificate: leg.crt, key: bob.key',
    }),
    /leg key bob\.key: does not belong to the certificate leg\.crt$/m,
    /the private key in bob\.key does not belong to a certificate in user\.crt$/m,
  ],
  'key of another address': [
    policyText({ partners: '{ for: eve@remote.example, smime: { certificate: bob.crt } }' }),
    /eve@remote\.example: the smime key does not hold this address; it holds bob@remote\.example$/m,
  ],
  'private key for a partner': [
    policyText({ partners: '{ for: carol@remote.example, pgp: { key: carol.sec.asc } }' }),
    /a partner key must be public$/m,
  ],
  'password that is not there': [
    policyText({ own: '{ for: user@contoso.example, smime: { pkcs12: user.p12, password: env:NO_SUCH } }' }),
    /environment variable NO_SUCH with the password is not set$/m,
  ],
};

describe('postern policy', { concurrency: 2 }, () => {
  test('check: one line for each good file, exit code 0', async () => {
    write('second.yaml', policyText({ partners: '' }));
    const { code, stdout, stderr } = await postern(['policy', 'check', 'good.yaml', 'second.yaml']);
    assert.equal(code, 0, stderr);
    assert.match(
      stdout,
      /^good\.yaml: ok \(tenant Contoso, 2 rules, 1 own key, 2 partner keys, version [0-9a-f]{16}\)\nsecond\.yaml: ok \(.*\)\n$/,
    );
  });

  let count = 0;
  for (const [name, [text, ...problems]] of Object.entries(bad)) {
    count += 1;
    const inFolder = `bad-${count}`;
    test(`check: ${name}`, async () => {
      write(`${inFolder}.yaml`, text);
      const { code, stdout } = await postern(['policy', 'check', `${inFolder}.yaml`, 'good.yaml']);
      assert.equal(code, 1);
      const shown = stdout.replaceAll(inFolder, 'p');
      for (const problem of problems) assert.match(shown, problem);
      assert.match(stdout, /^good\.yaml: ok/m);
      assert.doesNotMatch(stdout, /bad-\d\.yaml: ok/);
    });
  }

  test('check: expired keys and open key files are warnings', async () => {
    write('loose.key', tool('cat', 'leg.key'));
    tool('chmod', '644 loose.key');
    write('warned.yaml', policyText({ partners: OLD, leg: 'certificate: leg.crt, key: loose.key' }));
    const { code, stdout } = await postern(['policy', 'check', 'warned.yaml']);
    assert.equal(code, 0);
    assert.match(
      stdout,
      /^warned\.yaml:9:14: warning: old@remote\.example: the smime key expired on 2020-02-01/m,
    );
    assert.match(stdout, /^warned\.yaml:6:3: warning: leg key loose\.key: open to other users/m);
    assert.match(stdout, /^warned\.yaml: ok/m);
  });

  test('check: a folder is read as the gateway reads it', async () => {
    mkdirSync(join(folder, 'set'));
    const parts = { own: '', partners: '', trust: '', leg: 'certificate: ../leg.crt, key: ../leg.key' };
    write('set/a.yaml', policyText(parts));
    write('set/b.yaml', policyText({ ...parts, id: '99999999-2222-3333-4444-555555555555' }));
    const { code, stdout } = await postern(['policy', 'check', 'set']);
    assert.equal(code, 1);
    assert.match(stdout, /^set\/b\.yaml:1:1: domain contoso\.example is claimed by Contoso and by Contoso$/m);
    write(
      'set/b.yaml',
      policyText({ ...parts, id: '99999999-2222-3333-4444-555555555555', domain: 'b.example' }),
    );
    assert.equal((await postern(['policy', 'check', 'set'])).code, 0);
  });

  test('check: --json, files that are no policy, no file', async () => {
    const { code, stdout } = await postern([
      'policy',
      'check',
      'good.yaml',
      'none.yaml',
      'user.key',
      '--json',
    ]);
    assert.equal(code, 1);
    assert.doesNotMatch(stdout, /BEGIN PRIVATE KEY/);
    assert.partialDeepStrictEqual(JSON.parse(stdout), [
      { file: 'good.yaml', ok: true, name: 'Contoso', problems: [] },
      {
        file: 'none.yaml',
        ok: false,
        problems: [{ line: 1, column: 1, message: 'cannot be read: there is no such file' }],
      },
      { file: 'user.key', ok: false },
    ]);
    const usage = await postern(['policy', 'check']);
    assert.equal(usage.code, 2);
    assert.match(usage.stderr, /missing argument: <file>/);
  });

  test('explain: the rule, why, steps, and the keys with their reasons; nothing of the message', async () => {
    const { code, stdout, stderr } = await postern(['policy', 'explain', 'good.yaml', 'mail.eml']);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^Policy of Contoso, version [0-9a-f]{16}\. Outbound/);
    assert.match(
      stdout,
      /-> partners only: recipient is remote\.example; subject has the tag "\[secure\]"; encrypts with smime/,
    );
    assert.match(
      stdout,
      /Copy 1 over internet, by partners only, must be encrypted\n {2}to bob@remote\.example\n {2}1\. strip header fields \(outbound\)\n {2}2\. sign with smime:\S+\n {7}smime:\S+ for user@contoso\.example: declared for this address, expires \d{4}-\d\d-\d\d\n {2}3\. encrypt to smime:\S+ as AES-256-CBC \(nothing is announced\)\n {7}smime:\S+ for bob@remote\.example: declared for this address/,
    );
    assert.doesNotMatch(stdout, /top|secret text/);
  });

  test('explain: the conditions that failed, refusals, and recipients within the tenant', async () => {
    const to = ['a@blocked.example', 'dave@remote.example', 'self@contoso.example'].flatMap((each) => [
      '--to',
      each,
    ]);
    const { code, stdout } = await postern(['policy', 'explain', 'good.yaml', 'mail.eml', ...to]);
    assert.equal(code, 0);
    assert.match(
      stdout,
      /a@blocked\.example\n {5}partners only: does not hold: recipient is remote\.example\n {2}-> no entry: recipient is blocked\.example; refused: refused-by-rule/,
    );
    assert.match(
      stdout,
      /Refused a@blocked\.example, by no entry: 550 5\.7\.1 \(refused-by-rule\)\n {2}No mail to this partner\./,
    );
    assert.match(
      stdout,
      /Refused dave@remote\.example, by partners only: 550 5\.7\.1 \(encryption-required\)\n {2}Rule "partners only" requires encryption/,
    );
    assert.match(
      stdout,
      /For recipients within the tenant:\n[\s\S]*self@contoso\.example\n {2}-> inbound: plain/,
    );
  });

  test('explain: a key that expired is named, with what follows from it', async () => {
    write('expired.yaml', policyText({ partners: OLD }));
    const { code, stdout, stderr } = await postern([
      'policy',
      'explain',
      'expired.yaml',
      'mail.eml',
      '--to',
      'old@remote.example',
    ]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /not used: smime:[0-9a-f]{64}: .*expired/);
    assert.match(stdout, /\(encryption-required\)\n.*cannot be used \(expired/);
  });

  test('explain: inbound, a copy for each recipient with its own keys', async () => {
    const { stdout } = await postern(['policy', 'explain', 'good.yaml', 'encrypted.eml']);
    assert.match(stdout, /Inbound: taken as mail from the Internet/);
    assert.match(
      stdout,
      /Copy 2 over tenant:\S+, by inbound\n {2}to other@contoso\.example\n(.*\n) {2}2\. decrypt with keys of other@contoso\.example/,
    );
  });

  test('explain: what the proof would refuse', async () => {
    assert.match(
      await explainGood('encrypted.eml', '--direction', 'outbound', '--to', 'x@remote.example'),
      /Outbound, but not the tenant's.*names an address outside the tenant[\s\S]*Refused before any rule.*550 5\.7\.1 .*\(sender-not-authorized\)/,
    );
    assert.match(
      await explainGood('mail.eml', '--direction', 'inbound'),
      /Refused before any rule.*\(relay-denied\)\n {2}not in a domain of Contoso: bob@remote\.example/,
    );
  });

  test('explain: --json is the plan', async () => {
    const { code, stdout } = await postern([
      'policy',
      'explain',
      'good.yaml',
      'mail.eml',
      '--json',
      '--from',
      '<>',
    ]);
    assert.equal(code, 0);
    assert.partialDeepStrictEqual(JSON.parse(stdout), {
      direction: 'outbound',
      origin: { kind: 'proven', class: 'user' },
      sender: null,
      recipients: ['bob@remote.example'],
      plans: [
        { direction: 'outbound', copies: [{ rule: 'partners only', mustEncrypt: true }], refusals: [] },
      ],
    });
  });

  for (const [name, args, code, stderr] of [
    ['policy with a problem', 'none.yaml mail.eml', 4, /none\.yaml:1:1: cannot be read/],
    ['no such message', 'good.yaml none.eml', 4, /none\.eml: no such file/],
    ['no message', 'good.yaml user.crt', 4, /is not a mail message/],
    ['nobody to receive it', 'good.yaml -', 4, /To and Cc name nobody/],
    ['wrong direction', 'good.yaml mail.eml --direction up', 2, /outbound or inbound/],
    ['no address', 'good.yaml mail.eml --to bob', 2, /not a mail address/],
  ] as const) {
    test(`explain: ${name}`, async () => {
      const result = await postern(['policy', 'explain', ...args.split(' ')], {
        input: 'From: a@b.example\n\nx\n',
      });
      assert.equal(result.code, code);
      assert.match(result.stderr, stderr);
      assert.equal(result.stdout, '');
    });
  }
});

async function explainGood(...args: readonly string[]): Promise<string> {
  return (await postern(['policy', 'explain', 'good.yaml', ...args])).stdout;
}
