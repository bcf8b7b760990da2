// Delivery of one shipment to one next hop: one connection, one transaction, one result per recipient. It sends what the
// next hop can take and nothing it cannot; what it sends are the bytes of the shipment, dot-stuffed and otherwise untouched.
import { connect as connectTcp } from 'node:net';
import { isAsciiAddress } from '../core/address.ts';
import type { Clock } from '../core/clock.ts';
import type { DeliveryResult, Shipment } from '../core/delivery.ts';
import type { Recipient } from '../core/envelope.ts';
import { asGatewayError, replyFor } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { isPositive, type Reply } from '../core/reply.ts';
import { type Dialogue, DialogueError, type DialogueTimeouts, openDialogue } from './dialogue.ts';
import { stuffDots } from './dot-lines.ts';
import { isOpenSocket, type OpenSocket } from './mx.ts';
import type { NextHop } from './next-hop.ts';
import { statusOf } from './remote-reply.ts';

export interface ClientTimeouts extends DialogueTimeouts {
  /** One attempt as a whole. */
  readonly totalMs: number;
}

export interface ClientOptions {
  /** Name for EHLO. */
  readonly hostname: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly timeouts: ClientTimeouts;
}

/** RFC 5321 §4.5.3.2 asks for minutes; the total keeps a host that answers ever so slowly from holding a worker. */
export const defaultTimeouts: ClientTimeouts = { greetingMs: 120_000, replyMs: 600_000, totalMs: 3_600_000 };

/** Hosts that are tried in one attempt while none has got as far as MAIL. */
const MAX_HOSTS = 4;

/** Delivers. Never rejects: trouble with the connection is `deferred` with a reply of our own, 4.4.x. */
export async function deliverShipment(
  hop: NextHop,
  shipment: Shipment,
  options: ClientOptions,
  signal: AbortSignal,
): Promise<readonly DeliveryResult[]> {
  const attempt = new AbortController();
  const both = AbortSignal.any([signal, attempt.signal]);
  options.clock.sleep(options.timeouts.totalMs, both).then(
    () => attempt.abort(),
    () => undefined,
  );
  try {
    return await tryHosts(hop, shipment, options, both);
  } catch (error) {
    options.log.error('delivery-failed', { id: shipment.id, reason: asGatewayError(error).message });
    return sameForAll(shipment.recipients, replyFor('next-hop-failed'));
  } finally {
    attempt.abort();
  }
}

async function tryHosts(
  hop: NextHop,
  shipment: Shipment,
  options: ClientOptions,
  signal: AbortSignal,
): Promise<readonly DeliveryResult[]> {
  const tried: string[] = [];
  let results: readonly DeliveryResult[] | undefined;
  while (tried.length < MAX_HOSTS) {
    const opened = await hop.open(tried, signal);
    if (!isOpenSocket(opened)) return results ?? sameForAll(shipment.recipients, opened.reply);
    tried.push(opened.address);
    try {
      const dialogue = await startSession(opened, hop, options, signal);
      return await sendMail(dialogue, opened.host, shipment);
    } catch (error) {
      if (!(error instanceof DialogueError)) throw error;
      options.log.info('next-hop-failed', { id: shipment.id, host: opened.host, reason: error.message });
      results = sameForAll(shipment.recipients, error.reply, opened.host);
      if (signal.aborted) break;
    }
  }
  return results ?? sameForAll(shipment.recipients, replyFor('next-hop-failed'));
}

async function startSession(
  opened: OpenSocket,
  hop: NextHop,
  options: ClientOptions,
  signal: AbortSignal,
): Promise<Dialogue> {
  const port = opened.socket.remotePort ?? 0;
  try {
    return await openDialogue(opened, hop, hop.tls, { ...options, signal });
  } catch (error) {
    if (!(error instanceof DialogueError && error.isTls) || hop.tls !== 'opportunistic') throw error;
    options.log.warn('tls-given-up', { host: opened.host, reason: error.message });
    const socket = connectTcp({ host: opened.address, port });
    return await openDialogue({ ...opened, socket }, hop, 'plain', { ...options, signal });
  }
}

/** From MAIL on, every answer counts. */
async function sendMail(
  dialogue: Dialogue,
  remote: string,
  shipment: Shipment,
): Promise<readonly DeliveryResult[]> {
  const results = new Map<Recipient, DeliveryResult>();
  const settle = (recipients: readonly Recipient[], reply: Reply) => {
    for (const result of sameForAll(recipients, reply, remote)) results.set(result.recipient, result);
  };
  const open = () => shipment.recipients.filter((recipient) => !results.has(recipient));
  for (const { recipients, reply } of unfit(dialogue, shipment)) settle(recipients, reply);
  try {
    const isRefused = open().length === 0 || !(await sendEnvelope(dialogue, shipment, open(), settle));
    if (!isRefused) await sendContent(dialogue, shipment, (reply) => settle(open(), reply));
    dialogue.quit();
  } catch (error) {
    dialogue.close();
    settle(open(), error instanceof DialogueError ? error.reply : replyFor(asGatewayError(error).code));
  }
  const isDsnRelayed = dialogue.extensions.has('DSN');
  return shipment.recipients.flatMap((recipient) => {
    const result = results.get(recipient);
    return result ? [{ ...result, isDsnRelayed: isDsnRelayed && result.status === 'delivered' }] : [];
  });
}

