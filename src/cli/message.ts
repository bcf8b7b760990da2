// `postern message`: the gateway's own stages on one message, from a file or standard input to a file or standard output.
import { systemClock } from '../core/clock.ts';
import type { KeyFormat } from '../core/key.ts';
import type { NamedKeys } from '../workbench-keys.ts';
import { type WorkResult, type WorkTask, workOnMessage } from '../workbench.ts';
import {
  type Command,
  EXIT,
  type ExitCode,
  type Invocation,
  type Io,
  type OptionSpec,
  printJson,
  text,
  texts,
  UsageError,
} from './command.ts';
import { addressOption, openInput, writeFileWhole, writeStdout } from './message-files.ts';
import { openProgress } from './progress.ts';

type Action = 'encrypt' | 'decrypt' | 'sign' | 'verify';
type Options = Readonly<Record<string, OptionSpec>>;

const policy: OptionSpec = {
  type: 'string',
  value: '<file>',
  describe: 'policy file that declares the keys',
};
const format: OptionSpec = {
  type: 'string',
  value: 'smime|pgp',
  describe: 'default: what all keys allow, S/MIME first',
};
const out: OptionSpec = {
  type: 'string',
  short: 'o',
  value: '<file>',
  describe: 'where the message goes (default: standard output)',
};
const key: OptionSpec = {
  type: 'string',
  value: '<file>',
  describe: 'own S/MIME key: PEM or DER, or a PKCS#12 file',
};
const ownCertificate: OptionSpec = {
  type: 'string',
  multiple: true,
  value: '<file>',
  describe: 'certificate of --key, where its file does not hold it',
};
const password: Options = {
  'password-file': {
    type: 'string',
    value: '<file>',
    describe: 'file with the password of the private keys',
  },
  password: { type: 'string', value: 'env:<name>', describe: 'environment variable with that password' },
};
const NOTES = `The message is read from <file> or standard input; a file with bare LF line ends is read as if they were CRLF, which
is what comes out. Nothing comes out unless the exit code is 0. With --json the message needs --out.`;

export const messageEncrypt: Command = command('encrypt', 'Encrypt a message.', {
  policy,
  format,
  to: {
    type: 'string',
    multiple: true,
    value: '<address>',
    describe: 'recipient (default: To and Cc, unless keys are named)',
  },
  from: {
    type: 'string',
    value: '<address>',
    describe: "sign as well, with this sender's key of the policy",
  },
  cert: { type: 'string', multiple: true, value: '<file>', describe: 'encrypt to this certificate' },
  'pgp-key': { type: 'string', multiple: true, value: '<file>', describe: 'encrypt to this OpenPGP key' },
  out,
});

export const messageDecrypt: Command = command(
  'decrypt',
  'Decrypt a message. Signatures in an OpenPGP message are checked as well.',
  {
    policy,
    to: {
      type: 'string',
      multiple: true,
      value: '<address>',
      describe: 'recipient whose keys are tried (default: To and Cc)',
    },
    cert: ownCertificate,
    key,
    'pgp-key': {
      type: 'string',
      multiple: true,
      value: '<file>',
      describe: 'own OpenPGP key, or public key of the signer',
    },
    ...password,
    out,
  },
);

export const messageSign: Command = command('sign', 'Sign a message.', {
  policy,
  format,
  from: { type: 'string', value: '<address>', describe: 'whose key of the policy signs (default: From)' },
  cert: ownCertificate,
  key,
  'pgp-key': { type: 'string', multiple: true, value: '<file>', describe: 'own OpenPGP key' },
  ...password,
  out,
});

export const messageVerify: Command = command(
  'verify',
  'Verify the signature of a message: who made it, and whether they are trusted.',
  {
    policy,
    from: { type: 'string', value: '<address>', describe: 'who must have signed (default: From)' },
    cert: {
      type: 'string',
      multiple: true,
      value: '<file>',
      describe: "trusted root, or the signer's certificate",
    },
    'pgp-key': { type: 'string', multiple: true, value: '<file>', describe: "the signer's OpenPGP key" },
    out: { ...out, describe: 'write the message there, without an opaque signature' },
  },
);

function command(action: Action, summary: string, options: Options): Command {
  return {
    name: `message ${action}`,
    summary,
    arguments: '[<file>|-]',
    count: [0, 1],
    options,
    notes: NOTES,
    run: (invocation) => run(action, invocation),
  };
}

