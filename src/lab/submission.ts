// One SMTP submission as a patient client makes it: EHLO, STARTTLS, MAIL, RCPT, DATA or BDAT, and a new transaction for the
// recipients that were answered 452 (RFC 5321 §4.5.3.1.10). Replies are results; nothing here throws for what a server says.
import { isAscii } from 'node:buffer';
import type { ByteSource, Chunks } from '../core/bytes.ts';
import {
  type LabConnection,
  LabConnectionError,
  type LabConnectionTrouble,
  type LabReply,
  type LabTarget,
  type LabTlsOptions,
  openLabConnection,
} from './smtp-client.ts';
import type { TlsFacts } from './tls-facts.ts';

export interface SubmissionRecipient {
  readonly address: string;
  /** As on the wire: `NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a@b.example`. */
  readonly parameters?: string;
}

export interface Submission {
  /** Empty: the null sender. */
  readonly sender: string;
  readonly recipients: readonly (string | SubmissionRecipient)[];
  readonly message: ByteSource;
  /** More MAIL parameters: `RET=HDRS ENVID=x`. SIZE, BODY and SMTPUTF8 are added where offered and needed. */
  readonly mailParameters?: string;
  /** True: sends bare line feeds by DATA, which Exchange refuses to do (5.6.11). */
  readonly sendsBareLineFeeds?: boolean;
  /** Exchange's own XOORG parameter; sent where the server offers it. */
  readonly originatingDomain?: string;
}

export interface SubmissionSession {
  readonly hello: string;
  /** Undefined: stays in clear. */
  readonly tls?: LabTlsOptions;
  /** True: stays in clear where the server does not offer STARTTLS. */
  readonly isOpportunistic?: boolean;
}

export interface RecipientResult {
  readonly recipient: string;
  /** Where the last word was said. `connect` holds connection and TLS. */
  readonly stage: 'connect' | 'mail' | 'rcpt' | 'data';
  readonly code: number;
  /** Enhanced code and text. */
  readonly text: string;
  /** Number of the transaction, from 1. */
  readonly transaction: number;
}

export interface SubmissionResult {
  readonly recipients: readonly RecipientResult[];
  readonly transactions: number;
  readonly extensions: ReadonlyMap<string, string>;
  readonly tls: TlsFacts | undefined;
}

/** A connection ready for transactions. */
interface Submitter extends AsyncDisposable {
  send(submission: Submission): Promise<SubmissionResult>;
}