/** Who cannot be served here because the next hop lacks an extension, before anything is said. */
function unfit(
  { extensions, maxBytes }: Dialogue,
  shipment: Shipment,
): readonly { readonly recipients: readonly Recipient[]; readonly reply: Reply }[] {
  const all = shipment.recipients;
  if (maxBytes > 0 && shipment.body.size > maxBytes) {
    return [
      {
        recipients: all,
        reply: { ...replyFor('message-too-large'), text: 'Message is larger than the next hop accepts' },
      },
    ];
  }
  if (shipment.is8bit && !extensions.has('8BITMIME')) {
    return [{ recipients: all, reply: { ...replyFor('next-hop-extension'), enhanced: '5.6.3' } }];
  }
  if (extensions.has('SMTPUTF8') || !needsUtf8(shipment)) return [];
  const isForAll = hasUtf8Sender(shipment) || hasUtf8Header(shipment);
  const recipients = isForAll ? all : all.filter(({ address }) => !isAsciiAddress(address));
  return [{ recipients, reply: replyFor('next-hop-extension') }];
}

/** MAIL and RCPT. Whether anybody was accepted. */
async function sendEnvelope(
  dialogue: Dialogue,
  shipment: Shipment,
  recipients: readonly Recipient[],
  settle: (recipients: readonly Recipient[], reply: Reply) => void,
): Promise<boolean> {
  const lines = recipients.map((recipient) => rcptLine(recipient, dialogue.extensions));
  const isPipelined = dialogue.extensions.has('PIPELINING');
  const sent = [dialogue.command(mailLine(shipment, dialogue.extensions))];
  if (isPipelined) sent.push(...lines.map((line) => dialogue.command(line)));
  const [mail, ...early] = await Promise.all(sent);
  if (!mail || !isPositive(mail)) {
    settle(recipients, mail ?? replyFor('next-hop-failed'));
    return false;
  }
  let accepted = 0;
  for (const [index, recipient] of recipients.entries()) {
    const reply = early[index] ?? (await dialogue.command(lines[index] ?? ''));
    if (isPositive(reply)) accepted += 1;
    else settle([recipient], reply);
  }
  return accepted > 0;
}

async function sendContent(
  dialogue: Dialogue,
  shipment: Shipment,
  settle: (reply: Reply) => void,
): Promise<void> {
  const ready = await dialogue.command('DATA');
  if (ready.code !== 354) return settle(isPositive(ready) ? replyFor('next-hop-failed') : ready);
  for await (const chunk of stuffDots(shipment.body.open())) await dialogue.write(chunk);
  settle(await dialogue.command('.'));
}

function mailLine(shipment: Shipment, extensions: ReadonlySet<string>): string {
  const hasDsn = extensions.has('DSN');
  return [
    `MAIL FROM:<${shipment.sender?.text ?? ''}>`,
    ...(extensions.has('SIZE') ? [`SIZE=${shipment.body.size}`] : []),
    ...(shipment.is8bit ? ['BODY=8BITMIME'] : []),
    ...(extensions.has('SMTPUTF8') && needsUtf8(shipment) ? ['SMTPUTF8'] : []),
    ...(hasDsn && shipment.ret ? [`RET=${shipment.ret}`] : []),
    ...(hasDsn && shipment.envid ? [`ENVID=${shipment.envid}`] : []),
  ].join(' ');
}

function rcptLine({ address, notify, orcpt }: Recipient, extensions: ReadonlySet<string>): string {
  const hasDsn = extensions.has('DSN');
  return [
    `RCPT TO:<${address.text}>`,
    ...(hasDsn && notify ? [`NOTIFY=${notify.join(',')}`] : []),
    ...(hasDsn && orcpt !== undefined ? [`ORCPT=${orcpt}`] : []),
  ].join(' ');
}

function needsUtf8(shipment: Shipment): boolean {
  const hasUtf8Recipient = shipment.recipients.some(({ address }) => !isAsciiAddress(address));
  return hasUtf8Recipient || hasUtf8Sender(shipment) || hasUtf8Header(shipment);
}

function hasUtf8Sender({ sender }: Shipment): boolean {
  return sender !== null && !isAsciiAddress(sender);
}

/** A client may say SMTPUTF8 for pure ASCII mail; only 8-bit mail can have an 8-bit header. */
function hasUtf8Header({ smtpUtf8, is8bit }: Shipment): boolean {
  return smtpUtf8 && is8bit;
}

function sameForAll(
  recipients: readonly Recipient[],
  reply: Reply,
  remote?: string,
): readonly DeliveryResult[] {
  const status = statusOf(reply);
  return recipients.map((recipient) => ({
    recipient,
    status,
    reply,
    ...(remote === undefined ? {} : { remote }),
  }));
}
