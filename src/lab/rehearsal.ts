// A lab to work with by hand: the world, a gateway in it or room for one, two outboxes for a mail program, and everything
// that arrives as a file.
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openLog } from '../core/log.ts';
import { domainOf, isAcceptedDomain } from './exchange-tenant.ts';
import { type LabGatewayOptions, openLabGateway, writeLabGateway } from './lab-gateway.ts';
import { LAB_ADDRESSES, type TenantName } from './lab-tenants.ts';
import { openOutbox, type Outbox } from './outbox.ts';
import type { Person } from './people.ts';
import type { Submission, SubmissionResult } from './submission.ts';
import { openTemporaryFolder } from './temporary-folder.ts';
import { type Arrival, type Lab, openLab } from './world.ts';

export interface RehearsalOptions {
  /** False: only the files of a gateway are written; somebody else starts one from them. */
  readonly hasGateway: boolean;
  /** Where the gateway listens. 0 takes a free port, with a gateway of our own only. */
  readonly port: number;
  readonly onArrival: (arrived: Arrived) => void;
}

/** A message that reached its end. */
export interface Arrived {
  /** `internet`, `direct` where Exchange Online sent it there itself, or the tenant's name. */
  readonly at: string;
  readonly sender: string;
  readonly recipients: readonly string[];
  /** Names in the client certificate that the gateway showed. */
  readonly certificateNames: readonly string[];
  readonly tls: string | null;
  /** How Exchange Online took it; null on the Internet. */
  readonly attribution: { readonly direction: string; readonly isInternal: boolean } | null;
  /** The message as the gateway delivered it. */
  readonly file: string;
}

interface Endpoint {
  readonly address: string;
  readonly port: number;
}

export interface Rehearsal extends AsyncDisposable {
  readonly lab: Lab;
  readonly gateway: Endpoint;
  /** Configuration, policies, keys, `gateway.log`, and `arrived`; removed at the end. */
  readonly folder: string;
  /** Mail of whichever tenant accepts the sender's domain. */
  readonly tenantOutbox: Outbox;
  readonly internetOutbox: Outbox;
  /** Keys of both are with the gateway: the first one's private ones, the second one's public ones. */
  readonly people: { readonly own: Person; readonly outside: Person };
}

/** Opens everything. The caller disposes it. */
export async function openRehearsal(options: RehearsalOptions): Promise<Rehearsal> {
  await using stack = new AsyncDisposableStack();
  const { path: folder } = stack.use(await openTemporaryFolder('postern-lab-'));
  const arrivals = join(folder, 'arrived');
  mkdirSync(arrivals, { mode: 0o700 });
  let count = 0;
  const lab = stack.use(
    await openLab({
      onArrival: (arrival) => {
        count += 1;
        options.onArrival(keep(arrival, join(arrivals, `${String(count).padStart(3, '0')}.eml`)));
      },
    }),
  );
  const [own, outside] = await Promise.all([
    lab.makePerson('user@contoso.example'),
    lab.makePerson('bob@remote.example'),
  ]);
  const setUp = { own: [own], partners: [outside], port: options.port };
  const gateway = await placeGateway(lab, folder, options.hasGateway, setUp, stack);
  const tenantOutbox = stack.use(
    await openOutbox(LAB_ADDRESSES.exchangeClient, (submission) => sendAsTenant(lab, submission)),
  );
  const internetOutbox = stack.use(
    await openOutbox(LAB_ADDRESSES.internetClient, (submission) => lab.sendFromInternet(submission)),
  );
  const open = stack.move();
  return {
    lab,
    gateway,
    folder,
    tenantOutbox,
    internetOutbox,
    people: { own, outside },
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}

async function placeGateway(
  lab: Lab,
  folder: string,
  hasGateway: boolean,
  options: LabGatewayOptions,
  stack: AsyncDisposableStack,
): Promise<Endpoint> {
  if (hasGateway) {
    const log = openLog('info', { write: (line) => appendFileSync(join(folder, 'gateway.log'), line) });
    const { gateway } = stack.use(await openLabGateway(lab, { ...options, folder, environment: { log } }));
    return gateway;
  }
  const { listener } = await writeLabGateway(lab, folder, { ...options, logLevel: 'info' });
  const { host, port } = listener;
  lab.useGateway({ host, port });
  return { address: host, port };
}

/** Undefined where no tenant of the lab has the sender's domain. */
function sendAsTenant(lab: Lab, submission: Submission): Promise<SubmissionResult | undefined> {
  const domain = domainOf(submission.sender);
  const names = Object.keys(lab.tenants) as TenantName[];
  const tenant = names.find((name) => isAcceptedDomain(lab.tenants[name], domain));
  if (!tenant) return Promise.resolve(undefined);
  const { sender, recipients, message } = submission;
  return lab.sendFromTenant(tenant, { from: sender, to: recipients, message });
}

function keep(arrival: Arrival, file: string): Arrived {
  const { message } = arrival;
  const tls = { certificateNames: message.tls?.presentedNames ?? [], tls: message.tls?.protocol ?? null };
  if (arrival.kind === 'internet') {
    const { sender, recipients, bytes } = arrival.message;
    writeFileSync(file, bytes, { mode: 0o600 });
    const addresses = recipients.map(({ address }) => address);
    return { at: 'internet', sender, recipients: addresses, ...tls, attribution: null, file };
  }
  const { tenant, sender, recipients, received, direction, isInternal } = arrival.message;
  writeFileSync(file, received, { mode: 0o600 });
  const at = arrival.kind === 'direct' ? 'direct' : tenant;
  return { at, sender, recipients, ...tls, attribution: { direction, isInternal }, file };
}
