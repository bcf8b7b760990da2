// One SMTP client session up to where mail can be sent: greeting, EHLO, STARTTLS, AUTH by nodemailer, then commands one by
// one. nodemailer's own `send` is not used: it has no DSN parameters per recipient, no SMTPUTF8 for a header, and it
// rewrites line ends. Its channel for custom handlers gives what is needed: commands, replies, the extensions offered.
/* oxlint-disable no-underscore-dangle -- that is how nodemailer names the members that a subclass or caller needs */
import { once } from 'node:events';
import SMTPConnection, { type SMTPConnectionCustomAuthContext } from 'nodemailer/lib/smtp-connection';
import { replyFor } from '../core/errors.ts';
import type { Reply } from '../core/reply.ts';
import type { OpenSocket } from './mx.ts';
import type { NextHop } from './next-hop.ts';
import { parseRemoteReply } from './remote-reply.ts';

export interface DialogueTimeouts {
  /** Greeting and TLS handshake, each. */
  readonly greetingMs: number;
  /** Silence of the server at any other point. */
  readonly replyMs: number;
}

export interface Dialogue {
  /** Keywords such as `SMTPUTF8`, from the last EHLO. */
  readonly extensions: ReadonlySet<string>;
  /** Largest message in bytes (RFC 1870); 0: not told. */
  readonly maxBytes: number;
  readonly isSecure: boolean;
  /** Sends one command and gives its reply. Throws DialogueError once the connection is lost. */
  command(line: string): Promise<Reply>;
  /** Sends raw bytes, with backpressure. */
  write(bytes: Uint8Array): Promise<void>;
  /** Says QUIT and does not wait for more than the end of the connection. */
  quit(): void;
  /** Drops the connection. */
  close(): void;
}

/** The session is over. `isTls`: TLS failed, so that a connection without it may be tried where that is allowed. */
export class DialogueError extends Error {
  override readonly name = 'DialogueError';
  readonly reply: Reply;
  readonly isTls: boolean;

  constructor(reply: Reply, isTls: boolean, cause?: unknown) {
    super(reply.text, { cause });
    this.reply = reply;
    this.isTls = isTls;
  }
}

type NodemailerError = Error & {
  readonly code?: string;
  readonly response?: string;
  readonly originalCode?: string;
};

const CHANNEL = 'POSTERN';

/** Opens the session on a connected socket. Throws DialogueError. `mode` `plain` does not try STARTTLS. */
export async function openDialogue(
  opened: OpenSocket,
  hop: NextHop,
  mode: NextHop['tls'] | 'plain',
  options: { readonly hostname: string; readonly timeouts: DialogueTimeouts; readonly signal: AbortSignal },
): Promise<Dialogue> {
  const channel = Promise.withResolvers<SMTPConnectionCustomAuthContext>();
  const connection = new SMTPConnection({
    ...connectionOptions(opened, hop, mode, options),
    customAuth: { [CHANNEL]: (context) => channel.resolve(context) },
  });
  const lost = Promise.withResolvers<never>();
  lost.promise.catch(() => undefined);
  let isReady = false;
  connection.on('error', (error: NodemailerError) => {
    lost.reject(explain(error, isReady, connection.upgrading === true || error.code === 'ETLS'));
  });
  connection.on('end', () =>
    lost.reject(new DialogueError(connectionLost('closed by the remote server'), false)),
  );
  const abort = () => {
    lost.reject(new DialogueError(connectionLost('delivery was stopped'), false));
    connection.close();
  };
  options.signal.addEventListener('abort', abort, { once: true });
  if (options.signal.aborted) abort();
  try {
    await Promise.race([called((done) => connection.connect(done)), lost.promise]);
    if (hop.auth) await Promise.race([logIn(connection, hop.auth), lost.promise]);
    connection.login({ method: CHANNEL }, () => undefined);
    const context = await Promise.race([channel.promise, lost.promise]);
    isReady = true;
    return dialogueOf(connection, context, lost.promise);
  } catch (error) {
    connection.close();
    throw error instanceof DialogueError ? error : explain(error as NodemailerError, false, false);
  }
}

