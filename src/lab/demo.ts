// The demonstration: a real gateway between a simulated tenant and a simulated Internet, step by step, each step with what
// went in, what came out, and what an independent program says about it.
import { simpleParser } from 'mailparser';
import { bytesSource, type ByteSource, collect } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import { defaultLimits } from '../core/limits.ts';
import { openLog } from '../core/log.ts';
import { normaliseMessage } from '../mime/canonical.ts';
import { readMessage } from '../mime/header-section.ts';
import { encryptForDemo } from './demo-sender.ts';
import { openVerifier, type Verifier } from './demo-verifier.ts';
import type { RecipientResult } from './submission.ts';
import { type LabGateway, openLabGateway } from './lab-gateway.ts';
import { sampleMessage } from './messages.ts';
import type { Person } from './people.ts';
import { hasName, hasPrefix, rawField, readRawMessage, writeRawMessage } from './raw-header.ts';
import { type Lab, openLab } from './world.ts';

export interface DemoStep {
  readonly title: string;
  /** What happened, one fact a line. */
  readonly facts: readonly string[];
  readonly before?: string;
  readonly after?: string;
  readonly isGood: boolean;
}

interface Stage {
  readonly lab: Lab;
  readonly server: LabGateway;
  readonly verifier: Verifier;
  readonly user: Person;
  readonly bob: Person;
  readonly carol: Person;
  /** The rules that decided the latest message. */
  rules(): string;
}

const MAX_BYTES = defaultLimits.maxMessageBytes;
const SHOWN = ['X-Postern-', 'From', 'To', 'Subject', 'MIME-Version', 'Content-'];
const SHOWN_BODY_LINES = 5;
const SHOWN_COLUMNS = 110;
/** Fields that name people or paths of the real message; the demo's take their place. */
const REPLACED = [
  'From',
  'Sender',
  'To',
  'Cc',
  'Bcc',
  'Reply-To',
  'Return-Path',
  'Received',
  'DKIM-Signature',
];
const REPLACED_PREFIXES = ['Resent-', 'ARC-', 'X-MS-Exchange-'];
const OUTBOUND = `rules:
  - name: smime for bob
    when: { recipient: [bob@remote.example] }
    sign: smime
    encrypt: required
    formats: [smime]
  - name: OpenPGP for carol
    when: { recipient: [carol@isp.example] }
    sign: pgp
    encrypt: required
    formats: [pgp]
  - name: secret things
    when: { recipient: [remote.example] }
    sign: none
    encrypt: required
otherwise: { sign: none, encrypt: never }`;

/** The bundled message. */
export function demoMessage(): ByteSource {
  return sampleMessage('html', {
    from: 'user@contoso.example',
    to: ['bob@remote.example'],
    subject: 'Angebot 2026',
  });
}

/**
 * A message from a file, ready for the demo: CRLF line ends, the addresses of the demo in place of its own. Throws
 * GatewayError for what is no message.
 */
export async function readDemoMessage(bytes: Uint8Array): Promise<ByteSource> {
  const text = Buffer.from(bytes).toString('latin1').replace(/\r?\n/g, '\r\n');
  const canonical = await collect(
    normaliseMessage(bytesSource(Buffer.from(text, 'latin1')).open(), {
      bareLineEnds: 'normalise',
      limits: defaultLimits,
    }),
    MAX_BYTES,
  );
  const { header } = await readMessage(bytesSource(canonical).open(), defaultLimits);
  if (header.fields.length === 0)
    throw new GatewayError('header-malformed', 'it has no header, so it is no message');
  return bytesSource(canonical);
}

/** Runs the demo; the steps come as they happen. Everything that was opened or written is gone at the end. */
export async function* runDemo(message: ByteSource): AsyncGenerator<DemoStep, void> {
  await using stack = new AsyncDisposableStack();
  const stage = await openStage(stack);
  yield {
    title: 'A gateway, a tenant and the Internet, all on loopback',
    facts: [
      `gateway on 127.0.0.1:${stage.server.gateway.port}, with fresh stores and test keys that expire within days`,
      `tenant contoso.example in a simulated Exchange Online; MX of the Internet on port ${stage.lab.mxPort}`,
      `policy: S/MIME to bob@remote.example, OpenPGP to carol@isp.example, nothing in clear to remote.example`,
    ],
    isGood: true,
  };
  yield sendOut(stage, message, stage.bob, 'S/MIME');
  yield sendOut(stage, message, stage.carol, 'OpenPGP');
  yield refusedWithoutKey(stage, message);
  yield foreignTenant(stage, message);
  yield sendIn(stage, message, 'S/MIME');
  yield sendIn(stage, message, 'OpenPGP');
}