async function run(action: Action, invocation: Invocation): Promise<ExitCode> {
  const { options, io, isJson, positionals } = invocation;
  const outFile = text(options['out']);
  const isToStdout = action !== 'verify' && (outFile === undefined || outFile === '-');
  if (isJson && isToStdout) throw new UsageError('with --json the message needs --out <file>');
  const order = orderOf(action, invocation);
  const progress = openProgress(io);
  await using result = await workOnMessage({
    ...order,
    ...openInput(positionals[0], io),
    environment: io.env,
    at: systemClock.now(),
    signal: io.signal,
    onProgress: progress.add,
  }).finally(progress.close);
  const { body } = result;
  if (body && isToStdout) await writeStdout(io, body.open());
  else if (body && outFile !== undefined)
    await writeFileWhole(outFile, body.open(), action === 'decrypt' ? 0o600 : 0o666);
  if (isJson)
    printJson(
      io,
      jsonOf(result, body && outFile !== undefined ? { file: outFile, bytes: body.size } : undefined),
    );
  else printLines(action, result, io);
  return { ok: EXIT.success, invalid: EXIT.invalid, 'no-key': EXIT.noKey }[result.status];
}

/** What the options ask for. Throws UsageError. */
function orderOf(
  action: Action,
  { options }: Invocation,
): Omit<WorkTask, 'input' | 'name' | 'environment' | 'at' | 'signal' | 'onProgress'> {
  const policyFile = text(options['policy']);
  const from = text(options['from']);
  const wanted = formatOf(text(options['format']));
  const named = namedKeys(options);
  const { certificates, key, pgpKeys } = named;
  const isOwn = action === 'sign' || action === 'decrypt';
  const isSmimeNamed = isOwn ? key !== undefined : certificates.length > 0;
  if (policyFile === undefined && certificates.length === 0 && key === undefined && pgpKeys.length === 0)
    throw new UsageError('no keys: name a policy with --policy, or key files');
  if (isOwn && certificates.length > 0 && key === undefined) throw new UsageError('--cert goes with --key');
  if (isOwn && certificates.length > 1) throw new UsageError('one --cert: that of --key, with its chain');
  if (action === 'sign' && pgpKeys.length > 1) throw new UsageError('one --pgp-key signs');
  if ((action === 'sign' || action === 'encrypt') && isSmimeNamed && pgpKeys.length > 0)
    throw new UsageError('a message is S/MIME or OpenPGP, not both: name keys of one kind');
  if (action === 'encrypt' && from !== undefined && policyFile === undefined)
    throw new UsageError('--from goes with --policy, which declares the key that signs');
  return {
    action,
    named,
    to: texts(options['to']).map(addressOption),
    ...(policyFile === undefined ? {} : { policyFile }),
    ...(from === undefined ? {} : { from: addressOption(from) }),
    ...(wanted === undefined ? {} : { format: wanted }),
  };
}

function namedKeys(options: Invocation['options']): NamedKeys {
  const key = text(options['key']);
  const password = passwordOf(text(options['password']), text(options['password-file']));
  return {
    certificates: texts(options['cert']),
    pgpKeys: texts(options['pgp-key']),
    ...(key === undefined ? {} : { key }),
    ...(password === undefined ? {} : { password }),
  };
}

/** SECURITY: what was given instead of a reference may be the password, so it is not repeated (test: password). */
function passwordOf(reference: string | undefined, file: string | undefined): string | undefined {
  if (reference !== undefined && file !== undefined)
    throw new UsageError('--password and --password-file exclude each other');
  if (reference !== undefined && !/^env:[A-Za-z_][A-Za-z0-9_]*$/.test(reference))
    throw new UsageError(
      'a password does not belong on a command line: write env:NAME, or use --password-file',
    );
  return file === undefined ? reference : `file:${file}`;
}

function formatOf(value: string | undefined): KeyFormat | undefined {
  if (value === undefined || value === 'smime' || value === 'pgp') return value;
  throw new UsageError('--format is smime or pgp');
}

function jsonOf(
  { status, lines: [summary, ...details], outcomes }: WorkResult,
  out: { file: string; bytes: number } | undefined,
) {
  return { status, summary, details, outcomes, ...(out ? { out } : {}) };
}

/** To standard error: standard output is the message's. */
function printLines(action: Action, { status, lines: [first, ...more] }: WorkResult, { stderr }: Io): void {
  stderr.write(`${status === 'ok' ? '' : `postern message ${action}: `}${first}\n`);
  for (const line of more) stderr.write(`  ${line}\n`);
}
