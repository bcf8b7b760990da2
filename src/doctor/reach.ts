// Whether another SMTP server answers as the gateway needs it: TCP, EHLO, STARTTLS with the certificate checked. No MAIL
// command is ever sent.
import type { Socket } from 'node:net';
import type { Config } from '../config.ts';
import { DialogueError, openDialogue } from '../smtp/dialogue.ts';
import { isOpenSocket, openRoute } from '../smtp/mx.ts';
import type { NextHop, TlsMode } from '../smtp/next-hop.ts';
import { fail, type Finding, ok, skipped, warn } from './check.ts';

export interface Target {
  readonly host: string;
  readonly port: number;
  readonly serverName: string;
  /** PEM; undefined: the system's roots. */
  readonly ca?: readonly string[];
  readonly identity?: { readonly key: string; readonly cert: string };
  /** Default `verified`. */
  readonly tls?: TlsMode;
}

/** What was seen. `date`: of the greeting, where it has one, as Exchange Online's does. */
export type Reached =
  | {
      readonly kind: 'reached';
      readonly address: string;
      readonly extensions: ReadonlySet<string>;
      readonly maxBytes: number;
    }
  | { readonly kind: 'unreachable'; readonly reason: string }
  | { readonly kind: 'refused'; readonly reason: string; readonly isTls: boolean };

const CONNECT_TIMEOUT_MS = 5_000;
const REPLY_TIMEOUT_MS = 5_000;
const MAX_GREETING_BYTES = 2_048;

/** Opens the session as the leg would, and leaves. */
export async function reach(target: Target, config: Config, signal: AbortSignal): Promise<Reached> {
  const opened = await routeOf(target, config).toHost(target.host, [], signal);
  if (!isOpenSocket(opened)) return { kind: 'unreachable', reason: opened.reply.text };
  const hop: NextHop = {
    open: () => Promise.resolve(opened),
    tls: target.tls ?? 'verified',
    serverName: target.serverName,
    ...(target.ca ? { ca: target.ca } : {}),
    ...(target.identity ? { identity: target.identity } : {}),
  };
  const timeouts = { greetingMs: REPLY_TIMEOUT_MS, replyMs: REPLY_TIMEOUT_MS };
  try {
    const dialogue = await openDialogue(opened, hop, hop.tls, {
      hostname: config.hostname,
      timeouts,
      signal,
    });
    dialogue.quit();
    return {
      kind: 'reached',
      address: opened.address,
      extensions: dialogue.extensions,
      maxBytes: dialogue.maxBytes,
    };
  } catch (error) {
    const reason = error instanceof DialogueError ? error.message : 'unknown error';
    return { kind: 'refused', reason, isTls: error instanceof DialogueError && error.isTls };
  }
}

/** The time in another server's greeting. undefined: none, or no connection. */
export async function readGreetingDate(
  target: Target,
  config: Config,
  signal: AbortSignal,
): Promise<Date | undefined> {
  const opened = await routeOf(target, config).toHost(target.host, [], signal);
  if (!isOpenSocket(opened)) return undefined;
  const { socket } = opened;
  try {
    return parseGreetingDate(await readLine(socket, signal));
  } catch {
    return undefined;
  } finally {
    socket.end('QUIT\r\n');
    socket.destroySoon();
  }
}

/** `220 ... ready at Wed, 25 Nov 2026 14:00:00 +0000`. */
export function parseGreetingDate(line: string): Date | undefined {
  const [written = ''] =
    /\d{1,2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} (?:[+-]\d{4}|GMT|UTC)/.exec(line) ?? [];
  const date = new Date(written);
  return Number.isNaN(date.getTime()) ? undefined : date;
}

export function judgeTenantLeg(
  { host, port, serverName }: Target,
  reached: Reached,
  maxBytes: number,
): Finding {
  switch (reached.kind) {
    case 'unreachable':
      return fail(
        `${host}:${port}: ${reached.reason}`,
        'Mail for the tenant waits. Look at the name, at the firewall for outgoing port 25, and at tenant.leg in the policy file.',
      );
    case 'refused':
      return fail(
        `${host}:${port}: ${reached.reason}`,
        reached.isTls
          ? `Mail for the tenant waits. The server has to show a certificate for ${serverName} that leads to the roots in tenant.leg.ca, or of the system.`
          : 'Mail for the tenant waits. See what the server says.',
      );
    case 'reached': {
      const found = `${host} (${reached.address}), TLS with a verified name`;
      const isSmaller = reached.maxBytes > 0 && reached.maxBytes < maxBytes;
      return isSmaller
        ? warn(
            `${found}, takes ${reached.maxBytes} bytes`,
            'Lower limits.max_message_bytes, so that what is too large is refused to the sender.',
          )
        : ok(found);
    }
  }
}

export function judgeListener({ host, port, serverName }: Target, reached: Reached): Finding {
  const at = `${host}:${port}`;
  switch (reached.kind) {
    case 'unreachable':
      return fail(`${at}: ${reached.reason}`, 'The gateway runs and does not listen there: look at its log.');
    case 'refused':
      return fail(
        `${at}: ${reached.reason}`,
        `Exchange Online needs STARTTLS with a verified certificate for ${serverName}.`,
      );
    case 'reached':
      return ok(`${at} answers, TLS as ${serverName}`);
  }
}

export function judgeSmarthost({ host, port }: Target, reached: Reached): Finding {
  return reached.kind === 'reached'
    ? ok(`${host} (${reached.address})`)
    : fail(
        `${host}:${port}: ${reached.reason}`,
        'Mail that leaves over the smart host waits. Look at smarthost in the configuration, and at the firewall.',
      );
}

/** The gateway's own listener, from this machine. undefined: its port is not known before it runs. */
export function listenerTarget(
  { listener, hostname, exchange }: Config,
  ca: readonly string[],
): Target | undefined {
  if (listener.port === 0) return undefined;
  const isAny = listener.host === '0.0.0.0' || listener.host === '::';
  return {
    host: isAny ? (listener.host === '::' ? '::1' : '127.0.0.1') : listener.host,
    port: listener.port,
    serverName: hostname,
    ...(exchange.ca.length === 0 ? {} : { ca }),
  };
}

export const noListener = skipped('no running gateway, or its port is chosen when it starts');

function routeOf({ port }: Target, { internet }: Config) {
  return openRoute({
    port,
    resolvers: internet.resolvers,
    allowPrivateAddresses: true,
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
  });
}

function readLine(socket: Socket, signal: AbortSignal): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let text = '';
  const stop = AbortSignal.any([signal, AbortSignal.timeout(REPLY_TIMEOUT_MS)]);
  stop.addEventListener('abort', () => reject(new Error('no greeting')), { once: true });
  socket.on('error', reject);
  socket.on('close', () => reject(new Error('no greeting')));
  socket.on('data', (part: Buffer) => {
    text += part.toString('latin1');
    if (text.includes('\n') || text.length > MAX_GREETING_BYTES) resolve(text.split('\n')[0] ?? '');
  });
  return promise;
}