async function openStage(stack: AsyncDisposableStack): Promise<Stage> {
  const lab = stack.use(await openLab());
  const [user, bob, carol] = await Promise.all([
    lab.makePerson('user@contoso.example'),
    lab.makePerson('bob@remote.example'),
    lab.makePerson('carol@isp.example'),
  ]);
  let rules = '';
  const log = openLog('info', {
    write: (line) => {
      const record = JSON.parse(line) as { readonly event: string; readonly rules?: readonly string[] };
      if (record.event === 'message-decided') rules = (record.rules ?? []).join(', ');
    },
  });
  const server = stack.use(
    await openLabGateway(lab, {
      own: [user],
      partners: [bob, carol],
      outbound: OUTBOUND,
      environment: { log },
    }),
  );
  const verifier = stack.use(await openVerifier(lab.mailCa.rootPem, user));
  return { lab, server, verifier, user, bob, carol, rules: () => rules };
}

async function sendOut(
  stage: Stage,
  message: ByteSource,
  to: Person,
  format: 'S/MIME' | 'OpenPGP',
): Promise<DemoStep> {
  const { lab, user, verifier } = stage;
  const sent = await readdressed(message, user.address, to.address);
  const known = lab.internet.messages().length;
  const result = await lab.sendFromTenant('contoso', { from: user.address, to: [to.address], message: sent });
  const title = `Out with ${format}: ${user.address} writes to ${to.address}`;
  const before = await shown(sent);
  if (result.recipients.some(({ code }) => code !== 250))
    return { title, facts: answers(result.recipients), before, isGood: false };
  const [arrived] = (await lab.internet.waitForMessage(known + 1)).slice(known);
  const received = arrived?.bytes ?? Buffer.alloc(0);
  const checked = format === 'S/MIME' ? await verifier.smime(received, to) : await verifier.pgp(received, to);
  const isSame = checked.content === undefined || (await isSameContent(sent, checked.content));
  const certificate =
    arrived?.tls?.presentedNames.length === 0 ? 'no client certificate' : 'a client certificate';
  return {
    title,
    facts: [
      ...answers(result.recipients),
      `rule: ${stage.rules()}`,
      `delivered to the MX over ${arrived?.tls?.protocol ?? 'clear text'}, showing ${certificate}`,
      ...checked.facts,
      ...(checked.content === undefined
        ? []
        : [`content compared with what was sent: ${isSame ? 'the same' : 'DIFFERENT'}`]),
    ],
    before,
    after: await shown(bytesSource(received)),
    isGood: checked.isGood && isSame && arrived?.tls?.presentedNames.length === 0,
  };
}

async function refusedWithoutKey({ lab, user, rules }: Stage, message: ByteSource): Promise<DemoStep> {
  const to = 'dave@remote.example';
  const sent = await readdressed(message, user.address, to);
  const result = await lab.sendFromTenant('contoso', { from: user.address, to: [to], message: sent });
  return {
    title: `Refused rather than sent in clear: ${user.address} writes to ${to}, whose key nobody has`,
    facts: [...answers(result.recipients), `rule: ${rules()}`],
    isGood: result.recipients.every(({ code }) => code === 550),
  };
}

async function foreignTenant({ lab }: Stage, message: ByteSource): Promise<DemoStep> {
  const from = 'boss@contoso.example';
  const sent = await readdressed(message, from, 'bob@remote.example');
  const known = lab.internet.messages().length;
  const result = await lab.sendFromTenant('evil', { from, to: ['bob@remote.example'], message: sent });
  return {
    title: 'A foreign tenant: another customer of Exchange Online writes as boss@contoso.example',
    facts: [
      'same address, same client certificate as our tenant: both prove Exchange Online and nothing more',
      ...answers(result.recipients),
      `reached the Internet: ${lab.internet.messages().length - known} messages`,
    ],
    isGood: result.recipients.every(({ code }) => code === 550) && lab.internet.messages().length === known,
  };
}

