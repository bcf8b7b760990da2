// The demonstration: a real gateway between a simulated tenant and a simulated Internet, step by step, each step with what
// went in, what came out, and what an independent program says about it.
import { bytesSource, type ByteSource } from '../core/bytes.ts';
import { openLog } from '../core/log.ts';
import { type DemoContent, type DemoMessage, contentOf, readdressed, shown } from './demo-message.ts';
import { encryptForDemo } from './demo-sender.ts';
import { openVerifier, type Verifier } from './demo-verifier.ts';
import { type LabGateway, openLabGateway } from './lab-gateway.ts';
import type { Person } from './people.ts';
import type { SubmissionResult } from './submission.ts';
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
  readonly rules: () => string;
}

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

/** Runs the demo; the steps come as they happen. Everything that was opened or written is gone at the end. */
export async function* runDemo(message: DemoMessage): AsyncGenerator<DemoStep, void> {
  await using stack = new AsyncDisposableStack();
  const stage = await openStage(stack);
  yield {
    title: 'A gateway, a tenant and the Internet, all on loopback',
    facts: [
      `gateway on 127.0.0.1:${stage.server.gateway.port}, with fresh stores and test keys that expire within days`,
      `tenant contoso.example in a simulated Exchange Online; MX of the Internet on port ${stage.lab.mxPort}`,
      'policy: S/MIME to bob@remote.example, OpenPGP to carol@isp.example, nothing in clear to remote.example',
      ...message.notes,
      `a reader sees: ${message.content.summary}`,
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
  message: DemoMessage,
  to: Person,
  format: 'S/MIME' | 'OpenPGP',
): Promise<DemoStep> {
  const { lab, user, verifier } = stage;
  const sent = await readdressed(message.source, user.address, to.address);
  const known = lab.internet.messages().length;
  const result = await lab.sendFromTenant('contoso', { from: user.address, to: [to.address], message: sent });
  const title = `Out with ${format}: ${user.address} writes to ${to.address}`;
  const before = await shown(sent);
  if (!isAnswered(result, 250)) return { title, facts: answers(result), before, isGood: false };
  const [arrived] = (await lab.internet.waitForMessage(known + 1)).slice(known);
  const received = arrived?.bytes ?? Buffer.alloc(0);
  const checked = format === 'S/MIME' ? await verifier.smime(received, to) : await verifier.pgp(received, to);
  const compared = await compare(message.content, checked.content && bytesSource(checked.content));
  const isAnonymous = arrived?.tls?.presentedNames.length === 0;
  return {
    title,
    facts: [
      ...answers(result),
      `rule: ${stage.rules()}`,
      `delivered to the MX over ${arrived?.tls?.protocol ?? 'clear text'}, showing ${isAnonymous ? 'no client certificate' : 'A CLIENT CERTIFICATE'}`,
      ...checked.facts,
      ...compared.facts,
    ],
    before,
    after: await shown(bytesSource(received)),
    isGood: checked.isGood && compared.isGood && isAnonymous,
  };
}

async function refusedWithoutKey({ lab, user, rules }: Stage, message: DemoMessage): Promise<DemoStep> {
  const to = 'dave@remote.example';
  const sent = await readdressed(message.source, user.address, to);
  const result = await lab.sendFromTenant('contoso', { from: user.address, to: [to], message: sent });
  return {
    title: `Refused rather than sent in clear: ${user.address} writes to ${to}, whose key nobody has`,
    facts: [...answers(result), `rule: ${rules()}`],
    isGood: isAnswered(result, 550),
  };
}

async function foreignTenant({ lab }: Stage, message: DemoMessage): Promise<DemoStep> {
  const from = 'boss@contoso.example';
  const sent = await readdressed(message.source, from, 'bob@remote.example');
  const known = lab.internet.messages().length;
  const result = await lab.sendFromTenant('evil', { from, to: ['bob@remote.example'], message: sent });
  const leaked = lab.internet.messages().length - known;
  return {
    title: 'A foreign tenant: another customer of Exchange Online writes as boss@contoso.example',
    facts: [
      'same address, same client certificate as our tenant: both prove Exchange Online and nothing more',
      ...answers(result),
      `reached the Internet: ${leaked} messages`,
    ],
    isGood: isAnswered(result, 550) && leaked === 0,
  };
}

async function sendIn(stage: Stage, message: DemoMessage, format: 'S/MIME' | 'OpenPGP'): Promise<DemoStep> {
  const { lab, user, bob } = stage;
  const plain = await readdressed(message.source, bob.address, user.address);
  const encrypted = await encryptForDemo(plain, format, bob, user);
  const known = lab.exchange.sinkOf('contoso').length;
  const result = await lab.sendFromInternet({
    sender: bob.address,
    recipients: [user.address],
    message: encrypted,
  });
  const title = `In with ${format}: ${bob.address} writes to ${user.address}, signed and encrypted`;
  const before = await shown(encrypted);
  if (!isAnswered(result, 250)) return { title, facts: answers(result), before, isGood: false };
  const [got] = (await lab.exchange.waitForMessage('contoso', known + 1)).slice(known);
  const received = bytesSource(got?.received ?? Buffer.alloc(0));
  const compared = await compare(message.content, received);
  const attribution = lab.exchange.lastAttribution();
  const isIntact = isMarkedIntact(got?.received);
  return {
    title,
    facts: [
      ...answers(result),
      `delivered to the tenant over TLS, showing the certificate ${attribution.certNames[0] ?? 'NONE'}`,
      `Exchange Online attributed it to: ${attribution.attributedTenant ?? 'nobody'}, ${attribution.direction ?? ''}, shown as ${got?.isInternal ? 'INTERNAL' : 'external'}`,
      `signature: ${isIntact ? 'intact, trusted, by the author' : 'NOT GOOD'}`,
      ...compared.facts,
    ],
    before,
    after: await shown(received),
    isGood:
      compared.isGood && isIntact && attribution.attributedTenant === 'contoso' && got?.isInternal === false,
  };
}

/** What the gateway wrote into the header for the recipient. */
function isMarkedIntact(received: Buffer | undefined): boolean {
  const text = received?.toString('latin1') ?? '';
  const field = /^X-Postern-Signature: [^]*?\r\n(?![ \t])/m.exec(text)?.[0] ?? '';
  return /signature=intact;\s+trust=trusted;[^]*from=signer/.test(field);
}

function isAnswered({ recipients }: SubmissionResult, wanted: number): boolean {
  return recipients.every(({ code }) => code === wanted);
}

function answers({ recipients }: SubmissionResult): readonly string[] {
  return recipients.map(({ recipient, code, text }) => `answer for ${recipient}: ${code} ${text}`);
}

/** `opened` is undefined where nobody could look. */
async function compare(
  written: DemoContent,
  opened: ByteSource | undefined,
): Promise<{ readonly facts: readonly string[]; readonly isGood: boolean }> {
  if (!opened) return { facts: [], isGood: true };
  const { summary, fingerprint } = await contentOf(opened);
  const isGood = fingerprint === written.fingerprint;
  return {
    facts: [
      `the reader sees: ${summary}`,
      `text and attachments compared with what was written: ${isGood ? 'the same' : 'DIFFERENT'}`,
    ],
    isGood,
  };
}
