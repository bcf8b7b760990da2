// `postern message` as a person uses it: the real command on real files, against openssl and gpg.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { watch } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { ID } from '../../../src/smime/algorithms.ts';
import { writeCapabilities } from '../../../src/smime/capabilities.ts';
import { altNames, emailName, extension, makeCertificate } from '../../support/certificates.ts';
import { makeCertificates, makePgpKeys, openWorkshop, type RunOptions } from '../../support/command-line.ts';

const workshop = openWorkshop();
after(() => workshop[Symbol.dispose]());
const { folder, postern, tool, write } = workshop;
const people = { user: 'user@contoso.example', bob: 'bob@remote.example', eve: 'eve@remote.example' };
makeCertificates(workshop, people);
makePgpKeys(workshop, { user: people.user, bob: people.bob });
tool('openssl', [
  'pkcs12',
  '-export',
  '-inkey',
  'user.key',
  '-in',
  'user.crt',
  '-out',
  'user.p12',
  '-passout',
  'pass:correct horse',
]);
write('password', 'correct horse\n');

const BODY = ['hello bob', '', 'Grüße: 8-bit and a trailing blank ', 'From here on'];
const lines = (...list: readonly string[]) => `${list.join('\n')}\n`;
const HEAD = [
  'From: User <user@contoso.example>',
  'To: bob@remote.example',
  'Subject: plans',
  'X-Odd:  kept \t so',
];
const MIME = [
  'MIME-Version: 1.0',
  'Content-Type: text/plain; charset=utf-8',
  'Content-Transfer-Encoding: 8bit',
];
const CRLF = lines(...HEAD, ...MIME, '', ...BODY).replaceAll('\n', '\r\n');
write('mail.eml', CRLF);
write('lf.eml', CRLF.replaceAll('\r\n', '\n'));
write('mbox', `From user Mon Jan  1 00:00:00 2026\n${lines(...HEAD, '', ...BODY)}`);
write('bare-cr.eml', lines('From: a@contoso.example', 'Subject: x\rBcc: y@z.example', '', 'b'));
write('nul.eml', 'From: a@contoso.example\r\n\r\na\0b\r\n');
write('prose.txt', 'Dear Bob,\nplease read: this.\n');
write('fields.yaml', 'version: 1\nname: x\n');
write('empty', '');

const policyText = (own: string, partner: string) => `version: 1
tenant:
  id: 11111111-2222-3333-4444-555555555555
  name: Contoso
  domains: [contoso.example]
  leg: { host: mx.contoso.example, certificate: user.crt, key: user.key }
keys:
  own: [{ for: user@contoso.example, ${own} }]
  partners: [{ for: bob@remote.example, ${partner} }]
trust: { anchors: [ca.crt] }
outbound:
  otherwise: { sign: auto, encrypt: required }
`;
write(
  'smime.yaml',
  policyText('smime: { certificate: user.crt, key: user.key }', 'smime: { certificate: bob.crt }'),
);
write('pgp.yaml', policyText('pgp: { key: user.sec.asc }', 'pgp: { key: bob.pub.asc }'));

