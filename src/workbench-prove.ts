// The proof of one message outside a session: the connection comes from a file, tenants and settings from the gateway's own
// configuration. What it says is what the gateway says.
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { z } from 'zod';
import { readConfig } from './config.ts';
import { type Address, parseAddress } from './core/address.ts';
import { GatewayError } from './core/errors.ts';
import type { Origin } from './core/origin.ts';
import type { Peer } from './core/peer.ts';
import { dnsLookup, readProofSettings } from './gateway.ts';
import { formatProblems, readPolicySet } from './pipeline/policy-set.ts';
import { describeIssues } from './policy/problems.ts';
import { parseYaml } from './policy/yaml-source.ts';
import { verifyOwnSignatures } from './pipeline/authenticate.ts';
import { gatherEvidence } from './tenant/evidence.ts';
import { prove } from './tenant/proof.ts';
import { holdMessage } from './workbench-input.ts';
import { openWorkHolds, watched, type WorkInput } from './workbench.ts';

const isSender = (text: string) => text === '' || text === '<>' || parseAddress(text) !== undefined;

const certificateDocument = z.strictObject({
  verified: z.boolean(),
  error: z.string().optional(),
  dns_names: z.array(z.string()).default([]),
  common_name: z.string().optional(),
});

const sessionDocument = z.strictObject({
  address: z.string().refine((text) => isIP(text) !== 0, 'is not an IP address'),
  helo: z.string().default(''),
  sender: z
    .string()
    .refine(isSender, 'is not an address; write user@contoso.example, or <> for the null sender'),
  tls: z
    .strictObject({
      protocol: z.enum(['TLSv1.2', 'TLSv1.3']).default('TLSv1.3'),
      certificate: certificateDocument.optional(),
    })
    .optional(),
});

export interface ProveTask extends WorkInput {
  readonly configFile: string;
  readonly sessionFile: string;
}

export interface Proven {
  readonly origin: Origin;
  /** Name of the proven tenant. */
  readonly tenant?: string;
}

/** Judges the message. Throws GatewayError for files that cannot be read, each problem with its place. */
export async function proveMessage(task: ProveTask): Promise<Proven> {
  const config = await readConfig(task.configFile);
  const settings = await readProofSettings(config);
  const policies = await readPolicySet(config.policyFolder, task.at);
  if ('problems' in policies) throw invalid(formatProblems(policies.problems));
  const { peer, sender } = await readSession(task.sessionFile);
  await using open = new AsyncDisposableStack();
  const holds = await openWorkHolds(open);
  const { held, header } = await holdMessage(watched(task.input, task), task.name, holds, config.limits);
  const { registry } = policies.set;
  const dkim = await verifyOwnSignatures(registry, held, header, dnsLookup(config), task.at);
  const origin = prove(registry, gatherEvidence(peer, { sender }, header, dkim), settings);
  const tenant = origin.kind === 'proven' ? registry.byId.get(origin.tenant)?.name : undefined;
  return { origin, ...(tenant === undefined ? {} : { tenant }) };
}

/** JSON is YAML, whose reader knows the place of each problem. */
async function readSession(file: string): Promise<{ readonly peer: Peer; readonly sender: Address | null }> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw invalid(`${file}: ${error.code === 'ENOENT' ? 'no such file' : (error.code ?? 'cannot be read')}`);
  });
  const source = parseYaml(text, file);
  if (source.problems.length > 0) throw invalid(formatProblems(source.problems));
  const parsed = sessionDocument.safeParse(source.data);
  if (!parsed.success) {
    const schema = z.toJSONSchema(sessionDocument, { io: 'input' });
    throw invalid(formatProblems(describeIssues(parsed.error.issues, source, schema)));
  }
  const { address, helo, sender, tls } = parsed.data;
  return {
    sender: parseAddress(sender) ?? null,
    peer: {
      address,
      port: 0,
      helo,
      ...(tls ? { tls: { protocol: tls.protocol, cipher: '', ...asCertificate(tls.certificate) } } : {}),
    },
  };
}

function asCertificate(document: z.output<typeof certificateDocument> | undefined) {
  if (!document) return {};
  const { verified, error, dns_names: dnsNames, common_name: commonName } = document;
  return {
    certificate: {
      isVerified: verified,
      dnsNames,
      fingerprint256: '',
      validFrom: new Date(0),
      validTo: new Date(0),
      ...(error === undefined ? {} : { verifyError: error }),
      ...(commonName === undefined ? {} : { commonName }),
    },
  };
}

function invalid(reason: string): GatewayError {
  return new GatewayError('config-invalid', reason);
}
