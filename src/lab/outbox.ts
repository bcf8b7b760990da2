// Where a mail program hands in mail for the lab to send: SMTP in clear and without a login, on loopback. What follows is
// what Exchange Online or an Internet host would say to the gateway; the gateway's answer is the answer here.
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { callbackify } from 'node:util';
import { SMTPServer, type SMTPServerDataStream, type SMTPServerSession } from 'smtp-server';
import { bytesSource, collect } from '../core/bytes.ts';
import type { RecipientResult, Submission, SubmissionResult } from './submission.ts';

export interface Outbox extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
}

const MAX_MESSAGE_BYTES = 157_286_400;
/** RFC 5321 §4.5.3.1.5 allows 512 octets for a reply line. */
const MAX_REPLY_CHARACTERS = 480;

class Refusal extends Error {
  readonly responseCode: number;

  constructor(code: number, text: string) {
    super(text);
    this.responseCode = code;
  }
}

/** Opens it on a free port of a loopback address. `send` returning undefined means that it is nobody's mail. */
export async function openOutbox(
  address: string,
  send: (submission: Submission) => Promise<SubmissionResult | undefined>,
): Promise<Outbox> {
  const server = new SMTPServer({
    name: 'outbox.lab.example',
    banner: 'Postern lab outbox',
    authOptional: true,
    disabledCommands: ['AUTH', 'STARTTLS'],
    disableReverseLookup: true,
    // Enhanced codes are part of the texts that are passed on.
    hideENHANCEDSTATUSCODES: true,
    size: MAX_MESSAGE_BYTES,
    closeTimeout: 200,
    logger: false,
    onData: (stream, session, done) => callbackify(() => take(stream, session, send))(done),
  });
  // A client that goes away in the middle is no error of the lab.
  server.on('error', () => {});
  server.listen(0, address);
  await once(server.server, 'listening');
  const bound = server.server.address() as AddressInfo;
  return {
    address: bound.address,
    port: bound.port,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(resolve)),
  };
}

async function take(
  stream: SMTPServerDataStream,
  session: SMTPServerSession,
  send: (submission: Submission) => Promise<SubmissionResult | undefined>,
): Promise<string> {
  const message = bytesSource(await collect(stream as AsyncIterable<Uint8Array>, Number.POSITIVE_INFINITY));
  if (stream.sizeExceeded) throw new Refusal(552, '5.3.4 Message size exceeds fixed maximum message size');
  const { mailFrom, rcptTo } = session.envelope;
  const result = await send({
    sender: mailFrom ? mailFrom.address : '',
    recipients: rcptTo.map((recipient) => recipient.address),
    message,
  });
  if (!result) throw new Refusal(550, '5.7.60 SMTP; Client does not have permissions to send as this sender');
  return answerOf(result.recipients);
}

/** One answer for all: that of the gateway where it is the same for everybody, else a 250 that tells each one's. */
function answerOf(results: readonly RecipientResult[]): string {
  const [first] = results;
  if (!first) throw new Refusal(554, '5.5.1 No valid recipients');
  const isSame = results.every(({ code, text }) => code === first.code && text === first.text);
  const isRefused = results.every(({ code }) => code >= 400);
  const told = results.map(({ recipient, code, text }) => `${recipient}: ${code} ${text}`).join('; ');
  const text = (isSame ? first.text : told).slice(0, MAX_REPLY_CHARACTERS);
  if (isRefused) throw new Refusal(first.code, text);
  return text;
}