// What the cases below read: made by the command, then damaged or signed by others.
const made = async (...args: readonly string[]) => {
  const { code, stderr } = await postern(['message', ...args]);
  assert.equal(code, 0, stderr);
};
await made('encrypt', 'mail.eml', '--cert', 'bob.crt', '-o', 'smime-encrypted.eml');
await made('encrypt', 'mail.eml', '--pgp-key', 'bob.pub.asc', '-o', 'pgp-encrypted.eml');
await made('sign', 'mail.eml', '--policy', 'smime.yaml', '-o', 'smime-signed.eml');
await made('sign', 'mail.eml', '--policy', 'pgp.yaml', '-o', 'pgp-signed.eml');
const read = (name: string) => readFileSync(join(folder, name), 'latin1');
const changed = (name: string, change: (text: string) => string) => {
  const text = read(name);
  assert.notEqual(change(text), text);
  return change(text);
};
const replaced = (text: string) => text.replace('hello bob', 'hello eve');
write('smime-tampered.eml', changed('smime-signed.eml', replaced));
write('pgp-tampered.eml', changed('pgp-signed.eml', replaced));
write(
  'pgp-damaged.eml',
  changed('pgp-encrypted.eml', (text) => {
    const at = text.indexOf('BEGIN PGP MESSAGE') + 300;
    return `${text.slice(0, at)}${text[at] === 'A' ? 'B' : 'A'}${text.slice(at + 1)}`;
  }),
);
const smimeBody = read('smime-encrypted.eml');
const cut = Buffer.from(smimeBody.slice(smimeBody.indexOf('\r\n\r\n') + 4), 'base64').subarray(0, -40);
write(
  'smime-cut.eml',
  `${smimeBody.slice(0, smimeBody.indexOf('\r\n\r\n') + 4)}${cut.toString('base64')}\r\n`,
);
const cms = ['cms', '-sign', '-in', 'content', '-signer', 'bob.crt', '-inkey', 'bob.key'];
write('content', 'Content-Type: text/plain\r\n\r\nsigned by bob\r\n');
tool('openssl', [...cms, '-from', people.bob, '-to', people.user, '-subject', 's', '-out', 'bob-signed.eml']);
tool('openssl', [...cms, '-nodetach', '-from', people.bob, '-out', 'bob-opaque.eml']);
tool('openssl', [...cms, '-from', people.user, '-out', 'forged.eml']);
tool('openssl', [...cms, '-out', 'no-author.eml']);

const announcing = makeCertificate({
  extensions: [altNames(emailName(people.bob)), extension(ID.smimeCapabilities, writeCapabilities())],
});
write('gcm.crt', announcing.certificate.pem);

type Row = readonly [
  args: string,
  code: number,
  stderr: RegExp | '',
  more?: RunOptions & { readonly stdout?: RegExp | '' },
];