function connectionOptions(
  opened: OpenSocket,
  hop: NextHop,
  mode: NextHop['tls'] | 'plain',
  { hostname, timeouts }: { readonly hostname: string; readonly timeouts: DialogueTimeouts },
): ConstructorParameters<typeof SMTPConnection>[0] {
  return {
    connection: opened.socket,
    host: hop.serverName ?? opened.host,
    name: hostname,
    secure: false,
    requireTLS: mode === 'verified',
    opportunisticTLS: mode === 'opportunistic',
    ignoreTLS: mode === 'plain',
    greetingTimeout: timeouts.greetingMs,
    socketTimeout: timeouts.replyMs,
    logger: false,
    tls: {
      minVersion: 'TLSv1.2',
      // SECURITY: no session is ever passed in: a handshake of one leg cannot lend its identity to another (test: leg-identity).
      rejectUnauthorized: mode === 'verified',
      ...(hop.ca ? { ca: [...hop.ca] } : {}),
      ...(hop.identity ? { key: hop.identity.key, cert: hop.identity.cert } : {}),
    },
  };
}

function dialogueOf(
  connection: SMTPConnection,
  context: SMTPConnectionCustomAuthContext,
  lost: Promise<never>,
): Dialogue {
  return {
    extensions: new Set(context.extensions),
    maxBytes: context.maxAllowedSize || 0,
    isSecure: connection.secure,
    async command(line) {
      const { response } = await Promise.race([context.sendCommand(line), lost]);
      return parseRemoteReply(response);
    },
    async write(bytes) {
      const socket = connection._socket;
      if (!socket || socket.destroyed) await lost;
      else if (!socket.write(bytes)) await Promise.race([once(socket, 'drain'), lost]);
    },
    quit: () => connection.quit(),
    close: () => connection.close(),
  };
}

async function logIn(connection: SMTPConnection, auth: NonNullable<NextHop['auth']>): Promise<void> {
  // SECURITY: a password never goes out in clear text (test: auth-needs-tls).
  if (!connection.secure) throw new DialogueError(replyFor('next-hop-tls'), false);
  const pass = auth.password.reveal().toString('utf8');
  await called((done) => connection.login({ user: auth.user, pass }, done)).catch(
    (error: NodemailerError) => {
      const remote = error.response === undefined ? '' : `: ${parseRemoteReply(error.response).text}`;
      throw new DialogueError(
        { code: 451, enhanced: '4.7.8', text: `Next hop did not accept the login${remote}` },
        false,
      );
    },
  );
}

/** Before mail is sent no answer is final: another host, or a later attempt, may do better. */
function explain(error: NodemailerError, isReady: boolean, isTls: boolean): DialogueError {
  if (isTls) return new DialogueError({ ...replyFor('next-hop-tls'), text: tlsText(error) }, true, error);
  if (error.response !== undefined && error.response !== '') {
    const remote = parseRemoteReply(error.response);
    const told = `Next hop said ${remote.code} ${remote.enhanced} ${remote.text}`;
    return new DialogueError(isReady ? remote : { code: 451, enhanced: '4.4.1', text: told }, false, error);
  }
  const why =
    error.code === 'ETIMEDOUT' ? 'no answer in time' : (error.originalCode ?? 'closed by the remote server');
  return new DialogueError(connectionLost(why), false, error);
}

function tlsText(error: NodemailerError): string {
  const why = error.originalCode ?? (error.response === undefined ? '' : 'STARTTLS was refused');
  return why === '' ? replyFor('next-hop-tls').text : `${replyFor('next-hop-tls').text} (${why})`;
}

function connectionLost(why: string): Reply {
  return { code: 451, enhanced: '4.4.2', text: `Connection to the next hop failed: ${why}` };
}

function called(run: (done: (error?: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    run((error) => (error ? reject(error) : resolve()));
  });
}
