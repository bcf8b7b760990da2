// Another gateway than Postern, for what Postern does not do: it passes all mail on to Exchange Online as it came, over one
// connection after the other, and shows the same client certificate to whichever tenant the mail is for.
import { bytesSource, joinSources } from '../core/bytes.ts';
import type { TlsIdentity } from './certificates.ts';
import { GATEWAY_NAME } from './lab-tenants.ts';
import { openInternet } from './internet.ts';
import { type RecipientResult, submit } from './submission.ts';
import type { Lab } from './world.ts';

export interface NaiveGateway extends AsyncDisposable {
  /** What Exchange Online answered, in order. */
  readonly answers: readonly RecipientResult[];
}

/** Opens it, and points the lab at it. Without an identity it shows no certificate. */
export async function openNaiveGateway(lab: Lab, identity?: TlsIdentity): Promise<NaiveGateway> {
  const answers: RecipientResult[] = [];
  const sending = new Set<Promise<void>>();
  const trace = bytesSource(Buffer.from(`Received: from exchange by ${GATEWAY_NAME}; lab\r\n`));
  const server = await openInternet({
    hostname: GATEWAY_NAME,
    tls: { ...lab.identities.gatewayServer, ca: [lab.publicCa.rootPem] },
    onMessage: ({ sender, recipients, bytes }) => {
      // Not waited for: a gateway queues.
      const sent = submit(
        { host: lab.exchange.address, port: lab.exchange.port },
        { hello: GATEWAY_NAME, tls: identity ? { key: identity.key, cert: identity.cert } : {} },
        {
          sender,
          recipients: recipients.map(({ address }) => address),
          message: joinSources(trace, bytesSource(bytes)),
        },
      ).then((result) => void answers.push(...result.recipients));
      sending.add(sent);
    },
  });
  lab.useGateway({ host: server.address, port: server.port });
  return {
    answers,
    [Symbol.asyncDispose]: async () => {
      await Promise.all(sending);
      await server[Symbol.asyncDispose]();
    },
  };
}