/** Connects, greets and secures. Throws LabConnectionError where that fails. */
async function openSubmitter(target: LabTarget, session: SubmissionSession): Promise<Submitter> {
  const connection = await openLabConnection(target);
  try {
    if (connection.greeting.code !== 220) throw refusedBy(connection.greeting);
    let extensions = await connection.hello(session.hello);
    if (session.tls && !(session.isOpportunistic && !extensions.has('STARTTLS'))) {
      await connection.startTls(session.tls);
      extensions = await connection.hello(session.hello);
    }
    return {
      send: (submission) => sendAll(connection, extensions, submission),
      [Symbol.asyncDispose]: async () => {
        await connection.write('QUIT\r\n');
        await connection[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await connection[Symbol.asyncDispose]();
    throw error;
  }
}

/** One message over a connection of its own. A connection or handshake that fails is a 450 for every recipient. */
export async function submit(
  target: LabTarget,
  session: SubmissionSession,
  submission: Submission,
): Promise<SubmissionResult> {
  const [result] = await submitTogether(target, session, [submission]);
  return result ?? { recipients: [], transactions: 0, extensions: new Map(), tls: undefined };
}

/** Several messages, one after the other, over one connection: as Exchange does with mail of different tenants. */
export async function submitTogether(
  target: LabTarget,
  session: SubmissionSession,
  submissions: readonly Submission[],
): Promise<readonly SubmissionResult[]> {
  const results: SubmissionResult[] = [];
  try {
    await using submitter = await openSubmitter(target, session);
    for (const submission of submissions) results.push(await submitter.send(submission));
  } catch (error) {
    if (!(error instanceof LabConnectionError)) throw error;
    results.push(...submissions.slice(results.length).map((submission) => notSent(submission, error)));
  }
  return results;
}

/** What Exchange Online shows of the mail in its queue. */
const TROUBLE: Readonly<Record<LabConnectionTrouble, string>> = {
  timeout: '4.4.315 Connection timed out',
  refused: '4.4.316 Connection refused',
  session: '4.4.317 Cannot establish session with remote server',
  closed: '4.4.318 Connection was closed abruptly',
};

function notSent(submission: Submission, { trouble, message }: LabConnectionError): SubmissionResult {
  const recipients = addressesOf(submission).map(({ address }): RecipientResult => ({
    recipient: address,
    stage: 'connect',
    code: 450,
    text: `${TROUBLE[trouble]} [Message=${message}]`,
    transaction: 1,
  }));
  return { recipients, transactions: 0, extensions: new Map(), tls: undefined };
}

async function sendAll(
  connection: LabConnection,
  extensions: ReadonlyMap<string, string>,
  submission: Submission,
): Promise<SubmissionResult> {
  const results: RecipientResult[] = [];
  let pending = addressesOf(submission);
  let transactions = 0;
  const facts = await readFacts(submission.message.open());
  while (pending.length > 0) {
    transactions += 1;
    const outcome = await transact(connection, extensions, submission, pending, facts, transactions);
    results.push(...outcome.settled);
    // Without progress the server would be asked for ever.
    const isStuck = outcome.postponed.length === pending.length;
    if (isStuck) results.push(...outcome.postponed.map(({ result }) => result));
    pending = isStuck ? [] : outcome.postponed.map(({ recipient }) => recipient);
  }
  return { recipients: results, transactions, extensions, tls: connection.tls };
}

interface Outcome {
  readonly settled: readonly RecipientResult[];
  readonly postponed: readonly {
    readonly recipient: SubmissionRecipient;
    readonly result: RecipientResult;
  }[];
}

async function transact(
  connection: LabConnection,
  extensions: ReadonlyMap<string, string>,
  submission: Submission,
  recipients: readonly SubmissionRecipient[],
  facts: ContentFacts,
  transaction: number,
): Promise<Outcome> {
  const result = (address: string, stage: RecipientResult['stage'], reply: Verdict): RecipientResult => ({
    recipient: address,
    stage,
    code: reply.code,
    text: reply.text,
    transaction,
  });
  const refusal = localRefusal(submission, facts, extensions);
  const mail = refusal ?? (await connection.command(mailCommand(submission, facts, extensions)));
  if (mail.code !== 250) {
    if (!refusal) await connection.command('RSET');
    return { settled: recipients.map(({ address }) => result(address, 'mail', mail)), postponed: [] };
  }
  const settled: RecipientResult[] = [];
  const accepted: SubmissionRecipient[] = [];
  const postponed: Outcome['postponed'][number][] = [];
  for (const recipient of recipients) {
    const parameters = recipient.parameters === undefined ? '' : ` ${recipient.parameters}`;
    const reply = await connection.command(`RCPT TO:<${recipient.address}>${parameters}`);
    if (reply.code === 250 || reply.code === 251) accepted.push(recipient);
    else if (reply.code === 452)
      postponed.push({ recipient, result: result(recipient.address, 'rcpt', reply) });
    else settled.push(result(recipient.address, 'rcpt', reply));
  }
  const final =
    accepted.length === 0
      ? await connection.command('RSET')
      : await sendContent(connection, extensions, submission);
  settled.push(...accepted.map(({ address }) => result(address, 'data', final)));
  return { settled, postponed };
}

async function sendContent(
  connection: LabConnection,
  extensions: ReadonlyMap<string, string>,
  submission: Submission,
): Promise<LabReply> {
  if (extensions.has('CHUNKING')) return connection.chunks(submission.message);
  const go = await connection.command('DATA');
  if (go.code === 354) return connection.data(submission.message.open());
  await connection.command('RSET');
  return go;
}

interface Verdict {
  readonly code: number;
  readonly text: string;
}

/** What Exchange would not even offer to the server, because the server lacks the extension for it. */
function localRefusal(
  submission: Submission,
  facts: ContentFacts,
  extensions: ReadonlyMap<string, string>,
): Verdict | undefined {
  if (facts.hasBareLineFeed && !submission.sendsBareLineFeeds && !extensions.has('CHUNKING'))
    return { code: 550, text: '5.6.11 SMTPSEND.BareLinefeedsAreIllegal (not sent)' };
  if (facts.is8bit && !extensions.has('8BITMIME'))
    return { code: 554, text: '5.6.3 8BITMIME is not offered (not sent)' };
  if (needsUtf8(submission) && !extensions.has('SMTPUTF8'))
    return { code: 550, text: '5.6.7 SMTPUTF8 is not offered (not sent)' };
  return undefined;
}

function mailCommand(
  submission: Submission,
  facts: ContentFacts,
  extensions: ReadonlyMap<string, string>,
): string {
  const parameters = [
    extensions.has('SIZE') ? `SIZE=${submission.message.size}` : undefined,
    extensions.has('8BITMIME') ? `BODY=${facts.is8bit ? '8BITMIME' : '7BIT'}` : undefined,
    needsUtf8(submission) ? 'SMTPUTF8' : undefined,
    extensions.has('XOORG') && submission.originatingDomain !== undefined
      ? `XOORG=${submission.originatingDomain}`
      : undefined,
    submission.mailParameters,
  ];
  return [`MAIL FROM:<${submission.sender}>`, ...parameters.filter((part) => part !== undefined)].join(' ');
}

function needsUtf8(submission: Submission): boolean {
  const addresses = [submission.sender, ...addressesOf(submission).map(({ address }) => address)];
  return addresses.some((address) => /[^\u0000-\u007f]/.test(address));
}

interface ContentFacts {
  readonly is8bit: boolean;
  readonly hasBareLineFeed: boolean;
}

async function readFacts(message: Chunks): Promise<ContentFacts> {
  let is8bit = false;
  let hasBareLineFeed = false;
  let last = 0;
  for await (const chunk of message) {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    is8bit ||= !isAscii(bytes);
    for (let at = bytes.indexOf(10); at >= 0 && !hasBareLineFeed; at = bytes.indexOf(10, at + 1)) {
      hasBareLineFeed = (at === 0 ? last : bytes[at - 1]) !== 13;
    }
    last = bytes.at(-1) ?? last;
  }
  return { is8bit, hasBareLineFeed };
}

function addressesOf(submission: Submission): SubmissionRecipient[] {
  return submission.recipients.map((recipient) =>
    typeof recipient === 'string' ? { address: recipient } : recipient,
  );
}

function refusedBy(reply: LabReply): LabConnectionError {
  return new LabConnectionError(`${reply.code} ${reply.text}`);
}