const table: Readonly<Record<string, Row>> = {
  'encrypt to the recipients of the policy': [
    'encrypt mail.eml --policy smime.yaml',
    0,
    /^encrypted \(smime, aes-256-cbc\) to smime:[0-9a-f]{64}\n$/,
    { stdout: /enveloped-data/ },
  ],
  'encrypt to a certificate that announces AES-GCM': [
    'encrypt mail.eml --cert gcm.crt',
    0,
    /^encrypted \(smime, aes-256-gcm\) to/,
    { stdout: /authEnveloped-data/ },
  ],
  'encrypt to it and to another': [
    'encrypt mail.eml --cert gcm.crt --cert bob.crt',
    0,
    /^encrypted \(smime, aes-256-cbc\) to/,
    { stdout: /=enveloped-data/ },
  ],
  'encrypt as OpenPGP': [
    'encrypt mail.eml --policy pgp.yaml',
    0,
    /^encrypted \(pgp\)/,
    { stdout: /multipart\/encrypted/ },
  ],
  'encrypt: no key of a recipient': [
    'encrypt mail.eml --policy smime.yaml --to bob@remote.example --to eve@remote.example',
    3,
    /no usable key to encrypt to bob@remote\.example, eve@remote\.example\n {2}smime key of eve@remote\.example: none is known/,
  ],
  'encrypt: not in this format': [
    'encrypt mail.eml --policy smime.yaml --format pgp',
    3,
    /\(pgp\)\n {2}pgp key of bob@remote\.example: none is known/,
  ],
  'encrypt: named key that cannot': [
    'encrypt mail.eml --cert bob.crt --cert ca.crt',
    3,
    /none of the named keys can encrypt\n {2}smime key: smime:[0-9a-f]+: key usage/,
  ],
  'encrypt: To and Cc name nobody': [
    'encrypt - --policy smime.yaml',
    3,
    /name the recipients with --to/,
    { input: 'From: a@contoso.example\n\nx\n' },
  ],
  'encrypt: a private key file is no recipient': ['encrypt mail.eml --pgp-key bob.sec.asc', 4, /private key/],
  'decrypt by certificate and key': [
    'decrypt smime-encrypted.eml --cert bob.crt --key bob.key',
    0,
    /^decrypted \(smime\) with smime:\S+, aes-256-cbc: the algorithm does not notice changes\n$/,
    { stdout: /Grüße/ },
  ],
  'decrypt by OpenPGP key': [
    'decrypt pgp-encrypted.eml --pgp-key bob.sec.asc',
    0,
    /^decrypted \(pgp\).*changes would have been noticed\n$/,
    { stdout: /Grüße/ },
  ],
  'decrypt: wrong key': [
    'decrypt smime-encrypted.eml --cert eve.crt --key eve.key',
    3,
    /not encrypted to any key/,
  ],
  'decrypt: wrong OpenPGP key': [
    'decrypt pgp-encrypted.eml --pgp-key user.sec.asc',
    3,
    /not encrypted to any key/,
  ],
  'decrypt: no own key in the policy': [
    'decrypt smime-encrypted.eml --policy smime.yaml',
    3,
    /not encrypted to any key/,
  ],
  'decrypt: cut off': ['decrypt smime-cut.eml --cert bob.crt --key bob.key', 1, /damaged/],
  'decrypt: tampered': ['decrypt pgp-damaged.eml --pgp-key bob.sec.asc', 1, /damaged, or changed/],
  'decrypt: not encrypted': ['decrypt mail.eml --pgp-key bob.sec.asc', 1, /is not encrypted/],
  'decrypt: key of another certificate': [
    'decrypt smime-encrypted.eml --cert bob.crt --key eve.key',
    4,
    /eve\.key does not belong to a certificate in bob\.crt/,
  ],
  'sign by PKCS#12 and password file': [
    'sign mail.eml --key user.p12 --password-file password',
    0,
    /^signed \(smime\)/,
    { stdout: /pkcs7-signature/ },
  ],
  'sign by password in the environment': [
    'sign mail.eml --key user.p12 --password env:PW',
    0,
    /^signed/,
    { env: { PW: 'correct horse' }, stdout: /pkcs7-signature/ },
  ],
  'sign: wrong password': [
    'sign mail.eml --key user.p12 --password env:PW',
    4,
    /user\.p12: password .* is wrong/,
    { env: { PW: 'hunter2' } },
  ],
  'sign: password not set': [
    'sign mail.eml --key user.p12 --password env:PW',
    4,
    /variable PW .* is not set/,
  ],
  'password: never on the command line': [
    'sign mail.eml --key user.p12 --password hunter2',
    2,
    /^(?!.*hunter2).*env:NAME/,
  ],
  'sign: no key of the sender': [
    'sign mail.eml --policy smime.yaml --from eve@contoso.example',
    3,
    /no usable key to sign as eve@contoso\.example/,
  ],
  'sign: a partner key cannot': [
    'sign mail.eml --policy smime.yaml --from bob@remote.example',
    3,
    /has no private part here/,
  ],
  'sign: no author': [
    'sign - --policy smime.yaml',
    3,
    /From does not name one single author/,
    { input: 'From: a@b.example, c@d.example\n\nx\n' },
  ],
  'verify S/MIME by policy': [
    'verify smime-signed.eml --policy smime.yaml',
    0,
    /^the signature of user@contoso\.example is valid\n {2}signature \(smime\) by smime:\S+: intact, trusted, of user@contoso\.example/,
  ],
  'verify OpenPGP by policy': [
    'verify pgp-signed.eml --policy pgp.yaml',
    0,
    /^the signature of user@contoso\.example is valid/,
  ],
  'verify: openssl, root named': [
    'verify bob-signed.eml --cert ca.crt',
    0,
    /^the signature of bob@remote\.example is valid/,
  ],
  'verify: the certificate itself named': ['verify bob-signed.eml --cert bob.crt', 0, /is valid/],
  'verify: tampered S/MIME': ['verify smime-tampered.eml --cert ca.crt', 1, /the signature is broken/],
  'verify: tampered OpenPGP': ['verify pgp-tampered.eml --policy pgp.yaml', 1, /the signature is broken/],
  'verify: unknown root': [
    'verify bob-signed.eml --cert eve.crt',
    1,
    /the signer is not trusted\n.*no path to a trusted root/,
  ],
  'verify: unknown OpenPGP key': [
    'verify pgp-signed.eml --pgp-key bob.pub.asc',
    3,
    /no key of the author is known/,
  ],
  'verify: signed by somebody else': [
    'verify forged.eml --cert ca.crt',
    1,
    /the signature is not that of user@contoso\.example/,
  ],
  'verify: --from': [
    'verify bob-signed.eml --cert ca.crt --from user@contoso.example',
    1,
    /not that of user@/,
  ],
  'verify: no author': ['verify no-author.eml --cert ca.crt', 0, /names no author/],
  'verify: not signed': ['verify mail.eml --cert ca.crt', 1, /is not signed/],
  'verify: encrypted': ['verify smime-encrypted.eml --cert ca.crt', 1, /decrypt it first/],
  'LF line ends are read as CRLF': [
    'verify - --policy pgp.yaml',
    0,
    /is valid/,
    { input: read('pgp-signed.eml').replaceAll('\r\n', '\n') },
  ],
  'standard input by default': ['verify --cert ca.crt', 0, /is valid/, { input: read('smime-signed.eml') }],
  'no such file': ['verify none.eml --cert ca.crt', 4, /none\.eml: no such file/],
  'no such key': ['verify mail.eml --cert none.crt', 4, /none\.crt cannot be read: there is no such file/],
  'no such policy': [
    'sign mail.eml --policy none.yaml',
    4,
    /none\.yaml:1:1: cannot be read: there is no such file/,
  ],
  'a folder': ['verify . --cert ca.crt', 4, /\.: is a folder/],
  'prose is no message': [
    'verify prose.txt --cert ca.crt',
    4,
    /prose\.txt is not a mail message: a line has no field name/,
  ],
  'YAML is no message': [
    'verify fields.yaml --cert ca.crt',
    4,
    /is not a mail message: no field of a message/,
  ],
  'PEM is no message': ['verify ca.crt --cert ca.crt', 4, /ca\.crt is not a mail message/],
  'an empty file is no message': [
    'verify empty --cert ca.crt',
    4,
    /is not a mail message: no header section/,
  ],
  'mbox is no message': ['verify mbox --cert ca.crt', 4, /mbox file; take one message/],
  'bare CR makes no field': ['encrypt bare-cr.eml --cert bob.crt', 4, /bare CR in the header section/],
  NUL: ['encrypt nul.eml --cert bob.crt', 4, /holds a NUL/],
  'no certificate in the file': ['encrypt mail.eml --cert mail.eml', 4, /mail\.eml: no certificate/],
  'usage: no keys': ['sign mail.eml', 2, /no keys: name a policy/],
  'usage: unknown option': ['sign mail.eml --policy smime.yaml --to x@y.example', 2, /Unknown option '--to'/],
  'usage: two messages': ['sign a.eml b.eml --policy smime.yaml', 2, /too many arguments: b\.eml/],
  'usage: format': ['sign mail.eml --policy smime.yaml --format pem', 2, /smime or pgp/],
  'usage: address': ['encrypt mail.eml --policy smime.yaml --to bob', 2, /not a mail address: "bob"/],
  'usage: both formats': ['encrypt mail.eml --cert bob.crt --pgp-key bob.pub.asc', 2, /not both/],
  'usage: --cert alone signs nothing': ['sign mail.eml --cert user.crt', 2, /--cert goes with --key/],
  'usage: --json and the message on one stream': ['sign mail.eml --policy smime.yaml --json', 2, /--out/],
  'usage: two passwords': [
    'sign mail.eml --key user.p12 --password env:A --password-file b',
    2,
    /exclude each other/,
  ],
};

