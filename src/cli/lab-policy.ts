// `postern lab --policy`: an operator's own policy at work, as two tables.
import { systemClock } from '../core/clock.ts';
import { GatewayError } from '../core/errors.ts';
import { readOwnPolicy } from '../lab/policy-copy.ts';
import { openPolicyRehearsal } from '../lab/policy-rehearsal.ts';
import type { RehearsalRow } from '../lab/rehearsal-rows.ts';
import { START } from '../lab/set-up-rows.ts';
import { runSetUp, type SetUpReport, setUpNames } from '../lab/set-ups.ts';
import { EXIT, type ExitCode, type Invocation, type Io, print, printJson, table } from './command.ts';
import { checkedJson, describeChecked } from './policy.ts';

export async function rehearsePolicy(file: string, { io, isJson }: Invocation): Promise<ExitCode> {
  // The terminal was closed: at exit the temporary folders go.
  process.once('SIGHUP', () => process.exit(EXIT.error));
  const read = await readOwnPolicy(file, systemClock.now());
  if ('problems' in read) {
    const checked = { file, problems: read.problems, warnings: [] };
    if (isJson) printJson(io, [checkedJson(checked)]);
    else print(io, describeChecked(checked));
    return EXIT.invalid;
  }
  const { policy, version, notes, warnings, own } = read.own;
  const { rows, left } = await sendAll(read.own, io);
  const setUps = await runSetUps(read.own, io);
  const isGood =
    rows.every(({ problems }) => problems.length === 0) && setUps.every((each) => each.isAsDescribed);
  if (isJson) {
    const { id, name } = policy.tenant;
    printJson(io, {
      policy: { file, version, tenant: id, name, certificateNames: own.certificateNames },
      notes,
      warnings,
      isGood,
      messages: rows.map((row) => ({ ...row, isGood: row.problems.length === 0 })),
      rulesWithoutMessage: left,
      setUps,
    });
  } else {
    print(
      io,
      [`Policy of ${policy.tenant.name}, version ${version}.`, ...notes.map((note) => `- ${note}`), ''].join(
        '\n',
      ),
    );
    for (const warning of warnings)
      print(io, `warning: ${warning.file}:${warning.line}:${warning.column}: ${warning.message}`);
    print(io, messagesText(rows, left));
    print(io, setUpsText(setUps));
    print(
      io,
      isGood ? 'Everything went as it must.' : 'Not everything went as it must: see what is marked with !.',
    );
  }
  return isGood ? EXIT.success : EXIT.invalid;
}

type Own = Parameters<typeof openPolicyRehearsal>[0];

async function sendAll(own: Own, io: Io) {
  await using rehearsal = await openPolicyRehearsal(own);
  const { messages, left } = rehearsal.plan;
  const rows: RehearsalRow[] = [];
  for (const [index, message] of messages.entries()) {
    progress(io, `message ${index + 1} of ${messages.length}: ${message.title}`);
    rows.push(await rehearsal.run(message));
  }
  return { rows, left };
}

async function runSetUps({ own }: Own, io: Io): Promise<readonly SetUpReport[]> {
  const reports: SetUpReport[] = [];
  for (const name of setUpNames) {
    progress(io, `set-up ${name}`);
    reports.push(await runSetUp(name, own));
  }
  return reports;
}

function progress(io: Io, line: string): void {
  if (io.signal.aborted) throw new GatewayError('unplanned', 'stopped before the end');
  io.stderr.write(`${line}\n`);
}

function messagesText(
  rows: readonly RehearsalRow[],
  left: readonly { readonly rule: string; readonly reason: string }[],
): string {
  const heading = ['', 'message', 'answer', 'rule', 'how it left', 'what the other side saw'];
  const cells = rows.map((row) => [
    row.problems.length === 0 ? '' : '!',
    row.message,
    codeOf(row.answer),
    row.rule,
    row.left,
    row.seen,
  ]);
  const remarks = rows.flatMap(({ message, problems, notes, told }) =>
    [
      ...problems.map((problem) => `! ${problem}`),
      ...notes,
      ...(told === undefined ? [] : [`the sender reads: ${told}`]),
    ].map((text) => `${message}: ${text}`),
  );
  return [
    table([heading, ...cells]),
    ...remarks,
    ...left.map(({ rule, reason }) => `no message was made for the rule ${rule}: ${reason}`),
    '',
  ].join('\n');
}

function setUpsText(reports: readonly SetUpReport[]): string {
  const heading = ['', 'set-up', 'by', 'mail', 'certificate', 'taken as', 'answer', 'what comes of it'];
  const cells = reports.flatMap(({ name, rows }) =>
    rows.map((row) => [
      row.isExpected ? '' : '!',
      name,
      row.by,
      row.mail,
      row.certificate,
      row.attributed,
      codeOf(row.answer),
      row.outcome,
    ]),
  );
  return [
    'What Exchange Online does with the right set-up, and with six wrong ones:',
    ...reports.map(({ name, title }) => `  ${name.padEnd(8)} ${title}`),
    '',
    table([heading, ...cells]),
    ...reports.flatMap(({ name, rows }) =>
      rows.filter(({ mail }) => mail === START).map(({ answer }) => `${name}, Postern at start: ${answer}`),
    ),
    '',
  ].join('\n');
}

/** `550 5.7.1`; the tables have no room for more, --json has. */
function codeOf(answer: string): string {
  return /^\d{3}( \d\.\d{1,3}\.\d{1,3})?/.exec(answer)?.[0] ?? '-';
}