async function sendIn(stage: Stage, message: ByteSource, format: 'S/MIME' | 'OpenPGP'): Promise<DemoStep> {
  const { lab, user, bob } = stage;
  const plain = await readdressed(message, bob.address, user.address);
  const encrypted = await encryptForDemo(plain, format, bob, user);
  const known = lab.exchange.sinkOf('contoso').length;
  const result = await lab.sendFromInternet({
    sender: bob.address,
    recipients: [user.address],
    message: encrypted,
  });
  const [got] = (await lab.exchange.waitForMessage('contoso', known + 1)).slice(known);
  const received = got?.received ?? Buffer.alloc(0);
  const isSame = await isSameContent(plain, received);
  const attribution = lab.exchange.lastAttribution();
  const signature = /^X-Postern-Signature: [^]*?\r\n(?![ \t])/m.exec(received.toString('latin1'))?.[0] ?? '';
  const isIntact = /signature=intact;\s+trust=trusted;[^]*from=signer/.test(signature);
  return {
    title: `In with ${format}: ${bob.address} writes to ${user.address}, signed and encrypted`,
    facts: [
      ...answers(result.recipients),
      `delivered to the tenant over TLS, showing the certificate ${attribution.certNames[0] ?? 'NONE'}`,
      `Exchange Online attributed it to: ${attribution.attributedTenant ?? 'nobody'}, ${attribution.direction ?? ''}`,
      `signature: ${isIntact ? 'intact, trusted, by the author' : 'NOT GOOD'}`,
      `content compared with what was written: ${isSame ? 'the same' : 'DIFFERENT'}`,
    ],
    before: await shown(encrypted),
    after: await shown(bytesSource(received)),
    isGood: isSame && isIntact && attribution.attributedTenant === 'contoso',
  };
}

async function readdressed(message: ByteSource, from: string, to: string): Promise<ByteSource> {
  const { fields, rest } = await readRawMessage(message);
  const kept = fields.filter(
    (field) =>
      !REPLACED.some((name) => hasName(field, name)) &&
      !REPLACED_PREFIXES.some((prefix) => hasPrefix(field, prefix)),
  );
  return writeRawMessage({ fields: [rawField('From', from), rawField('To', to), ...kept], rest });
}

function answers(results: readonly RecipientResult[]): readonly string[] {
  return results.map(({ recipient, code, text }) => `answer for ${recipient}: ${code} ${text}`);
}

/** The fields that tell something here, and the beginning of the body, as much as fits a terminal. */
async function shown(message: ByteSource): Promise<string> {
  const { fields, rest } = await readRawMessage(message);
  const told = fields.filter((field) => SHOWN.some((name) => hasPrefix(field, name)));
  const header = told.map(({ raw }) => raw.toString('latin1')).join('');
  const body = (await collect(rest.open({ start: 0, end: 4_096 }), 4_096)).toString('latin1');
  const lines = `${header}\r\n${body.replace(/^\r\n/, '')}`.split('\r\n');
  const count = header.split('\r\n').length + SHOWN_BODY_LINES;
  const cut = lines.slice(0, count).map((line) => line.replace(/[^\x20-\x7e]/g, ' ').slice(0, SHOWN_COLUMNS));
  return [...cut, ...(lines.length > count ? ['...'] : [])].join('\n');
}

/** Texts and attachments after decoding: what a reader sees. */
async function isSameContent(one: ByteSource, other: Uint8Array): Promise<boolean> {
  const [first, second] = await Promise.all([
    readable(await collect(one.open(), MAX_BYTES)),
    readable(Buffer.from(other)),
  ]);
  return first === second;
}

async function readable(message: Buffer): Promise<string> {
  const { text, html, attachments } = await simpleParser(message, { skipTextToHtml: true });
  const files = attachments
    .filter(({ contentType }) => !/(pkcs7|pgp)-signature$/.test(contentType))
    .map(({ checksum, filename, size }) => [checksum, filename ?? '', size]);
  return JSON.stringify([text?.trim() ?? '', html || '', files]);
}