describe('postern message', { concurrency: 2 }, () => {
  for (const [name, [args, code, stderr, more = {}]] of Object.entries(table)) {
    test(name, async () => {
      const { stdout = '', ...options } = more;
      const result = await postern(['message', ...args.split(' ')], options);
      assert.equal(result.code, code, result.stderr);
      if (stderr === '') assert.equal(result.stderr, '');
      else assert.match(result.stderr, stderr);
      // Nothing of a message that is not good, nor of one that was only looked at.
      const shown = Buffer.from(result.stdout, 'latin1').toString('utf8');
      if (stdout === '') assert.equal(shown, '');
      else assert.match(shown, stdout);
      assert.doesNotMatch(result.stderr, /\n {4}at |node:internal/);
    });
  }

  test('round trip: encrypted and decrypted is the message, byte for byte', async () => {
    for (const [name, keys] of [
      ['smime-encrypted.eml', ['--cert', 'bob.crt', '--key', 'bob.key']],
      ['pgp-encrypted.eml', ['--pgp-key', 'bob.sec.asc']],
    ] as const) {
      const { stdout } = await postern(['message', 'decrypt', name, ...keys]);
      assert.equal(stdout, Buffer.from(CRLF).toString('latin1'));
    }
  });

  test('LF input comes out with CRLF, and is the same message', async () => {
    const { stdout } = await postern(['message', 'encrypt', 'lf.eml', '--cert', 'bob.crt']);
    const back = await postern(['message', 'decrypt', '--cert', 'bob.crt', '--key', 'bob.key'], {
      input: Buffer.from(stdout, 'latin1'),
    });
    assert.equal(back.stdout, Buffer.from(CRLF).toString('latin1'));
    assert.doesNotMatch(stdout, /(?<!\r)\n/);
  });

  test('openssl reads what was encrypted and what was signed', () => {
    const text = tool('openssl', [
      'cms',
      '-decrypt',
      '-in',
      'smime-encrypted.eml',
      '-recip',
      'bob.crt',
      '-inkey',
      'bob.key',
    ]);
    assert.match(text, /hello bob/);
    assert.match(
      tool('openssl', ['cms', '-verify', '-in', 'smime-signed.eml', '-CAfile', 'ca.crt']),
      /hello bob/,
    );
  });

  test('gpg reads what was encrypted, and its messages are read', async () => {
    assert.match(tool('gpg', ['--batch', '--quiet', '--decrypt', 'pgp-encrypted.eml']), /hello bob/);
    const armour = tool(
      'gpg',
      [
        '--batch',
        '--quiet',
        '--armor',
        '--trust-model',
        'always',
        '--sign',
        '--encrypt',
        '-u',
        people.user,
        '-r',
        people.bob,
      ],
      'Content-Type: text/plain\r\n\r\nfrom gpg\r\n',
    );
    const input = lines(
      ...HEAD,
      'MIME-Version: 1.0',
      'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b',
      '',
      '--b',
      'Content-Type: application/pgp-encrypted',
      '',
      'Version: 1',
      '--b',
      'Content-Type: application/octet-stream',
      '',
      armour.trimEnd(),
      '--b--',
    );
    const { code, stdout, stderr } = await postern(
      ['message', 'decrypt', '--pgp-key', 'bob.sec.asc', '--pgp-key', 'user.pub.asc'],
      { input },
    );
    assert.equal(code, 0, stderr);
    assert.match(stdout, /\r\n\r\nfrom gpg\r\n$/);
    assert.match(stderr, /signature \(pgp\).*: intact, trusted, of user@contoso\.example/);
  });

  test('encrypt --from signs as well: inside for OpenPGP, before for S/MIME', async () => {
    const encrypt = (policy: string) =>
      postern(['message', 'encrypt', 'mail.eml', '--policy', policy, '--from', people.user]);
    const pgp = await encrypt('pgp.yaml');
    assert.match(pgp.stderr, /^signed and encrypted \(pgp\)/);
    write('both-pgp.eml', pgp.stdout);
    assert.match(
      (await postern(['message', 'decrypt', 'both-pgp.eml', '--pgp-key', 'bob.sec.asc'])).stderr,
      /signature \(pgp\)/,
    );
    const smime = await encrypt('smime.yaml');
    assert.match(smime.stderr, /^signed and encrypted \(smime, aes-256-cbc\)/);
    const inner = await postern(['message', 'decrypt', '--cert', 'bob.crt', '--key', 'bob.key'], {
      input: smime.stdout,
    });
    const verified = await postern(['message', 'verify', '--cert', 'ca.crt'], {
      input: Buffer.from(inner.stdout, 'latin1'),
    });
    assert.equal(verified.code, 0, verified.stderr);
  });

  test('verify --out takes an opaque signature off, and only a good one', async () => {
    const good = await postern([
      'message',
      'verify',
      'bob-opaque.eml',
      '--cert',
      'ca.crt',
      '--out',
      'plain.eml',
    ]);
    assert.equal(good.code, 0, good.stderr);
    assert.match(read('plain.eml'), /\r\n\r\nsigned by bob\r\n$/);
    const bad = await postern([
      'message',
      'verify',
      'bob-opaque.eml',
      '--cert',
      'eve.crt',
      '--out',
      'bad.eml',
    ]);
    assert.equal(bad.code, 1);
    assert.ok(!existsSync(join(folder, 'bad.eml')));
  });

  test('--out: appears whole, private, and not at all for a bad message', async () => {
    const decrypt = ['message', 'decrypt', '--pgp-key', 'bob.sec.asc', '--out', 'out.eml'];
    assert.equal((await postern([...decrypt, 'pgp-damaged.eml'])).code, 1);
    assert.ok(!existsSync(join(folder, 'out.eml')));
    assert.equal((await postern([...decrypt, 'pgp-encrypted.eml'])).code, 0);
    assert.equal(statSync(join(folder, 'out.eml')).mode & 0o777, 0o600);
    write('out.eml', 'kept');
    assert.equal((await postern([...decrypt, 'pgp-damaged.eml'])).code, 1);
    assert.equal(read('out.eml'), 'kept');
    for (const [target, reason] of [
      ['/dev/null', /is not a file/],
      ['none/out.eml', /no such file or folder/],
    ] as const) {
      const failed = await postern(['message', 'encrypt', 'mail.eml', '--cert', 'bob.crt', '--out', target]);
      assert.equal(failed.code, 4);
      assert.match(failed.stderr, reason);
    }
  });

  test('a message may be replaced by its result', async () => {
    write('same.eml', CRLF);
    await made('encrypt', 'same.eml', '--cert', 'bob.crt', '-o', 'same.eml');
    assert.match(read('same.eml'), /enveloped-data/);
  });

  test('--json: one value with status, outcome and file; errors too', async () => {
    const encrypted = await json('encrypt', 'mail.eml', '--cert', 'bob.crt', '--out', 'json.eml');
    assert.equal(encrypted.code, 0);
    assert.partialDeepStrictEqual(encrypted.value, {
      status: 'ok',
      outcomes: [{ kind: 'encrypted', format: 'smime' }],
      out: { file: 'json.eml', bytes: statSync(join(folder, 'json.eml')).size },
    });
    const verified = await json('verify', 'smime-tampered.eml', '--cert', 'ca.crt');
    assert.equal(verified.code, 1);
    assert.partialDeepStrictEqual(verified.value, {
      status: 'invalid',
      outcomes: [{ kind: 'verified', signatures: [{ integrity: 'broken' }] }],
    });
    const none = await json('decrypt', 'pgp-encrypted.eml', '--pgp-key', 'user.sec.asc', '--out', 'none.eml');
    assert.deepEqual([none.code, none.value['status'], none.value['out']], [3, 'no-key', undefined]);
    const failed = await json('verify', 'none.eml', '--cert', 'ca.crt');
    assert.equal(failed.code, 4);
    assert.partialDeepStrictEqual(failed.value, {
      error: { code: 'config-invalid', reason: 'none.eml: no such file or folder' },
    });
  });
});

test('an interrupted command that waits for input ends, with its temporary files', async () => {
  const started = Promise.withResolvers<number>();
  const events = watch(folder);
  const running = postern(['message', 'encrypt', '--cert', 'bob.crt', '--out', 'interrupted.eml'], {
    input: HEAD.join('\r\n'),
    isOpenEnded: true,
    onStart: started.resolve,
  });
  const pid = await started.promise;
  // Its folder for holds shows that it runs.
  for await (const { filename } of events) if (/^postern-\w{6}$/.test(filename ?? '')) break;
  process.kill(pid, 'SIGINT');
  const { code, stderr } = await running;
  assert.equal(code, 4);
  assert.match(stderr, /interrupted/);
  assert.ok(!existsSync(join(folder, 'interrupted.eml')));
});

test('a reader that goes away is no error, and nothing stays behind', async () => {
  const input = `${HEAD.join('\n')}\n\n${'a line of the message\n'.repeat(100_000)}`;
  const { code, stderr } = await postern(['message', 'encrypt', '--cert', 'bob.crt'], {
    input,
    isReaderGone: true,
  });
  assert.equal(code, 0);
  assert.match(stderr, /^encrypted \(smime, aes-256-cbc\) to smime:[0-9a-f]{64}\n$/);
});

test('no command leaves a temporary file', () => {
  assert.deepEqual(
    readdirSync(folder).filter((name) => /^postern-|\.tmp$/.test(name)),
    [],
  );
});

async function json(
  ...args: readonly string[]
): Promise<{ code: number | null; value: Record<string, unknown> }> {
  const { code, stdout, stderr } = await postern(['message', ...args, '--json']);
  assert.equal(stderr, '');
  return { code, value: JSON.parse(stdout) as Record<string, unknown> };
}
